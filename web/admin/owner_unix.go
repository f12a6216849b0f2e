//go:build unix

package admin

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// keepOwner gives f the owner and the group of the file at path; without it, f is the house's own.
func keepOwner(f *os.File, path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(s.Uid) == os.Geteuid() && int(s.Gid) == os.Getegid() {
		return nil
	}
	if err := f.Chown(int(s.Uid), int(s.Gid)); errors.Is(err, fs.ErrPermission) {
		return f.Chown(-1, int(s.Gid)) // who reads it by its group must still be able to
	} else if err != nil {
		return err
	}
	return nil
}
