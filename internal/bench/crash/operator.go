package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/posthouse-mail/posthouse/internal/bench/house"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/api"
)

// operator changes the directory and the queue over the house's socket, one change at a time, so that it knows what must be there:
// people and aliases as in is, or, when the answer to the last change did not come, as in after.
type operator struct {
	data  string
	rng   *rand.Rand
	mail  *ledger
	is    directory
	after *directory
	last  string
	next  int
	done  map[string]int
	queue []admin.QueueEntry // as it was seen at the last start
	wrong error
}

// directory is what the operator has made, by address.
type directory struct {
	people  map[string]person
	aliases map[string]string
}

type person struct {
	name     string
	disabled bool
	quota    uint64
}

func (d directory) clone() *directory {
	return &directory{maps.Clone(d.people), maps.Clone(d.aliases)}
}

func (d directory) equal(x directory) bool {
	return maps.Equal(d.people, x.people) && maps.Equal(d.aliases, x.aliases)
}

func newOperator(data string, mail *ledger, rng *rand.Rand) *operator {
	return &operator{data: data, rng: rng, mail: mail, is: directory{map[string]person{}, map[string]string{}}, done: map[string]int{}}
}

// work makes one change after the other until the house is gone.
func (o *operator) work() {
	ctx := context.Background()
	c, err := api.Dial(ctx, o.data)
	for err == nil && o.wrong == nil {
		if o.rng.IntN(3) == 0 {
			err = o.tend(ctx, c)
		} else {
			err = o.change(ctx, c)
		}
	}
	if no := (*admin.Error)(nil); errors.As(err, &no) && no.Class != admin.Unavailable {
		o.wrong = fmt.Errorf("operator, %s: %w", o.last, err)
	}
}

// change makes one change of the directory.
func (o *operator) change(ctx context.Context, c *api.Client) (err error) {
	people := slices.Sorted(maps.Keys(o.is.people))
	aliases := slices.Sorted(maps.Keys(o.is.aliases))
	after := o.is.clone()
	var do func() error
	some := func(of []string) string { return of[o.rng.IntN(len(of))] }
	switch n := o.rng.IntN(10); {
	case len(people) == 0 || n == 0 && len(people) < 6:
		o.next++
		who := fmt.Sprintf("p%d@%s", o.next, second)
		o.last, after.people[who] = "add "+who, person{}
		do = func() error {
			_, err := c.AddAccount(ctx, admin.NewAccount{Addresses: []string{who}, Password: house.Password, Quota: &admin.Amount{}})
			return err
		}
	case n == 1 && len(people) > 2:
		who := some(people)
		o.last = "remove " + who
		delete(after.people, who)
		do = func() error { return c.RemoveAccount(ctx, who) }
	case n < 7:
		who := some(people)
		p := person{name: fmt.Sprint("name ", o.rng.IntN(100)), disabled: o.rng.IntN(2) == 0, quota: uint64(o.rng.IntN(1 << 30))}
		o.last, after.people[who] = "set "+who, p
		do = func() error {
			_, err := c.SetAccount(ctx, who, admin.Change{Name: &p.name, Disabled: &p.disabled, Bytes: &p.quota})
			return err
		}
	case n == 7 && len(aliases) > 0:
		who := some(aliases)
		o.last = "remove alias " + who
		delete(after.aliases, who)
		do = func() error { return c.RemoveAlias(ctx, who) }
	default:
		who, member := fmt.Sprintf("a%d@%s", o.rng.IntN(8), second), fmt.Sprintf("m%d@%s", o.rng.IntN(100), down)
		o.last, after.aliases[who] = "alias "+who, member
		do = func() error {
			_, err := c.AddAlias(ctx, admin.Alias{Address: who, Members: []string{member}})
			return err
		}
	}
	o.after = after
	if err := do(); err != nil {
		return err
	}
	o.done[strings.Fields(o.last)[0]+" account or alias"]++
	o.is, o.after = *after, nil
	return nil
}

// tend holds, releases or cancels some entries of the queue.
func (o *operator) tend(ctx context.Context, c *api.Client) error {
	if len(o.queue) == 0 {
		return o.change(ctx, c)
	}
	action := []string{admin.Hold, admin.Hold, admin.Release, admin.Cancel}[o.rng.IntN(4)]
	var ids, messages []string
	n := 1 + o.rng.IntN(10)
	if action == admin.Cancel && len(o.queue) > 200 {
		n = 60 // else the queue grows for ever
	}
	for range n {
		at := o.rng.IntN(len(o.queue))
		e := o.queue[at]
		id, ours := o.mail.mayTend(e, action)
		if !ours || slices.Contains(ids, e.ID) {
			continue
		}
		ids, messages = append(ids, e.ID), append(messages, id)
	}
	if len(ids) == 0 {
		return nil
	}
	o.last = action + " " + strings.Join(ids, " ")
	o.mail.tending(messages, action, perhaps)
	_, err := c.QueueAction(ctx, action, ids)
	if no := (*admin.Error)(nil); errors.As(err, &no) && no.Class == admin.Conflict {
		return nil // one is being tried at this moment: which ones were changed is seen at the next start
	}
	if err != nil {
		return err
	}
	o.mail.tending(messages, action, removed)
	o.done["queue "+action] += len(ids)
	return nil
}

// verify compares directory and queue with what they must be.
func (o *operator) verify() error {
	ctx := context.Background()
	c, err := api.Dial(ctx, o.data)
	if err != nil {
		return err
	}
	seen, err := observeDirectory(ctx, c)
	if err != nil {
		return err
	}
	switch {
	case o.is.equal(seen):
	case o.after != nil && o.after.equal(seen):
	default:
		return fmt.Errorf("accounts and aliases are %v, must be %v (or, after %q, %v)", seen, o.is, o.last, o.after)
	}
	o.is, o.after = seen, nil
	if o.queue, err = c.Queue(ctx); err != nil {
		return err
	}
	return o.mail.settleQueue(o.queue)
}

// observeDirectory reads what the operator has made.
func observeDirectory(ctx context.Context, c *api.Client) (d directory, err error) {
	d = directory{map[string]person{}, map[string]string{}}
	accounts, err := c.Accounts(ctx)
	if err != nil {
		return d, err
	}
	for _, a := range accounts {
		if address := a.Addresses[0]; strings.HasPrefix(address, "p") && strings.HasSuffix(address, "@"+second) {
			d.people[address] = person{a.Name, a.Disabled, a.Quota.Bytes}
		}
	}
	aliases, err := c.Aliases(ctx)
	for _, a := range aliases {
		d.aliases[a.Address] = strings.Join(a.Members, " ")
	}
	return d, err
}
