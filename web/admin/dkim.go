package admin

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/queue"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// keepOld is how long the record of a key stays after it signed for the last time: mail that it signed may be on its way for
// five days (RFC 5321 section 4.5.4.1), and is looked at again when it is forwarded. What is scheduled can wait for longer (signedBefore).
const keepOld = 14 * 24 * time.Hour

// DKIMKey is a key that signs, or will, or did, and the record that receivers look for.
type DKIMKey struct {
	Domain    string    `json:"domain"`
	Selector  string    `json:"selector"`
	Algorithm string    `json:"algorithm"`
	State     string    `json:"state"` // next, active, old
	Since     time.Time `json:"since"`
	Name      string    `json:"name"`      // of the TXT record
	Record    string    `json:"record"`    // its text
	Published string    `json:"published"` // yes, no, other (something else stands there), unknown (DNS does not answer, or nobody asked)
}

// Rotate says how the next key is made.
type Rotate struct {
	Algorithm string `json:"algorithm,omitempty"` // rsa or ed25519; empty: rsa
	Now       bool   `json:"now,omitempty"`       // sign with it at once, although its record may not be seen yet
}

// DKIMKeys lists the keys of a domain, oldest first, and whether their records can be seen.
func (h *House) DKIMKeys(ctx context.Context, name string) ([]DKIMKey, error) {
	d, _, err := h.localDomain(ctx, name)
	if err != nil {
		return nil, err
	}
	keys, err := h.o.Directory.Keys(ctx, d)
	if err != nil {
		return nil, translate(name, err)
	}
	out := make([]DKIMKey, 0, len(keys))
	for _, k := range keys {
		out = append(out, DKIMKey{
			Domain: string(k.Domain), Selector: k.Selector, Algorithm: k.Algorithm, State: k.State.String(), Since: k.Since,
			Name: k.Name(), Record: k.Record(), Published: h.published(ctx, k),
		})
	}
	return out, nil
}

// published looks for the record of a key.
func (h *House) published(ctx context.Context, k auth.DKIMKey) string {
	if h.o.Resolver == nil {
		return "unknown"
	}
	texts, _, err := h.o.Resolver.TXT(ctx, k.Name())
	switch {
	case errors.Is(err, dns.ErrNotFound):
		return "no"
	case err != nil:
		return "unknown"
	}
	for _, text := range texts {
		if publicPart(text) == publicPart(k.Record()) {
			return "yes"
		}
	}
	return "other"
}

// publicPart is tag p of a key record, without the white space that may stand in it.
func publicPart(record string) string {
	for tag := range strings.SplitSeq(record, ";") {
		if name, value, _ := strings.Cut(tag, "="); strings.TrimSpace(name) == "p" {
			return strings.Join(strings.Fields(value), "")
		}
	}
	return ""
}

// RotateDKIM makes the next key of a domain. It signs as soon as its record is seen; the key before it goes on until then, and its record
// is to stay for two weeks more.
func (h *House) RotateDKIM(ctx context.Context, name string, r Rotate) ([]DKIMKey, error) {
	d, _, err := h.localDomain(ctx, name)
	if err != nil {
		return nil, err
	}
	if r.Algorithm == "" {
		r.Algorithm = auth.KeyRSA
	}
	taken, err := h.o.Directory.Keys(ctx, d)
	if err != nil {
		return nil, translate(name, err)
	}
	for _, k := range taken {
		if k.State == auth.KeyNext && k.Algorithm == r.Algorithm && !r.Now {
			return nil, conflict("the key " + k.Selector + " of " + name + " waits already for its record: publish it (posthouse domain dkim list " + name +
				"), or take it away (posthouse domain dkim remove " + name + " " + k.Selector + ")")
		}
	}
	next, err := auth.NewDKIMKey(d, r.Algorithm, time.Now(), taken)
	if err != nil {
		return nil, translate(name, err)
	}
	err = h.change(ctx, &alteration{verb: "domain dkim rotate", on: aKey(d), note: "key " + next.Selector, do: func(tx *kv.Tx) error {
		if err := h.o.Directory.PutKey(tx, next); err != nil || !r.Now {
			return err
		}
		return h.activate(tx, next)
	}})
	if err != nil {
		return nil, translate(name, err)
	}
	h.done(ctx, "domain dkim rotate", next.Name())
	return h.DKIMKeys(ctx, name)
}

// aKey is a key of a domain: a secret, whose making and going is noted and no more.
func aKey(d mail.Domain) subject { return subject{kind: OfDomain, object: string(d)} }

// activate makes a key sign in the place of those of its algorithm.
func (h *House) activate(tx *kv.Tx, k auth.DKIMKey) error {
	all, err := h.o.Directory.KeysIn(tx, k.Domain)
	if err != nil {
		return err
	}
	now := time.Now().UTC().Truncate(time.Second)
	for _, other := range all {
		switch {
		case other.Selector == k.Selector:
			other.State = auth.KeyActive
		case other.Algorithm == k.Algorithm && other.State == auth.KeyActive:
			other.State = auth.KeyOld
		default:
			continue
		}
		other.Since = now
		if err := h.o.Directory.PutKey(tx, other); err != nil {
			return err
		}
	}
	return nil
}

// RemoveDKIM forgets a key. The only one that signs for the domain cannot be removed.
func (h *House) RemoveDKIM(ctx context.Context, name, selector string) error {
	d, _, err := h.localDomain(ctx, name)
	if err != nil {
		return err
	}
	err = h.change(ctx, &alteration{verb: "domain dkim remove", on: aKey(d), note: "key " + selector, do: func(tx *kv.Tx) error {
		all, err := h.o.Directory.KeysIn(tx, d)
		if err != nil {
			return err
		}
		signing := slices.DeleteFunc(all, func(k auth.DKIMKey) bool { return k.State != auth.KeyActive })
		if len(signing) == 1 && signing[0].Selector == selector {
			return conflict(selector + " is the only key that signs for " + name + ": make another one first (posthouse domain dkim rotate " + name + ")")
		}
		return h.o.Directory.RemoveKey(tx, d, selector)
	}})
	if err != nil {
		return translate(name, err)
	}
	h.done(ctx, "domain dkim remove", selector+" "+name)
	return nil
}

// firstKey is the key that a new domain signs with.
func (h *House) firstKey(ctx context.Context, d mail.Domain) (*auth.DKIMKey, error) {
	have, err := h.o.Directory.Keys(ctx, d)
	if err != nil || len(have) > 0 {
		return nil, err
	}
	k, err := auth.NewDKIMKey(d, auth.KeyRSA, time.Now(), nil)
	k.State = auth.KeyActive
	return &k, err
}

// SettleDKIM lets keys sign whose records are seen now, and forgets those that have been old for long. The house calls it from time to time.
func (h *House) SettleDKIM(ctx context.Context) error {
	domains, err := h.o.Directory.Domains(ctx)
	if err != nil {
		return err
	}
	for _, d := range domains {
		keys, err := h.o.Directory.Keys(ctx, d.Name)
		if err != nil {
			return err
		}
		for _, k := range keys {
			switch {
			case k.State == auth.KeyNext && h.published(ctx, k) == "yes":
				err = h.change(ctx, &alteration{verb: "domain dkim active", on: aKey(k.Domain), note: "key " + k.Selector, do: func(tx *kv.Tx) error { return h.activate(tx, k) }})
				h.done(ctx, "domain dkim active", k.Name())
			case k.State == auth.KeyOld && time.Since(k.Since) > keepOld:
				waits, e := h.signedBefore(ctx, k.Since)
				if e != nil {
					return e
				}
				if waits {
					continue
				}
				err = h.change(ctx, &alteration{verb: "domain dkim forget", on: aKey(k.Domain), note: "key " + k.Selector, do: func(tx *kv.Tx) error {
					return h.o.Directory.RemoveKey(tx, k.Domain, k.Selector)
				}})
				h.done(ctx, "domain dkim forget", k.Name())
			}
			if err != nil && !errors.Is(err, auth.ErrNoKey) {
				return err
			}
		}
	}
	return nil
}

// signedBefore reports whether something waits in the queue that was signed before a time.
func (h *House) signedBefore(ctx context.Context, at time.Time) (bool, error) {
	items, err := h.o.Queue.List(ctx, queue.Filter{})
	return slices.ContainsFunc(items, func(it queue.Item) bool { return it.Created.Before(at) }), err
}
