package kv

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/store/blob"
)

// Outline is what an owner wants in the directory records: what repair needs to know whose mail it finds when no copy of the
// tables is left.
type Outline struct {
	Whole []Table                                                          // small tables, as they are
	Rows  func(tx *Tx, yield func(t Table, key, value []byte) error) error // and some rows of large ones; may be nil
}

// Outline adds to the directory records.
func (db *DB) Outline(o Outline) {
	db.scribe.mu.Lock()
	defer db.scribe.mu.Unlock()
	db.scribe.outlines = append(db.scribe.outlines, o)
}

const (
	outlineShare = 64               // a directory record takes at most this part of the log
	outlineSmall = 64 << 10         // octets of one that a short run writes too
	firstDay     = 10 * time.Minute // a folder without a copy of the tables gets one this long after the start
	dayRetry     = time.Hour        // after a copy that could not be made
)

// scribe writes in the background what only repair reads: a directory record near the head of each log segment, and once a day the
// copy of the tables. Nobody waits for it.
type scribe struct {
	db       *DB
	wake     chan struct{} // cap 1
	stop     chan struct{}
	wg       sync.WaitGroup
	mu       sync.Mutex // guards outlines
	outlines []Outline

	begun atomic.Bool   // a log segment was begun since the last directory record
	made  atomic.Bool   // this run has copied the tables
	gap   atomic.Bool   // journal records were lost: only a copy of the tables helps
	floor atomic.Uint64 // applied in meta.db.day

	day       sync.Mutex // one copy at a time; guards what follows
	at        time.Time  // of the last copy
	notBefore time.Time  // is it tried again after one that failed

	turn         sync.Mutex // one directory record at a time; guards what follows
	size, logged uint64     // of the last directory record: octets, and what the log had written then
}

func newScribe(db *DB) *scribe {
	return &scribe{db: db, wake: make(chan struct{}, 1), stop: make(chan struct{})}
}

// began is told by the logger.
func (s *scribe) began(uint32) {
	s.begun.Store(true)
	s.poke()
}

// lost is told by the committer and the logger that the journal has a gap.
func (s *scribe) lost() {
	s.gap.Store(true)
	s.poke()
}

func (s *scribe) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *scribe) start() { s.wg.Go(s.run) }

// end lets run and the copy that it makes come to their end; close waits for them.
func (s *scribe) end() { close(s.stop) }

func (s *scribe) close() { s.wg.Wait() }

func (s *scribe) run() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-s.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	timer := time.NewTimer(s.untilDay())
	defer timer.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-s.wake:
		case <-timer.C:
		}
		if s.begun.Swap(false) {
			if err := s.outline(ctx, math.MaxInt); err != nil && ctx.Err() == nil {
				s.db.o.Logger.Warn(logx.StoreDirectory, "error", err)
			}
		}
		if s.untilDay() <= 0 {
			if err := s.db.CopyDay(ctx); err != nil && ctx.Err() == nil {
				s.db.o.Logger.Warn(logx.StoreDay, "error", err)
			}
		}
		timer.Reset(max(s.untilDay(), time.Second))
	}
}

// outline writes a directory record, unless the last one is too near for its size.
func (s *scribe) outline(ctx context.Context, most int) error {
	s.turn.Lock()
	defer s.turn.Unlock()
	logged := s.db.log.Counts().Bytes
	if s.size > 0 && logged-s.logged < outlineShare*s.size {
		s.begun.Store(true) // looked at again with the next segment
		return nil
	}
	var seq uint64
	var octets []byte
	err := s.db.View(ctx, func(tx *Tx) (err error) {
		seq, octets, err = s.outlineOf(tx)
		return err
	})
	if err != nil {
		return err
	}
	packer, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	packed := packer.EncodeAll(octets, nil)
	packer.Close()
	if len(packed) > most {
		return nil
	}
	frames(frameDirectory, seq, packed, func(f []byte) bool { return s.db.log.Note(blob.Directory, f) })
	s.size, s.logged = uint64(len(packed)), logged
	return nil
}

// last writes the directory record of a run that was too short for one: without the store key, which stands in it, no segment can be read.
func (s *scribe) last() {
	s.turn.Lock()
	written := s.size > 0
	s.turn.Unlock()
	if written {
		return
	}
	if err := s.outline(context.Background(), outlineSmall); err != nil {
		s.db.o.Logger.Warn(logx.StoreDirectory, "error", err)
	}
}

// outlineOf is applied uvarint | number of whole tables u8 and their letters | rows as in a journaled commit.
func (s *scribe) outlineOf(tx *Tx) (seq uint64, octets []byte, err error) {
	s.mu.Lock()
	outlines := slices.Clone(s.outlines)
	s.mu.Unlock()
	whole := []Table{tableSettings}
	for _, o := range outlines {
		whole = append(whole, o.Whole...)
	}
	j := newJournal()
	for _, t := range whole {
		for k, v := range tx.Scan(t, nil, nil) {
			if name := string(k); t != tableSettings || name != keyApplied && name != keyJournal {
				j.change(t, opPut, k, v)
			}
		}
	}
	for _, o := range outlines {
		if o.Rows == nil {
			continue
		}
		err := o.Rows(tx, func(t Table, k, v []byte) error {
			j.change(t, opPut, k, v)
			return nil
		})
		if err != nil {
			return 0, nil, fmt.Errorf("read the directory: %w", err)
		}
	}
	applied := number(tx.Get(tableSettings, []byte(keyApplied)))
	octets = binary.AppendUvarint(nil, applied)
	octets = append(octets, byte(len(whole)))
	for _, t := range whole {
		octets = append(octets, t[0])
	}
	return number(tx.Get(tableSettings, []byte(keyJournal))), append(octets, j.buf...), nil
}
