package kv

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/klauspost/compress/zstd"

	"github.com/posthouse-mail/posthouse/store/blob"
)

const (
	maxCommit    = 256 << 20 // octets of one journaled commit; more is none of ours
	maxDirectory = 1 << 30   // octets of a directory record, unpacked
)

// assembly joins the chunks of commits or directory records. Chunks of one stand in order; what is cut off is given up.
type assembly struct {
	seq    uint64
	next   uint64 // index of the chunk that is missing
	octets []byte
}

// add takes a chunk; whole: with it the octets are complete. They are good until the next add.
func (a *assembly) add(f frame) (octets []byte, whole bool) {
	if f.index == 0 {
		a.seq, a.next, a.octets = f.seq, 0, a.octets[:0]
	}
	if f.seq != a.seq || f.index != a.next || len(a.octets)+len(f.octets) > maxCommit {
		a.next = 1 << 63 // nothing fits any more
		return nil, false
	}
	a.octets = append(a.octets, f.octets...)
	a.next++
	return a.octets, f.last
}

// directory is a directory record: octets are applied uvarint, and the rows as in a commit.
type directory struct {
	uuid    [16]byte
	seq     uint64
	applied blob.LSN
	whole   []Table
	octets  []byte // as readCommit wants them
}

// unpackDirectory reads a directory record.
func unpackDirectory(seq uint64, packed []byte) (*directory, error) {
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxDirectory))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	octets, err := z.DecodeAll(packed, nil)
	if err != nil {
		return nil, fmt.Errorf("a directory record cannot be unpacked: %w: %w", ErrDamaged, err)
	}
	in := input{b: octets}
	d := &directory{seq: seq, applied: blob.LSN(in.uint())}
	for range in.octet() {
		d.whole = append(d.whole, Table(rune(in.octet()&127)))
	}
	if in.bad {
		return nil, fmt.Errorf("a directory record is cut short: %w", ErrDamaged)
	}
	d.octets = append(binary.AppendUvarint(nil, uint64(d.applied)), in.b...)
	_, err = readCommit(d.octets, func(change) error { return nil })
	return d, err
}

// findDirectory finds the newest directory record without the store key; nil: there is none. Its settings must be those of its segment.
func findDirectory(ctx context.Context, o Options) (*directory, error) {
	dir := filepath.Join(o.Dir, "seg")
	numbers, err := blob.List(o.FS, dir)
	if err != nil {
		return nil, fmt.Errorf("read the segment folder: %w", err)
	}
	for _, n := range slices.Backward(numbers) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		var found *directory
		var a assembly
		_, err := blob.FindNotes(o.FS, dir, n, func(id blob.Ident, kind blob.NoteKind, note []byte) error {
			if kind != blob.Directory {
				return nil
			}
			return readFrames(note, func(f frame) error {
				packed, whole := a.add(f)
				if !whole {
					return nil
				}
				d, err := unpackDirectory(f.seq, packed)
				if err == nil && d.provedBy(id) {
					d.uuid, found = id.UUID, d
				}
				return nil
			})
		})
		if found != nil {
			return found, nil
		}
		if err != nil && !errors.Is(err, ErrDamaged) {
			continue // a segment that cannot be read at all: an older one may have what we need
		}
	}
	return nil, nil
}

// provedBy compares the settings in the record with the segment that it stands in.
func (d *directory) provedBy(id blob.Ident) bool {
	var uuid [16]byte
	var key [32]byte
	_, err := readCommit(d.octets, func(c change) error {
		if c.table == tableSettings && string(c.key) == keyUUID {
			copy(uuid[:], c.value)
		}
		if c.table == tableSettings && string(c.key) == keyLog {
			copy(key[:], c.value)
		}
		return nil
	})
	return err == nil && uuid == id.UUID && id.Of(key)
}

// replayer does again what the log says, records and journaled commits in the order in which they were committed.
//
// A commit stands in the log behind the last record that was applied before it, and says which that was. So records wait until a commit
// that was made after them, or the end, and each commit finds the tables as it found them then: uids, ModSeqs and counts come out
// as they were. Behind a hole they may not; then what a commit says wins, and what does not fit is told.
type replayer struct {
	r       *Repair
	db      *DB
	pending []*logged
	held    []func() error // what came before the first directory record, while there is no base
	first   uint64         // the first commit that is held
	blind   bool           // there is no base yet
	gap     bool           // commits are missing since the last directory record
	ahead   *directory     // made after commits that are not read yet

	commits, directories assembly
	ended                bool // the last thing read was the end of a run
	kept                 map[blob.LSN]Kept
}

// Run brings everything that the log has into the tables.
func (r *Repair) Run(ctx context.Context) error {
	db := r.DB
	db.started.Store(true)
	p := &replayer{r: r, db: db, kept: map[blob.LSN]Kept{}, blind: r.Report.Base == BaseDirectory}
	if err := db.engine.update(db.adopt); err != nil {
		return err
	}
	_, err := db.log.Salvage(ctx, db.committer.lag.applied, p.found, func(h blob.Hole) error {
		r.Report.Holes = append(r.Report.Holes, h)
		return nil
	})
	if err == nil {
		err = p.release()
	}
	if err == nil {
		err = p.apply(1<<64 - 1)
	}
	if err == nil && p.ahead != nil {
		err = p.lost(p.ahead.seq)
	}
	if err != nil {
		return fmt.Errorf("do again what the log says: %w", err)
	}
	p.conclude()
	return db.committer.now(func(tx *Tx) error {
		return tx.pages.put(tableSettings, []byte(keyJournal), binary.BigEndian.AppendUint64(nil, db.journal.seq))
	})
}

func (p *replayer) conclude() {
	rep := &p.r.Report
	for _, k := range p.kept {
		rep.Kept = append(rep.Kept, k)
	}
	slices.SortFunc(rep.Kept, func(a, b Kept) int {
		if a.LSN < b.LSN {
			return -1
		}
		return 1
	})
	_, running := os.Stat(runningName(p.db.o.Dir))
	rep.Ended = p.ended && errors.Is(running, fs.ErrNotExist)
	sound := len(rep.Holes)+len(rep.Broken)+len(rep.Gaps)+len(rep.Mismatches) == 0
	rep.Complete = sound && (rep.Base == BaseTables || rep.Ended)
}

func (p *replayer) found(f blob.Found) error {
	p.ended = false
	switch f.Note {
	case blob.Journal, blob.Directory:
		err := readFrames(f.Meta, func(fr frame) error { return p.frame(fr) })
		if errors.Is(err, ErrDamaged) {
			p.r.Report.Mismatches = append(p.r.Report.Mismatches, fmt.Sprintf("%s: %v", f.LSN, err))
			return nil
		}
		return err
	case 0:
	default:
		return nil // written by a newer program, for a newer repair
	}
	e := &logged{Item: blob.Item{Meta: f.Meta, LSN: f.LSN, End: f.End, Place: f.Place, Size: f.Size}}
	err := p.db.checkRecord(e)
	if errors.Is(err, ErrNewer) {
		return err
	}
	if err != nil || f.Broken != nil {
		p.r.Report.Broken = append(p.r.Report.Broken, f.LSN) // its row is made all the same: those behind it keep their uids
	}
	if account, ok := ownedBy(e.Meta); ok || len(e.Meta) == 0 && e.Place != 0 {
		p.kept[e.Place] = Kept{Entry: e.entry(), Account: account}
	}
	p.pending = append(p.pending, e)
	return nil
}

func (p *replayer) frame(f frame) error {
	switch f.kind {
	case frameCommit:
		octets, whole := p.commits.add(f)
		if !whole {
			return nil
		}
		if p.blind && f.seq > 1 {
			if len(p.held) == 0 {
				p.first = f.seq
			}
			seq, octets := f.seq, bytes.Clone(octets)
			p.held = append(p.held, func() error { return p.commit(seq, octets) })
			return nil
		}
		p.blind = false
		return p.commit(f.seq, octets)
	case frameDirectory:
		packed, whole := p.directories.add(f)
		if !whole {
			return nil
		}
		d, err := unpackDirectory(f.seq, packed)
		if err != nil {
			return err
		}
		return p.directory(d)
	case frameClose:
		p.ended = f.seq == p.db.journal.seq && !p.blind && p.ahead == nil
	}
	return nil
}

// apply brings the records before end into the tables.
func (p *replayer) apply(end blob.LSN) error {
	n := 0
	for n < len(p.pending) && p.pending[n].LSN < end {
		n++
	}
	if n == 0 {
		return nil
	}
	p.r.Report.Deliveries += n
	entries := slices.Clone(p.pending[:n])
	p.pending = slices.Delete(p.pending, 0, n)
	for chunk := range slices.Chunk(entries, 1024) {
		if err := p.db.committer.commit(&batch{entries: chunk}); err != nil {
			return err
		}
	}
	return nil
}

// commit does a journaled commit again.
func (p *replayer) commit(seq uint64, octets []byte) error {
	j := p.db.journal
	if seq <= j.seq {
		return nil // the base has it
	}
	if seq != j.seq+1 {
		if err := p.lost(seq - 1); err != nil {
			return err
		}
	}
	var misfits []string
	applied, err := readCommit(octets, func(change) error { return nil })
	if err != nil {
		return err
	}
	if err := p.apply(applied); err != nil {
		return err
	}
	err = p.db.committer.now(func(tx *Tx) error {
		misfits = misfits[:0]
		_, err := readCommit(octets, func(c change) error {
			err := p.redo(tx, c)
			if errors.Is(err, ErrMismatch) || errors.Is(err, ErrDamaged) {
				misfits = append(misfits, fmt.Sprintf("commit %d: %v", seq, err))
				return nil
			}
			return err
		})
		if err != nil {
			return err
		}
		return tx.pages.put(tableSettings, []byte(keyJournal), binary.BigEndian.AppendUint64(nil, seq))
	})
	if err != nil {
		return err
	}
	j.seq = seq
	p.r.Report.Commits++
	p.r.Report.Mismatches = append(p.r.Report.Mismatches, misfits...)
	if p.ahead != nil && p.ahead.seq <= seq {
		p.ahead = nil // every commit that it knows was read
	}
	return nil
}

// lost tells that the commits up to last are not in the log, and takes the names of accounts and mailboxes out of the directory record
// behind them, if there is one.
func (p *replayer) lost(last uint64) error {
	j := p.db.journal
	p.r.Report.Gaps = append(p.r.Report.Gaps, [2]uint64{j.seq + 1, last})
	p.gap = true
	d := p.ahead
	p.ahead = nil
	if d != nil {
		if err := p.take(d); err != nil {
			return err
		}
	}
	j.seq = last
	return nil
}

func (p *replayer) redo(tx *Tx, c change) error {
	switch c.op {
	case opDelete:
		tx.Delete(c.table, c.key)
	case opDelta:
		d := p.db.journal.deltas[c.table[0]&127]
		if d == nil {
			return fmt.Errorf("table %s has no owner: %w", c.table, ErrMismatch)
		}
		return d.Apply(tx, c.key, c.value)
	default:
		if c.table == tableSettings && len(c.value) == 8 && number(tx.Get(c.table, c.key)) > number(c.value) {
			return nil // counters never go back
		}
		tx.Put(c.table, c.key, c.value)
	}
	return nil
}

// directory takes accounts and mailboxes out of a directory record when they are not known otherwise.
func (p *replayer) directory(d *directory) error {
	j := p.db.journal
	switch {
	case p.blind && d.seq == 0:
		p.blind = false // the folder began here, and the journal will say everything
		return nil
	case p.blind:
		p.blind = false
		if len(p.held) > 0 {
			p.r.Report.Gaps = append(p.r.Report.Gaps, [2]uint64{1, p.first - 1})
			j.seq = p.first - 1
		} else {
			p.r.Report.Gaps = append(p.r.Report.Gaps, [2]uint64{1, d.seq})
			j.seq = d.seq
		}
		if err := p.take(d); err != nil {
			return err
		}
		return p.release()
	case d.seq > j.seq:
		p.ahead = d // it may only be a little faster than the journal
		return nil
	case !p.gap:
		return nil
	}
	if err := p.apply(d.applied); err != nil {
		return err
	}
	return p.take(d)
}

// take writes a directory record into the tables. When it is not older than they are, what it does not have is not there any
// more; else it only adds.
func (p *replayer) take(d *directory) error {
	p.gap = false
	exact := d.seq >= p.db.journal.seq
	return p.db.committer.now(func(tx *Tx) error {
		for _, t := range d.whole {
			if t == tableSettings || !exact {
				continue
			}
			var keys [][]byte
			for k := range tx.Scan(t, nil, nil) {
				keys = append(keys, bytes.Clone(k))
			}
			for _, k := range keys {
				tx.Delete(t, k)
			}
		}
		_, err := readCommit(d.octets, func(c change) error {
			if !exact && tx.Get(c.table, c.key) != nil {
				return nil
			}
			return p.redo(tx, c)
		})
		return err
	})
}

// release does what was held back until the first directory record.
func (p *replayer) release() error {
	held := p.held
	p.held, p.blind = nil, false
	for _, fn := range held {
		if err := fn(); err != nil && !errors.Is(err, ErrDamaged) {
			return err
		}
	}
	return nil
}

// now runs an Update at once, on the caller's goroutine; for repair, which has no other.
func (c *committer) now(fn func(tx *Tx) error) error {
	m := &mutation{fn: fn, done: make(chan error, 1)}
	m.state.Store(taken)
	c.commit(&batch{updates: []*mutation{m}})
	return <-m.done
}
