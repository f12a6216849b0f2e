package auth_test

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

func (h *house) list(l auth.List, address string, owners ...string) (id auth.ListID, err error) {
	l.Address, l.Owners = addr(h.t, address), addrs(h.t, owners...)
	err = h.update(func(tx *kv.Tx) (err error) {
		id, err = h.PutList(tx, l)
		return err
	})
	return id, err
}

func (h *house) members(list string, members ...string) error {
	return h.update(func(tx *kv.Tx) error {
		_, err := h.AddMembers(tx, addr(h.t, list), addrs(h.t, members...))
		return err
	})
}

func (h *house) forward(id mail.AccountID, keep bool, to ...string) error {
	return h.update(func(tx *kv.Tx) error { return h.SetForward(tx, id, addrs(h.t, to...), keep) })
}

// leads is where an address leads, in one word for each.
func (h *house) leads(address string) string {
	h.t.Helper()
	r, err := h.Resolve(h.t.Context(), addr(h.t, address))
	if errors.Is(err, auth.ErrNoAddress) {
		return "nobody"
	}
	if err != nil {
		h.t.Fatal(err)
	}
	var words []string
	for _, d := range r.Local {
		words = append(words, fmt.Sprint(d.Account))
	}
	for _, a := range r.Remote {
		words = append(words, a.String())
	}
	for _, l := range r.Lists {
		words = append(words, fmt.Sprintf("list %d role %d %s", l.List.ID, l.Role, l.Token))
	}
	return strings.TrimSpace(strings.Join(words, " "))
}

func (h *house) want(cases map[string]string) {
	h.t.Helper()
	for address, want := range cases {
		if got := h.leads(address); got != want {
			h.t.Errorf("%s leads to %q, want %q", address, got, want)
		}
	}
}

func TestForward(t *testing.T) {
	h := newHouse(t, auth.Options{})
	h.people("")
	if err := h.alias(false, "both@alpha.test", "alice@alpha.test", "bob@alpha.test"); err != nil {
		t.Fatal(err)
	}
	if err := h.alias(false, "toalice@alpha.test", "alice@alpha.test"); err != nil {
		t.Fatal(err)
	}
	for _, back := range []string{"alice@alpha.test", "alice.liddell+x@one.test", "toalice@alpha.test", "both@alpha.test"} {
		if err := h.forward(1, true, back); !errors.Is(err, auth.ErrLoop) {
			t.Errorf("forward to %s: %v", back, err)
		}
	}
	if err := h.forward(1, true, "nobody@alpha.test"); !errors.Is(err, auth.ErrNoAddress) {
		t.Error(err)
	}
	if err := h.forward(1, false, "x@away.test", "bob@alpha.test"); err != nil {
		t.Fatal(err)
	}
	if err := h.forward(2, true, "toalice@alpha.test"); !errors.Is(err, auth.ErrLoop) {
		t.Error("two accounts forward to each other:", err)
	}
	h.want(map[string]string{"alice@alpha.test": "2 x@away.test", "alice+tag@one.test": "2 x@away.test", "both@alpha.test": "2 x@away.test"})
	r, err := h.Resolve(t.Context(), addr(t, "alice@alpha.test"))
	if err != nil || len(r.Forwards) != 1 || r.Forwards[0].From.Account != 1 {
		t.Errorf("%+v %v", r, err)
	}
	if err := h.forward(1, true, "x@away.test"); err != nil {
		t.Fatal(err)
	}
	h.want(map[string]string{"alice@alpha.test": "1 x@away.test"})
	// An alias that came later and leads back: refused at its creation too.
	if err := h.alias(false, "ring@alpha.test", "bob@alpha.test"); err != nil {
		t.Fatal(err)
	}
	if err := h.forward(1, false, "ring@alpha.test"); err != nil {
		t.Fatal(err)
	}
	if err := h.alias(false, "ring@alpha.test", "alice@alpha.test"); !errors.Is(err, auth.ErrLoop) {
		t.Error("an alias below a forward leads back:", err)
	}
	h.must(func(tx *kv.Tx) error { return h.RemoveAlias(tx, addr(t, "ring@alpha.test")) })
	h.want(map[string]string{"alice@alpha.test": "1"}) // nobody is left to forward to: the mail stays
	if err := h.forward(1, false); err != nil {
		t.Fatal(err)
	}
}

func TestLists(t *testing.T) {
	h := newHouse(t, auth.Options{})
	h.people("")
	if _, err := h.list(auth.List{}, "dev@alpha.test"); !errors.Is(err, auth.ErrInvalid) {
		t.Error("a list without owner:", err)
	}
	id, err := h.list(auth.List{Name: "Developers", Tag: "[dev]"}, "Dev@alpha.test", "alice@alpha.test")
	if err != nil || id != 1 {
		t.Fatal(id, err)
	}
	if _, err := h.list(auth.List{}, "bob@alpha.test", "alice@alpha.test"); !errors.Is(err, auth.ErrExists) {
		t.Error(err)
	}
	if err := h.members("dev@one.test", "bob@alpha.test", "x@away.test", "bob@alpha.test"); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{"itself": h.members("dev@alpha.test", "dev+x@one.test"), "its bounces": h.members("dev@alpha.test", "dev@alpha.test")} {
		if !errors.Is(err, auth.ErrLoop) {
			t.Errorf("%s is a member: %v", name, err)
		}
	}
	for _, taken := range []string{"dev-bounces@alpha.test", "DEV-owner@alpha.test"} {
		if err := h.alias(false, taken, "bob@alpha.test"); !errors.Is(err, auth.ErrExists) {
			t.Errorf("%s: %v", taken, err)
		}
	}
	h.want(map[string]string{
		"dev@alpha.test": "list 1 role 1", "dev+x@one.test": "list 1 role 1 x", "dev-bounces+tok@alpha.test": "list 1 role 2 tok", "Dev-Unsubscribe@alpha.test": "list 1 role 3",
		"dev-owner@alpha.test": "1", "dev-request@one.test": "1", "nodev-owner@alpha.test": "nobody", "-owner@alpha.test": "nobody",
	})
	if err := h.alias(false, "all@alpha.test", "dev@alpha.test", "alice@alpha.test"); err != nil {
		t.Fatal(err)
	}
	h.want(map[string]string{"all@alpha.test": "1 list 1 role 1"})
	if err := h.members("dev@alpha.test", "all@alpha.test"); !errors.Is(err, auth.ErrLoop) {
		t.Error(err)
	}
	seen := [16]byte{1}
	h.must(func(tx *kv.Tx) error { h.NoteSeen(tx, id, seen, time.Now()); return nil })
	if was, err := h.Seen(t.Context(), id, seen); err != nil || !was {
		t.Error(was, err)
	}
	h.must(func(tx *kv.Tx) error {
		return h.SetMember(tx, addr(t, "dev@alpha.test"), addr(t, "x@away.test"), auth.MemberPaused)
	})
	all, err := h.Members(t.Context(), id)
	if err != nil || len(all) != 2 || all[0].Address.String() != "bob@alpha.test" || all[1].State != auth.MemberPaused {
		t.Errorf("%+v %v", all, err)
	}
	// Who goes away is in no list any more; its last owner cannot go.
	h.must(func(tx *kv.Tx) error { return h.RemoveAccount(tx, 2) })
	if all, err := h.Members(t.Context(), id); err != nil || len(all) != 1 {
		t.Errorf("%+v %v", all, err)
	}
	if err := h.update(func(tx *kv.Tx) error { return h.RemoveAccount(tx, 1) }); !errors.Is(err, auth.ErrInUse) {
		t.Error(err)
	}
	h.must(func(tx *kv.Tx) error { return h.RemoveAlias(tx, addr(t, "all@alpha.test")) })
	h.must(func(tx *kv.Tx) error { return h.RemoveList(tx, addr(t, "dev@alpha.test")) })
	h.want(map[string]string{"dev@alpha.test": "nobody", "dev-owner@alpha.test": "nobody"})
	if again, err := h.list(auth.List{}, "dev@alpha.test", "alice@alpha.test"); err != nil || again != 2 {
		t.Error("a number is given again:", again, err)
	}
	if all, err := h.Members(t.Context(), 1); err != nil || len(all) != 0 {
		t.Error(all, err)
	}
}

func TestMasks(t *testing.T) {
	h := newHouse(t, auth.Options{})
	h.people("")
	if err := h.domain("beta.test", "", ""); err != nil {
		t.Fatal(err)
	}
	if err := h.domain("alpha.test", "", "bob@alpha.test"); err != nil { // a catch-all must not open what is off
		t.Fatal(err)
	}
	var m auth.Mask
	create := func(id mail.AccountID, domain mail.Domain) error {
		return h.update(func(tx *kv.Tx) (err error) {
			m, err = h.NewMask(tx, id, domain, "shop")
			return err
		})
	}
	if err := create(1, "beta.test"); !errors.Is(err, auth.ErrInvalid) {
		t.Error("a mask where the account has no address:", err)
	}
	if err := create(1, "one.test"); err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^[a-z]+\.[a-z]+[1-9][0-9]{2}$`).MatchString(m.Address.Local) || m.Address.Domain != "alpha.test" {
		t.Errorf("%+v", m)
	}
	text, tagged := m.Address.String(), m.Address.Local+"+tag@one.test"
	set := func(id mail.AccountID, s auth.MaskState) error {
		return h.update(func(tx *kv.Tx) error {
			_, err := h.SetMask(tx, id, m.Address, s, nil)
			return err
		})
	}
	may := func(want bool) {
		t.Helper()
		for id, want := range map[mail.AccountID]bool{1: want, 2: false} {
			if ok, err := h.MaySendAs(t.Context(), id, m.Address); err != nil || ok != want {
				t.Errorf("account %d may send as the mask: %t %v", id, ok, err)
			}
		}
	}
	h.want(map[string]string{text: "1", tagged: "1", "anything@alpha.test": "2"})
	may(true)
	if err := set(2, auth.MaskOff); !errors.Is(err, auth.ErrNoAddress) {
		t.Error("another account's mask:", err)
	}
	if err := set(1, auth.MaskOff); err != nil {
		t.Fatal(err)
	}
	h.want(map[string]string{text: "nobody", tagged: "nobody"})
	may(false)
	if err := set(1, auth.MaskOn); err != nil {
		t.Fatal(err)
	}
	h.want(map[string]string{text: "1"})
	if err := h.forward(1, false, text); !errors.Is(err, auth.ErrLoop) {
		t.Error("forward to the own mask:", err)
	}
	if err := set(1, auth.MaskRemoved); err != nil {
		t.Fatal(err)
	}
	h.want(map[string]string{text: "nobody"})
	if err := set(1, auth.MaskOn); !errors.Is(err, auth.ErrNoAddress) {
		t.Error(err)
	}
	if _, err := h.account("", "", text); !errors.Is(err, auth.ErrExists) {
		t.Error("a removed mask became an account:", err)
	}
	if err := h.alias(false, text, "bob@alpha.test"); !errors.Is(err, auth.ErrExists) {
		t.Error("a removed mask became an alias:", err)
	}
	if err := create(1, ""); err != nil {
		t.Fatal(err)
	}
	if list, err := h.Masks(t.Context(), 1); err != nil || len(list) != 1 || list[0].Note != "shop" {
		t.Errorf("%+v %v", list, err)
	}
	if _, err := h.list(auth.List{}, "club@alpha.test", "bob@alpha.test"); err != nil {
		t.Fatal(err)
	}
	if err := h.members("club@alpha.test", "bob@alpha.test", m.Address.String()); err != nil {
		t.Fatal(err)
	}
	if err := h.forward(2, true, m.Address.String()); err != nil {
		t.Fatal(err)
	}
	h.must(func(tx *kv.Tx) error { return h.RemoveAccount(tx, 1) })
	if all, err := h.Members(t.Context(), 1); err != nil || len(all) != 1 {
		t.Errorf("the mask of an account that is gone is a member: %+v %v", all, err)
	}
	if a, err := h.Account(t.Context(), 2); err != nil || len(a.Settings.Forward) != 0 {
		t.Errorf("mail goes on to the mask of an account that is gone: %v %v", a.Settings.Forward, err)
	}
	if _, err := h.account("", "", m.Address.String()); !errors.Is(err, auth.ErrExists) {
		t.Error("the mask of an account that is gone was given to another:", err)
	}
}

// TestListsAfterRepair: where no copy of the tables was left, members come back with the directory, and no number is given twice.
func TestListsAfterRepair(t *testing.T) {
	h := newHouse(t, auth.Options{})
	h.people("")
	if _, err := h.list(auth.List{}, "club@alpha.test", "bob@alpha.test"); err != nil {
		t.Fatal(err)
	}
	if err := h.members("club@alpha.test", "bob@alpha.test", "dora@away.test"); err != nil {
		t.Fatal(err)
	}
	type row struct {
		table      kv.Table
		key, value string
	}
	var kept, seen []row
	h.must(func(tx *kv.Tx) error {
		h.NoteSeen(tx, 1, [16]byte{1}, time.Now())
		for key, value := range tx.Scan("r", nil, nil) {
			seen = append(seen, row{"r", string(key), string(value)})
		}
		return nil
	})
	h.must(func(tx *kv.Tx) error {
		return h.Outline().Rows(tx, func(table kv.Table, key, value []byte) error {
			kept = append(kept, row{table, string(key), string(value)})
			return nil
		})
	})
	if len(kept) != len(seen)-1 {
		t.Errorf("%d of %d rows would come back: %q", len(kept), len(seen), kept)
	}
	h.must(func(tx *kv.Tx) error { // worse: nothing of it comes back
		for _, r := range seen {
			tx.Delete(r.table, []byte(r.key))
		}
		return nil
	})
	if id, err := h.list(auth.List{}, "other@alpha.test", "bob@alpha.test"); err != nil || id != 2 {
		t.Errorf("the next list has the number %d, %v", id, err)
	}
}
