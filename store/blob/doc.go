// Package blob is the log: append-only segments that hold bodies and records.
//
// Read format.go first: what stands in a segment. logger.go makes records
// durable, many with one fdatasync; writer.go takes bodies while they arrive;
// reader.go gives them out; recover.go reads a log again after a crash.
//
// Open looks at the folder, Replay reads what the tables do not have yet, Start
// takes work. A segment is written by one run of the program only, front to
// back, and never again.
package blob

import (
	"errors"
	"fmt"

	"github.com/posthouse-mail/posthouse/internal/vfs"
)

var (
	// ErrFull: the disk is full; nothing of the operation counts. Temporary.
	ErrFull = vfs.ErrFull
	// ErrClosed: the log is closed.
	ErrClosed = errors.New("blob: log is closed")
	// ErrDamaged: bytes that were durable once do not read back as written.
	ErrDamaged = errors.New("blob: segment is damaged")
	// ErrUsed: the body was logged or given up before.
	ErrUsed = errors.New("blob: body is used up")
	// ErrForeign: the segment belongs to another folder or to a newer program.
	ErrForeign = errors.New("blob: segment of another store")
)

// segmentShift parts an LSN into segment and offset: 32 bits each. A long body has a segment of its own, so numbers go faster than
// log segments fill; 4 billion outlast any folder.
const segmentShift = 32

// LSN is the place of a record: segment<<32 | offset. It names the record for ever.
type LSN uint64

// Segment is the number of the segment.
func (l LSN) Segment() uint32 { return uint32(l >> segmentShift) }

// Offset is the place in the segment.
func (l LSN) Offset() int64 { return int64(l & (1<<segmentShift - 1)) }

func (l LSN) String() string { return fmt.Sprintf("%08x:%x", l.Segment(), l.Offset()) }

func lsn(segment uint32, offset int64) LSN { return LSN(segment)<<segmentShift | LSN(offset) }
