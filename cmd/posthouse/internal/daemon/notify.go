package daemon

import (
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/posthouse-mail/posthouse/internal/logx"
)

// tell sends a state to the service manager (sd_notify(3)), when there is one.
func (d *Daemon) tell(state string) {
	if err := notify(os.Getenv("NOTIFY_SOCKET"), state); err != nil {
		d.log.Warn(logx.HouseNotifyError, "state", state, "error", err)
	}
}

// notify writes one datagram to the socket; RELOADING=1 needs the monotonic time beside it.
func notify(socket, state string) error {
	if socket == "" {
		return nil
	}
	if strings.HasPrefix(socket, "@") {
		socket = "\x00" + socket[1:]
	}
	if state == "RELOADING=1" {
		var now unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
			return err
		}
		state += "\nMONOTONIC_USEC=" + strconv.FormatInt(now.Nano()/1000, 10)
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Write([]byte(state))
	return err
}
