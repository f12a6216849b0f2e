package api

import (
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// mayCommand reports whether the other end is the user of this process, or root.
func mayCommand(c *net.UnixConn) bool {
	id, ok := peerID(c)
	return ok && (id == 0 || id == os.Geteuid())
}

// peerID is the user at the other end (SO_PEERCRED of unix(7)).
func peerID(c *net.UnixConn) (int, bool) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, false
	}
	var peer *unix.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) {
		peer, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err != nil || failed != nil {
		return 0, false
	}
	return int(peer.Uid), true
}

// sameOwner gives what root made to the owner of the folder, who has to read it.
func sameOwner(path, folder string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(folder)
	if err != nil {
		return err
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return os.Lchown(path, int(s.Uid), int(s.Gid))
	}
	return nil
}
