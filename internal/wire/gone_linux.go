package wire

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// Gone tells, without waiting and without reading, whether the other side has closed its end. Commands that take long and write
// nothing meanwhile ask now and then; where the system cannot tell, the answer is no. A client that has closed
// one direction only, to read on, looks the same: it deserves some time.
func (c *Conn) Gone() bool {
	nc := c.nc
	for {
		under, ok := nc.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		nc = under.NetConn()
	}
	s, ok := nc.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return false
	}
	gone := false
	err = raw.Control(func(fd uintptr) {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		n, err := unix.Poll(p, 0)
		gone = err == nil && n > 0 && p[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0
	})
	return gone || err != nil
}
