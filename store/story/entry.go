package story

import (
	"encoding/binary"
	"time"
)

// Kinds of entries. An entry is: length uvarint of what follows, kind u8, id, then what the kind has. Texts are a length and octets, numbers
// varints, times nanoseconds; a zero time is 0.
const (
	kindBegin  byte = 'm' // a Message
	kindTell   byte = 'e' // how many, Events
	kindPlaced byte = 'p' // place
	kindRead   byte = 'r' // id is empty; place, an Event
)

type writer struct{ b []byte }

func (w *writer) text(s string) {
	w.b = binary.AppendUvarint(w.b, uint64(len(s)))
	w.b = append(w.b, s...)
}

func (w *writer) number(n uint64) { w.b = binary.AppendUvarint(w.b, n) }

func (w *writer) time(t time.Time) {
	if t.IsZero() {
		w.number(0)
		return
	}
	w.number(uint64(t.UnixNano()))
}

func (w *writer) message(m *Message) {
	w.time(m.At)
	for _, s := range []string{string(m.Direction), m.From, m.Author, m.MessageID, m.Subject, m.Client, m.TLS, m.Account} {
		w.text(s)
	}
	w.number(uint64(max(m.Size, 0)))
	w.number(uint64(m.Recipients))
	w.number(uint64(len(m.To)))
	for _, s := range m.To {
		w.text(s)
	}
	w.number(uint64(len(m.Places)))
	for _, p := range m.Places {
		w.number(p)
	}
	w.number(uint64(len(m.Owners)))
	for _, a := range m.Owners {
		w.number(uint64(a))
	}
}

func (w *writer) event(e *Event) {
	w.time(e.At)
	for _, s := range [...]string{string(e.Step), e.Who, e.Text, e.Status, e.Host, e.Address, e.TLS, e.Mailbox, e.Client, e.Advice} {
		w.text(s)
	}
	w.number(uint64(max(e.Code, 0)))
	if e.Next == nil {
		w.number(0)
		return
	}
	w.time(*e.Next)
}

// reader reads what a writer wrote; bad is set by what none wrote.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) number() uint64 {
	n, size := binary.Uvarint(r.b)
	if size <= 0 {
		r.b, r.bad = nil, true
		return 0
	}
	r.b = r.b[size:]
	return n
}

// octets points into what is read.
func (r *reader) octets() []byte {
	n := r.number()
	if n > uint64(len(r.b)) {
		r.b, r.bad = nil, true
		return nil
	}
	s := r.b[:n]
	r.b = r.b[n:]
	return s
}

func (r *reader) text() string { return string(r.octets()) }

func (r *reader) time() time.Time {
	n := r.number()
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(n)).UTC()
}

// count is a number of things of at least one octet each.
func (r *reader) count() int {
	n := r.number()
	if n > uint64(len(r.b)) {
		r.b, r.bad = nil, true
		return 0
	}
	return int(n)
}

func (r *reader) message(id string) *Message {
	m := &Message{ID: id, At: r.time(), Direction: Direction(r.text())}
	for _, s := range []*string{&m.From, &m.Author, &m.MessageID, &m.Subject, &m.Client, &m.TLS, &m.Account} {
		*s = r.text()
	}
	m.Size, m.Recipients = int64(r.number()), int(r.number())
	for range r.count() {
		m.To = append(m.To, r.text())
	}
	for range r.count() {
		m.Places = append(m.Places, r.number())
	}
	if len(r.b) > 0 { // older entries have none
		for range r.count() {
			m.Owners = append(m.Owners, uint32(r.number()))
		}
	}
	return m
}

func (r *reader) event() Event {
	e := Event{At: r.time(), Step: Step(r.text())}
	for _, s := range []*string{&e.Who, &e.Text, &e.Status, &e.Host, &e.Address, &e.TLS, &e.Mailbox, &e.Client, &e.Advice} {
		*s = r.text()
	}
	e.Code = int(r.number())
	if t := r.time(); !t.IsZero() {
		e.Next = &t
	}
	return e
}

// entry is one entry of a chunk; rest is what its kind has.
type entry struct {
	kind byte
	id   []byte
	rest reader
}

// entries yields a chunk's, until one cannot be read.
func entries(b []byte) func(yield func(entry) bool) {
	return func(yield func(entry) bool) {
		r := reader{b: b}
		for len(r.b) > 0 {
			x := reader{b: r.octets()}
			if r.bad || len(x.b) == 0 {
				return
			}
			e := entry{kind: x.b[0]}
			x.b = x.b[1:]
			e.id, e.rest = x.octets(), x
			if x.bad || !yield(e) {
				return
			}
		}
	}
}
