package blob

import (
	"container/list"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/posthouse-mail/posthouse/internal/vfs"
)

const (
	idleFiles  = 64 // descriptors kept open for the next reader
	spareFloor = 2  // spares left when more are made
	spareFill  = 6
)

// segment is an open segment file. Readers hold it by count; it is closed when nobody does and others are read more.
type segment struct {
	number uint32
	seed   uint32
	file   vfs.File

	refs    int           // guarded by segments.mu
	idle    *list.Element // in segments.idle while refs is 0
	dropped bool
}

// segments opens, shares and removes the files of the folder.
type segments struct {
	fs      vfs.FS
	dir     string
	secrets secrets

	mu   sync.Mutex
	open map[uint32]*segment
	idle list.List // of *segment, the longest idle in front
}

func newSegments(fs vfs.FS, dir string, s secrets) *segments {
	return &segments{fs: fs, dir: dir, secrets: s, open: map[uint32]*segment{}}
}

func (s *segments) path(number uint32) string { return filepath.Join(s.dir, segmentName(number)) }

// hold opens the segment, or finds it open; release gives it back.
func (s *segments) hold(number uint32) (*segment, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.open[number]; g != nil {
		s.take(g)
		return g, nil
	}
	f, err := s.fs.OpenFile(s.path(number), os.O_RDONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("open segment: %w", err)
	}
	return s.put(number, f), nil
}

// add makes a file that was just made known; the caller holds it.
func (s *segments) add(number uint32, f vfs.File) *segment {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.put(number, f)
}

func (s *segments) put(number uint32, f vfs.File) *segment {
	g := &segment{number: number, seed: s.secrets.segment(number), file: f, refs: 1}
	s.open[number] = g
	return g
}

func (s *segments) take(g *segment) {
	g.refs++
	if g.idle != nil {
		s.idle.Remove(g.idle)
		g.idle = nil
	}
}

func (s *segments) release(g *segment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g.refs--
	if g.refs > 0 {
		return
	}
	if g.dropped {
		g.file.Close()
		return
	}
	g.idle = s.idle.PushBack(g)
	if s.idle.Len() > idleFiles {
		s.forget(s.idle.Front().Value.(*segment))
	}
}

// forget closes an idle segment.
func (s *segments) forget(g *segment) {
	s.idle.Remove(g.idle)
	delete(s.open, g.number)
	g.file.Close()
}

// drop removes the file; who holds it reads on.
func (s *segments) drop(number uint32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.open[number]; g != nil {
		g.dropped = true
		if g.idle != nil {
			s.forget(g)
		} else {
			delete(s.open, number)
		}
	}
	return s.fs.Remove(s.path(number))
}

// close closes what nobody holds; readers that still hold one close it with their release.
func (s *segments) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.open {
		g.dropped = true
		if g.idle != nil {
			g.file.Close()
		}
	}
	clear(s.open)
	s.idle.Init()
}

// list names the segments of the folder in order.
func (s *segments) list() ([]uint32, error) {
	names, err := s.fs.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	var out []uint32
	for _, name := range names {
		if n, ok := parseSegmentName(name); ok {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out, nil
}

// spares are empty segment files with durable directory entries, made ahead, so that neither a roll nor a large
// body waits for the directory. Numbers only grow, over restarts too: before a segment with the highest number goes, a
// spare is made that stays in the folder and remembers it, whatever is removed below it. Backups know a segment by its number, and older tables may name it.
type spares struct {
	segments *segments
	wake     chan struct{} // cap 1: fewer than spareFloor are left

	mu      sync.Mutex
	next    uint32
	durable uint32 // the highest number whose file the folder keeps through a crash
	floor   uint32 // spares below it are not used any more
	ready   []spare
	stale   []spare // below floor; removed when a number above it is durable
	live    bool    // the log was started
}

type spare struct {
	number uint32
	file   vfs.File
}

// take returns a spare whose number is above above: the segments of the log are in order.
func (s *spares) take(above uint32) (*segment, error) {
	s.mu.Lock()
	i := slices.IndexFunc(s.ready, func(p spare) bool { return p.number > above })
	var p spare
	if i >= 0 {
		p = s.ready[i]
		s.ready = slices.Delete(s.ready, i, i+1)
	}
	if len(s.ready) < spareFloor {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
	s.mu.Unlock()
	if i < 0 {
		made, err := s.create(1)
		if err != nil {
			return nil, err
		}
		p = made[0]
	}
	return s.segments.add(p.number, p.file), nil
}

// create makes n files and their entries durable.
func (s *spares) create(n int) ([]spare, error) {
	var made []spare
	var err error
	for range n {
		s.mu.Lock()
		number := s.next
		if number < math.MaxUint32 {
			s.next++
		}
		s.mu.Unlock()
		if number == math.MaxUint32 {
			err = fmt.Errorf("all %d segment numbers are used up; move the mail into a new data folder", number-1)
			break
		}
		var f vfs.File
		f, err = s.segments.fs.OpenFile(s.segments.path(number), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			err = fmt.Errorf("make segment: %w", err)
			break
		}
		made = append(made, spare{number, f})
	}
	if err == nil {
		if err = s.segments.fs.SyncDir(s.segments.dir); err == nil {
			s.kept(made)
			return made, nil
		}
		err = fmt.Errorf("sync the segment folder: %w", err)
	}
	s.remove(made)
	return nil, err
}

// kept notes that the files of made outlive a crash, at least one.
func (s *spares) kept(made []spare) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.durable = max(s.durable, made[len(made)-1].number)
	if s.durable >= s.floor {
		s.remove(s.stale)
		s.stale = nil
	}
}

// fill makes spares until done is closed.
func (s *spares) fill(done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		case <-s.wake:
		}
		s.mu.Lock()
		n := spareFill - len(s.ready)
		s.mu.Unlock()
		if n <= 0 {
			continue
		}
		made, err := s.create(n)
		if err != nil {
			continue // who needs one makes it, and tells its client why that fails
		}
		s.mu.Lock()
		if made[0].number < s.floor {
			s.stale, made = append(s.stale, made...), nil
		}
		s.ready = append(s.ready, made...)
		s.mu.Unlock()
	}
}

func (s *spares) remove(list []spare) {
	for _, p := range list {
		p.file.Close()
		s.segments.fs.Remove(s.segments.path(p.number)) // empty; the next start removes it otherwise
	}
}

// outlive makes a spare if number is the highest one that a crash leaves: one that is being made beside may not be there after it.
func (s *spares) outlive(number uint32) {
	s.mu.Lock()
	highest := s.live && number >= s.durable
	s.mu.Unlock()
	if !highest {
		return
	}
	made, _ := s.create(1) // on a disk that takes nothing the number may be forgotten
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready = append(s.ready, made...)
}

// close leaves the spare with the highest number.
func (s *spares) close() {
	s.mu.Lock()
	list, live, last := append(s.stale, s.ready...), s.live, s.next-1
	s.ready, s.stale, s.live = nil, nil, false
	s.mu.Unlock()
	if !live {
		return
	}
	if !slices.ContainsFunc(list, func(p spare) bool { return p.number == last }) {
		made, _ := s.create(1) // on a disk that takes nothing the number may be forgotten
		list = append(list, made...)
	}
	for i, p := range list {
		if p.number >= last {
			p.file.Close()
			list = slices.Delete(list, i, i+1)
			break
		}
	}
	s.remove(list)
}
