package blob

import (
	"context"
	"slices"
	"sync"
	"time"
)

// NoteKind is a kind of record that is written for repair and never replayed.
type NoteKind byte

const (
	Journal   = NoteKind(recordJournal)
	Directory = NoteKind(recordDirectory)
)

const (
	noteWait  = time.Second // a note waits this long for a batch to ride with
	noteBytes = 256 << 10   // notes of one kind are joined up to this
	notesMost = 16 << 20    // more are not kept while the log cannot be written
)

// notes wait for the next batch.
type notes struct {
	wake chan struct{} // cap 1: the first came in

	mu     sync.Mutex
	list   []*Item
	size   int64
	closed bool
}

// Note hands the log a record that nobody waits for. It is written with the next batch and shares its fdatasync; when none comes
// within a second it is written alone, and is durable with the next batch, roll, SyncNotes or Close. Notes of one kind may be
// joined to one record, so that a note says itself where it ends. False: the log could not be written for long, and
// this note and all that waited are lost.
func (l *Log) Note(kind NoteKind, note []byte) bool {
	n := &l.notes
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return false
	}
	if n.size+int64(len(note)) > notesMost {
		n.list, n.size = nil, 0
		return false
	}
	n.size += int64(len(note))
	if k := len(n.list); k > 0 && n.list[k-1].kind == byte(kind) && len(n.list[k-1].Meta)+len(note) <= noteBytes {
		n.list[k-1].Meta = append(n.list[k-1].Meta, note...)
		return true
	}
	n.list = append(n.list, &Item{kind: byte(kind), Meta: slices.Clone(note)})
	if len(n.list) == 1 {
		select {
		case n.wake <- struct{}{}:
		default:
		}
	}
	return true
}

// take hands the waiting notes out, laid out, with the octets they need.
func (n *notes) take() (list []*Item, size int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	list, n.list, n.size = n.list, nil, 0
	for _, it := range list {
		it.prepare()
		size += it.head.length()
	}
	return list, size
}

// giveBack takes notes back that could not be written; they are still the oldest.
func (n *notes) giveBack(list []*Item) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, it := range list {
		it.prefix = nil
		n.size += int64(len(it.Meta))
	}
	n.list = append(list, n.list...)
}

// close takes no further notes; it reports whether it was closed before. Those that wait are still taken out.
func (n *notes) close() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	was := n.closed
	n.closed = true
	return was
}

func (n *notes) waiting() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.list) > 0
}

// Wrote says, after Stop, whether this run has written to the log or will do so at Close.
func (l *Log) Wrote() bool { return l.tail.active != nil || l.tail.offset > 0 || l.notes.waiting() }

// SyncNotes returns when all notes handed in before are durable.
func (l *Log) SyncNotes(ctx context.Context) error {
	return l.control(ctx, l.settle)
}

// flushNotes writes the waiting notes without a sync.
func (l *Log) flushNotes() error {
	list, size := l.notes.take()
	if len(list) == 0 {
		return nil
	}
	err := l.room.ask(size)
	if err == nil {
		err = l.position(size)
	}
	if err == nil {
		err = l.write(nil, list)
	}
	if err != nil {
		l.notes.giveBack(list)
	}
	return err
}

// settle writes what waits, and makes durable what was written without a sync.
func (l *Log) settle() error {
	if err := l.flushNotes(); err != nil {
		return err
	}
	return l.syncTail()
}

// syncTail makes notes durable that stand behind the last batch. When that fails they do not count, and the next batch begins
// a new segment.
func (l *Log) syncTail() error {
	t := &l.tail
	if t.active == nil || t.synced == lsn(t.active.number, t.offset) {
		return nil
	}
	if err := l.datasync(t.active.file, &l.counts.noteSyncs); err != nil {
		return l.giveUp(err)
	}
	l.reached(t.offset)
	return nil
}
