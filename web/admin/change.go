package admin

import (
	"bytes"
	"context"
	"encoding/json"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// subject is what a verb changes.
type subject struct {
	kind    string
	object  string // its name
	account mail.AccountID
	read    func(tx *kv.Tx) (any, error) // its state; an error of the kind "is not there": there is none
}

// alteration is a change of one thing: what is done, and what the audit log says of it.
type alteration struct {
	verb   string
	on     subject
	seen   string // the version that the caller has seen; empty: he means it whatever is there
	note   string // what there is to say besides the fields; do may set it
	undoes uint64
	do     func(tx *kv.Tx) error

	number uint64 // of the entry; 0: nothing was changed
}

type ifKey struct{}

// IfVersion makes verbs that are called with the context refuse to change anything but the version that their caller has seen, where
// they take no If themselves.
func IfVersion(ctx context.Context, v string) context.Context {
	return context.WithValue(ctx, ifKey{}, v)
}

// change makes it, in a transaction of its own.
func (h *House) change(ctx context.Context, c *alteration) error {
	return h.o.DB.Update(ctx, func(tx *kv.Tx) error { return h.alter(ctx, tx, c) })
}

// alter makes a change and notes it.
func (h *House) alter(ctx context.Context, tx *kv.Tx, c *alteration) error {
	was, before, err := c.on.fields(tx)
	if err != nil {
		return err
	}
	seen := c.seen
	if v, ok := ctx.Value(ifKey{}).(string); ok && seen == "" {
		seen = v
	}
	if err := unchanged(c.on.object, seen, before); err != nil {
		return err
	}
	if err := c.do(tx); err != nil {
		return err
	}
	is, _, err := c.on.fields(tx)
	if err != nil {
		return err
	}
	made, removed := was == nil && is != nil, was != nil && is == nil
	was, is = differ(was, is)
	if c.number = 0; !made && !removed && len(was)+len(is) == 0 && c.note == "" {
		return nil
	}
	e := AuditEntry{Verb: c.verb, Kind: c.on.kind, Object: c.on.object, Account: uint32(c.on.account), Note: c.note, Was: was, Is: is, Undoes: c.undoes}
	c.number, err = h.note(ctx, tx, e)
	return err
}

// fields is the state of a thing by fields, nil when it is not there, and its version.
func (s *subject) fields(tx *kv.Tx) (Fields, string, error) {
	if s.read == nil {
		return nil, "", nil
	}
	state, err := s.read(tx)
	if anyOf(err, auth.ErrNoAccount, auth.ErrNoDomain, auth.ErrNoAddress, store.ErrNoAccount) {
		return nil, NotThere, nil
	}
	if err != nil {
		return nil, "", err
	}
	text, err := json.Marshal(state)
	if err != nil {
		return nil, "", err
	}
	out := Fields{}
	return out, version(state), json.Unmarshal(text, &out)
}

// differ leaves the fields that are not alike. What was made or removed stays whole.
func differ(was, is Fields) (Fields, Fields) {
	if was == nil || is == nil {
		return was, is
	}
	a, b := Fields{}, Fields{}
	for name, value := range was {
		if other, ok := is[name]; !ok || !bytes.Equal(value, other) {
			a[name] = value
		}
	}
	for name, value := range is {
		if other, ok := was[name]; !ok || !bytes.Equal(value, other) {
			b[name] = value
		}
	}
	if len(a)+len(b) == 0 {
		return nil, nil
	}
	return a, b
}

func (h *House) aDomain(name mail.Domain) subject {
	return subject{kind: OfDomain, object: string(name), read: func(tx *kv.Tx) (any, error) {
		d, err := h.o.Directory.DomainIn(tx, name)
		if err != nil {
			return nil, err
		}
		q, err := h.o.Store.PoolIn(tx, pool(name))
		return stateOfDomain(d, q), err
	}}
}

// anAccount is one that is there; object is what it is called.
func (h *House) anAccount(id mail.AccountID, object string) subject {
	return subject{kind: OfAccount, object: object, account: id, read: func(tx *kv.Tx) (any, error) { return h.accountIn(tx, id) }}
}

func (h *House) accountIn(tx *kv.Tx, id mail.AccountID) (AccountState, error) {
	a, err := h.o.Directory.AccountIn(tx, id)
	if err != nil {
		return AccountState{}, err
	}
	q, err := h.o.Store.QuotaIn(tx, id)
	return stateOfAccount(a, q), err
}

func (h *House) anAlias(a mail.Address) subject {
	return subject{kind: OfAlias, object: a.String(), read: func(tx *kv.Tx) (any, error) {
		x, err := h.o.Directory.AliasIn(tx, a)
		return stateOfAlias(x), err
	}}
}

func (h *House) aList(a mail.Address) subject {
	return subject{kind: OfList, object: a.String(), read: func(tx *kv.Tx) (any, error) {
		l, err := h.o.Directory.ListIn(tx, a)
		if err != nil {
			return nil, err
		}
		return stateOfList(l, h.o.Directory.MembersIn(tx, l.ID)), nil
	}}
}

// maskState and senderState are the states of small things.
type maskState struct {
	State string `json:"state"`
	Note  string `json:"note,omitempty"`
}

type senderState struct {
	Blocked bool `json:"blocked"`
}

func maskWord(s auth.MaskState) string {
	return map[auth.MaskState]string{auth.MaskOn: "on", auth.MaskOff: "off", auth.MaskRemoved: "removed"}[s]
}

func (h *House) aMask(of auth.Account, a mail.Address) subject {
	return subject{kind: OfMask, object: of.Addresses[0].String() + " " + a.String(), account: of.ID, read: func(tx *kv.Tx) (any, error) {
		m, err := h.o.Directory.MaskIn(tx, a)
		return maskState{maskWord(m.State), m.Note}, err
	}}
}

// part is something of an account that has no state of its own here: a password, an app password, what was learned of its mail.
func part(a auth.Account, kind string) subject {
	return subject{kind: kind, object: a.Addresses[0].String(), account: a.ID}
}
