package handover

import (
	"errors"
	"net"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Notify tells the service manager a state (sd_notify(3)), with descriptors that go with it.
type Notify func(state string, descriptors []int) error

// Manager is the service manager that listens at the socket (NOTIFY_SOCKET); nil when there is none.
func Manager(socket string) Notify {
	if socket == "" {
		return nil
	}
	if strings.HasPrefix(socket, "@") {
		socket = "\x00" + socket[1:]
	}
	return func(state string, descriptors []int) error {
		c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
		if err != nil {
			return err
		}
		defer c.Close()
		if len(descriptors) == 0 {
			_, err = c.Write([]byte(state))
			return err
		}
		raw, err := c.SyscallConn()
		if err != nil {
			return err
		}
		// Not WriteMsgUnix: it wants no address for a connected socket, and gives none that is abstract.
		e := raw.Write(func(fd uintptr) bool {
			err = unix.Sendmsg(int(fd), []byte(state), unix.UnixRights(descriptors...), nil, 0)
			return !errors.Is(err, unix.EAGAIN)
		})
		return errors.Join(e, err)
	}
}

// Store gives the service manager the sockets that this process made: it holds them while the service is restarted, however the process
// ended, and lets them go when the service is stopped (systemd.service(5), FileDescriptorStoreMax=). A manager that keeps none does not say so.
func (s *Sockets) Store(notify Notify) error {
	if s == nil || notify == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, k := range s.kept {
		if !k.ours {
			continue
		}
		errs = append(errs, with(k.socket, func(fd int) error { return notify("FDSTORE=1\nFDNAME="+k.name, []int{fd}) }))
	}
	s.stays.Store(true)
	return errors.Join(errs...)
}

// with calls fn with the descriptor of a socket.
func with(c syscall.Conn, fn func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	e := raw.Control(func(fd uintptr) { err = fn(int(fd)) })
	return errors.Join(e, err)
}

// duplicate is the descriptor once more, under a number of its own, for this program and the next one alike.
func duplicate(c syscall.Conn) (n int, err error) {
	err = with(c, func(fd int) (err error) {
		n, err = unix.Dup(fd)
		return os.NewSyscallError("dup", err)
	})
	return n, err
}
