package admin

import (
	"context"
	"crypto/rand"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/posthouse-mail/posthouse/internal/dialogue"
	"github.com/posthouse-mail/posthouse/internal/logx"
)

// What is kept for those who look without a connection that stays open.
const (
	keptLog     = 1000             // lines of the log
	logPatience = 15 * time.Minute // after the last look, the log is not kept any more
	keptTraces  = 10               // traces of connections
	keptLines   = 5000             // of one trace
)

// watches is what somebody looks at, kept in memory.
type watches struct {
	mu      sync.Mutex // guards what follows
	closed  bool
	lines   []logx.Line // of the log, the newest last
	looked  time.Time   // when somebody looked last
	log     *logx.Follower
	traces  []*keptTrace
	pages   map[*context.CancelFunc]struct{} // that follow something
	ending  bool                             // no page follows any more
	running sync.WaitGroup
}

// Watching is ctx for a page that follows what happens: it ends with the house, which must not wait for those who look.
func (h *House) Watching(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := context.WithCancel(ctx)
	h.watches.mu.Lock()
	defer h.watches.mu.Unlock()
	if h.watches.ending {
		stop()
		return ctx, stop
	}
	if h.watches.pages == nil {
		h.watches.pages = make(map[*context.CancelFunc]struct{})
	}
	key := &stop
	h.watches.pages[key] = struct{}{}
	return ctx, func() {
		stop()
		h.watches.mu.Lock()
		defer h.watches.mu.Unlock()
		delete(h.watches.pages, key)
	}
}

// EndWatching ends what Watching gave, for a house that stops.
func (h *House) EndWatching() {
	h.watches.mu.Lock()
	defer h.watches.mu.Unlock()
	h.watches.ending = true
	for stop := range h.watches.pages {
		(*stop)()
	}
}

// RecentLog is the last lines of the log that fit, the newest last. The first look begins to keep lines; began is when that was.
func (h *House) RecentLog(ctx context.Context, f LogFilter) (lines []logx.Line, began bool, err error) {
	w, err := h.logFilter(ctx, f)
	if err != nil {
		return nil, false, err
	}
	h.watches.mu.Lock()
	defer h.watches.mu.Unlock()
	h.watches.looked = time.Now()
	if h.watches.log == nil && !h.watches.closed {
		began = true
		follower := h.levels.Follow(func(logx.Line) bool { return true })
		h.watches.log = follower
		h.watches.running.Go(func() { h.watches.keepLog(follower) })
	}
	lines = []logx.Line{}
	for _, l := range h.watches.lines {
		if w.wants(l) {
			lines = append(lines, l)
		}
	}
	return lines, began, nil
}

// keepLog reads until nobody has looked for a while, or the house stops.
func (w *watches) keepLog(f *logx.Follower) {
	defer f.Close()
	for {
		ctx, stop := context.WithTimeout(context.Background(), logPatience)
		l, ok := f.Next(ctx)
		quiet := ctx.Err() != nil
		stop()
		if !w.keptLine(l, ok, quiet) {
			return
		}
	}
}

// keptLine keeps one; false: that was all.
func (w *watches) keptLine(l logx.Line, ok, quiet bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || !ok && !quiet || time.Since(w.looked) >= logPatience {
		w.log, w.lines = nil, nil
		return false
	}
	if ok {
		w.lines = append(w.lines, l)
	}
	if len(w.lines) > keptLog {
		w.lines = slices.Clone(w.lines[len(w.lines)-keptLog*3/4:])
	}
	return true
}

// KeptTrace is a protocol trace that is written down in memory.
type KeptTrace struct {
	ID      string          `json:"id"`
	Account string          `json:"account,omitempty"`
	Address string          `json:"address,omitempty"`
	Bodies  bool            `json:"bodies,omitempty"`
	Began   time.Time       `json:"began"`
	Until   time.Time       `json:"until"`
	Running bool            `json:"running,omitempty"`
	Full    bool            `json:"full,omitempty"` // it ended because it had as many lines as are kept
	Lines   []dialogue.Line `json:"lines,omitempty"`
	Count   int             `json:"count"`
}

type keptTrace struct {
	KeptTrace
	stop context.CancelFunc
}

// KeepTrace begins to write down what is said on connections of an account or a client, secrets hidden, and goes on when the caller is gone.
func (h *House) KeepTrace(ctx context.Context, f DialogueFilter) (KeptTrace, error) {
	t, err := h.Dialogues(ctx, f)
	if err != nil {
		return KeptTrace{}, err
	}
	now := time.Now()
	k := &keptTrace{KeptTrace: KeptTrace{
		ID: strings.ToLower(rand.Text()[:12]), Account: f.Account, Address: f.Address, Bodies: f.Bodies, Began: now, Until: now.Add(f.For), Running: true,
	}}
	w := &h.watches
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || len(w.traces) >= keptTraces && w.traces[0].Running {
		t.Close()
		return KeptTrace{}, conflict("so many traces are running already: end one of them first")
	}
	if len(w.traces) >= keptTraces {
		w.traces = w.traces[1:]
	}
	inner, stop := context.WithDeadline(context.Background(), k.Until)
	k.stop = stop
	w.traces = append(w.traces, k)
	w.running.Go(func() {
		defer t.Close()
		defer stop()
		w.keepTrace(inner, t, k)
	})
	return k.KeptTrace, nil
}

func (w *watches) keepTrace(ctx context.Context, t *dialogue.Trace, k *keptTrace) {
	for {
		l, ok := t.Next(ctx)
		w.mu.Lock()
		if ok {
			k.Lines = append(k.Lines, l)
			k.Count = len(k.Lines)
			k.Full = k.Count >= keptLines
		}
		k.Running = ok && !k.Full
		end := !k.Running
		w.mu.Unlock()
		if end {
			return
		}
	}
}

// KeptTraces lists them without their lines, the newest first.
func (h *House) KeptTraces(context.Context) ([]KeptTrace, error) {
	h.watches.mu.Lock()
	defer h.watches.mu.Unlock()
	out := []KeptTrace{}
	for _, k := range slices.Backward(h.watches.traces) {
		one := k.KeptTrace
		one.Lines = nil
		out = append(out, one)
	}
	return out, nil
}

// KeptTrace shows one with its lines.
func (h *House) KeptTrace(_ context.Context, id string) (KeptTrace, error) {
	h.watches.mu.Lock()
	defer h.watches.mu.Unlock()
	k := h.watches.trace(id)
	if k == nil {
		return KeptTrace{}, missing("there is no such trace: the house keeps the last ten, until it is restarted")
	}
	out := k.KeptTrace
	out.Lines = slices.Clone(k.Lines)
	return out, nil
}

// EndTrace ends one; its lines stay.
func (h *House) EndTrace(ctx context.Context, id string) error {
	h.watches.mu.Lock()
	k := h.watches.trace(id)
	if k != nil {
		k.stop()
	}
	h.watches.mu.Unlock()
	if k == nil {
		return missing("there is no such trace")
	}
	return h.noted(ctx, "trace end", strings.TrimSpace(k.Account+" "+k.Address), "")
}

// trace needs mu.
func (w *watches) trace(id string) *keptTrace {
	for _, k := range w.traces {
		if k.ID == id {
			return k
		}
	}
	return nil
}

// close ends all of it.
func (w *watches) close() {
	w.mu.Lock()
	w.closed = true
	if w.log != nil {
		w.log.Close()
	}
	for _, k := range w.traces {
		k.stop()
	}
	w.mu.Unlock()
	w.running.Wait()
}
