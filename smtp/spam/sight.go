package spam

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"strings"
	"sync"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/message"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
)

// What is looked at of one message. Beyond a limit nothing fails: the rest is not seen, and a sign says so where it matters.
const (
	maxKept    = 128 << 10 // octets of the message that are held
	firstKept  = 16 << 10
	maxText    = 96 << 10 // octets of decoded text, of all parts together
	maxFields  = 1000     // header fields
	maxParts   = 200      // parts that are looked at
	maxLinks   = 200
	maxSubject = 200 // octets, in lists and signals
)

// Sight looks at one message while it passes: an io.Writer that takes the whole message as it came, header first, in pieces of any
// size. It holds at most 128 KB, and never fails.
type Sight struct {
	j     *Judge
	facts Facts
	*scratch
	size    int64
	scan    *message.Scanner
	asked   *inquiry  // about the client; nil: nothing is asked
	explain bool      // the words are kept beside their hashes
	vouched bool      // by what was found when it came
	came    time.Time // zero: now
}

// scratch is the memory of one look, lent from a pool.
type scratch struct {
	raw  []byte // the beginning of the message
	part []byte // one decoded part
	out  []byte // what a reader sees of it
	seen seenSet
}

// scratches lends memory.
type scratches struct{ pool sync.Pool }

func (p *scratches) take() *scratch {
	if s, ok := p.pool.Get().(*scratch); ok {
		return s
	}
	return &scratch{raw: make([]byte, 0, firstKept)}
}

func (p *scratches) put(s *scratch) {
	s.raw, s.part, s.out = s.raw[:0], s.part[:0], s.out[:0]
	clear(s.seen[:])
	p.pool.Put(s)
}

// Begin starts with a message: it asks the lists about the address, the name in EHLO and MAIL FROM while the message is still on its
// way. ctx bounds all of it. End it with Finish or Discard.
func (j *Judge) Begin(ctx context.Context, f Facts) *Sight {
	f.Remote = f.Remote.Unmap().WithZone("")
	s := &Sight{j: j, facts: f, scratch: j.scratches.take(), scan: message.NewScanner()}
	if j.asks(f.Remote) {
		s.asked = j.lists.begin(ctx, f.Remote)
		s.asked.domain(hostOf(f.Hello))
		s.asked.domain(string(f.From.Domain))
	}
	return s
}

// Write takes the next octets of the message.
func (s *Sight) Write(p []byte) (int, error) {
	n := len(p)
	s.size += int64(n)
	s.scan.Write(p)
	if s.scratch != nil && len(s.raw) < maxKept {
		s.raw = append(s.raw, p[:min(n, maxKept-len(s.raw))]...)
	}
	return n, nil
}

// Discard gives the message up; after Finish it does nothing.
func (s *Sight) Discard() {
	if s.scratch == nil {
		return
	}
	s.asked.discard()
	s.release()
}

func (s *Sight) release() {
	s.j.scratches.put(s.scratch)
	s.scratch = nil
}

// Finish ends the message. r is the zero Report when nothing was checked.
func (s *Sight) Finish(r mailauth.Report) *Findings {
	if s.scratch == nil {
		return &Findings{}
	}
	defer s.release()
	f := s.read(r)
	if s.asked != nil {
		for _, d := range f.domains() {
			if !s.j.local(mail.Domain(d)) { // what is ours is nobody's business
				s.asked.domain(d)
			}
		}
		f.signals = append(f.signals, s.asked.finish()...)
	}
	return f
}

// read makes findings of what was seen, without what the lists say.
func (s *Sight) read(r mailauth.Report) *Findings {
	f := &Findings{facts: s.facts, report: r, vouched: s.vouched || s.j.o.Vouched != nil && s.j.o.Vouched(r), size: s.size}
	f.tokens.explain, f.tokens.seen = s.explain, &s.seen
	sum := s.scan.Finish()
	head, _ := split(s.raw)
	f.readHeader(head)
	f.digest = digest(s.raw, s.size)
	c := content{src: bytes.NewReader(s.raw), kept: int64(len(s.raw)), tokens: &f.tokens, scratch: s.scratch}
	c.read(sum.Root)
	f.links, f.files = c.links, c.files
	f.prove()
	f.origin(s.j)
	f.judgeHeader(s.j, sum)
	now := s.came
	if now.IsZero() {
		now = s.j.o.Now()
	}
	f.judgeDate(now, sum.Date)
	f.judgeLinks(&c)
	f.judgeFiles()
	f.judgeText(&c)
	f.originTokens()
	f.tokens.finish()
	f.tokens.seen = nil
	return f
}

// split cuts a message behind its header; the empty line belongs to neither.
func split(raw []byte) (header, body []byte) {
	for at := 0; at < len(raw); {
		end := bytes.IndexByte(raw[at:], '\n')
		if end < 0 {
			return raw, nil
		}
		line := raw[at : at+end]
		if len(line) == 0 || len(line) == 1 && line[0] == '\r' {
			return raw[:at], raw[at+end+1:]
		}
		at += end + 1
	}
	return raw, nil
}

// ours are the fields that a house puts in front of a message on its way to a mailbox. They are passed over wherever they stand, so
// that a message is the same one in DATA and in a mailbox.
func ours(f message.Field) bool {
	if len(f.Name) == 0 {
		return false
	}
	switch f.Name[0] | 0x20 {
	case 'r':
		return f.Is("Received") || f.Is("Return-Path")
	case 'd':
		return f.Is("Delivered-To")
	case 'a':
		return f.Is("Authentication-Results") || len(f.Name) > 4 && strings.EqualFold(string(f.Name[:4]), "ARC-")
	case 'x':
		return len(f.Name) >= 6 && strings.EqualFold(string(f.Name[:6]), "X-Spam") // those of strangers are removed on the way
	}
	return false
}

// digestSize is enough that nobody's mail is taken for another's by chance.
const digestSize = 12

// digest names a message by what was seen of it, less the fields that are put in front on the way.
func digest(raw []byte, size int64) (d [digestSize]byte) {
	h := sha256.New()
	head, body := split(raw)
	for f := range message.Fields(head) {
		if ours(f) {
			size -= int64(len(f.Raw))
			continue
		}
		h.Write(f.Raw)
	}
	h.Write([]byte{0})
	h.Write(body[:min(len(body), maxKept/2)]) // the fields in front push the end out of sight
	var n [8]byte
	h.Write(binary.BigEndian.AppendUint64(n[:0], uint64(size)))
	copy(d[:], h.Sum(nil))
	return d
}

// Findings are what was found in a message, the same for all its recipients. Not for concurrent use.
type Findings struct {
	facts   Facts
	report  mailauth.Report
	vouched bool
	header
	origins
	digest  [digestSize]byte
	size    int64
	signals []Signal
	tokens  tokens
	links   []link
	files   []file
}

// Add adds signals of others (scanners); they count in every Verdict.
func (f *Findings) Add(s ...Signal) {
	for _, one := range s {
		one.Text = plain(one.Text, maxSubject)
		f.signals = append(f.signals, one)
	}
}

// Author is the address in From; zero when there is none that can be read.
func (f *Findings) Author() mail.Address { return f.author }

// Subject is the subject as text, bounded and printable.
func (f *Findings) Subject() string { return plain(f.subject, maxSubject) }

// sign adds a signal.
func (f *Findings) sign(name string, score float64, text string) {
	f.signals = append(f.signals, Signal{Name: name, Score: score, Text: text})
}

// phish adds a signal that speaks for somebody who pretends to be another.
func (f *Findings) phish(name string, score float64, text string) {
	f.signals = append(f.signals, Signal{Name: name, Score: score, Text: text, Phishing: true})
}
