package admin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/auth/passkey"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// Passkey opens the web pages for an account, without its password or after it.
type Passkey struct {
	Number  uint32     `json:"number"`
	Name    string     `json:"name"`
	Host    string     `json:"host"` // where it was made, and works
	Created time.Time  `json:"created"`
	Used    *time.Time `json:"last_used,omitempty"`
	Synced  bool       `json:"synced,omitempty"` // there is a copy elsewhere: a lost device does not lose it
}

// NewPasskey is one that a browser has made: where, for whom (see auth.Directory.AskNewPasskey), and what it answered.
type NewPasskey struct {
	Name   string
	At     passkey.Where
	Bound  string
	Answer string
}

// Passkeys lists those of an account, oldest first.
func (h *House) Passkeys(ctx context.Context, user string) ([]Passkey, error) {
	a, err := h.o.Directory.FindAccount(ctx, user)
	if err != nil {
		return nil, translate(user, err)
	}
	all, err := h.o.Directory.Passkeys(ctx, a.ID)
	if err != nil {
		return nil, translate(user, err)
	}
	out := make([]Passkey, 0, len(all))
	for _, k := range all {
		out = append(out, showPasskey(k))
	}
	return out, nil
}

// AddPasskey keeps a passkey that the account's owner has made. Only the account's own page calls it: nobody else has the device.
func (h *House) AddPasskey(ctx context.Context, user string, in NewPasskey) (Passkey, error) {
	a, err := h.o.Directory.FindAccount(ctx, user)
	if err != nil {
		return Passkey{}, translate(user, err)
	}
	c, err := h.o.Directory.NewPasskey(ctx, a.ID, in.At, in.Bound, in.Answer)
	if err != nil {
		return Passkey{}, ofPasskey(user, err)
	}
	var k auth.Passkey
	err = h.o.DB.Update(ctx, func(tx *kv.Tx) (err error) {
		if k, err = h.o.Directory.AddPasskey(tx, a.ID, in.Name, c); err != nil {
			return err
		}
		return h.notePasskey(ctx, tx, a, "passkey add", fmt.Sprintf("number %d: %s, at %s", k.Number, k.Name, k.Host))
	})
	if err != nil {
		return Passkey{}, ofPasskey(user, err)
	}
	h.done(ctx, "passkey add", fmt.Sprintf("%s number %d", user, k.Number))
	return showPasskey(k), nil
}

// RemovePasskey takes one away; what was opened with it ends.
func (h *House) RemovePasskey(ctx context.Context, user string, number uint32) (Passkey, error) {
	a, err := h.o.Directory.FindAccount(ctx, user)
	if err != nil {
		return Passkey{}, translate(user, err)
	}
	var gone auth.Passkey
	err = h.o.DB.Update(ctx, func(tx *kv.Tx) (err error) {
		if gone, err = h.o.Directory.RemovePasskey(tx, a.ID, number); err != nil {
			return err
		}
		return h.notePasskey(ctx, tx, a, "passkey remove", fmt.Sprintf("number %d: %s, at %s", number, gone.Name, gone.Host))
	})
	if err != nil {
		return Passkey{}, ofPasskey(user, err)
	}
	h.done(ctx, "passkey remove", fmt.Sprintf("%s number %d", user, number))
	return showPasskey(gone), nil
}

// RequirePasskey begins to ask for a passkey after the password, for who has just proved one; it returns the recovery codes, none where
// there was a second factor before.
func (h *House) RequirePasskey(ctx context.Context, user string) (codes []string, err error) {
	a, err := h.o.Directory.FindAccount(ctx, user)
	if err != nil {
		return nil, translate(user, err)
	}
	err = h.o.DB.Update(ctx, func(tx *kv.Tx) (err error) {
		if codes, err = h.o.Directory.RequirePasskey(tx, a.ID); err != nil {
			return err
		}
		return h.notePasskey(ctx, tx, a, "second factor start", "a passkey is asked for after the password")
	})
	if err != nil {
		return nil, translate(user, err)
	}
	h.done(ctx, "second factor start", user)
	return codes, nil
}

func (h *House) notePasskey(ctx context.Context, tx *kv.Tx, a auth.Account, verb, what string) error {
	_, err := h.note(ctx, tx, AuditEntry{
		Verb: verb, Kind: OfAccount, Object: a.Addresses[0].String(), Account: uint32(a.ID), Note: what, Stays: "only who has the device can make it again",
	})
	return err
}

func showPasskey(k auth.Passkey) Passkey {
	out := Passkey{Number: k.Number, Name: k.Name, Host: k.Host, Created: k.Created, Synced: k.Synced()}
	if !k.Used.IsZero() {
		out.Used = &k.Used
	}
	return out
}

// ofPasskey is translate for what a browser answered.
func ofPasskey(user string, err error) error {
	switch {
	case errors.Is(err, auth.ErrNoPasskey):
		return &Error{Missing, plain(user, err), err}
	case errors.Is(err, passkey.ErrLate):
		return &Error{Conflict, "that took too long, or was sent twice: try again", err}
	case errors.Is(err, passkey.ErrUnverified):
		return &Error{Invalid, "the device did not ask for your finger, face or PIN: give it one in its settings", err}
	case errors.Is(err, passkey.ErrRefused), errors.Is(err, passkey.ErrUnknown), errors.Is(err, passkey.ErrCopied), errors.Is(err, passkey.ErrNowhere):
		return &Error{Invalid, "what the device answered cannot be taken: try again, or another device", err}
	}
	return translate(user, err)
}
