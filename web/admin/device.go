package admin

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"time"
)

// Device is a device or program that logs in to an account, or tries to.
type Device struct {
	ID    string    `json:"id"`
	Door  string    `json:"door"`
	Name  string    `json:"name,omitempty"` // what it calls itself
	App   uint32    `json:"app_password,omitempty"`
	AppIs string    `json:"app_password_name,omitempty"` // empty: it was taken back
	Proof string    `json:"proof,omitempty"`             // certificate or token; empty: a password
	First time.Time `json:"first"`
	Seen  time.Time `json:"seen,omitzero"` // the last good login; zero: there was none
	From  string    `json:"from,omitempty"`

	Failed     time.Time `json:"failed,omitzero"` // the last one that was not good
	FailedFrom string    `json:"failed_from,omitempty"`
	FailedWhy  string    `json:"failed_why,omitempty"` // password, certificate, door or code
	Failures   int       `json:"failures,omitempty"`   // since the last good one
}

// Devices lists what has logged in to an account in the last months, or tried to; the last first.
func (h *House) Devices(ctx context.Context, user string) ([]Device, error) {
	a, err := h.o.Directory.FindAccount(ctx, user)
	if err != nil {
		return nil, translate(user, err)
	}
	all, err := h.o.Devices.Devices(ctx, a.ID)
	if err != nil {
		return nil, translate(user, err)
	}
	apps, err := h.o.Directory.Apps(ctx, a.ID)
	if err != nil {
		return nil, translate(user, err)
	}
	names := map[uint32]string{}
	for _, x := range apps {
		names[x.ID] = x.Name
	}
	out := make([]Device, 0, len(all))
	for _, d := range all {
		out = append(out, Device{
			ID: fmt.Sprintf("%016x", d.ID), Door: d.Door.String(), Name: d.Name, App: d.App, AppIs: names[d.App], Proof: d.Proof, First: d.First, Seen: d.Seen, From: addressText(d.From),
			Failed: d.Failed, FailedFrom: addressText(d.FailedFrom), FailedWhy: d.FailedWhy, Failures: d.Failures,
		})
	}
	return out, nil
}

// addressText is empty for what came from no address: a unix socket.
func addressText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// ForgetDevice takes one out of the list. It keeps nobody out: its password does.
func (h *House) ForgetDevice(ctx context.Context, user, id string) error {
	a, err := h.o.Directory.FindAccount(ctx, user)
	if err != nil {
		return translate(user, err)
	}
	n, err := strconv.ParseUint(id, 16, 64)
	if err != nil {
		return missing("there is no device " + id)
	}
	return translate(user, h.o.Devices.Forget(ctx, a.ID, n))
}
