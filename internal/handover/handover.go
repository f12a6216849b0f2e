// Package handover lets listening sockets outlive the process that serves
// them: while one process ends and the next begins, the kernel keeps new
// connections in the sockets' backlog, and refuses none.
//
// Inherited (env.go) takes the sockets that whoever started this process left for
// it: a service manager (socket activation, or its store of descriptors), or the
// program itself before it became another version. Sockets finds the one for an
// address; store.go gives them to the service manager, exec.go to the next program.
package handover

import (
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Socket is what every listener of this package is.
type Socket interface {
	net.Listener
	syscall.Conn
}

// Sockets is the listening sockets of a process: those that it was given, and those that it keeps for the next one.
// A nil *Sockets has none and keeps none.
type Sockets struct {
	stays atomic.Bool // the sockets outlive this process

	mu    sync.Mutex // guards the rest
	given []given    // and not taken yet
	kept  []kept
}

// given is a socket that somebody left for us.
type given struct {
	name   string
	socket Socket
	ours   bool // we stored it ourselves; it is not one of a .socket unit
}

// kept is a socket that the next process may get.
type kept struct {
	name   string
	socket Socket
	ours   bool // the service manager may store it
}

// New returns Sockets that were given none.
func New() *Sockets { return &Sockets{} }

// ourName is what the names of stored sockets begin with: what a .socket unit gives has another one.
const ourName = "kept-"

// add notes a descriptor that was left for us; it is closed, for the listener has its own.
func (s *Sockets) add(f *os.File, name string) error {
	l, err := net.FileListener(f)
	err = errors.Join(err, f.Close())
	if err != nil {
		if l != nil {
			err = errors.Join(err, l.Close())
		}
		return err
	}
	socket, ok := l.(Socket)
	if !ok {
		return errors.Join(errors.New("no socket that can be listened on"), l.Close())
	}
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false) // unixSocket does it, where it has to be done
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.given = append(s.given, given{name: name, socket: socket, ours: strings.HasPrefix(name, ourName)})
	return nil
}

// take removes those that fit from what was given, and keeps them.
func (s *Sockets) take(fits func(given) bool) (all []Socket) {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	rest := s.given[:0]
	for _, g := range s.given {
		if !fits(g) {
			rest = append(rest, g)
			continue
		}
		all = append(all, g.socket)
		s.kept = append(s.kept, kept(g))
	}
	s.given = rest
	return all
}

// TCP gives the sockets for a TCP address as the settings have it; none when there are none. A port on all addresses
// may have come as two sockets, one for each family.
func (s *Sockets) TCP(address string) []Socket {
	want, err := net.ResolveTCPAddr("tcp", address)
	if s == nil || err != nil || want.Port == 0 {
		return nil
	}
	return s.take(func(g given) bool {
		have, ok := g.socket.Addr().(*net.TCPAddr)
		if !ok || have.Port != want.Port {
			return false
		}
		if strings.HasPrefix(address, ":") { // net.Listen would open both families
			return have.IP.IsUnspecified()
		}
		return sameIP(have, want)
	})
}

// sameIP compares the addresses of two sockets; 0.0.0.0 and :: are two.
func sameIP(a, b *net.TCPAddr) bool {
	x, _ := netip.AddrFromSlice(a.IP)
	y, _ := netip.AddrFromSlice(b.IP)
	return x.Unmap() == y.Unmap() && a.Zone == b.Zone
}

// ListenUnix gives the socket at path that was left, or makes one with these rights, over one that a dead process left. When it is
// closed its name goes, unless the next process is to be found there.
func (s *Sockets) ListenUnix(path string, mode fs.FileMode) (net.Listener, error) {
	if l, ok := s.unix(path).(*net.UnixListener); ok {
		return unixSocket{l, s, path}, nil
	}
	if err := s.clear(path); err != nil {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	if err := os.Chmod(path, mode); err != nil {
		return nil, errors.Join(err, l.Close(), os.Remove(path))
	}
	s.Keep(l)
	return unixSocket{l, s, path}, nil
}

// clear removes the socket that a dead process left at path. One at which somebody listens is another program's.
func (s *Sockets) clear(path string) error {
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != os.ModeSocket {
		return nil // what else is there, bind says
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	inUse := &os.PathError{Op: "listen", Path: path, Err: syscall.EADDRINUSE}
	switch {
	case err == nil:
		return errors.Join(inUse, c.Close())
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, os.ErrDeadlineExceeded): // its backlog is full
		return inUse
	}
	return os.Remove(path)
}

// unixSocket removes its name when it is closed.
type unixSocket struct {
	*net.UnixListener
	sockets *Sockets
	path    string
}

func (u unixSocket) Close() error {
	return errors.Join(u.UnixListener.Close(), u.sockets.Leave(u.path))
}

// unix gives the socket at path; nil when there is none, or when nobody could find it there.
func (s *Sockets) unix(path string) Socket {
	if info, err := os.Lstat(path); err != nil || info.Mode().Type() != os.ModeSocket {
		return nil
	}
	all := s.take(func(g given) bool {
		have, ok := g.socket.Addr().(*net.UnixAddr)
		return ok && have.Name == path
	})
	if len(all) == 0 {
		return nil
	}
	return all[0]
}

// Named gives the sockets that a .socket unit names so (FileDescriptorName=).
func (s *Sockets) Named(name string) []Socket {
	return s.take(func(g given) bool { return !g.ours && g.name == name })
}

// Keep notes a socket that this process made, for the next one.
func (s *Sockets) Keep(l net.Listener) {
	socket, ok := l.(Socket)
	if s == nil || !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept = append(s.kept, kept{name: storeName(socket.Addr()), socket: socket, ours: true})
}

// storeName is a name that a service manager takes (sd_pid_notify_with_fds(3)): no colon, up to 255 characters.
func storeName(a net.Addr) string {
	name := ourName + a.Network() + "-" + strings.ReplaceAll(a.String(), ":", "_")
	return name[:min(len(name), 255)]
}

// Leave removes the name of a unix socket whose listener was closed, unless the next process is to be found there.
func (s *Sockets) Leave(path string) error {
	if s != nil && s.stays.Load() {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// Unused closes what was given and nobody took, and gives its addresses; Store removes it from the service manager.
func (s *Sockets) Unused(notify Notify) (addresses []string, err error) {
	if s == nil {
		return nil, nil
	}
	s.mu.Lock()
	left := s.given
	s.given = nil
	s.mu.Unlock()
	for _, g := range left {
		addresses = append(addresses, g.socket.Addr().String())
		err = errors.Join(err, g.socket.Close())
		if g.ours && notify != nil {
			err = errors.Join(err, notify("FDSTOREREMOVE=1\nFDNAME="+g.name, nil))
		}
	}
	return addresses, err
}
