package mailauth

import (
	"bytes"
	"context"
	"crypto/sha256"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/posthouse-mail/posthouse/internal/dns"
)

const (
	maxSignatures = 8 // of a message that are verified; a thousand of them cost no more
	clockDrift    = 5 * time.Minute
)

// DKIM is the outcome for one signature.
type DKIM struct {
	Result    Result
	Reason    string // for people; empty for Pass
	Domain    string // d; empty when it could not be read
	Selector  string
	Identity  string // i, as written
	Algorithm string
	Short     string // the first octets of b (RFC 6008)
	KeyBits   int
	Testing   bool // the key's owner only tries (t=y): treat a failure like no signature
}

// dkimSignature is one signature while its message arrives.
type dkimSignature struct {
	*signature
	out  DKIM
	body *bodyHash // shared by signatures of the same form
	err  error     // found wrong in the header already
	key  *key
}

// bodyHashes are the forms of a body that the signatures of a message need.
type bodyHashes struct{ all []*bodyHash }

func (b *bodyHashes) of(c canonicalization, limit int64) *bodyHash {
	for _, h := range b.all {
		if h.relaxed == bool(c) && h.limit == limit {
			return h
		}
	}
	h := newBodyHash(c, sha256.New(), limit)
	b.all = append(b.all, h)
	return h
}

func (b *bodyHashes) Write(p []byte) {
	for _, h := range b.all {
		h.Write(p)
	}
}

// dkimSignatures reads the signatures of a header. Those of the author's domain come first, so that a flood of others does not
// push them out.
func dkimSignatures(h *header, author string, bodies *bodyHashes, now time.Time) []*dkimSignature {
	var all []*dkimSignature
	for _, i := range h.byName["dkim-signature"] {
		f := h.fields[i]
		sig, t, err := parseSignature(f.Raw, f.Unfolded())
		if sig == nil {
			sig = &signature{}
		}
		d := &dkimSignature{signature: sig}
		if err != nil {
			d.err = because(PermError, "%v", err)
		} else {
			d.identity = t["i"]
			d.err = d.acceptable(t, h, now)
		}
		d.out = DKIM{Domain: d.domain, Selector: d.selector, Identity: d.identity, Algorithm: d.algorithm, Short: d.short()}
		all = append(all, d)
	}
	slices.SortStableFunc(all, func(a, b *dkimSignature) int { return d3(a, author) - d3(b, author) })
	all = all[:min(len(all), maxSignatures)]
	for _, d := range all {
		if d.err == nil {
			d.body = bodies.of(d.bodyCanon, d.length)
		}
	}
	return all
}

// d3 ranks a signature: of the author's domain, of a relative, of others, unreadable.
func d3(d *dkimSignature, author string) int {
	switch {
	case d.domain == "":
		return 3
	case d.domain == author:
		return 0
	case within(author, d.domain) || within(d.domain, author):
		return 1
	}
	return 2
}

// within tells whether name is domain or below it.
func within(name, domain string) bool {
	return name == domain || strings.HasSuffix(name, "."+domain)
}

// acceptable checks what can be told without key and body (RFC 6376 section 6.1.1).
func (d *dkimSignature) acceptable(t tags, h *header, now time.Time) error {
	if t["v"] != "1" {
		return because(PermError, "version %.20q is unknown", t["v"])
	}
	if err := knownAlgorithm(d.algorithm); err != nil {
		return because(PermError, "%v", err)
	}
	if q, ok := t["q"]; ok && !slices.Contains(t.list("q"), "dns/txt") {
		return because(PermError, "the key is at %.40q, which is unknown", q)
	}
	if !d.covers("from") {
		return because(PermError, "From is not signed")
	}
	if d.identity != "" {
		at := strings.LastIndexByte(d.identity, '@')
		if at < 0 || !within(strings.ToLower(d.identity[at+1:]), d.domain) {
			return because(PermError, "the identity %.80q is not below %s", d.identity, d.domain)
		}
	}
	switch {
	case d.expires > 0 && d.signed > d.expires:
		return because(PermError, "it expires before it was made")
	case d.expires > 0 && now.Add(-clockDrift).Unix() > d.expires:
		return because(Fail, "it expired on %s", time.Unix(d.expires, 0).UTC().Format("2006-01-02"))
	case d.signed > 0 && now.Add(24*time.Hour).Unix() < d.signed:
		return because(Policy, "it was made in the future")
	}
	if name := d.replayed(h); name != "" {
		return because(Policy, "a field %s was added after it was made", name)
	}
	return nil
}

// lookups fetches the keys of all signatures, at once.
func lookups(ctx context.Context, r dns.Resolver, all []*dkimSignature) {
	var wait sync.WaitGroup
	for _, d := range all {
		if d.err != nil {
			continue
		}
		wait.Go(func() { d.key, d.err = lookupKey(ctx, r, d.selector, d.domain) })
	}
	wait.Wait()
}

// verify is the outcome, once the body has ended; sums are the finished hashes.
func (d *dkimSignature) verify(h *header, sums map[*bodyHash][]byte) DKIM {
	err := d.err
	if d.key != nil {
		d.out.KeyBits, d.out.Testing = d.key.bits(), d.key.testing
	}
	if err == nil {
		err = d.fits(h, sums)
	}
	d.out.Result, d.out.Reason = resultOf(err)
	return d.out
}

func (d *dkimSignature) fits(h *header, sums map[*bodyHash][]byte) error {
	if d.key.strict && d.identity != "" {
		if at := strings.LastIndexByte(d.identity, '@'); !strings.EqualFold(d.identity[at+1:], d.domain) {
			return because(PermError, "the key is for %s only, not for %.80q", d.domain, d.identity)
		}
	}
	if !bytes.Equal(sums[d.body], d.bodyDigest) {
		return because(Fail, "the body was changed")
	}
	if err := d.key.verify(d.algorithm, d.digest(h), d.value); err != nil {
		return err
	}
	if d.length >= 0 && d.body.total > d.length { // RFC 6376 section 8.2
		return because(Policy, "only %d of %d octets of the body are signed", d.length, d.body.total)
	}
	return nil
}
