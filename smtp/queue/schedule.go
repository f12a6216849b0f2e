package queue

import (
	"cmp"
	"math"
	"time"
)

// schedule is the queue in memory: who is due, over which host, and whether that host has room. It does no I/O and
// reads no clock; the Queue guards it with its mutex. Times are Unix milliseconds.
//
// A ticket stands at one place: timed (in the heap, until its due time), ready (in the line of its stream), leased (an
// attempt runs) or parked (held by the operator). A stream is routed to a host; a host with ready streams stands in the
// line of runnable hosts, or among the waiting ones while it must be left alone.
type schedule struct {
	limits
	tickets  map[uint64]*ticket
	timed    heap
	streams  map[Stream]*stream
	hosts    map[hostKey]*host
	known    map[hostKey]bool // hosts that have taken mail, whether or not there is more for them
	askers   fifo[*stream]    // ready streams that need a route
	doubtful fifo[*stream]    // likewise, but the last question found none: they get half of the askers
	asking   int
	doubts   int // of asking, about doubtful ones
	runnable fifo[*host]
	crowded  [ranks]fifo[*host] // runnable, but the last free workers are kept for others; by rank
	waiting  []*host            // hosts to be left alone for a while
	rested   int64              // none of waiting is over before; may be too early
	last     int64              // when next was asked last
	active   int                // attempts running
	settling int                // attempts that are over and not stored yet
	leased   int
	parked   int
	jobs     []job // found since the last next
}

// limits of a schedule.
type limits struct {
	workers     int // attempts at once
	unsettled   int // results at once that are not stored yet: after a crash their messages are sent twice
	perHost     int // attempts at once to one host, where its Route says nothing
	askers      int // routes looked up at once
	directTries int
	routeFor    int64 // how long a route holds
	delayAfter  int64
	lifetime    int64
	nullLife    int64 // of mail from <>
}

type place uint8

const (
	timed place = iota
	ready
	leased
	parked
	dead // taken out of its line only when it comes to its front
)

type ticket struct {
	number  uint64
	due     int64
	created int64
	stream  *stream
	next    *change // what was committed while it was leased
	pos     int32   // in the heap
	place   place
	told    bool
	over    bool // its attempt is, counted in settling
}

// change is what a commit did to an entry.
type change struct {
	number       uint64
	due, created int64
	stream       Stream
	told, held   bool
	gone         bool
}

type stream struct {
	Stream
	tickets int // of any place
	ready   fifo[*ticket]
	host    *host
	routed  int64 // when host was found
	asking  bool
	failed  bool // the last question found no route
	doubted bool // counted in doubts
	inTurn  bool // stands in host.turns
	refused Result
	until   int64 // refused holds until then
}

type hostKey struct {
	transport int
	name      string
}

type host struct {
	hostKey
	route    Route
	streams  int
	turns    fifo[*stream]
	active   int
	limit    int   // attempts at once now; 1 after a failure, doubled by each success
	start    int64 // earliest next start
	failures int   // in a row
	failed   int64 // when the last one was counted
	good     int64 // when an attempt last went well; long ago for a new host
	down     bool
	result   Result // of the last failure
	queued   bool   // stands in runnable, crowded or waiting
	crowd    int8   // rank and one while it stands in crowded; another entry of it there is an old one
}

type jobKind uint8

const (
	jobRoute   jobKind = iota // find the stream's way
	jobDeliver                // one attempt
	jobDefer                  // settle with result, without an attempt: the host is known not to answer
)

type job struct {
	kind    jobKind
	stream  *stream
	host    *host
	route   Route
	tickets []*ticket
	result  Result
	started int64
}

const (
	deferChunk = 500
	maxKnown   = 4096   // hosts remembered
	clockBack  = 60_000 // a clock that is set back by less is waited for
)

func newSchedule(l limits) *schedule {
	l.unsettled = cmp.Or(l.unsettled, l.workers)
	return &schedule{limits: l, rested: math.MaxInt64, tickets: map[uint64]*ticket{}, streams: map[Stream]*stream{}, hosts: map[hostKey]*host{}, known: map[hostKey]bool{}}
}

// put takes over what a commit did.
func (s *schedule) put(c change) {
	t := s.tickets[c.number]
	if t != nil && t.place == leased {
		t.next = &c
		return
	}
	var st *stream
	if !c.gone {
		st = s.streamOf(c.stream)
		st.tickets++ // before the old ticket goes: what is known of the stream and its host outlives it
	}
	if t != nil {
		s.drop(t)
	}
	if c.gone {
		return
	}
	t = &ticket{number: c.number, due: c.due, created: c.created, told: c.told, pos: -1, stream: st}
	s.tickets[c.number] = t
	if c.held {
		t.place = parked
		s.parked++
		return
	}
	s.timed.push(t)
}

// drop forgets a ticket that is not leased.
func (s *schedule) drop(t *ticket) {
	switch t.place {
	case timed:
		s.timed.remove(t)
	case parked:
		s.parked--
	}
	t.place = dead
	delete(s.tickets, t.number)
	t.stream.tickets--
	s.forget(t.stream)
}

func (s *schedule) streamOf(key Stream) *stream {
	st := s.streams[key]
	if st == nil {
		st = &stream{Stream: key}
		s.streams[key] = st
	}
	return st
}

// forget lets go of a stream without tickets, once it stands in no line.
func (s *schedule) forget(st *stream) {
	if st.tickets > 0 || st.asking || st.inTurn {
		return
	}
	delete(s.streams, st.Stream)
	if st.host != nil {
		s.unlink(st)
	}
}

func (s *schedule) unlink(st *stream) {
	h := st.host
	st.host = nil
	if h.streams--; h.streams == 0 && h.active == 0 && !h.queued {
		delete(s.hosts, h.hostKey)
	}
}

// release ends the lease. What was committed meanwhile holds; else nothing was settled and the ticket is due again at retry.
func (s *schedule) release(t *ticket, retry int64) {
	s.leased--
	if t.over {
		s.settling--
		t.over = false
	}
	c := t.next
	t.next, t.place = nil, parked
	s.parked++ // drop takes it back
	if c == nil {
		c = &change{number: t.number, due: retry, created: t.created, told: t.told, stream: t.stream.Stream}
	}
	s.put(*c)
}

// next hands out the jobs that can start now, and says when to ask again (math.MaxInt64: only after a change).
func (s *schedule) next(now int64) (jobs []job, wake int64) {
	if now < s.last-clockBack {
		s.shift(now - s.last)
	}
	s.last = now
	for s.timed.len() > 0 && s.timed.first().due <= now {
		t := s.timed.first()
		s.timed.remove(t)
		t.place = ready
		t.stream.ready.push(t)
		s.line(t.stream, now)
	}
	s.wakeHosts(now)
	for s.active < s.workers && s.settling < s.unsettled {
		h := s.admitted()
		if h == nil {
			break
		}
		h.queued = false
		s.serve(h, now)
	}
	// Behind serve, which finds the streams whose way has to be asked for anew.
	for s.asking < s.limits.askers && s.askers.len() > 0 {
		st := s.askers.pop()
		s.asking++
		s.jobs = append(s.jobs, job{kind: jobRoute, stream: st})
	}
	for s.asking < s.limits.askers && s.doubts < s.limits.askers/2 && s.doubtful.len() > 0 {
		st := s.doubtful.pop()
		st.doubted = true
		s.asking++
		s.doubts++
		s.jobs = append(s.jobs, job{kind: jobRoute, stream: st})
	}
	wake = math.MaxInt64
	if s.timed.len() > 0 {
		wake = s.timed.first().due
	}
	wake = min(wake, s.rested)
	jobs, s.jobs = s.jobs, nil
	return jobs, wake
}

// line puts a stream with ready tickets where it belongs: to its host, or to those that need a route.
func (s *schedule) line(st *stream, now int64) {
	switch {
	case st.asking || st.inTurn:
	case st.until > now:
		s.deferAll(st, st.refused)
	case st.host == nil || now-st.routed > s.routeFor:
		st.asking = true
		if st.failed {
			s.doubtful.push(st)
			return
		}
		s.askers.push(st)
	default:
		st.inTurn = true
		st.host.turns.push(st)
		s.enqueue(st.host)
	}
}

func (s *schedule) enqueue(h *host) {
	if !h.queued && h.turns.len() > 0 {
		h.queued = true
		s.runnable.push(h)
	}
}

// wakeHosts makes those hosts runnable whose time of rest is over.
func (s *schedule) wakeHosts(now int64) {
	if now < s.rested {
		return
	}
	kept := s.waiting[:0]
	s.rested = math.MaxInt64
	for _, h := range s.waiting {
		if h.start <= now {
			s.runnable.push(h)
			continue
		}
		kept = append(kept, h)
		s.rested = min(s.rested, h.start)
	}
	clear(s.waiting[len(kept):])
	s.waiting = kept
}

// serve starts one attempt over h, or puts h where it has to wait.
func (s *schedule) serve(h *host, now int64) {
	for h.turns.len() > 0 {
		switch {
		case h.down && h.start > now:
			st := h.turns.pop()
			st.inTurn = false
			s.deferAll(st, h.result)
			s.forget(st)
			continue
		case h.start > now:
			h.queued = true
			s.waiting = append(s.waiting, h)
			s.rested = min(s.rested, h.start)
			return
		case h.active >= h.limit:
			return // done makes it runnable again
		case !s.room(h.rank(s.known)):
			h.queued = true
			s.stand(h)
			return
		}
		st := h.turns.pop()
		st.inTurn = false
		if now-st.routed > s.routeFor { // it stood here for long: its way may be another one now
			s.line(st, now)
			continue
		}
		t := s.lease(st)
		if t == nil {
			s.forget(st)
			continue
		}
		h.active++
		s.active++
		h.start = max(h.start, now+h.route.Pace.Milliseconds())
		s.jobs = append(s.jobs, job{kind: jobDeliver, stream: st, host: h, route: h.route, tickets: []*ticket{t}, started: now})
		if st.ready.len() > 0 {
			st.inTurn = true
			h.turns.push(st)
		}
		s.enqueue(h)
		return
	}
}

// lease takes the next ready ticket of the stream.
func (s *schedule) lease(st *stream) *ticket {
	for st.ready.len() > 0 {
		t := st.ready.pop()
		if t.place != ready {
			continue
		}
		t.place = leased
		s.leased++
		return t
	}
	return nil
}

// deferAll leases all ready tickets of a stream, to be settled with r as if they had been tried.
func (s *schedule) deferAll(st *stream, r Result) {
	for t := s.lease(st); t != nil; t = s.lease(st) {
		s.deferOne(t, r)
	}
}

// deferOne adds a leased ticket to those that are settled with r: a host that is down may have thousands of streams, each with few.
func (s *schedule) deferOne(t *ticket, r Result) {
	if n := len(s.jobs); n > 0 {
		if j := &s.jobs[n-1]; j.kind == jobDefer && j.result == r && len(j.tickets) < deferChunk {
			j.tickets = append(j.tickets, t)
			return
		}
	}
	s.jobs = append(s.jobs, job{kind: jobDefer, tickets: []*ticket{t}, result: r})
}

// answered ends the asking for a stream's route.
func (s *schedule) answered(st *stream, found bool) {
	s.asking--
	if st.doubted {
		s.doubts--
	}
	st.asking, st.doubted, st.failed = false, false, !found
}

// routed ends a jobRoute: the way was found.
func (s *schedule) routed(st *stream, key hostKey, r Route, now int64) {
	s.answered(st, true)
	h := s.hosts[key]
	if h == nil {
		h = &host{hostKey: key, limit: s.perHost, good: math.MinInt64 / 2}
		if r.Limit > 0 {
			h.limit = r.Limit
		}
		s.hosts[key] = h
	}
	h.route = r
	if st.host != h {
		h.streams++
		if st.host != nil {
			s.unlink(st)
		}
		st.host = h
	}
	st.routed, st.until = now, 0
	if st.ready.len() > 0 {
		st.inTurn = true
		h.turns.push(st)
		s.enqueue(h)
	}
	s.forget(st)
}

// unroutable ends a jobRoute: there is no way now. The tickets that stand ready are settled with r, and so are
// those that become ready until then.
func (s *schedule) unroutable(st *stream, r Result, until int64) {
	s.answered(st, false)
	if st.host != nil {
		s.unlink(st)
	}
	st.refused, st.until = r, until
	s.deferAll(st, r)
	s.forget(st)
}

// done ends an attempt: the worker is free, and the host is judged by r, the result that says most about it. Its ticket stays
// leased until the result is stored.
func (s *schedule) done(j job, r Result, now int64) {
	h := j.host
	h.active--
	if r.Host != HostWell {
		s.fail(j, r, now)
	} else {
		if h.failures == 0 || j.started > h.failed {
			h.failures, h.down, h.good = 0, false, now
			s.remember(h.hostKey)
			h.start = min(h.start, now+h.route.Pace.Milliseconds())
		}
		h.limit = min(h.limit*2, s.most(h))
	}
	s.free(j)
}

// idle is done for a job that came to no attempt (the entry is gone, held, or has just left the Outbox): it says nothing of the host.
func (s *schedule) idle(j job) {
	j.host.active--
	s.free(j)
}

// free gives the worker back.
func (s *schedule) free(j job) {
	h := j.host
	s.active--
	for _, t := range j.tickets {
		t.over = true
		s.settling++
	}
	s.rested = min(s.rested, h.start)
	if h.crowd != 0 { // it may have come to another rank
		s.stand(h)
	}
	s.enqueue(h)
	if h.streams == 0 && h.active == 0 && !h.queued {
		delete(s.hosts, h.hostKey)
	}
}

// remember notes a host that takes mail; some are forgotten when there are too many.
func (s *schedule) remember(k hostKey) {
	if len(s.known) >= maxKnown && !s.known[k] {
		for old := range s.known {
			delete(s.known, old)
			break
		}
	}
	s.known[k] = true
}

func (s *schedule) most(h *host) int {
	if h.route.Limit > 0 {
		return h.route.Limit
	}
	return s.perHost
}

// fail leaves the host alone for a while: longer with each failure in a row. Attempts that ran side by side count once.
// A host that is down takes its ready items along: this attempt is theirs too. One that is only slow keeps them in its
// line, but for those whose sender must hear something now.
func (s *schedule) fail(j job, r Result, now int64) {
	h := j.host
	h.limit = 1
	h.result = r
	if h.failures == 0 || j.started > h.failed {
		h.failures++
		h.failed = now
		h.start = max(h.start, now+rest(h.name, h.failures, r).Milliseconds())
	}
	h.down = r.Host == HostDown && now-h.good > time.Minute.Milliseconds()
	for range h.turns.len() {
		st := h.turns.pop()
		st.inTurn = false
		if h.down {
			s.deferAll(st, r)
		} else {
			s.deferLate(st, r, now)
		}
		if st.ready.len() > 0 {
			st.inTurn = true
			h.turns.push(st)
		}
		s.forget(st)
	}
}

// deferLate is deferAll for the tickets whose delay notice or end of life has come.
func (s *schedule) deferLate(st *stream, r Result, now int64) {
	for range st.ready.len() {
		t := st.ready.pop()
		switch {
		case t.place != ready:
		case now >= s.deadline(t):
			t.place = leased
			s.leased++
			s.deferOne(t, r)
		default:
			st.ready.push(t)
		}
	}
}

// deadline is when the sender must hear something.
func (s *schedule) deadline(t *ticket) int64 {
	if !t.told && s.delayAfter > 0 {
		return t.created + s.delayAfter
	}
	if t.stream.From == "" {
		return t.created + s.nullLife
	}
	return t.created + s.lifetime
}

// hurry forgets that hosts are to be left alone: the operator wants these entries tried now.
func (s *schedule) hurry(number uint64) {
	t := s.tickets[number]
	if t == nil {
		return
	}
	t.stream.until, t.stream.routed = 0, 0
	if h := t.stream.host; h != nil {
		h.start, h.down, h.failures, s.rested = 0, false, 0, 0
	}
}
