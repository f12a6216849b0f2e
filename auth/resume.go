package auth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"encoding/hex"
	"net/netip"

	"github.com/posthouse-mail/posthouse/internal/mail"
)

// Stamp stands for the password with which an identity proved itself, for sessions that outlive the process: 32 hex digits that
// tell nothing of the password. It changes with every new password, the same one included, and not when an imported
// hash is replaced by ours.
func (d *Directory) Stamp(ctx context.Context, id Identity, door Door) (string, error) {
	if err := d.Standing(ctx, id, door); err != nil {
		return "", err
	}
	s, err := d.snapshot(ctx)
	if err != nil {
		return "", err
	}
	who := s.accounts[id.Account]
	if who == nil {
		return "", ErrNoAccount
	}
	return stamp(who), nil
}

// Resume is the identity of a session that was kept with a stamp: ErrNoAccount, ErrDoorClosed and ErrCredentials as in Standing.
func (d *Directory) Resume(ctx context.Context, account mail.AccountID, kept string, door Door) (Identity, error) {
	s, err := d.snapshot(ctx)
	if err != nil {
		return Identity{}, err
	}
	who := s.accounts[account]
	switch {
	case who == nil:
		return Identity{}, ErrNoAccount
	case who.Disabled || who.Doors&door == 0 || len(who.Addresses) == 0:
		return Identity{}, ErrDoorClosed
	case subtle.ConstantTimeCompare([]byte(stamp(who)), []byte(kept)) != 1:
		return Identity{}, ErrCredentials
	}
	return Identity{Account: who.ID, Main: who.Addresses[0], Mechanism: "session", proof: d.proof(who)}, nil
}

// stamp hashes the stored password, which has a salt of its own; where that is our hash of a password that was imported, it is still
// the stamp of the imported one.
func stamp(who *record) string {
	if who.origin != "" {
		return who.origin
	}
	sum := sha256.Sum256([]byte("posthouse session\x00" + who.phc))
	return hex.EncodeToString(sum[:16])
}

// Confirm asks who is signed in at the web for his password again, before something that a stolen session must not do. The errors
// are those of Login; what it returns is the identity as it is now.
func (d *Directory) Confirm(ctx context.Context, id Identity, remote netip.Addr, password string) (Identity, error) {
	c := Client{Door: DoorWeb, Remote: remote, TLS: &tls.ConnectionState{}, again: true} // how the page was reached was judged at sign-in
	return d.Login(ctx, c, id.Main.String(), password)
}
