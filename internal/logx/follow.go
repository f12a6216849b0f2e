package logx

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Line is one event as a follower sees it.
type Line struct {
	Time  time.Time `json:"time"`
	Level string    `json:"level"`
	Part  string    `json:"part,omitempty"`
	Event string    `json:"event"`
	Attrs []Attr    `json:"attrs,omitempty"`
	Lost  uint64    `json:"lost,omitempty"` // so many lines before this one did not fit: the reader was too slow
}

// Attr is what belongs to an event.
type Attr struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// followRoom is how many lines wait for one follower.
const followRoom = 512

// tap copies lines to those who follow; nobody follows, it costs one atomic read.
type tap struct {
	count atomic.Int32

	mu    sync.Mutex // guards what follows
	all   map[*Follower]struct{}
	ended bool
}

// Follower gets the lines that want lets pass. Logging never waits for it.
type Follower struct {
	tap   *tap
	lines chan Line
	want  func(Line) bool
	lost  uint64 // guarded by tap.mu
	ended chan struct{}
}

// Follow begins to copy lines; want is called one line at a time and must not log. Close it.
func (l *Levels) Follow(want func(Line) bool) *Follower {
	f := &Follower{tap: &l.tap, lines: make(chan Line, followRoom), want: want, ended: make(chan struct{})}
	l.tap.mu.Lock()
	defer l.tap.mu.Unlock()
	if l.tap.ended {
		close(f.ended)
		return f
	}
	if l.tap.all == nil {
		l.tap.all = map[*Follower]struct{}{}
	}
	l.tap.all[f] = struct{}{}
	l.tap.count.Add(1)
	return f
}

// Next waits for a line; false: ctx has ended, or the house stops and there is no more.
func (f *Follower) Next(ctx context.Context) (Line, bool) {
	select {
	case line := <-f.lines:
		return line, true
	default:
	}
	select {
	case line := <-f.lines:
		return line, true
	case <-f.ended:
		select {
		case line := <-f.lines:
			return line, true
		default:
			return Line{}, false
		}
	case <-ctx.Done():
		return Line{}, false
	}
}

// Close ends it.
func (f *Follower) Close() {
	f.tap.mu.Lock()
	defer f.tap.mu.Unlock()
	if _, ok := f.tap.all[f]; ok {
		delete(f.tap.all, f)
		f.tap.count.Add(-1)
		close(f.ended)
	}
}

// EndFollowers is for a house that stops: whoever follows gets what waits for him, and the end.
func (l *Levels) EndFollowers() {
	l.tap.mu.Lock()
	defer l.tap.mu.Unlock()
	l.tap.ended = true
	for f := range l.tap.all {
		close(f.ended)
	}
	l.tap.count.Add(-int32(len(l.tap.all)))
	clear(l.tap.all)
}

// offer gives a record to the followers that want it.
func (t *tap) offer(part string, bound []slog.Attr, r slog.Record) {
	line := Line{Time: r.Time, Level: r.Level.String(), Part: part, Event: r.Message, Attrs: make([]Attr, 0, len(bound)+r.NumAttrs())}
	add := func(a slog.Attr) bool {
		if !a.Equal(slog.Attr{}) {
			line.Attrs = append(line.Attrs, Attr{a.Key, a.Value.Resolve().String()})
		}
		return true
	}
	for _, a := range bound {
		add(a)
	}
	r.Attrs(add)
	t.mu.Lock()
	defer t.mu.Unlock()
	for f := range t.all {
		if !f.want(line) {
			continue
		}
		l := line
		l.Lost = f.lost
		select {
		case f.lines <- l:
			f.lost = 0
		default:
			f.lost++
		}
	}
}
