package smtp

import (
	"errors"
	"io"
	"os"
)

// spoolMemory is how much of a message is kept in memory before a file takes it.
const spoolMemory = 256 << 10

// Spool keeps a message until it is known whole. The zero value is ready; Close gives the disk back.
type Spool struct {
	dir  string
	mem  []byte
	file *os.File // the octets behind mem
	size int64
}

// Reset forgets the message; large ones go to files in dir, the folder of the system when it is empty.
func (p *Spool) Reset(dir string) {
	p.Close()
	p.dir = dir
}

// Write takes the next octets.
func (p *Spool) Write(b []byte) (int, error) {
	if p.file == nil && len(p.mem)+len(b) <= spoolMemory {
		p.mem = append(p.mem, b...)
		p.size += int64(len(b))
		return len(b), nil
	}
	if p.file == nil {
		f, err := os.CreateTemp(p.dir, "posthouse-spool-*")
		if err != nil {
			return 0, err
		}
		p.file = f
		if err := os.Remove(f.Name()); err != nil { // it lives as long as it is open, and no longer
			return 0, err
		}
	}
	n, err := p.file.Write(b)
	p.size += int64(n)
	return n, err
}

// ReadAt reads what was written.
func (p *Spool) ReadAt(b []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("spool: negative offset")
	}
	n := 0
	if off < int64(len(p.mem)) {
		n = copy(b, p.mem[off:])
	}
	if n == len(b) {
		return n, nil
	}
	if p.file == nil {
		return n, io.EOF
	}
	m, err := p.file.ReadAt(b[n:], off+int64(n)-int64(len(p.mem)))
	return n + m, err
}

// CopyTo writes all of it to w.
func (p *Spool) CopyTo(w io.Writer) error {
	if _, err := w.Write(p.mem); err != nil || p.file == nil {
		return err
	}
	_, err := io.Copy(w, io.NewSectionReader(p.file, 0, p.size-int64(len(p.mem))))
	return err
}

// Size is how many octets were written.
func (p *Spool) Size() int64 { return p.size }

// Close forgets the message.
func (p *Spool) Close() {
	if p.file != nil {
		p.file.Close() // nothing in it is wanted any more
		p.file = nil
	}
	p.size, p.mem = 0, p.mem[:0]
	if cap(p.mem) > 32<<10 { // a connection that waits keeps little
		p.mem = nil
	}
}
