package queue

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/blob"
)

// The stored form of entries and parts. Integers are uvarints, strings have their length in front; the first octet is
// the version. What a newer version wrote is refused, never guessed.

const (
	entryVersion = 1
	entryFlags2  = 2 // like 1, with a second octet of flags behind the first; written only where it says something
)

const (
	maxText       = 2048 // octets kept of one reply
	maxRecipients = 100_000
)

var errCorrupt = errors.New("queue: entry cannot be read")

// Recipient states of a row. An owed recipient waits for its report only: the attempts are over.
const (
	waiting uint8 = iota
	owedSuccess
	owedFailure
)

// recipient is one forward path of an entry.
type recipient struct {
	mail.Recipient
	state  uint8
	result Result // the last one; zero before the first attempt
}

// entry is one row of table q.
type entry struct {
	id         string
	domain     mail.Domain
	from       mail.Address
	recipients []recipient
	body       mail.BodyType
	utf8       bool
	held       bool
	told       bool   // the delay notice went out
	orphan     bool   // the sender is to be read from the message's Return-Path
	requireTLS bool   // REQUIRETLS (RFC 8689)
	front      string // header fields of this copy alone
	unproven   bool   // nothing shows that from sent it: it hears nothing
	ret        mail.Return
	envid      string
	place      blob.LSN
	size       int64
	created    int64 // unix ms
	last       int64 // unix ms of the last attempt; 0: none
	attempts   int
	timing     timing
}

const (
	flagUTF8 byte = 1 << iota
	flagHeld
	flagTold
	flagOrphan
	flagOwed // nobody waits for an attempt any more, only for a report
)

const (
	flag2RequireTLS byte = 1 << iota
	flag2Unproven
	flag2Front  // Envelope.Front stands at the end
	flag2Timing // a timing follows
)

func bit(on bool, b byte) byte {
	if on {
		return b
	}
	return 0
}

func (e *entry) flags() byte {
	f := bit(e.utf8, flagUTF8) | bit(e.held, flagHeld) | bit(e.told, flagTold) | bit(e.orphan, flagOrphan)
	return f | bit(e.waits() == 0, flagOwed)
}

// waits reports how many recipients still wait for an attempt.
func (e *entry) waits() int { return e.count(waiting) }

func (e *entry) count(state uint8) int {
	n := 0
	for i := range e.recipients {
		if e.recipients[i].state == state {
			n++
		}
	}
	return n
}

// clone copies the entry so that its recipients can be changed.
func (e *entry) clone() *entry {
	c := *e
	c.recipients = append([]recipient(nil), e.recipients...)
	return &c
}

func appendString[S ~string | ~[]byte](b []byte, s S) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func appendAddress(b []byte, a mail.Address) []byte {
	return appendString(appendString(b, a.Local), a.Domain)
}

// appendEntry appends the stored form of e.
func appendEntry(b []byte, e *entry) []byte {
	if more := bit(e.requireTLS, flag2RequireTLS) | bit(e.unproven, flag2Unproven) | bit(e.front != "", flag2Front) | bit(e.timing != timing{}, flag2Timing); more != 0 {
		b = append(b, entryFlags2, e.flags(), more)
		if more&flag2Timing != 0 {
			b = e.timing.append(b)
		}
	} else {
		b = append(b, entryVersion, e.flags())
	}
	b = append(b, byte(e.body), byte(e.ret))
	b = appendString(b, e.id)
	b = appendString(b, e.domain)
	b = appendAddress(b, e.from)
	b = appendString(b, e.envid)
	for _, n := range []uint64{uint64(e.place), uint64(e.size), uint64(e.created), uint64(e.last), uint64(e.attempts), uint64(len(e.recipients))} {
		b = binary.AppendUvarint(b, n)
	}
	var prev Result
	for i := range e.recipients {
		r := &e.recipients[i]
		b = appendRecipient(b, r.Recipient, e.domain)
		b = append(b, r.state)
		b = appendResult(b, r.result, prev)
		prev = r.result
	}
	if e.front != "" {
		b = appendString(b, e.front)
	}
	return b
}

// appendRecipient leaves the domain out when it is the entry's.
func appendRecipient(b []byte, r mail.Recipient, domain mail.Domain) []byte {
	b = appendString(b, r.Address.Local)
	if domain == "" || r.Address.Domain != domain {
		b = append(b, 1)
		b = appendString(b, r.Address.Domain)
	} else {
		b = append(b, 0)
	}
	b = append(b, byte(r.Notify))
	b = appendString(b, r.OriginalType)
	return appendString(b, r.Original)
}

// appendResult writes one octet for no result (0), the same as the recipient's before (1), or the result behind a 2.
func appendResult(b []byte, r, prev Result) []byte {
	r.Host, prev.Host = 0, 0
	switch r {
	case Result{}:
		return append(b, 0)
	case prev:
		return append(b, 1)
	}
	b = append(b, 2, byte(r.Verdict), byte(r.Handoff))
	b = binary.AppendUvarint(b, uint64(r.Code))
	b = appendString(b, r.Status)
	b = appendString(b, r.Text)
	b = appendString(b, r.Remote)
	return appendString(b, r.Detail)
}

// reader takes the stored form apart; after the first error everything is zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.bad = true
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *reader) uint() uint64 {
	n, size := binary.Uvarint(r.b)
	if size <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[size:]
	return n
}

func (r *reader) string() string {
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return ""
	}
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}

func (r *reader) address() mail.Address {
	local := r.string()
	return mail.Address{Local: local, Domain: mail.Domain(r.string())}
}

func (r *reader) recipient(domain mail.Domain) mail.Recipient {
	var m mail.Recipient
	m.Address.Local = r.string()
	m.Address.Domain = domain
	if r.byte() == 1 {
		m.Address.Domain = mail.Domain(r.string())
	}
	m.Notify = mail.Notify(r.byte())
	m.OriginalType = r.string()
	m.Original = r.string()
	return m
}

func (r *reader) result(prev Result) Result {
	switch r.byte() {
	case 0:
		return Result{}
	case 1:
		return prev
	case 2:
	default:
		r.bad = true
		return Result{}
	}
	var x Result
	x.Verdict, x.Handoff = Verdict(r.byte()), Handoff(r.byte())
	x.Code = int(r.uint() & 0xffff)
	x.Status, x.Text, x.Remote, x.Detail = r.string(), r.string(), r.string(), r.string()
	return x
}

// head reads the version, the flags, and the timing of an entry that has one.
func (r *reader) head() (flags, more byte, when timing, err error) {
	v := r.byte()
	if v != entryVersion && v != entryFlags2 {
		return 0, 0, when, fmt.Errorf("%w: version %d", errCorrupt, v)
	}
	flags = r.byte()
	if v == entryFlags2 {
		more = r.byte()
	}
	if more&^(flag2RequireTLS|flag2Unproven|flag2Front|flag2Timing) != 0 {
		return 0, 0, when, fmt.Errorf("%w: flags %x", errCorrupt, more)
	}
	if more&flag2Timing != 0 {
		when = r.timing()
	}
	return flags, more, when, nil
}

// parseEntry reads the stored form.
func parseEntry(b []byte) (*entry, error) {
	r := &reader{b: b}
	flags, more, when, err := r.head()
	if err != nil {
		return nil, err
	}
	e := &entry{utf8: flags&flagUTF8 != 0, held: flags&flagHeld != 0, told: flags&flagTold != 0, orphan: flags&flagOrphan != 0,
		requireTLS: more&flag2RequireTLS != 0, unproven: more&flag2Unproven != 0, timing: when}
	e.body, e.ret = mail.BodyType(r.byte()), mail.Return(r.byte())
	e.id = r.string()
	e.domain = mail.Domain(r.string())
	e.from = r.address()
	e.envid = r.string()
	e.place, e.size = blob.LSN(r.uint()), int64(r.uint())
	e.created, e.last, e.attempts = int64(r.uint()), int64(r.uint()), int(r.uint()&0xffffffff)
	n := r.uint()
	if n > maxRecipients || n > uint64(len(r.b)) {
		return nil, fmt.Errorf("%w: %d recipients", errCorrupt, n)
	}
	e.recipients = make([]recipient, 0, n)
	var prev Result
	for range n {
		to := recipient{Recipient: r.recipient(e.domain), state: r.byte()}
		to.result = r.result(prev)
		prev = to.result
		e.recipients = append(e.recipients, to)
	}
	if more&flag2Front != 0 {
		e.front = r.string()
	}
	if r.bad || len(r.b) > 0 {
		return nil, errCorrupt
	}
	return e, nil
}

// peek reads only what the schedule needs of a row.
func peek(b []byte) (glance, error) {
	r := &reader{b: b}
	flags, _, when, err := r.head()
	if err != nil {
		return glance{}, err
	}
	r.byte()
	r.byte()
	r.skip()
	g := glance{held: flags&flagHeld != 0, told: flags&flagTold != 0, owed: flags&flagOwed != 0}
	g.to = r.bytes()
	r.skip()
	g.from = r.bytes()
	r.skip()
	r.uint()
	r.uint()
	g.since, g.release = max(int64(r.uint()), when.release), when.release
	r.uint()
	g.attempts = int(r.uint() & 0xffffffff)
	if r.bad {
		return glance{}, errCorrupt
	}
	return g, nil
}

// glance is what peek saw; its domains live as long as the row's bytes.
type glance struct {
	from, to         []byte
	since            int64 // entry.since
	release          int64 // 0: not scheduled
	attempts         int
	held, told, owed bool
}

func (r *reader) bytes() []byte {
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	s := r.b[:n]
	r.b = r.b[n:]
	return s
}

func (r *reader) skip() { r.bytes() }
