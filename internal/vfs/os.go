package vfs

import (
	"io"
	"io/fs"
	"os"
)

// OS is the operating system's file system.
type OS struct{}

func (OS) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	f, err := os.OpenFile(name, flag, perm)
	if err != nil {
		return nil, classify(err)
	}
	return osFile{f}, nil
}

func (OS) Remove(name string) error                     { return os.Remove(name) }
func (OS) Rename(from, to string) error                 { return classify(os.Rename(from, to)) }
func (OS) Link(from, to string) error                   { return classify(os.Link(from, to)) }
func (OS) MkdirAll(name string, perm fs.FileMode) error { return classify(os.MkdirAll(name, perm)) }
func (OS) Stat(name string) (fs.FileInfo, error)        { return os.Stat(name) }
func (OS) Lock(name string) (io.Closer, error)          { return lock(name) }
func (OS) Free(name string) (int64, error)              { return free(name) }
func (OS) Capacity(name string) (int64, error)          { return capacity(name) }

// ReadDir reads names only: os.ReadDir would sort them and ask for each one's type.
func (OS) ReadDir(name string) ([]string, error) {
	d, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}

func (OS) SyncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	defer d.Close()
	return classify(d.Sync())
}

type osFile struct{ *os.File }

func (f osFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.File.WriteAt(p, off)
	return n, classify(err)
}

func (f osFile) WriteVec(pieces [][]byte, off int64) (int, error) {
	n, err := writeVec(f.File, pieces, off)
	return n, classify(err)
}

func (f osFile) Datasync() error           { return classify(datasync(f.File)) }
func (f osFile) Truncate(size int64) error { return classify(f.File.Truncate(size)) }
func (f osFile) Allocate(size int64) error { return classify(allocate(f.File, size)) }

func (f osFile) Size() (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

// writeEach is writeVec where the system has no pwritev: neighbours are gathered so that small pieces
// do not cost a call each.
func writeEach(f io.WriterAt, pieces [][]byte, off int64) (int, error) {
	const gather = 256 << 10
	var buf []byte
	total := 0
	flush := func(p []byte) error {
		n, err := f.WriteAt(p, off+int64(total))
		total += n
		return err
	}
	for _, p := range pieces {
		if len(buf)+len(p) > gather && len(buf) > 0 {
			if err := flush(buf); err != nil {
				return total, err
			}
			buf = buf[:0]
		}
		if len(p) >= gather {
			if err := flush(p); err != nil {
				return total, err
			}
			continue
		}
		buf = append(buf, p...)
	}
	if len(buf) == 0 {
		return total, nil
	}
	err := flush(buf)
	return total, err
}

// zeroFill is Allocate where the system has no call for it.
func zeroFill(f *os.File, size int64) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	zero := make([]byte, 64<<10)
	for off := st.Size(); off < size; off += int64(len(zero)) {
		if _, err := f.WriteAt(zero[:min(int64(len(zero)), size-off)], off); err != nil {
			return err
		}
	}
	return nil
}
