package blob

import (
	"errors"
	"fmt"
	"os"
)

// harden makes durable what stands in the last log segment and is not known to be durable: the run before was killed between a write
// and its sync, or its sync failed. A sync alone does not do it: after one that failed, the kernel calls the pages clean that it
// could not write, shows them to every reader, and answers ok to the next sync; with the power they are gone, and whatever was built on
// them. So the same octets are written to the same place again, which other names of the file may see at any moment, and then synced.
// from is how far the tables have come.
func (l *Log) harden(number uint32, from LSN) error {
	f, err := l.segments.fs.OpenFile(l.segments.path(number), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	s := &scanner{file: f, number: number, seed: l.segments.secrets.segment(number), frames: l.codec.seed}
	if s.limit, err = f.Size(); err == nil {
		err = s.rewrite(from)
	}
	if err == nil {
		err = f.Datasync()
	}
	return errors.Join(err, f.Close())
}

// rewrite writes the records again that no later one vouches for.
func (s *scanner) rewrite(from LSN) error {
	at, sure := int64(segmentHeader), int64(0) // when no record of a later batch follows the header, it is as unsure as they are
	for at < s.limit {
		h, _, err := s.head(at)
		if errors.Is(err, ErrDamaged) {
			break
		}
		if err != nil {
			return err
		}
		if h.prevSynced.Segment() == s.number {
			sure = max(sure, h.prevSynced.Offset())
		}
		at += h.length()
	}
	if from.Segment() == s.number {
		sure = max(sure, from.Offset())
	}
	for sure < at {
		p, err := s.bytes(sure, min(window, at-sure))
		if err != nil {
			return err
		}
		if _, err := s.file.WriteAt(p, sure); err != nil {
			return fmt.Errorf("write segment %08x again at %x: %w", s.number, sure, err)
		}
		sure += int64(len(p))
	}
	return nil
}
