package kv

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/bbolt"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/metrics"
	"github.com/posthouse-mail/posthouse/internal/vfs"
)

// SideOptions of a Side. The zero value of a duration or count means its default.
type SideOptions struct {
	Path    string // of side.db; its folder exists
	Logger  *slog.Logger
	Metrics *metrics.Set
	Pace    time.Duration // least time between two commits; 1 s
	Pending int           // closures that may wait for a commit; 20,000

	wrap func(engine) engine // tests put failures below it
}

// Side is side.db: tables of what can be made again or may be lost by a second (stories, reputation, indexes). It has its own file
// and its own writer, so that nothing in it ever holds mail up; deleting the file loses no mail. A file that is broken is set aside at start.
type Side struct {
	o       SideOptions
	wake    chan struct{} // cap 1
	ended   chan struct{}
	dropped prometheus.Counter

	mu      sync.Mutex
	engine  engine // replaced when the file could not be written
	waiting []*sideChange
	closing bool
}

// sideChange is one closure; done is nil when nobody waits for it.
type sideChange struct {
	fn   func(tx *Tx) error
	done chan error
	err  error
	over bool
}

// OpenSide opens or makes the file and starts its writer.
func OpenSide(o SideOptions) (*Side, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Pace == 0 {
		o.Pace = time.Second
	}
	if o.Pending == 0 {
		o.Pending = 20_000
	}
	s := &Side{o: o, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	s.dropped = o.Metrics.Counter("side_dropped_total", "Changes of side.db that were dropped because its disk took no more. No mail is concerned.")
	if err := s.open(); err != nil {
		return nil, err
	}
	go s.run()
	return s, nil
}

// open opens the file; what cannot be read is set aside and begun anew.
func (s *Side) open() error {
	b, err := openSideFile(s.o.Path)
	if errors.Is(err, ErrDamaged) {
		aside := s.o.Path + ".damaged"
		s.o.Logger.Error(logx.SideDamaged, "file", s.o.Path, "kept", aside, "error", err)
		if err := os.Rename(s.o.Path, aside); err != nil {
			return fmt.Errorf("set the broken side tables aside: %w", err)
		}
		b, err = openSideFile(s.o.Path)
	}
	if err != nil {
		return fmt.Errorf("open the side tables: %w", err)
	}
	s.engine = b
	if s.o.wrap != nil {
		s.engine = s.o.wrap(b)
	}
	return vfs.OS{}.SyncDir(filepath.Dir(s.o.Path))
}

// openSideFile opens a file that was closed well as it is, and another one after every page was looked at: its last run may have
// ended with the power.
func openSideFile(path string) (*bolt, error) {
	if st, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) || err == nil && st.Size() == 0 {
		if err := makeBolt(path); err != nil {
			return nil, err
		}
	}
	clean, err := endedWell(path)
	if err != nil {
		return nil, err
	}
	if !clean {
		if err := WalkTables(path); err != nil {
			return nil, err
		}
	}
	db, err := openFile(path, &bbolt.Options{NoFreelistSync: true, FreelistType: bbolt.FreelistMapType, PageSize: pageSize, Timeout: lockWait})
	if err != nil {
		return nil, err
	}
	return &bolt{db: db, pageSize: int64(db.Info().PageSize)}, nil
}

func endedWell(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	var p [8192]byte
	if n, _ := f.ReadAt(p[:], 0); n < len(p) {
		return false, nil
	}
	return closedClean(p[:]), nil
}

// View runs fn over the tables as the last commit left them; what Later was given in the last second may not be there. Keep it short.
func (s *Side) View(ctx context.Context, fn func(tx *Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	e := s.engine
	s.mu.Unlock()
	return guard(func() error { return e.view(func(p pages) error { return fn(&Tx{pages: p}) }) })
}

// Later brings a change into the tables within about a second, after all that were given before it. It never waits: when the disk
// takes nothing more, changes are dropped and counted. fn may run more than once and has no side effects but on tx.
func (s *Side) Later(fn func(tx *Tx) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing || len(s.waiting) >= s.o.Pending {
		s.dropped.Inc()
		return
	}
	s.waiting = append(s.waiting, &sideChange{fn: fn})
	s.poke()
}

// Update is Later for a caller who wants to know: it returns after the synced commit, with fn's error if it has one.
func (s *Side) Update(ctx context.Context, fn func(tx *Tx) error) error {
	c := &sideChange{fn: fn, done: make(chan error, 1)}
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return ErrClosed
	}
	s.waiting = append(s.waiting, c)
	s.poke()
	s.mu.Unlock()
	select {
	case err := <-c.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Flush returns when everything given before is in the tables.
func (s *Side) Flush(ctx context.Context) error {
	return s.Update(ctx, func(*Tx) error { return nil })
}

func (s *Side) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run commits what waits: at once when somebody waits for it, else one commit a Pace.
func (s *Side) run() {
	defer close(s.ended)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var last time.Time
	for {
		select {
		case <-s.wake:
		case <-timer.C:
		}
		batch, urgent, closing := s.look()
		if len(batch) == 0 && closing {
			return
		}
		if len(batch) == 0 {
			continue
		}
		if wait := s.o.Pace - time.Since(last); wait > 0 && !urgent && !closing {
			timer.Reset(wait)
			continue
		}
		last = time.Now()
		err := s.commit(batch)
		if errors.Is(err, ErrFull) && !closing {
			timer.Reset(s.o.Pace) // what nobody waits for stays; room may come
			s.answer(batch, err, false)
			continue
		}
		if err != nil {
			s.o.Logger.Error(logx.SideFailed, "file", s.o.Path, "changes", len(batch), "error", err)
			s.dropped.Add(float64(len(batch)))
			s.reopen()
		}
		s.answer(batch, err, true)
	}
}

// look reads what waits, and whether somebody waits for it.
func (s *Side) look() (batch []*sideChange, urgent, closing bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.waiting {
		urgent = urgent || c.done != nil
	}
	return s.waiting[:len(s.waiting):len(s.waiting)], urgent, s.closing
}

// answer tells those who wait, and takes the batch, or only their changes, out.
func (s *Side) answer(batch []*sideChange, err error, all bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rest := make([]*sideChange, 0, len(s.waiting)-len(batch))
	for _, c := range batch {
		switch {
		case c.done != nil && c.over:
			c.done <- c.err
		case c.done != nil:
			c.done <- err
		case !all && !c.over:
			rest = append(rest, c)
		}
	}
	s.waiting = append(rest, s.waiting[len(batch):]...)
	if len(s.waiting) > 0 && all || s.closing {
		s.poke()
	}
}

// commit runs the batch in one transaction; a change that fails after it wrote is left out of the next attempt.
func (s *Side) commit(batch []*sideChange) error {
	for {
		err := s.attempt(batch)
		if !errors.Is(err, errAgain) {
			if errors.Is(err, errNothing) {
				return nil
			}
			return err
		}
	}
}

func (s *Side) attempt(batch []*sideChange) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: panic in the side tables: %v\n%s", errFatal, r, debug.Stack())
		}
	}()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	return s.engine.update(func(p pages) error {
		wrote := false
		for _, c := range batch {
			if c.over {
				continue
			}
			tx := &Tx{pages: p, writable: true}
			c.err = s.operate(tx, c.fn)
			if c.err != nil {
				c.over = true
				if tx.wrote {
					return errAgain
				}
				continue
			}
			wrote = wrote || tx.wrote
		}
		if !wrote {
			return errNothing
		}
		return nil
	})
}

// operate runs one closure; a panic in it costs its caller an error.
func (s *Side) operate(tx *Tx, fn func(tx *Tx) error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			s.o.Logger.Error(logx.StorePanic, "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
			if err = fault(r); err == nil {
				err = fmt.Errorf("kv: panic in an operation: %v", r)
			}
		}
	}()
	if err := fn(tx); err != nil {
		return err
	}
	return tx.err
}

// reopen trusts nothing of a file after a failed write or sync: it is read again from the disk, page by page.
func (s *Side) reopen() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b, ok := s.engine.(*bolt); ok {
		b.abort()
	} else {
		s.engine.close()
	}
	if err := s.open(); err != nil {
		s.o.Logger.Error(logx.SideFailed, "file", s.o.Path, "error", err)
		s.engine = newMemory() // the house goes on; what is told here lives until it stops
	}
}

// Close commits what waits and closes the file.
func (s *Side) Close() error {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return ErrClosed
	}
	s.closing = true
	s.poke()
	s.mu.Unlock()
	<-s.ended
	return s.engine.close()
}
