package store

import (
	"encoding/binary"
	"slices"

	"github.com/posthouse-mail/posthouse/store/kv"
)

// tabSegments is of package kv: the segments that may be named. One that is not in it is removed at the next start.
const tabSegments kv.Table = "g"

// segments compares where the bodies stand with the segments that there are.
func (c *checker) segments() {
	known := map[uint32]bool{}
	for k := range c.rows(tabSegments, 4, 4) {
		known[binary.BigEndian.Uint32(k)] = true
	}
	first, count := map[uint32]bodyRef{}, map[uint32]int{}
	for _, ref := range c.bodies {
		n := ref.at.Segment()
		if known[n] {
			continue
		}
		if count[n]++; count[n] == 1 {
			first[n] = ref
		}
	}
	missing := make([]uint32, 0, len(count))
	for n := range count {
		missing = append(missing, n)
	}
	slices.Sort(missing)
	for _, n := range missing {
		c.bad("%d messages stand in segment %08x, which table g does not know; mailbox %d uid %d is the first", count[n], n, first[n].mailbox, first[n].uid)
	}
}
