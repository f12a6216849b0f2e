//go:build unix

package wire

import (
	"io"
	"os"
	"syscall"
)

const canProbe = true

// tryRead is called by the poller's RawConn.Read: it borrows a buffer for one non-blocking read and gives it back
// when there is nothing to read, so that the wait itself holds none.
func (c *Conn) tryRead(fd uintptr) bool {
	c.in.room()
	n, err := syscall.Read(int(fd), c.in.buf)
	for err == syscall.EINTR {
		n, err = syscall.Read(int(fd), c.in.buf)
	}
	switch {
	case n > 0:
		c.received(c.in.buf[:n])
		c.in.w = n
		return true
	case err == syscall.EAGAIN:
		c.in.release()
		return false
	case err == nil:
		c.in.err = io.EOF
	default:
		c.in.err = os.NewSyscallError("read", err)
	}
	c.in.release()
	return true
}
