package kv

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/posthouse-mail/posthouse/internal/vfs"
	"github.com/posthouse-mail/posthouse/store/blob"
)

// The journal says what the Updates of each commit changed, so that repair can do it again on an older copy of the tables. It
// is made where the tables are written, so that no owner can forget it; what Apply does is not in it, because the records
// themselves are in the log. It is written behind the commit and nobody waits for it (ADR 0012).
//
// A note of the log is frames, one after another: kind u8 | length uvarint | octets. A commit's octets are cut into
// chunks: seq uvarint | index uvarint | last u8 | chunk; joined they are the applied LSN, then its changes:
//
//	table u8 | op u8 | octets shared with the key before u8 | uvarint and rest of the key | uvarint and value (not for deletes)
const (
	frameCommit    byte = 'c'
	frameDirectory byte = 'd' // chunks of a directory record, made after the commit seq
	frameClose     byte = 'e' // seq: the last run ended well, and there is no commit after it
)

const (
	opPut    byte = 1
	opDelete byte = 2
	opDelta  byte = 3 // the owner of the table wrote what makes the new value of the old
)

const journalChunk = 256 << 10

// Delta writes the change of a value shorter than the value. Owners of tables with long values have one.
type Delta interface {
	// Append adds what makes next out of prev to dst; either may be nil: the key is not there. False: the value is written whole.
	Append(dst, key, prev, next []byte) ([]byte, bool)
	// Apply does it again, at repair. ErrMismatch: what is there is not what was changed; then as much is done as is safe.
	Apply(tx *Tx, key, delta []byte) error
}

// ErrMismatch: a change of the journal does not fit to what the tables hold.
var ErrMismatch = errors.New("kv: a journaled change does not fit")

// Shorten names the Delta of a table; before Start.
func (db *DB) Shorten(t Table, d Delta) { db.journal.deltas[t[0]&127] = d }

// journal gathers what the closures of one commit change. The committer's.
type journal struct {
	deltas   [128]Delta
	seq      uint64 // of the last commit that changed something; as in table s
	buf      []byte
	key      []byte            // of the last change
	counters map[string][]byte // of table s: only the last value counts
	scratch  []byte
	marked   bool // the folder says that a run changes something
}

func newJournal() *journal { return &journal{counters: map[string][]byte{}} }

func (j *journal) reset() {
	j.buf, j.key = j.buf[:0], j.key[:0]
	clear(j.counters)
	if cap(j.buf) > 1<<20 {
		j.buf = nil
	}
}

func (j *journal) empty() bool { return len(j.buf) == 0 && len(j.counters) == 0 }

// note is called before the change is made. value nil: the key is deleted.
func (j *journal) note(p pages, t Table, key, value []byte) {
	switch t {
	case tableSegments:
		return // repair makes it anew
	case tableSettings:
		if value == nil {
			delete(j.counters, string(key))
			j.change(t, opDelete, key, nil)
			return
		}
		j.counters[string(key)] = append(j.counters[string(key)][:0], value...)
		return
	}
	if len(key) == 0 || len(key) > maxKey {
		return // it will be refused
	}
	if d := j.deltas[t[0]&127]; d != nil {
		out, ok := d.Append(j.scratch[:0], key, p.get(t, key), value)
		if j.scratch = out[:0]; ok {
			j.change(t, opDelta, key, out)
			return
		}
	}
	if value == nil {
		j.change(t, opDelete, key, nil)
		return
	}
	j.change(t, opPut, key, value)
}

func (j *journal) change(t Table, op byte, key, value []byte) {
	shared := 0
	for shared < min(len(key), len(j.key), 255) && key[shared] == j.key[shared] {
		shared++
	}
	b := append(j.buf, t[0], op, byte(shared))
	b = appendBytes(b, key[shared:])
	if op != opDelete {
		b = appendBytes(b, value)
	}
	j.buf, j.key = b, append(j.key[:0], key...)
}

func appendBytes(b, v []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

// close ends the changes of a commit.
func (j *journal) close() {
	for name, v := range j.counters {
		j.change(tableSettings, opPut, []byte(name), v)
	}
	clear(j.counters)
}

// frames yields the commit in pieces for the log; the slice is reused.
func frames(kind byte, seq uint64, octets []byte, yield func([]byte) bool) {
	var b []byte
	for i := uint64(0); i == 0 || len(octets) > 0; i++ {
		n := min(len(octets), journalChunk)
		var head []byte
		head = binary.AppendUvarint(head, seq)
		head = binary.AppendUvarint(head, i)
		last := byte(0)
		if n == len(octets) {
			last = 1
		}
		head = append(head, last)
		b = append(b[:0], kind)
		b = binary.AppendUvarint(b, uint64(len(head)+n))
		b = append(append(b, head...), octets[:n]...)
		if octets = octets[n:]; !yield(b) {
			return
		}
	}
}

// frame is one frame as it is read.
type frame struct {
	kind   byte
	seq    uint64
	index  uint64
	last   bool
	octets []byte
}

// readFrames hands the frames of a note to fn; an error is a note that this program did not write.
func readFrames(note []byte, fn func(frame) error) error {
	for len(note) > 0 {
		in := input{b: note[1:]}
		f := frame{kind: note[0]}
		body := input{b: in.bytes()}
		if in.bad {
			return fmt.Errorf("a note is cut short: %w", ErrDamaged)
		}
		note = in.b
		f.seq = body.uint()
		if f.kind != frameClose {
			f.index = body.uint()
			f.last = body.octet() != 0
		}
		f.octets = body.b
		if body.bad {
			return fmt.Errorf("a note is cut short: %w", ErrDamaged)
		}
		if err := fn(f); err != nil {
			return err
		}
	}
	return nil
}

// change is one change as it is read.
type change struct {
	table Table
	op    byte
	key   []byte
	value []byte
}

// readCommit reads the joined octets of a commit: how far the log was applied, and the changes. The key of a change ends with the callback.
func readCommit(octets []byte, fn func(change) error) (applied blob.LSN, err error) {
	in := input{b: octets}
	applied = blob.LSN(in.uint())
	var key []byte
	for len(in.b) > 0 {
		c := change{table: Table(rune(in.octet() & 127)), op: in.octet()}
		shared := int(in.octet())
		rest := in.bytes()
		if c.op != opDelete {
			c.value = in.bytes()
		}
		if in.bad || c.table[0] == 0 || c.op < opPut || c.op > opDelta || shared > len(key) || shared+len(rest) == 0 || shared+len(rest) > maxKey {
			return applied, fmt.Errorf("a journaled change cannot be read: %w", ErrDamaged)
		}
		key = append(key[:shared], rest...)
		c.key = key
		if err := fn(c); err != nil {
			return applied, err
		}
	}
	if in.bad {
		return applied, fmt.Errorf("a journaled commit cannot be read: %w", ErrDamaged)
	}
	return applied, nil
}

// input reads numbers and octets; after the first misfit it is bad and gives zeros.
type input struct {
	b   []byte
	bad bool
}

func (in *input) octet() byte {
	if len(in.b) == 0 {
		in.bad = true
		return 0
	}
	c := in.b[0]
	in.b = in.b[1:]
	return c
}

func (in *input) uint() uint64 {
	v, n := binary.Uvarint(in.b)
	if n <= 0 {
		in.bad, in.b = true, nil
		return 0
	}
	in.b = in.b[n:]
	return v
}

func (in *input) bytes() []byte {
	n := in.uint()
	if n > uint64(len(in.b)) {
		in.bad, in.b = true, nil
		return nil
	}
	v := in.b[:n:n]
	in.b = in.b[n:]
	return v
}

// Words writes changes of values of fixed size that are numbers of 4 octets or more: the words that changed.
type Words struct{}

const maxWords = 64

func (Words) Append(dst, _, prev, next []byte) ([]byte, bool) {
	n := len(next)
	if n == 0 || len(prev) != n || n > 4*maxWords {
		return dst, false
	}
	var mask uint64
	for i := 0; i < n; i += 4 {
		if end := min(i+4, n); string(prev[i:end]) != string(next[i:end]) {
			mask |= 1 << (i / 4)
		}
	}
	dst = binary.AppendUvarint(append(dst, byte(n)), mask)
	for i := 0; i < n; i += 4 {
		if mask>>(i/4)&1 != 0 {
			dst = append(dst, next[i:min(i+4, n)]...)
		}
	}
	return dst, true
}

// Change makes the new value of the one before; for the Apply of an owner, who knows the table.
func (Words) Change(prev, delta []byte) ([]byte, error) {
	in := input{b: delta}
	n := int(in.octet())
	mask := in.uint()
	if in.bad || n == 0 || len(prev) != n {
		return nil, fmt.Errorf("a value of %d octets where %d are changed: %w", len(prev), n, ErrMismatch)
	}
	next := append([]byte(nil), prev...)
	for i := 0; i < n; i += 4 {
		if mask>>(i/4)&1 == 0 {
			continue
		}
		m := copy(next[i:min(i+4, n)], in.b)
		if m < min(4, n-i) {
			return nil, fmt.Errorf("a change is cut short: %w", ErrDamaged)
		}
		in.b = in.b[m:]
	}
	return next, nil
}

// number reads a setting; 0 when it is not there.
func number(v []byte) uint64 {
	if len(v) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(v)
}

// enter gives the commit that is being made its place in the journal, if it belongs there. The number stands in the tables, so that a
// copy of them says where the journal goes on.
func (db *DB) enter(p pages) error {
	j := db.journal
	if j.empty() {
		return nil
	}
	j.close()
	if err := p.put(tableSettings, []byte(keyJournal), binary.BigEndian.AppendUint64(nil, j.seq+1)); err != nil {
		return fmt.Errorf("%w: %w", errFatal, err)
	}
	return nil
}

// write hands the commit that was just made to the log; applied is how far the log is in it.
func (db *DB) write(applied blob.LSN) {
	j := db.journal
	if j.empty() || db.repairing {
		return
	}
	j.seq++
	octets := append(binary.AppendUvarint(nil, uint64(applied)), j.buf...)
	frames(frameCommit, j.seq, octets, func(f []byte) bool {
		if !db.log.Note(blob.Journal, f) {
			db.scribe.lost() // the next copy of the tables closes the gap
		}
		return true
	})
	j.reset()
}

// SyncJournal returns when the changes of all commits so far are durable in the log too.
func (db *DB) SyncJournal(ctx context.Context) error {
	if !db.started.Load() {
		return errNotStarted
	}
	return db.log.SyncNotes(ctx)
}

// runningName marks a folder whose last run has changed something and did not end well, so that the journal on the disk may lack its
// last commits.
func runningName(dir string) string { return filepath.Join(dir, "meta.running") }

// mark is best effort, once a run, before its first change.
func (j *journal) mark(db *DB) {
	if j.marked || db.o.Memory {
		return
	}
	j.marked = true
	f, err := os.OpenFile(runningName(db.o.Dir), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return
	}
	f.Close()
	_ = vfs.OS{}.SyncDir(db.o.Dir)
}

func (j *journal) unmark(db *DB) {
	if j.marked || db.scribe.made.Load() { // a copy of the tables ends the doubts of the run before, too
		os.Remove(runningName(db.o.Dir)) // if it stays, repair is more careful than it must be
	}
}

// signOff is the last note of a run that ended well and wrote something: with it repair knows that no commit is missing.
func (db *DB) signOff(well bool) {
	if well && (db.log.Wrote() || db.scribe.made.Load()) && !db.repairing {
		db.scribe.last()
		head := binary.AppendUvarint(nil, db.journal.seq)
		db.log.Note(blob.Journal, appendBytes([]byte{frameClose}, head))
	}
}
