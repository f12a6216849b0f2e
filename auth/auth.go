// Package auth knows who is who: domains, accounts, addresses, aliases, and who
// proved to be which account.
//
// Directory is the keeper. Its verbs write the tables inside a transaction
// (verbs.go); everything read is answered from an immutable snapshot of them
// (snapshot.go, resolve.go). Login and SASL are in login.go; passwords, and how
// guessing is slowed down, in password.go and slow.go, tokens of programs in
// token.go.
package auth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/metrics"
)

var (
	ErrNotLocal      = errors.New("auth: domain is not one of ours")
	ErrNoAddress     = errors.New("auth: no such address")
	ErrNoAccount     = errors.New("auth: no such account")
	ErrNoDomain      = errors.New("auth: no such domain")
	ErrNoApp         = errors.New("auth: no such app password")
	ErrNoToken       = errors.New("auth: no such token")
	ErrNoCertificate = errors.New("auth: no such certificate")
	ErrExists        = errors.New("auth: exists already")
	ErrInUse         = errors.New("auth: still in use")         // wrapped with what uses it
	ErrLoop          = errors.New("auth: leads back to itself") // wrapped with the way
	ErrInvalid       = errors.New("auth: not allowed")          // wrapped with the reason
	ErrPassword      = errors.New("auth: password not allowed") // wrapped with the reason
	ErrMechanism     = errors.New("auth: no such login mechanism here")
	ErrBadRecord     = errors.New("auth: record cannot be read")
	ErrCredentials   = errors.New("auth: wrong user name or password")
	ErrDoorClosed    = errors.New("auth: this account may not use this service")
	ErrSlowDown      = errors.New("auth: too many failed logins, try again later")
	ErrNeedTLS       = errors.New("auth: no password over a connection without TLS")
)

// Door is a bit set of the services an account may use.
type Door uint8

const (
	DoorPOP3 Door = 1 << iota
	DoorIMAP
	DoorSubmission
	DoorWeb
	DoorAll = DoorPOP3 | DoorIMAP | DoorSubmission | DoorWeb
)

// String names a single door, as logs and metrics do.
func (d Door) String() string {
	switch d {
	case DoorPOP3:
		return "pop3"
	case DoorIMAP:
		return "imap"
	case DoorSubmission:
		return "submission"
	case DoorWeb:
		return "web"
	}
	return "other"
}

// Account is one person's (or machine's) account, without its secrets.
type Account struct {
	ID        mail.AccountID
	Name      string         // for people
	Addresses []mail.Address // the first is the main one
	Login     string         // login name of its own, may be empty
	Doors     Door
	Disabled  bool // no door opens; mail still arrives
	Created   time.Time
	Settings  AccountSettings
}

// Domain is one of ours. AliasOf: every address of it stands for the same local part there.
type Domain struct {
	Name     mail.Domain
	AliasOf  mail.Domain
	CatchAll mail.Address // zero: none
	Settings DomainSettings
}

// Alias delivers to its members; with SendAs they may also send as it.
type Alias struct {
	Address mail.Address
	Members []mail.Address
	SendAs  bool
}

// Options of a Directory. The zero value of a duration or count means its default.
type Options struct {
	Logger             *slog.Logger
	Metrics            *metrics.Set
	Now                func() time.Time
	Separator          string                                // of subaddresses; "+" when empty
	DefaultDomain      mail.Domain                           // completes a bare local part as user name; empty: not allowed
	ClearLoopback      bool                                  // passwords without TLS are taken from loopback
	SCRAM              bool                                  // keep SCRAM-SHA-256 keys and offer the mechanism
	Uses               *AppBook                              // when app passwords were used; nil: nobody notes it
	TokenUses          *AppBook                              // when tokens were used; nil likewise
	CertificateUses    *AppBook                              // when certificates were used; nil likewise
	ClientCertificates ClientCertificates                    // of programs; the zero value: nobody is asked for one
	Devices            *DeviceBook                           // from where accounts are used; nil: nobody notes it
	LoggedIn           func(context.Context, mail.AccountID) // hears of each login, in the connection's context; it must not wait; nil: nobody
	Postmaster         mail.Address                          // receives postmaster@ and abuse@ where nobody has them; zero: the first account of the house
	// Leaf is the certificate that a client which asked for serverName was shown, for SCRAM's tls-server-end-point; may be nil.
	Leaf func(serverName string) *x509.Certificate
	// External is asked about the passwords of some accounts; nil: all are ours. SCRAM is not offered with it.
	External *External
}

// Destination is one account that an address leads to.
type Destination struct {
	Account mail.AccountID
	Address mail.Address // the address that led here, main form
	Detail  string       // subaddress behind the separator, as written
	Masked  bool         // Address is a masked one
}

// Route is where a recipient's mail goes.
type Route struct {
	Local    []Destination
	Remote   []mail.Address // members of aliases outside, and those that accounts forward to
	Lists    []ListMail     // to be handled by the lists
	Forwards []Forward      // which of Remote an account forwards to
}

// Forward is an address outside that an account's mail goes on to.
type Forward struct {
	From Destination
	To   mail.Address
}

// Client is who tries to log in, and over what.
type Client struct {
	Door   Door
	Remote netip.Addr
	TLS    *tls.ConnectionState // nil: in clear
	Conn   string               // connection id, for logs
	Name   string               // what it calls itself, if it has said so

	again bool // it is signed in already
}

// Identity is an account that proved itself.
type Identity struct {
	Account     mail.AccountID
	Main        mail.Address
	Mechanism   string
	App         uint32 // the app password it was proved with; 0: the account's own
	Token       uint32 // the token it was proved with; 0: none
	Certificate uint32 // the certificate that was registered and shown; 0: none

	proof  digest  // of the password it was proved with: a new one ends the sessions of the old
	issued *issued // the certificate of the authority it was proved with; nil: none
}

// Account finds one by its id.
func (d *Directory) Account(ctx context.Context, id mail.AccountID) (Account, error) {
	s, err := d.snapshot(ctx)
	if err != nil {
		return Account{}, err
	}
	r, ok := s.accounts[id]
	if !ok {
		return Account{}, ErrNoAccount
	}
	return r.clone(), nil
}

// FindAccount finds one by an address, its login name, or a bare local part of the default domain.
func (d *Directory) FindAccount(ctx context.Context, user string) (Account, error) {
	s, err := d.snapshot(ctx)
	if err != nil {
		return Account{}, err
	}
	r := d.find(s, user)
	if r == nil {
		return Account{}, ErrNoAccount
	}
	return r.clone(), nil
}

// Accounts lists all, by id.
func (d *Directory) Accounts(ctx context.Context) ([]Account, error) {
	s, err := d.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]Account, 0, len(s.order))
	for _, id := range s.order {
		out = append(out, s.accounts[id].clone())
	}
	return out, nil
}

// Domains lists all, by name.
func (d *Directory) Domains(ctx context.Context) ([]Domain, error) {
	s, err := d.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	return sorted(s.domains, func(x Domain) string { return string(x.Name) }), nil
}

// Aliases lists all, by domain and local part.
func (d *Directory) Aliases(ctx context.Context) ([]Alias, error) {
	s, err := d.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	return sorted(s.aliases, func(x Alias) string { return string(x.Address.Domain) + " " + x.Address.Key() }), nil
}
