package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/queue"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// Undo names a change of the audit log that is to be taken back.
type Undo struct {
	Number uint64 `json:"number"`
}

// Undo takes a change back, by a change that is an entry itself and can be taken back too. It touches the fields of that change and no
// others; where one of them is not as the change left it, nothing is done.
func (h *House) Undo(ctx context.Context, in Undo) (AuditEntry, error) {
	key, err := h.undoKey(ctx, in.Number)
	if err != nil {
		return AuditEntry{}, translate(fmt.Sprintf("change %d", in.Number), err)
	}
	var old, made AuditEntry
	var after []func()
	err = h.o.DB.Update(ctx, func(tx *kv.Tx) error {
		value := tx.Get(tableAudit, auditKey(in.Number))
		if in.Number == 0 || value == nil {
			return missing(fmt.Sprintf("there is no change %d in the audit log; it may be too old", in.Number))
		}
		old, after = readEntry(auditKey(in.Number), value), nil
		if old.Stays != "" {
			return conflict(fmt.Sprintf("change %d stays: %s", in.Number, old.Stays))
		}
		c, then, err := h.inverse(ctx, tx, &old, key)
		if err != nil {
			return err
		}
		after = then
		c.verb, c.undoes = "undo "+old.Verb, old.Number
		if err := h.alter(ctx, tx, c); err != nil {
			return err
		}
		if c.number == 0 {
			return conflict(fmt.Sprintf("there is nothing to take back of change %d: it is as it was before", in.Number))
		}
		old.Undone, old.Stays = c.number, ""
		text, err := json.Marshal(old)
		if err != nil {
			return err
		}
		tx.Put(tableAudit, auditKey(old.Number), text)
		made = readEntry(auditKey(c.number), tx.Get(tableAudit, auditKey(c.number)))
		return nil
	})
	if err != nil {
		what := old.Object
		if what == "" {
			what = fmt.Sprintf("change %d", in.Number)
		}
		return AuditEntry{}, translate(what, err)
	}
	for _, fn := range after {
		fn()
	}
	h.done(ctx, "undo", fmt.Sprintf("%d: %s %s", in.Number, old.Verb, old.Object))
	return made, nil
}

// inverse is the change that takes an entry back, and what follows when it is made.
func (h *House) inverse(ctx context.Context, tx *kv.Tx, e *AuditEntry, key *auth.DKIMKey) (*alteration, []func(), error) {
	on, err := h.subjectOf(tx, e)
	if err != nil {
		return nil, nil, err
	}
	now, _, err := on.fields(tx)
	if err != nil {
		return nil, nil, err
	}
	if err := e.untouched(now); err != nil {
		return nil, nil, err
	}
	c := &alteration{on: on}
	if e.Was == nil {
		then, err := h.unmake(ctx, tx, e, c)
		return c, then, err
	}
	to := maps.Clone(now)
	if e.Is == nil {
		to = maps.Clone(e.Was)
		c.note = "where it stood in aliases, lists and forwardings of others is not put back"
	}
	if to == nil {
		to = Fields{}
	}
	for name := range e.Is {
		delete(to, name)
	}
	maps.Copy(to, e.Was)
	return c, h.afterUndo(ctx, e), h.rewrite(e, c, to, key)
}

// untouched refuses where something is not as the entry left it.
func (e *AuditEntry) untouched(now Fields) error {
	switch {
	case e.Is == nil && now != nil:
		return &Error{Conflict, e.Object + " is there again: nothing was done", ErrChanged}
	case e.Is != nil && now == nil:
		return &Error{Conflict, e.Object + " is gone meanwhile: nothing was done", ErrChanged}
	case e.Is == nil:
		return nil
	}
	names := maps.Clone(e.Is)
	if e.Was == nil { // it goes as a whole
		maps.Copy(names, now)
	}
	maps.Copy(names, e.Was)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if !bytes.Equal(e.Is[name], now[name]) {
			return &Error{Conflict, fmt.Sprintf("%s of %s was changed again since change %d: nothing was done; now it is %q", name, e.Object, e.Number, inWords(now[name])), ErrChanged}
		}
	}
	return nil
}

// subjectOf is what an entry is about, as it is called now.
func (h *House) subjectOf(tx *kv.Tx, e *AuditEntry) (subject, error) {
	if e.Kind == OfDomain {
		d, err := domain(e.Object)
		return h.aDomain(d), err
	}
	if e.Kind == OfAccount {
		s := h.anAccount(mail.AccountID(e.Account), e.Object)
		if a, err := h.o.Directory.AccountIn(tx, s.account); err == nil {
			s.object = a.Addresses[0].String()
		}
		return s, nil
	}
	owner, object := auth.Account{}, e.Object
	if e.Kind == OfMask || e.Kind == OfSender {
		var err error
		if owner, err = h.o.Directory.AccountIn(tx, mail.AccountID(e.Account)); err != nil {
			return subject{}, err
		}
		_, object, _ = strings.Cut(e.Object, " ")
	}
	if e.Kind == OfSender {
		if h.o.Junk.Book == nil {
			return subject{}, &Error{Class: Unavailable, Message: "nobody judges mail here now"}
		}
		return h.aSender(owner, object), nil
	}
	a, err := address(object)
	switch e.Kind {
	case OfAlias:
		return h.anAlias(a), err
	case OfList:
		return h.aList(a), err
	}
	return h.aMask(owner, a), err
}

// unmake is the inverse of what made something.
func (h *House) unmake(ctx context.Context, tx *kv.Tx, e *AuditEntry, c *alteration) ([]func(), error) {
	switch e.Kind {
	case OfDomain:
		c.do = func(tx *kv.Tx) error { return h.removeDomain(tx, mail.Domain(e.Object)) }
		return nil, nil
	case OfSender:
		_, sender, _ := strings.Cut(e.Object, " ")
		c.do = func(tx *kv.Tx) error { return h.o.Junk.Book.Remove(tx, mail.AccountID(e.Account), sender) }
		return nil, nil
	case OfAccount:
		return h.unmakeAccount(ctx, tx, e, c)
	}
	a, err := address(e.Object)
	c.do = func(tx *kv.Tx) error {
		if e.Kind == OfList {
			return h.o.Directory.RemoveList(tx, a)
		}
		return h.o.Directory.RemoveAlias(tx, a)
	}
	return nil, err
}

func (h *House) unmakeAccount(ctx context.Context, tx *kv.Tx, e *AuditEntry, c *alteration) ([]func(), error) {
	a, err := h.o.Directory.AccountIn(tx, mail.AccountID(e.Account))
	if err != nil {
		return nil, err
	}
	used, err := h.o.Store.UsedIn(tx, a.ID)
	if err != nil {
		return nil, err
	}
	if used.Messages > 0 {
		return nil, conflict(fmt.Sprintf("%s has %d messages by now: posthouse account remove removes it with all of them", e.Object, used.Messages))
	}
	c.do = func(tx *kv.Tx) error { return h.removeAccount(tx, a) }
	return []func(){func() { h.removed(ctx, a.ID, nil) }}, nil
}

// rewrite makes c write the fields of an object, which may have to be made first.
func (h *House) rewrite(e *AuditEntry, c *alteration, to Fields, key *auth.DKIMKey) error {
	text, err := json.Marshal(to)
	if err != nil {
		return err
	}
	switch e.Kind {
	case OfDomain:
		return into(text, c, func(tx *kv.Tx, s DomainState) error {
			return h.putDomain(tx, mail.Domain(e.Object), s, key)
		})
	case OfAccount:
		return into(text, c, func(tx *kv.Tx, s AccountState) error {
			if e.Is != nil {
				return h.putAccount(tx, mail.AccountID(e.Account), s)
			}
			c.note = "it is empty and has no password until one is set; where it stood in aliases, lists and forwardings of others is not put back"
			id, err := h.makeAccount(tx, s, auth.Secret{})
			c.on = h.anAccount(id, e.Object)
			return err
		})
	case OfSender:
		_, sender, _ := strings.Cut(e.Object, " ")
		return into(text, c, func(tx *kv.Tx, s senderState) error {
			_, err := h.o.Junk.Book.Put(tx, mail.AccountID(e.Account), sender, s.Blocked)
			return err
		})
	case OfMask:
		_, object, _ := strings.Cut(e.Object, " ")
		a, err := address(object)
		if err != nil {
			return err
		}
		return into(text, c, func(tx *kv.Tx, s maskState) error {
			state := auth.MaskOn
			if s.State == maskWord(auth.MaskOff) {
				state = auth.MaskOff
			}
			_, err := h.o.Directory.SetMask(tx, mail.AccountID(e.Account), a, state, &s.Note)
			return err
		})
	}
	a, err := address(e.Object)
	if err != nil {
		return err
	}
	if e.Kind == OfList {
		return into(text, c, func(tx *kv.Tx, s ListState) error { return h.putListState(tx, a, s) })
	}
	return into(text, c, func(tx *kv.Tx, s AliasState) error { return h.putAlias(tx, a, s) })
}

// into reads a state and has c write it.
func into[T any](text []byte, c *alteration, write func(*kv.Tx, T) error) error {
	var s T
	if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	c.do = func(tx *kv.Tx) error { return write(tx, s) }
	return nil
}

// makeAccount makes an account with its mailboxes as s says it.
func (h *House) makeAccount(tx *kv.Tx, s AccountState, secret auth.Secret) (mail.AccountID, error) {
	addrs, err := addresses(s.Addresses)
	if err != nil {
		return 0, err
	}
	id, err := h.o.Directory.CreateAccount(tx, auth.Account{Addresses: addrs, Doors: auth.DoorAll}, secret)
	if err != nil {
		return 0, err
	}
	if err := h.o.Store.CreateAccount(tx, id, store.Quota{Bytes: s.Bytes, Messages: s.Messages}); err != nil {
		return 0, err
	}
	return id, h.putAccount(tx, id, s)
}

// undoKey is the key for a domain that an undo makes again. It is made ahead: that takes time, and a transaction holds up all others.
func (h *House) undoKey(ctx context.Context, number uint64) (*auth.DKIMKey, error) {
	var e AuditEntry
	err := h.o.DB.View(ctx, func(tx *kv.Tx) error {
		if value := tx.Get(tableAudit, auditKey(number)); value != nil {
			e = readEntry(auditKey(number), value)
		}
		return nil
	})
	if err != nil || e.Kind != OfDomain || e.Is != nil || e.Was == nil {
		return nil, err
	}
	return h.firstKey(ctx, mail.Domain(e.Object))
}

// afterUndo is what follows when an account may send again, or may not any more.
func (h *House) afterUndo(ctx context.Context, e *AuditEntry) []func() {
	id := mail.AccountID(e.Account)
	switch {
	case e.Kind != OfAccount || e.Is == nil || bytes.Equal(e.Was["send_off"], e.Is["send_off"]):
		return nil
	case e.Was["send_off"] == nil:
		return []func(){func() { h.o.Limits.Book.Trust(ctx, id) }}
	}
	return []func(){func() {
		if _, err := h.o.Queue.Hold(ctx, queue.Filter{Outbox: id}); err != nil {
			h.done(ctx, "undo", "what waits in the Outbox of "+e.Object+" is not held: "+err.Error())
		}
	}}
}
