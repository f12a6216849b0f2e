package store

import (
	"cmp"
	"encoding/binary"
	"slices"
)

// Contains reports whether u is in the range.
func (r UIDRange) Contains(u UID) bool { return r.First <= u && u <= r.Last }

// normal returns ranges sorted, disjoint and without uids that cannot be; the argument is left as it is.
func normal(ranges []UIDRange, last UID) []UIDRange {
	out := make([]UIDRange, 0, len(ranges))
	sorted := true
	for _, r := range ranges {
		r.First, r.Last = max(r.First, 1), min(r.Last, last)
		if r.First > r.Last {
			continue
		}
		if n := len(out); n > 0 && r.First <= out[n-1].Last {
			sorted = false
		}
		out = append(out, r)
	}
	if sorted {
		return out
	}
	slices.SortFunc(out, compareRanges)
	merged := out[:1]
	for _, r := range out[1:] {
		if l := &merged[len(merged)-1]; r.First <= l.Last {
			l.Last = max(l.Last, r.Last)
		} else {
			merged = append(merged, r)
		}
	}
	return merged
}

func compareRanges(a, b UIDRange) int { return cmp.Compare(a.First, b.First) }

// behind is what is left of ranges behind uid u.
func behind(ranges []UIDRange, u UID) []UIDRange {
	for len(ranges) > 0 && ranges[0].Last <= u {
		ranges = ranges[1:]
	}
	if len(ranges) == 0 || ranges[0].First > u {
		return ranges
	}
	rest := slices.Clone(ranges)
	rest[0].First = u + 1
	return rest
}

// addUID appends u, which is behind all of runs.
func addUID(runs []UIDRange, u UID) []UIDRange {
	if n := len(runs); n > 0 && runs[n-1].Last+1 == u {
		runs[n-1].Last = u
		return runs
	}
	return append(runs, UIDRange{u, u})
}

// gaps is every uid below next that is not in runs (sorted, disjoint).
func gaps(runs []UIDRange, next UID) []UIDRange {
	var out []UIDRange
	free := UID(1)
	for _, r := range runs {
		if r.First > free {
			out = append(out, UIDRange{free, r.First - 1})
		}
		free = r.Last + 1
	}
	if next > free {
		out = append(out, UIDRange{free, next - 1})
	}
	return out
}

// appendRuns stores runs as varints: the distance from the run before, and the length less one.
func appendRuns(b []byte, runs []UIDRange) []byte {
	at := UID(0)
	for _, r := range runs {
		b = binary.AppendUvarint(b, uint64(r.First-at))
		b = binary.AppendUvarint(b, uint64(r.Last-r.First))
		at = r.Last
	}
	return b
}

// parseRuns reads what appendRuns wrote.
func parseRuns(b []byte) ([]UIDRange, error) {
	var out []UIDRange
	at := uint64(0)
	for len(b) > 0 {
		gap, n := binary.Uvarint(b)
		if n <= 0 || gap == 0 {
			return nil, ErrDamaged
		}
		b = b[n:]
		more, n := binary.Uvarint(b)
		if n <= 0 || gap > 0xffffffff || more > 0xffffffff || at+gap+more > 0xffffffff {
			return nil, ErrDamaged
		}
		b = b[n:]
		out = append(out, UIDRange{UID(at + gap), UID(at + gap + more)})
		at += gap + more
	}
	return out, nil
}

func countUIDs(runs []UIDRange) (n uint64) {
	for _, r := range runs {
		n += uint64(r.Last-r.First) + 1
	}
	return n
}
