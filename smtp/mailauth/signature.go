package mailauth

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/posthouse-mail/posthouse/internal/mail"
)

// The algorithms that are verified and made (RFC 8301 section 3.1, RFC 8463 section 3); rsa-sha1 is neither.
const (
	algorithmRSA     = "rsa-sha256"
	algorithmEd25519 = "ed25519-sha256"
)

// signature is what a DKIM-Signature or an ARC-Message-Signature says.
type signature struct {
	raw         []byte // the field
	algorithm   string
	domain      string // d, canonical
	selector    string // s
	identity    string // i; DKIM only
	headerCanon canonicalization
	bodyCanon   canonicalization
	fields      []string // h, lower case
	bodyDigest  []byte   // bh
	value       []byte   // b
	length      int64    // l; -1: all of the body
	signed      int64    // t; 0: not said
	expires     int64    // x; 0: never
}

// parseSignature reads the tags that both kinds share.
func parseSignature(raw []byte, value string) (*signature, tags, error) {
	t, err := parseTags(value)
	if err != nil {
		return nil, nil, err
	}
	s := &signature{raw: raw, algorithm: strings.ToLower(t["a"]), length: -1}
	for _, name := range []string{"a", "b", "bh", "d", "h", "s"} {
		if t.solid(name) == "" {
			return nil, nil, fmt.Errorf("tag %s is missing", name)
		}
	}
	if err := s.signer(t); err != nil {
		return s, nil, err
	}
	if s.bodyDigest, err = t.bytes("bh"); err != nil {
		return s, nil, err
	}
	if err := s.canon(t["c"]); err != nil {
		return s, nil, err
	}
	for _, f := range t.list("h") {
		s.fields = append(s.fields, strings.ToLower(f))
	}
	if n, ok, err := t.number("l"); err != nil {
		return s, nil, err
	} else if ok {
		s.length = n
	}
	if s.signed, _, err = t.number("t"); err != nil {
		return s, nil, err
	}
	if s.expires, _, err = t.number("x"); err != nil {
		return s, nil, err
	}
	return s, t, nil
}

// signer reads who signed and how: what an ARC-Seal has too.
func (s *signature) signer(t tags) error {
	d, err := mail.ParseDomain(t["d"])
	if err != nil || d.IsLiteral() {
		return fmt.Errorf("tag d is no domain: %.80q", t["d"])
	}
	s.domain = d.String()
	sel, err := mail.ParseDomain(t["s"])
	if err != nil {
		return fmt.Errorf("tag s is no selector: %.80q", t["s"])
	}
	s.selector = sel.String()
	s.value, err = t.bytes("b")
	return err
}

// canon reads tag c (RFC 6376 section 3.5): header/body, simple where it says nothing.
func (s *signature) canon(c string) error {
	h, b, _ := strings.Cut(strings.ToLower(c), "/")
	for _, x := range []struct {
		name string
		to   *canonicalization
	}{{h, &s.headerCanon}, {b, &s.bodyCanon}} {
		switch x.name {
		case "", "simple":
		case "relaxed":
			*x.to = relaxed
		default:
			return fmt.Errorf("canonicalization %.40q is unknown", c)
		}
	}
	return nil
}

// knownAlgorithm says whether a is one that we verify.
func knownAlgorithm(a string) error {
	switch a {
	case algorithmRSA, algorithmEd25519:
		return nil
	case "rsa-sha1":
		return errors.New("rsa-sha1 proves nothing any more (RFC 8301)")
	}
	return fmt.Errorf("algorithm %.40q is unknown", a)
}

// digest is the hash of the signed fields and of the signature without its value (RFC 6376 section 3.7).
func (s *signature) digest(h *header) []byte {
	data := h.picked(nil, s.headerCanon, s.fields)
	data = canonField(data, s.headerCanon, withoutB(s.raw))
	sum := sha256.Sum256(data[:len(data)-len(crlf)])
	return sum[:]
}

// replayed names a field that stands more often in the header than was signed: somebody put one above those that the signature
// covers, and readers show the upper one (RFC 6376 section 8.15).
func (s *signature) replayed(h *header) string {
	for _, name := range []string{"from", "subject", "to", "cc", "date", "reply-to", "sender", "message-id", "content-type"} {
		n := 0
		for _, f := range s.fields {
			if f == name {
				n++
			}
		}
		if n > 0 && h.count(name) > n {
			return name
		}
	}
	return ""
}

// covers tells whether the field is signed.
func (s *signature) covers(name string) bool { return slices.Contains(s.fields, name) }

// short is the beginning of tag b, which tells signatures of one domain apart (RFC 6008).
func (s *signature) short() string {
	b := base64.StdEncoding.EncodeToString(s.value)
	return b[:min(len(b), 8)]
}
