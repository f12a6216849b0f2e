package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/posthouse-mail/posthouse/internal/handover"
	"github.com/posthouse-mail/posthouse/web/admin"
)

// maxPath is the longest name that a socket address holds on every system we run on (sun_path of unix(7) less its NUL).
const maxPath = 103

// Listen makes the socket in folder, for its owner alone, or takes it from those that were left. A socket that a dead house left is
// replaced; the caller holds the lock of the folder, so that it cannot be a living one's.
func Listen(folder string, sockets *handover.Sockets) (net.Listener, error) {
	path := filepath.Join(folder, SocketName)
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() != os.ModeSocket {
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("old socket: %w", err)
		}
	}
	var l net.Listener
	err := reachable(path, func(p string) (err error) {
		l, err = sockets.ListenUnix(p, 0o600)
		return err
	})
	if err != nil {
		return nil, err
	}
	return ownerOnly{Listener: l, sockets: sockets, path: path}, nil
}

// ListenMailbox makes the socket at path for every user of the machine, for so many of them at once. One that a
// dead house left is replaced.
func ListenMailbox(path string, conns int, sockets *handover.Sockets) (net.Listener, error) {
	l, err := sockets.ListenUnix(path, 0o666)
	if err != nil {
		return nil, err
	}
	return &everybody{Listener: l, slots: make(chan struct{}, conns), closed: make(chan struct{})}, nil
}

// everybody notes of each connection who is at its other end, and bounds their number.
type everybody struct {
	net.Listener
	slots  chan struct{}
	once   sync.Once
	closed chan struct{}
}

func (l *everybody) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &peerConn{Conn: c, user: userAt(c), release: sync.OnceFunc(func() { <-l.slots })}, nil
}

func (l *everybody) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// peerConn is a connection whose other end is known.
type peerConn struct {
	net.Conn
	user    string
	release func()
}

func (c *peerConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}

// userAt is the name of the user at the other end, as far as the system tells.
func userAt(c net.Conn) string {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return unknownUser
	}
	id, ok := peerID(u)
	if !ok {
		return unknownUser
	}
	name := strconv.Itoa(id)
	if who, err := user.LookupId(name); err == nil {
		return who.Username
	}
	return name
}

const unknownUser = "unknown"

// peerKey is the key of the user's name in a connection's context.
type peerKey struct{}

// ConnContext hands who is at the other end to the requests of a connection; it is http.Server's ConnContext.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	if p, ok := c.(*peerConn); ok {
		ctx = admin.As(ctx, admin.Actor{Name: p.user, Door: admin.DoorSocket})
		return context.WithValue(ctx, peerKey{}, p.user)
	}
	return ctx
}

// reachable calls fn with a name of path that is short enough: where the folder's is too long, the one it has in /proc.
func reachable(path string, fn func(string) error) error {
	if len(path) <= maxPath {
		return fn(path)
	}
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer folder.Close()
	short := filepath.Join("/proc/self/fd", strconv.Itoa(int(folder.Fd())), filepath.Base(path))
	if _, err := os.Stat(filepath.Dir(short)); err != nil {
		return fmt.Errorf("%s: the name is too long for a socket; choose a data folder with a shorter one", path)
	}
	return fn(short)
}

// dial connects to the house of folder.
func dial(ctx context.Context, folder string) (net.Conn, error) {
	var c net.Conn
	err := reachable(filepath.Join(folder, SocketName), func(p string) (err error) {
		d := net.Dialer{Timeout: 5 * time.Second}
		c, err = d.DialContext(ctx, "unix", p)
		return err
	})
	return c, err
}

// ownerOnly closes connections of other users: the rights of the socket keep them out, and a wrong chmod must not let them in.
type ownerOnly struct {
	net.Listener
	sockets *handover.Sockets
	path    string
}

func (l ownerOnly) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if u, ok := c.(*net.UnixConn); ok && mayCommand(u) {
			return &peerConn{Conn: c, user: userAt(c), release: func() {}}, nil
		}
		if err := c.Close(); err != nil {
			continue // it was not ours anyway
		}
	}
}

// Close removes the socket too, by the name that outlives a short one of /proc.
func (l ownerOnly) Close() error {
	return errors.Join(l.Listener.Close(), l.sockets.Leave(l.path))
}
