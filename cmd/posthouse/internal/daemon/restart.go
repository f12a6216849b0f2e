package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/posthouse-mail/posthouse/internal/handover"
	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/serve"
	"github.com/posthouse-mail/posthouse/web/admin"
)

// Restart ends the house so that the program that stands in its file now takes its place, with its sockets: new connections wait in
// them meanwhile. What would keep the other one from starting is found before anything ends, as far as its own check of the
// settings finds it; then nothing has changed.
func (d *Daemon) Restart(ctx context.Context) (admin.Restarting, error) {
	d.reload.Lock()
	defer d.reload.Unlock()
	switch {
	case d.o.Successor == nil:
		return admin.Restarting{}, &admin.Error{Class: admin.Unavailable, Message: "this house cannot begin anew by itself"}
	case d.next != nil:
		return admin.Restarting{}, &admin.Error{Class: admin.Conflict, Message: "the house begins anew already"}
	case !d.ready.Load():
		return admin.Restarting{}, &admin.Error{Class: admin.Unavailable, Message: "the house is not open: it starts, or ends"}
	}
	program, err := d.o.Successor(ctx)
	if err != nil {
		d.log.ErrorContext(ctx, logx.HouseNotAgain, "error", err)
		return admin.Restarting{}, &admin.Error{Class: admin.Invalid, Message: "the house runs on as it is: " + err.Error()}
	}
	next, err := d.sockets.Next()
	if err != nil {
		return admin.Restarting{}, fmt.Errorf("keep the sockets: %w", err)
	}
	d.next = next
	close(d.again)
	return admin.Restarting{Program: program, Started: d.started}, nil
}

// Next is what the next program gets, after Run has returned; nil when no restart was asked for.
func (d *Daemon) Next() *handover.Next {
	d.reload.Lock()
	defer d.reload.Unlock()
	return d.next
}

// keepSockets has the service manager keep the listening sockets, and closes what was left for us and nothing uses.
func (d *Daemon) keepSockets(ctx context.Context) {
	manager := handover.Manager(os.Getenv("NOTIFY_SOCKET"))
	if err := d.sockets.Store(manager); err != nil {
		d.log.WarnContext(ctx, logx.HouseNotifyError, "state", "FDSTORE=1", "error", err)
	}
	addresses, err := d.sockets.Unused(manager)
	for _, a := range addresses {
		d.log.WarnContext(ctx, logx.HouseSocketLeft, "address", a)
	}
	if err != nil {
		d.log.WarnContext(ctx, logx.HouseNotifyError, "state", "FDSTOREREMOVE=1", "error", err)
	}
}

// listen gives the sockets that were left for a TCP address, or binds one.
func (d *Daemon) listen(ctx context.Context, address string) (all []net.Listener, err error) {
	for _, l := range d.sockets.TCP(address) {
		all = append(all, serve.Adopt(l))
	}
	if len(all) > 0 {
		return all, nil
	}
	l, err := listen(ctx, address)
	if err != nil {
		return nil, err
	}
	d.sockets.Keep(l)
	return []net.Listener{l}, nil
}

// errAgain is why a house ends that begins anew.
var errAgain = errors.New("a restart was asked for")

// untilEnd waits for the end, and says why.
func (d *Daemon) untilEnd(ctx context.Context) error {
	select {
	case <-ctx.Done():
		d.tell("STOPPING=1")
		return context.Cause(ctx)
	case <-d.again:
		d.tell("RELOADING=1") // and READY=1 from the next program, which has our process id
		return errAgain
	}
}
