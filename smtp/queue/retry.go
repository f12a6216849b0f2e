package queue

import (
	"encoding/binary"
	"hash/fnv"
	"slices"
	"time"
)

// DefaultRetry is the time from an attempt to the next one, the last of them repeated: greylisting is over after the
// second, and RFC 5321 section 4.5.4.1's two or three hours are reached within a day.
func DefaultRetry() []time.Duration {
	return []time.Duration{5 * time.Minute, 10 * time.Minute, 20 * time.Minute, 30 * time.Minute, time.Hour, time.Hour, 2 * time.Hour, 3 * time.Hour, 4 * time.Hour}
}

// jitter moves d by up to a tenth either way. It depends on what only, so that a schedule can be told beforehand
// and items that failed together do not come back together.
func jitter(d time.Duration, what []byte) time.Duration {
	h := fnv.New64a()
	h.Write(what)
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd // murmur3's finaliser: FNV leaves the low bits of similar inputs alike
	x ^= x >> 33
	share := float64(x>>11)/(1<<53)*0.2 - 0.1
	return d + time.Duration(share*float64(d))
}

// after is the due time that follows attempt number attempts (1 is the first), made at now. The attempt that would fall
// behind the delay notice or the end of life is made at that time, so that what the sender hears is fresh.
func (o *Options) after(number uint64, e *entry, now int64) int64 {
	d := o.Retry[min(e.attempts, len(o.Retry))-1]
	seed := binary.BigEndian.AppendUint64(nil, number)
	due := now + jitter(d, binary.BigEndian.AppendUint32(seed, uint32(e.attempts))).Milliseconds()
	if notice := e.since() + o.DelayAfter.Milliseconds(); o.DelayAfter > 0 && !e.told && now < notice && due > notice {
		due = notice
	}
	if end := e.since() + o.life(e).Milliseconds(); now < end && due > end {
		due = end
	}
	return due
}

// fewest is how many attempts an entry has before it is given up for its age: the house may have been off for a week, or the clock
// wrong, and the first answer is often to come back later.
func (o *Options) fewest(e *entry) int {
	n := 1
	for at := time.Duration(0); n < 4 && at < o.life(e); n++ {
		at += o.Retry[min(n, len(o.Retry))-1]
	}
	return n
}

// longest is more than any wait between two attempts. What is due later, and is not scheduled, was written by a clock that was ahead.
func (o *Options) longest() int64 {
	return (slices.Max(o.Retry)*11/10 + time.Minute).Milliseconds()
}

// rest is how long a host is left alone after its n-th failure in a row. Where it has only put messages off by its policy (4.7.x
// without 421: often greylisting, which each of a thousand new messages meets once), it is seconds: the messages have waits of their own.
func rest(name string, n int, r Result) time.Duration {
	if r.Host == HostSlow && r.Code != 421 {
		return jitter(min(time.Duration(n)*250*time.Millisecond, 5*time.Second), append([]byte(name), byte(n)))
	}
	d := time.Minute << min(n-1, 5)
	return jitter(min(d, 30*time.Minute), append([]byte(name), byte(n)))
}
