package daemon

import (
	"errors"
	"net"

	"golang.org/x/sys/unix"
)

// peersKnown: the system says who is at the other end of a unix socket.
const peersKnown = true

// peer is who connected (SO_PEERCRED of unix(7)); known is false when nobody can say.
func peer(c net.Conn) (uid, gid int, known bool) {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return -1, -1, false
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return -1, -1, false
	}
	var who *unix.Ucred
	e := raw.Control(func(fd uintptr) { who, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if errors.Join(e, err) != nil {
		return -1, -1, false
	}
	return int(who.Uid), int(who.Gid), true
}
