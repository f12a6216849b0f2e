package mailauth

import (
	"bytes"
	"context"
	"crypto/sha256"
	"sort"
	"strconv"
	"strings"
	"sync"

	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/internal/message"
)

// maxInstance bounds a chain (RFC 8617 section 4.2.1).
const maxInstance = 50

// ARC is the outcome of the validation of a chain (RFC 8617 section 5.2).
type ARC struct {
	Result  Result // None, Pass, Fail
	Reason  string
	Sets    int      // of the chain; a sealer's instance is one more
	Sealers []string // domains, hop 1 first
	Results []string // what each hop says it saw (ARC-Authentication-Results without i=), hop 1 first
}

// arcSet is the three fields of one hop.
type arcSet struct {
	results, message, seal message.Field
	said                   string     // results without its tag i
	signature              *signature // of message
	sealed                 *signature // of seal: algorithm, domain, selector, value
	chain                  string     // cv of seal
	body                   *bodyHash
	keys                   [2]*key // of message and seal
	errs                   [2]error
}

// arcChain is the sets of a header, or why they are none.
type arcChain struct {
	sets []*arcSet // hop 1 first
	err  error
}

// parseARC reads the chain of a header (RFC 8617 section 5.2, steps 1 to 3).
func parseARC(h *header, bodies *bodyHashes) *arcChain {
	c := &arcChain{}
	byInstance := map[int]*arcSet{}
	put := func(name string, slot func(*arcSet) *message.Field) {
		for _, i := range h.byName[name] {
			f := h.fields[i]
			n, err := instance(f)
			if err != nil && c.err == nil {
				c.err = because(Fail, "%s: %v", f.Name, err)
			}
			if err != nil {
				continue
			}
			if byInstance[n] == nil {
				byInstance[n] = &arcSet{}
			}
			to := slot(byInstance[n])
			if len(to.Name) > 0 && c.err == nil {
				c.err = because(Fail, "hop %d has two fields %s", n, f.Name)
			}
			*to = f
		}
	}
	put("arc-authentication-results", func(s *arcSet) *message.Field { return &s.results })
	put("arc-message-signature", func(s *arcSet) *message.Field { return &s.message })
	put("arc-seal", func(s *arcSet) *message.Field { return &s.seal })
	var order []int
	for n := range byInstance {
		order = append(order, n)
	}
	sort.Ints(order)
	for i, n := range order {
		s := byInstance[n]
		c.sets = append(c.sets, s)
		switch {
		case c.err != nil:
		case n != i+1:
			c.err = because(Fail, "hop %d is missing", i+1)
		case len(s.results.Name) == 0 || len(s.message.Name) == 0 || len(s.seal.Name) == 0:
			c.err = because(Fail, "hop %d lacks one of its three fields", n)
		default:
			c.err = s.parse(n)
		}
	}
	if n := len(c.sets); n > 0 && c.err == nil {
		for _, s := range c.sets {
			s.body = bodies.of(s.signature.bodyCanon, s.signature.length)
		}
	}
	return c
}

// instance reads tag i, which stands first in ARC-Authentication-Results and anywhere in the others.
func instance(f message.Field) (int, error) {
	for part := range strings.SplitSeq(f.Unfolded(), ";") {
		name, value, ok := strings.Cut(part, "=")
		if !ok || strings.TrimSpace(name) != "i" {
			continue
		}
		n, err := strconv.Atoi(strings.TrimSpace(value))
		if err != nil || n < 1 || n > maxInstance {
			return 0, because(Fail, "instance %.20q is not between 1 and %d", value, maxInstance)
		}
		return n, nil
	}
	return 0, because(Fail, "it has no instance")
}

func (s *arcSet) parse(n int) error {
	_, s.said, _ = strings.Cut(s.results.Unfolded(), ";")
	s.said = strings.TrimSpace(s.said)
	var err error
	if s.signature, _, err = parseSignature(s.message.Raw, s.message.Unfolded()); err != nil {
		return because(Fail, "message signature of hop %d: %v", n, err)
	}
	if err := knownAlgorithm(s.signature.algorithm); err != nil {
		return because(Fail, "message signature of hop %d: %v", n, err)
	}
	if s.signature.covers("arc-seal") { // RFC 8617 section 4.1.2
		return because(Fail, "message signature of hop %d covers a seal", n)
	}
	t, err := parseTags(s.seal.Unfolded())
	if err != nil {
		return because(Fail, "seal of hop %d: %v", n, err)
	}
	s.sealed = &signature{raw: s.seal.Raw, algorithm: strings.ToLower(t["a"])}
	if _, ok := t["h"]; ok { // RFC 8617 section 4.1.3
		return because(Fail, "seal of hop %d has a tag h", n)
	}
	if err := s.sealed.signer(t); err != nil {
		return because(Fail, "seal of hop %d: %v", n, err)
	}
	if err := knownAlgorithm(s.sealed.algorithm); err != nil {
		return because(Fail, "seal of hop %d: %v", n, err)
	}
	s.chain = strings.ToLower(t["cv"])
	switch {
	case n == 1 && s.chain == "none", n > 1 && s.chain == "pass":
		return nil
	case s.chain == "fail":
		return because(Fail, "hop %d found the chain broken", n)
	}
	return because(Fail, "hop %d says cv=%.20s", n, s.chain)
}

// lookups fetches the keys of the last message signature and of all seals.
func (c *arcChain) lookups(ctx context.Context, r dns.Resolver) {
	if c.err != nil {
		return
	}
	var wait sync.WaitGroup
	type place struct{ domain, selector string }
	same := map[place]func() (*key, error){}
	ask := func(sig *signature, to **key, err *error) {
		p := place{sig.domain, sig.selector}
		if same[p] == nil {
			same[p] = sync.OnceValues(func() (*key, error) { return lookupKey(ctx, r, p.selector, p.domain) })
		}
		get := same[p]
		wait.Go(func() { *to, *err = get() })
	}
	for i, s := range c.sets {
		if i == len(c.sets)-1 {
			ask(s.signature, &s.keys[0], &s.errs[0])
		}
		ask(s.sealed, &s.keys[1], &s.errs[1])
	}
	wait.Wait()
}

// verify is the outcome (steps 4 to 6): the last message signature and every seal fit.
func (c *arcChain) verify(h *header, sums map[*bodyHash][]byte) ARC {
	out := ARC{Result: None, Sets: len(c.sets)}
	if len(c.sets) == 0 && c.err == nil {
		return out
	}
	err := c.err
	if err == nil {
		for _, s := range c.sets {
			out.Sealers = append(out.Sealers, s.sealed.domain)
			out.Results = append(out.Results, s.said)
		}
		err = c.fits(h, sums)
	}
	out.Result, out.Reason = resultOf(err)
	return out
}

func (c *arcChain) fits(h *header, sums map[*bodyHash][]byte) error {
	last := c.sets[len(c.sets)-1]
	err := last.errs[0]
	switch {
	case err != nil:
	case !bytes.Equal(sums[last.body], last.signature.bodyDigest):
		err = because(Fail, "the body was changed")
	case last.signature.replayed(h) != "":
		err = because(Fail, "a field %s was added", last.signature.replayed(h))
	default:
		err = last.keys[0].verify(last.signature.algorithm, last.signature.digest(h), last.signature.value)
	}
	if err != nil {
		return chainError(err, "message signature of hop", len(c.sets))
	}
	for i := len(c.sets) - 1; i >= 0; i-- {
		s := c.sets[i]
		err := s.errs[1]
		if err == nil {
			digest := sealDigest(c.sets[:i+1])
			err = s.keys[1].verify(s.sealed.algorithm, digest, s.sealed.value)
		}
		if err != nil {
			return chainError(err, "seal of hop", i+1)
		}
	}
	return nil
}

// chainError makes an error of a chain's: it passes, or fails, or cannot be told now.
func chainError(err error, what string, n int) error {
	r, reason := resultOf(err)
	if r != TempError {
		r = Fail
	}
	return because(r, "%s %d: %s", what, n, reason)
}

// sealDigest is the hash that the last of the sets seals: all fields of the chain in their order, its own seal without value
// (RFC 8617 section 5.1.1).
func sealDigest(sets []*arcSet) []byte {
	var data []byte
	for i, s := range sets {
		data = canonField(data, relaxed, s.results.Raw)
		data = canonField(data, relaxed, s.message.Raw)
		if i < len(sets)-1 {
			data = canonField(data, relaxed, s.seal.Raw)
			continue
		}
		data = canonField(data, relaxed, withoutB(s.seal.Raw))
	}
	sum := sha256.Sum256(data[:len(data)-len(crlf)])
	return sum[:]
}
