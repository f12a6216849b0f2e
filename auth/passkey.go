package auth

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/posthouse-mail/posthouse/auth/passkey"
	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// Passkey opens the web pages without a password, or is asked for after it.
type Passkey struct {
	Number  uint32 // never given twice in an account
	Name    string // which device, for people
	Created time.Time
	Used    time.Time // zero: never
	passkey.Credential
}

// MaxPasskeys is how many an account may have.
const MaxPasskeys = 20

const maxPasskeyName = 100 // octets

// byPasskey is the mechanism of a login with a passkey alone.
const byPasskey = "passkey"

// handleSize is the octets of what names an account for devices: chance, so that a device tells nobody whose it is.
const handleSize = 16

// ErrNoPasskey: the account has no such passkey.
var ErrNoPasskey = errors.New("auth: no such passkey")

// passkeys are those of an account as they are stored.
type passkeys struct {
	all    []storedPasskey // in the order they were made; never changed in place
	last   uint32          // the highest number that one of them was given
	handle []byte
}

type storedPasskey struct {
	Passkey
	unknown []byte // what a newer program has added
}

// Passkeys lists those of an account, oldest first.
func (d *Directory) Passkeys(ctx context.Context, id mail.AccountID) ([]Passkey, error) {
	who, err := d.recordOf(ctx, id)
	if err != nil {
		return nil, err
	}
	var out []Passkey
	for _, k := range who.passkeys.all {
		out = append(out, k.Passkey)
	}
	return out, nil
}

func (d *Directory) recordOf(ctx context.Context, id mail.AccountID) (*record, error) {
	s, err := d.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	if who := s.accounts[id]; who != nil {
		return who, nil
	}
	return nil, ErrNoAccount
}

// owner is the account as devices know it.
func (r *record) owner() passkey.Owner {
	o := passkey.Owner{Handle: r.passkeys.handle, Name: r.Addresses[0].String(), Label: cmp.Or(r.Name, r.Addresses[0].String())}
	for _, k := range r.passkeys.all {
		o.Keys = append(o.Keys, k.Credential)
	}
	return o
}

// AskNewPasskey is what the browser is asked to make a passkey of an account with. bound names the visitor.
func (d *Directory) AskNewPasskey(ctx context.Context, id mail.AccountID, at passkey.Where, bound string) ([]byte, error) {
	who, err := d.recordOf(ctx, id)
	if err != nil {
		return nil, err
	}
	if len(who.passkeys.all) >= MaxPasskeys {
		return nil, fmt.Errorf("%w: an account has up to %d passkeys: remove those that you do not need", ErrInvalid, MaxPasskeys)
	}
	o := who.owner()
	if len(o.Handle) == 0 {
		if o.Handle, err = d.giveHandle(ctx, id); err != nil {
			return nil, err
		}
	}
	return d.party.AskToMake(at, bound, o)
}

// giveHandle names an account for devices, once and for ever.
func (d *Directory) giveHandle(ctx context.Context, id mail.AccountID) (handle []byte, err error) {
	err = d.db.Update(ctx, func(tx *kv.Tx) error {
		r, err := findRecord(tx, id)
		if err != nil {
			return err
		}
		if len(r.passkeys.handle) == 0 {
			r.passkeys.handle = make([]byte, handleSize)
			_, _ = rand.Read(r.passkeys.handle) // never fails (crypto/rand)
			d.putRecord(tx, r)
		}
		handle = r.passkeys.handle
		return nil
	})
	return handle, err
}

// NewPasskey reads the browser's answer to AskNewPasskey; AddPasskey keeps what comes out.
func (d *Directory) NewPasskey(ctx context.Context, id mail.AccountID, at passkey.Where, bound, answer string) (passkey.Credential, error) {
	who, err := d.recordOf(ctx, id)
	if err != nil {
		return passkey.Credential{}, err
	}
	return d.party.Made(at, bound, who.owner(), answer)
}

// AddPasskey keeps a passkey that NewPasskey made.
func (d *Directory) AddPasskey(tx *kv.Tx, id mail.AccountID, name string, c passkey.Credential) (Passkey, error) {
	name = strings.TrimSpace(name)
	r, err := findRecord(tx, id)
	switch {
	case err != nil:
		return Passkey{}, err
	case name == "" || len(name) > maxPasskeyName || strings.ContainsFunc(name, func(r rune) bool { return unicode.IsControl(r) || r == unicode.ReplacementChar }):
		return Passkey{}, fmt.Errorf("%w: the name of a passkey has 1 to %d octets and no control characters", ErrInvalid, maxPasskeyName)
	case len(r.passkeys.all) >= MaxPasskeys:
		return Passkey{}, fmt.Errorf("%w: an account has up to %d passkeys: remove those that you do not need", ErrInvalid, MaxPasskeys)
	case len(c.ID) == 0 || len(c.Key) == 0 || c.Host == "":
		return Passkey{}, fmt.Errorf("%w: a passkey is made by NewPasskey", ErrInvalid)
	case r.findPasskey(c.ID) != nil:
		return Passkey{}, fmt.Errorf("%w: this passkey", ErrExists)
	}
	r.passkeys.last++
	k := storedPasskey{Passkey: Passkey{Number: r.passkeys.last, Name: name, Created: d.options.Now().UTC().Truncate(time.Second), Credential: c}}
	r.passkeys.all = append(slices.Clip(r.passkeys.all), k)
	d.putRecord(tx, r)
	return k.Passkey, nil
}

// findPasskey is the one with a credential's name, nil when there is none.
func (r *record) findPasskey(id []byte) *storedPasskey {
	i := slices.IndexFunc(r.passkeys.all, func(k storedPasskey) bool { return string(k.ID) == string(id) })
	if i < 0 {
		return nil
	}
	return &r.passkeys.all[i]
}

// RemovePasskey takes one away. Who had no other second factor is asked for the password only from then on.
func (d *Directory) RemovePasskey(tx *kv.Tx, id mail.AccountID, number uint32) (Passkey, error) {
	r, err := findRecord(tx, id)
	if err != nil {
		return Passkey{}, err
	}
	i := slices.IndexFunc(r.passkeys.all, func(k storedPasskey) bool { return k.Number == number })
	if i < 0 {
		return Passkey{}, fmt.Errorf("%w: number %d", ErrNoPasskey, number)
	}
	gone := r.passkeys.all[i].Passkey
	r.passkeys.all = slices.Delete(slices.Clone(r.passkeys.all), i, i+1)
	if len(r.passkeys.all) == 0 && r.factor.secret == nil {
		r.factor = factor{} // its recovery codes stood for nothing else
	}
	d.putRecord(tx, r)
	return gone, nil
}

// RequirePasskey begins to ask for a passkey after the password; AskSecondPasskey and ProvePasskey have shown that one works. The
// recovery codes it returns are nowhere else; none where the account had a second factor already.
func (d *Directory) RequirePasskey(tx *kv.Tx, id mail.AccountID) ([]string, error) {
	r, err := findRecord(tx, id)
	if err != nil {
		return nil, err
	}
	if len(r.passkeys.all) == 0 {
		return nil, fmt.Errorf("%w: the account has no passkey", ErrInvalid)
	}
	had := r.hasFactor()
	r.factor.keyed = true
	var codes []string
	if !had {
		r.factor.since = d.options.Now().UTC().Truncate(time.Second)
		if codes, err = r.factor.renew(); err != nil {
			return nil, err
		}
	}
	d.putRecord(tx, r)
	return codes, nil
}

// HasPasskey tells whether a passkey still opens the account: what was opened with one that was removed ends.
func (d *Directory) HasPasskey(ctx context.Context, id mail.AccountID, number uint32) (bool, error) {
	who, err := d.recordOf(ctx, id)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(who.passkeys.all, func(k storedPasskey) bool { return k.Number == number }), nil
}

// AskPasskey is what the browser is asked for who wants to sign in with a passkey alone.
func (d *Directory) AskPasskey(at passkey.Where, bound string) ([]byte, error) {
	return d.party.Ask(at, bound)
}

// LoginPasskey is Login with the browser's answer to AskPasskey; the number is the passkey's. Errors are those of package passkey,
// ErrDoorClosed and ErrNeedTLS.
func (d *Directory) LoginPasskey(ctx context.Context, c Client, at passkey.Where, bound, answer string) (Identity, uint32, error) {
	m := claim{mechanism: byPasskey}
	id, number, err := d.loginPasskey(ctx, c, &m, func(find finder) (passkey.Proof, error) { return d.party.Proved(at, bound, answer, find) })
	d.report(ctx, c, m, id, err)
	return id, number, err
}

// finder tells whose a passkey is.
type finder = func(id, handle []byte) (passkey.Owner, error)

func (d *Directory) loginPasskey(ctx context.Context, c Client, m *claim, prove func(finder) (passkey.Proof, error)) (Identity, uint32, error) {
	if d.clear(c) {
		return Identity{}, 0, ErrNeedTLS
	}
	s, err := d.snapshot(ctx)
	if err != nil {
		return Identity{}, 0, err
	}
	var who *record
	proof, err := prove(func(_, handle []byte) (passkey.Owner, error) {
		if who = s.accounts[s.handles[string(handle)]]; who == nil {
			return passkey.Owner{}, passkey.ErrUnknown
		}
		m.user = who.Addresses[0].String()
		return who.owner(), nil
	})
	if err != nil {
		return Identity{}, 0, err
	}
	id, err := d.admit(s, c, who, *m)
	if err != nil {
		return Identity{}, 0, err
	}
	number, err := d.usePasskey(ctx, who.ID, proof)
	return id, number, err
}

// usePasskey notes a proof; what was changed meanwhile counts.
func (d *Directory) usePasskey(ctx context.Context, id mail.AccountID, proof passkey.Proof) (number uint32, err error) {
	err = d.db.Update(ctx, func(tx *kv.Tx) error {
		r, err := findRecord(tx, id)
		if err != nil {
			return err
		}
		r.passkeys.all = slices.Clone(r.passkeys.all)
		k := r.findPasskey(proof.Credential.ID)
		switch {
		case k == nil:
			return passkey.ErrUnknown
		case k.Counter != 0 && k.Counter >= proof.Credential.Counter:
			return passkey.ErrCopied
		}
		k.Counter, k.Flags = proof.Credential.Counter, proof.Credential.Flags
		k.Used = d.options.Now().UTC().Truncate(time.Second)
		number = k.Number
		d.putRecord(tx, r)
		return nil
	})
	return number, err
}

// AskSecondPasskey is what the browser is asked of who has given the password of an account. passkey.ErrUnknown when the account has none that works here.
func (d *Directory) AskSecondPasskey(ctx context.Context, id mail.AccountID, at passkey.Where, bound string) ([]byte, error) {
	who, err := d.recordOf(ctx, id)
	if err != nil {
		return nil, err
	}
	return d.party.AskOwner(at, bound, who.owner())
}

// ProvePasskey takes the answer to AskSecondPasskey.
func (d *Directory) ProvePasskey(ctx context.Context, id mail.AccountID, at passkey.Where, bound, answer string) error {
	who, err := d.recordOf(ctx, id)
	if err != nil {
		return err
	}
	proof, err := d.party.OwnerProved(at, bound, answer, who.owner())
	if err == nil {
		_, err = d.usePasskey(ctx, id, proof)
	}
	if err != nil {
		d.log.WarnContext(ctx, logx.FactorRefused, "account", uint32(id), "reason", err)
	}
	return err
}

func (k *storedPasskey) fields() []field {
	c := &k.Credential
	return []field{
		amount(1, &k.Number), text(2, &k.Name), moment(3, &k.Created), moment(4, &k.Used),
		octets(5, &c.ID), octets(6, &c.Key), text(7, &c.Host), amount(8, &c.Counter), amount(9, &c.Flags), octets(10, &c.Model),
		{11, func() []byte { return []byte(strings.Join(c.Transports, " ")) }, func(in *decoder) {
			c.Transports = strings.Fields(string(in.take(uint64(len(in.rest)))))
		}},
	}
}

func octets(tag uint64, at *[]byte) field {
	return field{tag, func() []byte { return *at }, func(in *decoder) { *at = slices.Clone(in.take(uint64(len(in.rest)))) }}
}

// fields: tags 70 to 72.
func (p *passkeys) fields() []field {
	return []field{amount(71, &p.last), octets(72, &p.handle), {70,
		func() (b []byte) {
			for i := range p.all {
				k := &p.all[i]
				b = appendText(b, string(appendFields([]byte{recordVersion}, k.fields(), k.unknown)))
			}
			return b
		},
		func(in *decoder) {
			for len(in.rest) > 0 && !in.bad {
				one := decoder{rest: in.take(in.count())}
				one.version()
				var k storedPasskey
				k.unknown = one.fields(k.fields())
				in.bad = in.bad || one.bad || k.Number == 0 || len(k.ID) == 0
				p.all = append(p.all, k)
			}
		}}}
}
