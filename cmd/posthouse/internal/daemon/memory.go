package daemon

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// Go's collector runs again only when the heap has grown, and in a house at rest it does not: 19 MiB of a password hash
// would stay with the process for minutes. On a machine of 512 MB they are better given back.
const (
	look       = time.Second
	lookApart  = 2         // looks between two times that memory is given back
	quietBelow = 256 << 10 // octets allocated between two looks: the house rests
	worthIt    = 8 << 20   // octets allocated since memory was given back
)

// tidy gives memory back whenever the house comes to rest, until ctx ends.
func tidy(ctx context.Context) {
	tick := time.NewTicker(look)
	defer tick.Stop()
	var r rest
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if r.worthwhile(allocated()) {
				debug.FreeOSMemory()
			}
		}
	}
}

// rest sees from the octets allocated so far when the house has been busy and is no longer.
type rest struct {
	last, freed uint64
	apart       int // looks since memory was given back
}

func (r *rest) worthwhile(now uint64) bool {
	quiet := now-r.last < quietBelow
	r.last = now
	r.apart++
	if !quiet || now-r.freed < worthIt || r.apart <= lookApart && r.freed > 0 {
		return false
	}
	r.freed, r.apart = now, 0
	return true
}

// allocated is every octet that was ever allocated on the heap.
func allocated() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	if s[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return s[0].Value.Uint64()
}
