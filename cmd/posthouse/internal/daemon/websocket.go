package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"slices"
	"strconv"
	"time"

	"github.com/posthouse-mail/posthouse/internal/config"
	"github.com/posthouse-mail/posthouse/internal/logx"
)

// listenAt gives the listeners for an address of the settings.
func (d *Daemon) listenAt(ctx context.Context, a config.Address) ([]net.Listener, error) {
	if a.Socket() == "" {
		return d.listen(ctx, a.HostPort)
	}
	l, err := d.listenWeb(a.Socket(), d.o.Config.Listen.HTTPGroup)
	if err != nil {
		return nil, err
	}
	return []net.Listener{l}, nil
}

// Rights of a socket for another web server. What connects there is believed about who its visitor is, so it is not for every account of
// the machine: without a group the file's rights say who may; with one everybody may connect, and is asked for his groups. To give
// the file to the group the house would have to be a member of it, and need system calls that its unit does not let it have.
const (
	socketOwn   = 0o660
	socketGroup = 0o666
)

// listenWeb gives the socket at path, for another web server.
func (d *Daemon) listenWeb(path, group string) (net.Listener, error) {
	if group == "" {
		return d.socketWith(path, socketOwn)
	}
	gid, err := groupNumber(group)
	if err != nil {
		return nil, fmt.Errorf("listen.http_group: %w", err)
	}
	if !peersKnown {
		l, err := d.socketWith(path, socketOwn)
		if err == nil {
			if err = os.Chown(path, -1, gid); err != nil {
				err = errors.Join(fmt.Errorf("%w: to give its socket to the group %s the house's user must be in it", err, group), l.Close())
			}
		}
		return l, err
	}
	l, err := d.socketWith(path, socketGroup)
	if err != nil {
		return nil, err
	}
	quiet := logx.NewLimiter(time.Minute, d.o.Now)
	return members{Listener: l, gid: gid, peer: peer, refused: func(uid int) {
		if skipped, ok := quiet.Allow(strconv.Itoa(uid)); ok {
			d.log.Warn(logx.ConnRefused, "socket", path, "uid", uid, "reason", "not in the group "+group, "skipped", skipped)
		}
	}}, nil
}

// socketWith gives the socket at path these rights, also when it is one that was left with others. One of a .socket unit is systemd's,
// and has those of the unit.
func (d *Daemon) socketWith(path string, mode fs.FileMode) (net.Listener, error) {
	l, err := d.sockets.ListenUnix(path, mode)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, mode); err != nil && !errors.Is(err, fs.ErrPermission) {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// groupNumber of a group's name, or of what is one already.
func groupNumber(group string) (int, error) {
	if n, err := strconv.ParseUint(group, 10, 31); err == nil {
		return int(n), nil
	}
	g, err := user.LookupGroup(group)
	if err != nil {
		return 0, fmt.Errorf("there is no group %q here: %w", group, err)
	}
	return strconv.Atoi(g.Gid)
}

// members takes connections of a group's programs, of root and of the house's own user.
type members struct {
	net.Listener
	gid     int
	peer    func(net.Conn) (uid, gid int, known bool)
	refused func(uid int)
}

func (m members) Accept() (net.Conn, error) {
	for {
		c, err := m.Listener.Accept()
		if err != nil {
			return nil, err
		}
		uid, gid, known := m.peer(c)
		if known && (uid == 0 || uid == os.Geteuid() || gid == m.gid || inGroup(uid, m.gid)) {
			return c, nil
		}
		m.refused(uid)
		_ = c.Close()
	}
}

// inGroup: a user is a member of a group that is not his first one.
func inGroup(uid, gid int) bool {
	u, err := user.LookupId(strconv.Itoa(uid))
	if err != nil {
		return false
	}
	all, err := u.GroupIds()
	return err == nil && slices.Contains(all, strconv.Itoa(gid))
}
