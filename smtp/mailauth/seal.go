package mailauth

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/internal/message"
)

// Sealer adds a hop to the ARC chain of a message that goes on to somebody else (RFC 8617 section 5.1).
// It is given the header as it leaves, then the body.
type Sealer struct {
	key    SigningKey
	header *header
	body   *bodyHash
	now    time.Time
	fields []string // tag h of the message signature; nil: our choice
}

// NewSealer begins a message; the header's octets must stay as they are until Seal.
func NewSealer(rawHeader []byte, now time.Time, key SigningKey) *Sealer {
	return &Sealer{key: key, header: parseHeader(rawHeader), body: newBodyHash(relaxed, sha256.New(), -1), now: now}
}

// Write takes the next octets of the body.
func (s *Sealer) Write(p []byte) (int, error) { return s.body.Write(p) }

// Seal ends the message and returns the three fields that go before it. results is Report.Results; chain the outcome of the
// chain as it came. Nil when the chain is full, or its last hop has given it up: nothing may be added then.
func (s *Sealer) Seal(hostname, results string, chain Result) ([]byte, error) {
	var bodies bodyHashes
	c := parseARC(s.header, &bodies)
	n := len(c.sets) + 1
	for _, name := range []string{"arc-seal", "arc-message-signature", "arc-authentication-results"} {
		for _, i := range s.header.byName[name] {
			if at, err := instance(s.header.fields[i]); err == nil {
				n = max(n, at+1)
			}
		}
	}
	if n > maxInstance || len(c.sets) > 0 && c.sets[len(c.sets)-1].chain == "fail" {
		return nil, nil
	}
	algorithm, err := s.key.algorithm()
	if err != nil {
		return nil, err
	}
	set := &arcSet{}
	aar := resultsField("ARC-Authentication-Results", fmt.Sprintf("i=%d; %s; %s", n, hostname, results))
	set.results = firstField(aar)
	ams, err := s.messageSignature(n, algorithm)
	if err != nil {
		return nil, fmt.Errorf("seal for %s: %w", s.key.Domain, err)
	}
	set.message = firstField(ams)
	cv, sets := "none", []*arcSet{set}
	switch {
	case n > 1 && (chain == Fail || c.err != nil): // RFC 8617 section 5.1.2: only its own set is sealed
		cv = "fail"
	case n > 1:
		cv, sets = "pass", append(slices.Clone(c.sets), set)
	}
	f := tagField{name: "ARC-Seal", tags: []tag{
		{"a", algorithm}, {"b", ""}, {"cv", cv}, {"d", s.key.Domain}, {"i", strconv.Itoa(n)}, {"s", s.key.Selector},
		{"t", strconv.FormatInt(s.now.Unix(), 10)},
	}}
	seal, err := f.sign(s.key, func(raw []byte) []byte {
		set.seal = message.Field{Raw: raw}
		return sealDigest(sets)
	})
	if err != nil {
		return nil, fmt.Errorf("seal for %s: %w", s.key.Domain, err)
	}
	return slices.Concat(seal, ams, aar), nil
}

func (s *Sealer) messageSignature(n int, algorithm string) ([]byte, error) {
	fields := s.fields
	if fields == nil {
		fields = append(signedFields(s.header), slices.Repeat([]string{"DKIM-Signature"}, s.header.count("dkim-signature"))...)
	}
	f := tagField{name: "ARC-Message-Signature", tags: []tag{
		{"a", algorithm}, {"b", ""}, {"bh", base64.StdEncoding.EncodeToString(s.body.sum())}, {"c", "relaxed/relaxed"},
		{"d", s.key.Domain}, {"h", strings.Join(fields, ":")}, {"i", strconv.Itoa(n)}, {"s", s.key.Selector},
		{"t", strconv.FormatInt(s.now.Unix(), 10)},
	}}
	return f.sign(s.key, func(raw []byte) []byte {
		sig := signature{raw: raw, headerCanon: relaxed, fields: fields}
		return sig.digest(s.header)
	})
}

func firstField(raw []byte) message.Field {
	for f := range message.Fields(raw) {
		return f
	}
	return message.Field{}
}
