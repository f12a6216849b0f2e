package blob

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// SegmentName is the file name of a segment.
func SegmentName(number uint32) string { return segmentName(number) }

// SetVersion makes the segments above a number, in a folder that nobody has open, segments of an older program: their headers name its
// version. They were written with Plain, so that there is nothing else in them that it does not know.
func SetVersion(o Options, above uint32, version uint16) error {
	o = o.withDefaults()
	numbers, err := List(o.FS, o.Dir)
	if err != nil {
		return err
	}
	for _, n := range numbers {
		if n > above {
			if err := setVersion(o, n, version); err != nil {
				return fmt.Errorf("segment %08x: %w", n, err)
			}
		}
	}
	return nil
}

func setVersion(o Options, number uint32, version uint16) error {
	f, err := o.FS.OpenFile(filepath.Join(o.Dir, segmentName(number)), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	size, err := f.Size()
	if err != nil || size == 0 { // made ahead
		return errors.Join(err, f.Close())
	}
	p := make([]byte, segmentHeader)
	if _, err = f.ReadAt(p, 0); err == nil {
		seed := secrets{o.Key}.segment(number)
		if _, err = parsePrologue(p, number, o.UUID, seed); err == nil {
			binary.BigEndian.PutUint16(p[8:], version)
			binary.BigEndian.PutUint32(p[60:], checksum(seed, p[:60]))
			_, err = f.WriteAt(p, 0)
		}
		if err == nil {
			err = f.Datasync()
		}
	}
	return errors.Join(err, f.Close())
}
