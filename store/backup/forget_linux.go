package backup

import (
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/posthouse-mail/posthouse/internal/vfs"
)

// forget drops a file's pages from memory; best effort.
func forget(f vfs.File) {
	c, ok := f.(syscall.Conn)
	if !ok {
		return
	}
	if raw, err := c.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.Fadvise(int(fd), 0, 0, unix.FADV_DONTNEED) })
	}
}
