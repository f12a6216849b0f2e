package syntax

import (
	"slices"
	"strconv"
)

// Range is First:Last of a sequence set as written; 0 stands for "*".
type Range struct{ First, Last uint32 }

// Set is a sequence set (RFC 9051 section 9): ranges as written, or "$", the saved result (RFC 5182).
type Set struct {
	Ranges []Range
	Saved  bool
}

// Span is a range of numbers with First <= Last, both included.
type Span struct{ First, Last uint32 }

// Set takes a sequence-set.
func (d *Decoder) Set() Set {
	if d.Try('$') {
		return Set{Saved: true}
	}
	var s Set
	for d.err == nil {
		r := Range{First: d.setNumber()}
		r.Last = r.First
		if d.Try(':') {
			r.Last = d.setNumber()
		}
		s.Ranges = append(s.Ranges, r)
		if !d.Try(',') {
			break
		}
	}
	if d.err != nil {
		return Set{}
	}
	return s
}

func (d *Decoder) setNumber() uint32 {
	if d.Try('*') {
		return 0
	}
	n := d.Number()
	if d.err == nil && n == 0 {
		d.fail(badf("0 is no message number"))
	}
	return n
}

// Spans resolves "*" as last and returns the numbers sorted, without overlap. A set with "*" always
// holds last, even when the other end is greater (RFC 9051 section 9, seq-range).
func (s Set) Spans(last uint32) []Span {
	spans := make([]Span, 0, len(s.Ranges))
	for _, r := range s.Ranges {
		a, b := r.First, r.Last
		if a == 0 {
			a = last
		}
		if b == 0 {
			b = last
		}
		if b < a {
			a, b = b, a
		}
		if b > 0 {
			spans = append(spans, Span{max(a, 1), b})
		}
	}
	return Merge(spans)
}

// Merge sorts spans and joins those that touch, in place.
func Merge(spans []Span) []Span {
	if !slices.IsSortedFunc(spans, bySpan) {
		slices.SortFunc(spans, bySpan)
	}
	out := spans[:0]
	for _, s := range spans {
		if n := len(out); n > 0 && uint64(s.First) <= uint64(out[n-1].Last)+1 {
			out[n-1].Last = max(out[n-1].Last, s.Last)
			continue
		}
		out = append(out, s)
	}
	return out
}

func bySpan(a, b Span) int {
	switch {
	case a.First < b.First:
		return -1
	case a.First > b.First:
		return 1
	}
	return 0
}

// AppendSet appends a set as it was written.
func AppendSet(b []byte, s Set) []byte {
	if s.Saved {
		return append(b, '$')
	}
	for i, r := range s.Ranges {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendSetNumber(b, r.First)
		if r.Last != r.First {
			b = append(b, ':')
			b = appendSetNumber(b, r.Last)
		}
	}
	return b
}

func appendSetNumber(b []byte, n uint32) []byte {
	if n == 0 {
		return append(b, '*')
	}
	return strconv.AppendUint(b, uint64(n), 10)
}

// SetBuilder writes numbers as a set, joining neighbours, in the order in which they come (COPYUID and ESEARCH
// need their order kept).
type SetBuilder struct {
	b           []byte
	first, last uint32
	empty       bool
}

// NewSetBuilder appends to b.
func NewSetBuilder(b []byte) SetBuilder { return SetBuilder{b: b, empty: true} }

// Add adds one number, which is never 0.
func (s *SetBuilder) Add(n uint32) { s.AddSpan(n, n) }

// AddSpan adds first to last.
func (s *SetBuilder) AddSpan(first, last uint32) {
	switch {
	case s.first == 0:
	case first == s.last+1:
		s.last = last
		return
	default:
		s.flush()
	}
	s.first, s.last = first, last
}

func (s *SetBuilder) flush() {
	if s.first == 0 {
		return
	}
	if !s.empty {
		s.b = append(s.b, ',')
	}
	s.empty = false
	s.b = strconv.AppendUint(s.b, uint64(s.first), 10)
	if s.last != s.first {
		s.b = append(s.b, ':')
		s.b = strconv.AppendUint(s.b, uint64(s.last), 10)
	}
}

// Bytes ends the set.
func (s *SetBuilder) Bytes() []byte {
	s.flush()
	s.first = 0
	return s.b
}
