package auth

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/posthouse-mail/posthouse/auth/sasl"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// AppPassword is a password for one program: it opens some doors only, never the web's, and is revoked without touching the others.
type AppPassword struct {
	ID      uint32 // never given twice in an account
	Name    string // which program, for people
	Doors   Door
	Created time.Time
	Expires time.Time // zero: never
}

// DoorsApp are the doors that an app password may open. The web is not one: whoever reads the password out of a program must not
// get past the second factor with it.
const DoorsApp = DoorPOP3 | DoorIMAP | DoorSubmission

// MaxAppPasswords is how many an account may have.
const MaxAppPasswords = 50

const maxAppName = 100 // octets

// appPassword is one as it is stored.
type appPassword struct {
	AppPassword
	sum   [sha256.Size]byte // of the password without groups
	scram []sasl.Credentials
	// unknown is what a newer program has added.
	unknown []byte
}

func (a *appPassword) expired(now time.Time) bool {
	return !a.Expires.IsZero() && !now.Before(a.Expires)
}

// Secrets that the house makes are letters in groups, without i, l and o. 20 of 23 letters are 90 bits: nobody tries them all, not
// even with the hash before him. That is why a hash that costs nothing (SHA-256) is enough for them, while what people think up needs
// argon2id; and a hash without salt, because no two of them are alike.
const (
	madeLetters = "abcdefghjkmnpqrstuvwxyz"
	madeLength  = 20
	madeGroup   = 4
)

// newMade makes one, in groups as it is shown.
func newMade() (string, error) {
	var b strings.Builder
	for i := range madeLength {
		if i > 0 && i%madeGroup == 0 {
			b.WriteByte('-')
		}
		n, err := rand.Int(rand.Reader, big.NewInt(int64(len(madeLetters))))
		if err != nil {
			return "", err
		}
		b.WriteByte(madeLetters[n.Int64()])
	}
	return b.String(), nil
}

// plainMade is such a secret as people type it, without groups and in small letters: telephones begin a line with a capital. ok is
// false for anything else.
func plainMade(typed string) (plain string, ok bool) {
	if len(typed) > 4*madeLength {
		return "", false
	}
	plain = strings.ToLower(strings.NewReplacer("-", "", " ", "", "\u00a0", "").Replace(typed))
	return plain, len(plain) == madeLength && strings.Trim(plain, madeLetters) == ""
}

func sumMade(plain string) [sha256.Size]byte {
	return sha256.Sum256([]byte("posthouse made\x00" + plain))
}

// inGroups is the inverse of plainMade.
func inGroups(plain string) string {
	return strings.Join(slices.Collect(func(yield func(string) bool) {
		for group := range slices.Chunk([]byte(plain), madeGroup) {
			if !yield(string(group)) {
				return
			}
		}
	}), "-")
}

// NewApp is a new app password before it is kept: the record needs a transaction, its SCRAM keys need time outside of one.
type NewApp struct {
	Password string // in groups; it is nowhere else
	app      appPassword
	basis    string // whose salt the SCRAM keys have
}

// MakeApp makes an app password for AddApp; a gives its name, doors and end.
func (d *Directory) MakeApp(ctx context.Context, id mail.AccountID, a AppPassword) (NewApp, error) {
	if err := d.checkApp(&a); err != nil {
		return NewApp{}, err
	}
	s, err := d.snapshot(ctx)
	if err != nil {
		return NewApp{}, err
	}
	who := s.accounts[id]
	if who == nil {
		return NewApp{}, ErrNoAccount
	}
	n := NewApp{app: appPassword{AppPassword: a}}
	if n.Password, err = newMade(); err != nil {
		return NewApp{}, err
	}
	plain, _ := plainMade(n.Password)
	n.app.sum = sumMade(plain)
	if !d.options.SCRAM {
		return n, nil
	}
	if err := d.hasher.enter(ctx); err != nil {
		return NewApp{}, err
	}
	defer d.hasher.leave()
	basis := who.basis()
	n.app.scram, err = deriveApp(plain, basis)
	n.basis = string(basis.Salt)
	return n, err
}

func (d *Directory) checkApp(a *AppPassword) error {
	now := d.options.Now()
	a.Name = strings.TrimSpace(a.Name)
	switch {
	case a.Name == "" || len(a.Name) > maxAppName || strings.ContainsFunc(a.Name, func(r rune) bool { return unicode.IsControl(r) || r == unicode.ReplacementChar }):
		return fmt.Errorf("%w: the name of an app password has 1 to %d octets and no control characters", ErrInvalid, maxAppName)
	case a.Doors&^DoorsApp != 0:
		return fmt.Errorf("%w: an app password opens imap, pop3 and submission only", ErrInvalid)
	case a.Doors == 0:
		return fmt.Errorf("%w: an app password opens one service at least", ErrInvalid)
	case a.Expires.UTC().Year() > maxYear:
		return fmt.Errorf("%w: an app password ends before the year %d, or never", ErrInvalid, maxYear+1)
	case !a.Expires.IsZero() && !a.Expires.After(now):
		return fmt.Errorf("%w: the app password would have expired already", ErrInvalid)
	}
	a.Created, a.Expires = now.UTC().Truncate(time.Second), a.Expires.UTC().Truncate(time.Second)
	return nil
}

// deriveApp makes the SCRAM keys of both spellings: a client hashes what was typed, and nobody can ask it to leave the groups out.
func deriveApp(plain string, basis sasl.Credentials) ([]sasl.Credentials, error) {
	var all []sasl.Credentials
	for _, spelling := range []string{inGroups(plain), plain} {
		c, err := sasl.DeriveWith(spelling, basis)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

// AddApp keeps an app password that MakeApp made.
func (d *Directory) AddApp(tx *kv.Tx, id mail.AccountID, n NewApp) (AppPassword, error) {
	r, err := findRecord(tx, id)
	if err != nil {
		return AppPassword{}, err
	}
	now := d.options.Now()
	r.apps = slices.DeleteFunc(slices.Clone(r.apps), func(a appPassword) bool { return a.expired(now) && len(r.apps) >= MaxAppPasswords })
	if len(r.apps) >= MaxAppPasswords {
		return AppPassword{}, fmt.Errorf("%w: an account has up to %d app passwords: remove those that you do not need", ErrInvalid, MaxAppPasswords)
	}
	if n.app.sum == [sha256.Size]byte{} {
		return AppPassword{}, fmt.Errorf("%w: an app password is made by MakeApp", ErrInvalid)
	}
	r.lastApp++
	n.app.ID = r.lastApp
	if r.salt() != "" && r.salt() != n.basis {
		n.app.scram = nil // another password was set meanwhile; its first login in plain makes them
	}
	r.apps = append(r.apps, n.app)
	d.putRecord(tx, r)
	return n.app.AppPassword, nil
}

// RemoveApp revokes an app password; sessions that it opened end.
func (d *Directory) RemoveApp(tx *kv.Tx, id mail.AccountID, app uint32) (AppPassword, error) {
	r, err := findRecord(tx, id)
	if err != nil {
		return AppPassword{}, err
	}
	i := slices.IndexFunc(r.apps, func(a appPassword) bool { return a.ID == app })
	if i < 0 {
		return AppPassword{}, fmt.Errorf("%w: number %d", ErrNoApp, app)
	}
	gone := r.apps[i].AppPassword
	r.apps = slices.Delete(slices.Clone(r.apps), i, i+1)
	d.putRecord(tx, r)
	return gone, nil
}

// Apps lists the app passwords of an account, oldest first; those that have expired too.
func (d *Directory) Apps(ctx context.Context, id mail.AccountID) ([]AppPassword, error) {
	s, err := d.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	who := s.accounts[id]
	if who == nil {
		return nil, ErrNoAccount
	}
	out := make([]AppPassword, 0, len(who.apps))
	for _, a := range who.apps {
		out = append(out, a.AppPassword)
	}
	slices.SortFunc(out, func(a, b AppPassword) int { return cmp.Compare(a.ID, b.ID) })
	return out, nil
}

// app finds the app password that was typed. It takes the same microseconds whether there is none or fifty; the caller goes on to
// the costly hash with what is none, so that a wrong one cannot be told from a wrong password.
func (d *Directory) app(who *record, typed string) *appPassword {
	plain, ok := plainMade(typed)
	if !ok || who == nil {
		return nil
	}
	sum := sumMade(plain)
	var found *appPassword
	for i := range who.apps {
		if subtle.ConstantTimeCompare(sum[:], who.apps[i].sum[:]) == 1 && !who.apps[i].expired(d.options.Now()) {
			found = &who.apps[i]
		}
	}
	return found
}

// findApp is the one with an id, nil when there is none.
func (r *record) findApp(id uint32) *appPassword {
	i := slices.IndexFunc(r.apps, func(a appPassword) bool { return a.ID == id })
	if i < 0 {
		return nil
	}
	return &r.apps[i]
}

// basis is what all SCRAM keys of an account are made with: the client is told one salt before anybody knows which of the passwords
// it has.
func (s *Secret) basis() sasl.Credentials {
	if s.scram != nil {
		return *s.scram
	}
	for _, a := range s.apps {
		for _, c := range a.scram {
			return c
		}
	}
	return sasl.NewBasis()
}

// salt is the one of basis; empty: none was chosen yet.
func (s *Secret) salt() string {
	if s.scram != nil || slices.ContainsFunc(s.apps, func(a appPassword) bool { return len(a.scram) > 0 }) {
		return string(s.basis().Salt)
	}
	return ""
}

func (a *appPassword) fields() []field {
	return []field{
		amount(1, &a.ID), text(2, &a.Name), amount(3, &a.Doors), moment(4, &a.Created), moment(5, &a.Expires),
		{6, func() []byte { return a.sum[:] }, func(in *decoder) { copy(a.sum[:], in.take(sha256.Size)) }},
		{7, a.getKeys, a.takeKeys},
	}
}

func (a *appPassword) getKeys() (b []byte) {
	for _, c := range a.scram {
		b = appendCredentials(b, c)
	}
	return b
}

func (a *appPassword) takeKeys(in *decoder) {
	for len(in.rest) > 0 && !in.bad {
		a.scram = append(a.scram, in.credentials())
	}
}

// apps is all app passwords of an account as one field.
func apps(tag uint64, all *[]appPassword) field {
	return field{tag,
		func() (b []byte) {
			for i := range *all {
				a := &(*all)[i]
				b = appendText(b, string(appendFields([]byte{recordVersion}, a.fields(), a.unknown)))
			}
			return b
		},
		func(in *decoder) {
			for len(in.rest) > 0 && !in.bad {
				one := decoder{rest: in.take(in.count())}
				one.version()
				var a appPassword
				a.unknown = one.fields(a.fields())
				in.bad = in.bad || one.bad || a.ID == 0
				*all = append(*all, a)
			}
		}}
}
