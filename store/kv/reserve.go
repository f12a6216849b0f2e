package kv

import (
	"errors"
	"io/fs"
	"os"
	"time"

	"github.com/posthouse-mail/posthouse/internal/vfs"
)

// reserve is space kept in a file: on a full disk it is given to the tables, so that deletes and flags still
// work, and taken again when there is room. The committer's, and Open's before it.
type reserve struct {
	fs   vfs.FS
	dir  string
	path string
	size int64
	held bool
	at   time.Time // of the last try to take it again
}

// take makes the file; a disk without room for it is no error.
func (r *reserve) take() error {
	if r.size <= 0 {
		return nil
	}
	free, err := r.fs.Free(r.dir)
	if err == nil && free < 3*r.size {
		if _, err := r.fs.Stat(r.path); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
	}
	f, err := r.fs.OpenFile(r.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return ignoreFull(err)
	}
	defer f.Close()
	if err := f.Allocate(r.size); err != nil {
		f.Truncate(0)
		return ignoreFull(err)
	}
	r.held = true
	return nil
}

func ignoreFull(err error) error {
	if errors.Is(err, ErrFull) {
		return nil
	}
	return err
}

// release gives the space back to the disk; false: there was none.
func (r *reserve) release() bool {
	if !r.held {
		return false
	}
	r.held, r.at = false, time.Now()
	f, err := r.fs.OpenFile(r.path, os.O_RDWR, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	return f.Truncate(0) == nil
}

// restore takes the space again when the disk has room, at most once a second.
func (r *reserve) restore() {
	if r.held || r.size <= 0 || time.Since(r.at) < time.Second {
		return
	}
	r.at = time.Now()
	if free, err := r.fs.Free(r.dir); err != nil || free < 3*r.size {
		return
	}
	_ = r.take() // the next commit tries again
}
