package imap

import (
	"slices"
	"sort"

	"github.com/posthouse-mail/posthouse/imap/internal/syntax"
	"github.com/posthouse-mail/posthouse/store"
)

// view is the mailbox as the client knows it: which uid has which sequence number. It is kept as runs of
// uids that follow each other, so that a mailbox without gaps costs 12 octets at any size.
type view struct {
	runs  []run
	total uint32
}

// run is last-first+1 messages, the first of which has sequence number seq.
type run struct {
	first, last store.UID
	seq         uint32
}

// newView makes a view of sorted, disjoint ranges.
func newView(ranges []syntax.Span) view {
	var v view
	for _, r := range ranges {
		v.add(r.First, r.Last)
	}
	return v
}

// add appends messages; their uids are greater than all that are there.
func (v *view) add(first, last store.UID) {
	if n := len(v.runs); n > 0 && v.runs[n-1].last+1 == first {
		v.runs[n-1].last = last
	} else {
		v.runs = append(v.runs, run{first, last, v.total + 1})
	}
	v.total += last - first + 1
}

// seq is the sequence number of a uid, 0 when the client does not know it.
func (v *view) seq(uid store.UID) uint32 {
	i := v.at(uid)
	if i == len(v.runs) || v.runs[i].first > uid {
		return 0
	}
	return v.runs[i].seq + uid - v.runs[i].first
}

// at is the index of the first run that does not end before uid.
func (v *view) at(uid store.UID) int {
	return sort.Search(len(v.runs), func(i int) bool { return v.runs[i].last >= uid })
}

// last is the highest uid, 0 of an empty view.
func (v *view) last() store.UID {
	if len(v.runs) == 0 {
		return 0
	}
	return v.runs[len(v.runs)-1].last
}

// bySeq yields the uids of sequence numbers, which the caller has checked against total.
func (v *view) bySeq(spans []syntax.Span) []store.UIDRange {
	var out []store.UIDRange
	for _, s := range spans {
		i := sort.Search(len(v.runs), func(i int) bool { return v.runs[i].seq > s.First }) - 1
		for ; i >= 0 && i < len(v.runs) && v.runs[i].seq <= s.Last; i++ {
			r := v.runs[i]
			first := r.first + max(s.First, r.seq) - r.seq
			last := min(r.last, r.first+(s.Last-r.seq))
			out = append(out, store.UIDRange{First: first, Last: last})
		}
	}
	return out
}

// byUID yields what there is of uid ranges, which are sorted and disjoint.
func (v *view) byUID(spans []syntax.Span) []store.UIDRange {
	var out []store.UIDRange
	for _, s := range spans {
		for i := v.at(s.First); i < len(v.runs) && v.runs[i].first <= s.Last; i++ {
			out = append(out, store.UIDRange{First: max(s.First, v.runs[i].first), Last: min(s.Last, v.runs[i].last)})
		}
	}
	return out
}

// remove takes out what there is of ranges (sorted, disjoint) and returns it as spans of the sequence numbers that the
// messages had before.
func (v *view) remove(ranges []syntax.Span) []syntax.Span {
	gone := v.byUID(ranges)
	if len(gone) == 0 {
		return nil
	}
	numbers := make([]syntax.Span, len(gone))
	for i, g := range gone {
		numbers[i] = syntax.Span{First: v.seq(g.First), Last: v.seq(g.Last)}
	}
	old := v.runs
	*v = view{runs: make([]run, 0, len(old))}
	for _, r := range old {
		first := r.first
		for len(gone) > 0 && gone[0].First <= r.last {
			if gone[0].First > first {
				v.add(first, gone[0].First-1)
			}
			first = gone[0].Last + 1
			gone = gone[1:]
		}
		if first <= r.last {
			v.add(first, r.last)
		}
	}
	v.runs = slices.Clip(v.runs)
	return numbers
}

// spans turns ranges of the store into spans.
func spans(ranges []store.UIDRange) []syntax.Span {
	out := make([]syntax.Span, len(ranges))
	for i, r := range ranges {
		out[i] = syntax.Span{First: r.First, Last: r.Last}
	}
	return out
}

// count is how many numbers sorted, disjoint spans hold.
func count(s []syntax.Span) uint64 {
	var n uint64
	for _, r := range s {
		n += uint64(r.Last-r.First) + 1
	}
	return n
}

// below clips sorted spans to what is less than next.
func below(s []syntax.Span, next store.UID) []syntax.Span {
	for i, r := range s {
		if r.First >= next {
			return s[:i]
		}
		if r.Last >= next {
			s[i].Last = next - 1
			return s[:i+1]
		}
	}
	return s
}
