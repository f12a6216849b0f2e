package queue

// Ranks of hosts that want a worker, the first is served first. The last half of the workers is kept from hosts of the last rank, the
// last quarter from the one before, the last eighth from strangers: a host that could take mail finds a worker, whatever the others do.
const (
	rankKnown    int8 = iota // has taken mail before, does not fail, has no attempt at work
	rankStranger             // likewise, but nobody knows whether it takes mail
	rankMore                 // has an attempt at work, or fails and has none
	rankFailing              // fails, and has an attempt at work
	ranks
)

func (h *host) rank(known map[hostKey]bool) int8 {
	switch {
	case h.failures > 0 && h.active > 0:
		return rankFailing
	case h.failures > 0 || h.active > 0:
		return rankMore
	case known[h.hostKey]:
		return rankKnown
	}
	return rankStranger
}

// room reports whether a host of the rank may have a worker.
func (s *schedule) room(rank int8) bool {
	free := s.workers - s.active
	if s.active == 0 {
		return true
	}
	return free > [ranks]int{0, s.workers / 8, s.workers / 4, s.workers / 2}[rank]
}

// stand puts a host into the line of its rank.
func (s *schedule) stand(h *host) {
	rank := h.rank(s.known)
	if h.crowd == rank+1 {
		return
	}
	h.crowd = rank + 1
	s.crowded[rank].push(h)
}

// admitted takes the next host that may have a worker: those that were held back before those that come.
func (s *schedule) admitted() *host {
	for rank := range ranks {
		for s.room(rank) && s.crowded[rank].len() > 0 {
			if h := s.crowded[rank].pop(); h.crowd == rank+1 {
				h.crowd = 0
				return h
			}
		}
	}
	if s.runnable.len() == 0 {
		return nil
	}
	return s.runnable.pop()
}

// shift moves what is remembered by the clock, which was set back: what had to wait five minutes waits five minutes, not hours more.
func (s *schedule) shift(by int64) {
	for _, t := range s.timed.t {
		t.due += by // all of them: their order stays
	}
	for _, st := range s.streams {
		st.routed += by
		st.until += by
	}
	for _, h := range s.hosts {
		h.start += by
		h.failed += by
		h.good += by
	}
	s.rested = 0
}
