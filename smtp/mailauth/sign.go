package mailauth

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// SigningKey is one key of a domain, as its selector publishes it.
type SigningKey struct {
	Domain   string // canonical
	Selector string
	Private  crypto.Signer // *rsa.PrivateKey or ed25519.PrivateKey
}

// ErrKey: the key is none that we sign with.
var ErrKey = errors.New("mailauth: neither an RSA key of 1,024 bits or more nor an Ed25519 key")

func (k SigningKey) algorithm() (string, error) {
	switch p := k.Private.(type) {
	case *rsa.PrivateKey:
		if p.N.BitLen() >= minKey {
			return algorithmRSA, nil
		}
	case ed25519.PrivateKey:
		return algorithmEd25519, nil
	}
	return "", ErrKey
}

// sign makes tag b for the SHA-256 of what is signed.
func (k SigningKey) sign(digest []byte) (string, error) {
	var b []byte
	var err error
	switch p := k.Private.(type) {
	case *rsa.PrivateKey:
		b, err = rsa.SignPKCS1v15(rand.Reader, p, crypto.SHA256, digest)
	case ed25519.PrivateKey:
		b = ed25519.Sign(p, digest)
	default:
		err = ErrKey
	}
	return base64.StdEncoding.EncodeToString(b), err
}

// The fields that are signed: those that people see or that steer a program (RFC 6376 section 5.4). Those of signedOnce are named once
// more than they stand in the message, so that nobody can add another one.
var (
	signedOnce = []string{"From", "Subject", "Date", "To", "Cc", "Reply-To", "Sender", "Message-ID", "In-Reply-To", "References",
		"MIME-Version", "Content-Type", "Content-Transfer-Encoding"}
	signedToo = []string{"Content-Disposition", "Content-ID", "Resent-From", "Resent-To", "Resent-Date", "Resent-Message-ID",
		"List-Id", "List-Unsubscribe", "List-Unsubscribe-Post", "List-Post", "List-Help", "Autocrypt", "Feedback-ID", "TLS-Required"}
)

// Signer signs one message, whose header it is given whole and whose body is written to it while it passes.
// RFC 6376 section 5; relaxed/relaxed.
type Signer struct {
	keys   []SigningKey
	header *header
	body   *bodyHash
	digest string // of the body, once it is whole
	now    time.Time
}

// NewSigner begins a message; the header's octets must stay as they are until Sign.
func NewSigner(rawHeader []byte, now time.Time, keys ...SigningKey) *Signer {
	return &Signer{keys: keys, header: parseHeader(rawHeader), body: newBodyHash(relaxed, sha256.New(), -1), now: now}
}

// Write takes the next octets of the body.
func (s *Signer) Write(p []byte) (int, error) { return s.body.Write(p) }

// Sign ends the message and returns the DKIM-Signature fields that go before it, one for each key.
func (s *Signer) Sign() ([]byte, error) {
	if s.digest == "" {
		s.digest = base64.StdEncoding.EncodeToString(s.body.sum())
	}
	var out []byte
	for _, k := range s.keys {
		a, err := k.algorithm()
		if err != nil {
			return nil, err
		}
		names := signedFields(s.header)
		f := tagField{name: "DKIM-Signature", tags: []tag{
			{"a", a}, {"b", ""}, {"bh", s.digest}, {"c", "relaxed/relaxed"}, {"d", k.Domain}, {"h", strings.Join(names, ":")},
			{"s", k.Selector}, {"t", strconv.FormatInt(s.now.Unix(), 10)}, {"v", "1"},
		}}
		raw, err := f.sign(k, func(raw []byte) []byte {
			sig := signature{raw: raw, headerCanon: relaxed, fields: names}
			return sig.digest(s.header)
		})
		if err != nil {
			return nil, fmt.Errorf("sign for %s: %w", k.Domain, err)
		}
		out = append(out, raw...)
	}
	return out, nil
}

// Again ends the message too, for the same body under another header: copies that differ in a field of their own.
func (s *Signer) Again(rawHeader []byte) ([]byte, error) {
	if s.digest == "" {
		s.digest = base64.StdEncoding.EncodeToString(s.body.sum())
	}
	other := Signer{keys: s.keys, header: parseHeader(rawHeader), digest: s.digest, now: s.now}
	return other.Sign()
}

// signedFields is tag h for a header.
func signedFields(h *header) []string {
	var names []string
	for _, name := range signedOnce {
		names = append(names, slices.Repeat([]string{name}, h.count(strings.ToLower(name))+1)...)
	}
	for _, name := range signedToo {
		names = append(names, slices.Repeat([]string{name}, h.count(strings.ToLower(name)))...)
	}
	return names
}

// tagField is a signature field that is being written.
type tagField struct {
	name string
	tags []tag
}

type tag struct{ name, value string }

// write lays the field out, folded at 76 columns, without its line end. Values are broken behind colons, and tag b anywhere.
func (f *tagField) write() []byte {
	out := []byte(f.name + ":")
	column := len(out)
	put := func(piece string, fold string) {
		if column+len(fold)-2+len(piece) > 76 && column > 8 {
			out = append(out, "\r\n"...)
			column, fold = 0, " "
		} else {
			fold = fold[2:]
		}
		out = append(append(out, fold...), piece...)
		column += len(fold) + len(piece)
	}
	for i, t := range f.tags {
		end := ";"
		if i == len(f.tags)-1 {
			end = ""
		}
		if t.name == "b" {
			put("b=", "\r\n ")
			for v := t.value; len(v) > 0; {
				n := min(len(v), max(76-column, 0))
				if n == 0 {
					n = min(len(v), 75)
				}
				put(v[:n], "\r\n")
				v = v[n:]
			}
			out, column = append(out, end...), 77 // what follows is folded alike, whatever b is: it is signed
			continue
		}
		pieces := strings.SplitAfter(t.value, ":")
		put(t.name+"="+pieces[0]+strings.Repeat(end, max(2-len(pieces), 0)), "\r\n ")
		for k, piece := range pieces[1:] {
			if k == len(pieces)-2 {
				piece += end
			}
			put(piece, "\r\n")
		}
	}
	return out
}

// sign fills tag b with the signature of the digest of the field without it, and returns the field with its line end.
func (f *tagField) sign(k SigningKey, digest func(raw []byte) []byte) ([]byte, error) {
	b, err := k.sign(digest(f.write()))
	if err != nil {
		return nil, err
	}
	for i := range f.tags {
		if f.tags[i].name == "b" {
			f.tags[i].value = b
		}
	}
	return append(f.write(), crlf...), nil
}
