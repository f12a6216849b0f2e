package auth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/posthouse-mail/posthouse/auth/external"
	"github.com/posthouse-mail/posthouse/auth/sasl"
	"github.com/posthouse-mail/posthouse/internal/mail"
)

// ErrLater: the account's password is kept elsewhere, and nobody knows now whether this one is right. It is wrapped with the reason.
var ErrLater = errors.New("auth: the password cannot be checked now, try again later")

// refusedFor is how long it is remembered that a password was wrong elsewhere: a forgotten phone must not lock the account there, and who
// has just changed it there must not wait long.
const refusedFor = 30 * time.Second

// External says whose passwords are kept elsewhere, and who is asked about them. App passwords, tokens and passkeys of these accounts
// are ours as everybody's.
type External struct {
	Helper   *external.Helper
	Domains  []mail.Domain  // all accounts whose main address is in one of them
	Accounts []mail.Address // and those with these addresses
	Except   []mail.Address // but not those with these
	Remember time.Duration  // how long a good answer holds; 0: it is asked each time
}

// elsewhere is what is remembered of the helper's answers, under digests with a key that dies with the process.
type elsewhere struct {
	good, wrong *remembered
}

func newElsewhere(o *External, keyed *digests) *elsewhere {
	if o == nil {
		return nil
	}
	return &elsewhere{good: newRemembered(keyed, o.Remember), wrong: newRemembered(keyed, refusedFor)}
}

// keptElsewhere tells whether the password of an account is.
func (d *Directory) keptElsewhere(who *record) bool {
	x := d.options.External
	if x == nil || who == nil || len(who.Addresses) == 0 {
		return false
	}
	has := func(list []mail.Address) bool {
		return slices.ContainsFunc(who.Addresses, func(own mail.Address) bool {
			return slices.ContainsFunc(list, func(a mail.Address) bool { return a.Key() == own.Key() })
		})
	}
	return (slices.Contains(x.Domains, who.Addresses[0].Domain) || has(x.Accounts)) && !has(x.Except)
}

// PasswordElsewhere tells whether the password of an account is kept by another program: it cannot be changed here.
func (d *Directory) PasswordElsewhere(ctx context.Context, id mail.AccountID) (bool, error) {
	s, err := d.snapshot(ctx)
	if err != nil {
		return false, err
	}
	return d.keptElsewhere(s.accounts[id]), nil
}

// offersSCRAM: a client takes the strongest mechanism of the list before it has said who it is, and what fails for a wrong password. So
// it is offered to nobody where some have no keys.
func (d *Directory) offersSCRAM() bool { return d.options.SCRAM && d.options.External == nil }

// proveElsewhere is the proof by a password that another program knows.
func (d *Directory) proveElsewhere(ctx context.Context, c Client, try attempt, who *record, typed string) (bool, error) {
	key := d.digests.of("elsewhere", string(accountKey(who.ID)), typed)
	now := d.options.Now()
	switch {
	case !external.Sendable(typed) || len(typed) > maxPassword:
		d.slow.failed(try, key, now)
		return false, nil
	case d.outside.good.has(key, now):
		return true, nil
	case d.outside.wrong.has(key, now):
		d.slow.failed(try, key, now) // the same again counts nothing
		return false, nil
	}
	q := external.Question{User: who.Addresses[0].String(), Password: typed, Protocol: c.Door.String()}
	if c.Remote.IsValid() {
		q.Remote = c.Remote.Unmap().String()
	}
	right, err := d.options.External.Helper.Ask(ctx, q, func() error {
		// Many tries at once passed the first look together; those that failed meanwhile count for this one.
		if d.slow.wait(try, d.options.Now()) > maxHeld {
			return ErrSlowDown
		}
		return nil
	})
	if errors.Is(err, external.ErrLater) {
		return false, fmt.Errorf("%w: %w", ErrLater, err)
	}
	if err != nil {
		return false, err
	}
	now = d.options.Now()
	if !right {
		d.outside.wrong.keep(key, now)
		d.slow.failed(try, key, now)
		return false, nil
	}
	d.outside.good.keep(key, now)
	return true, nil
}

// notElsewhere refuses a password for an account whose password is not ours.
func (d *Directory) notElsewhere(who *record) error {
	if d.keptElsewhere(who) {
		return fmt.Errorf("%w: the password of this account is kept by another program (auth.external); change it there", ErrPassword)
	}
	return nil
}

// mechanismsSCRAM are those that are offered.
func (d *Directory) mechanismsSCRAM(c Client) []string {
	switch {
	case !d.offersSCRAM():
		return nil
	case c.TLS != nil:
		return []string{sasl.ScramSHA256Plus, sasl.ScramSHA256}
	}
	return []string{sasl.ScramSHA256}
}
