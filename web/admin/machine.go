package admin

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/internal/config"
	"github.com/posthouse-mail/posthouse/store/history"
)

// Machine is what only the process of a running house knows. A nil function: it cannot tell.
type Machine struct {
	Status func(context.Context) (Status, error)
	Vitals func(context.Context) (Vitals, error)
	Reload func(context.Context) (Reloaded, error)

	Connections   func() []Connection
	EndConnection func(id string) bool

	Certificates func() []Certificate
	Renew        func(name string) error // ErrNoName, ErrRenewing; nil: no authority is asked here

	History *history.Book

	Settings Settings
}

// Settings is where those of the house come from.
type Settings struct {
	File  string                                    // empty: there is none
	Now   func() *config.Config                     // those it works with
	Check func(file string, c *config.Config) error // besides what config.Parse finds; may be nil
	Live  func(key string) bool                     // a reload takes it over
	Data  string                                    // the data folder: where the file's former text is kept
}

var (
	// ErrNoName: no certificate of that name is looked after.
	ErrNoName = errors.New("admin: no such name")
	// ErrRenewing: a new certificate has been asked for already.
	ErrRenewing = errors.New("admin: under way already")
)

// SetMachine names the process; before any verb is used.
func (h *House) SetMachine(m Machine) { h.machine = m }

// errNoHouse is for verbs about a process that is not there.
func errNoHouse() error {
	return &Error{Class: Unavailable, Message: "no house runs here that could be asked"}
}

// Status is what the running house says of itself.
func (h *House) Status(ctx context.Context) (Status, error) {
	if h.machine.Status == nil {
		return Status{}, errNoHouse()
	}
	return h.machine.Status(ctx)
}

// Vitals is how it does now.
func (h *House) Vitals(ctx context.Context) (Vitals, error) {
	if h.machine.Vitals == nil {
		return Vitals{}, errNoHouse()
	}
	return h.machine.Vitals(ctx)
}

// Reload has it read its settings file and certificates again.
func (h *House) Reload(ctx context.Context) (Reloaded, error) {
	if h.machine.Reload == nil {
		return Reloaded{}, errNoHouse()
	}
	out, err := h.machine.Reload(ctx)
	if err != nil {
		return out, err
	}
	return out, h.noted(ctx, "reload", "settings", "the settings file was read again")
}

// Connection is one that is open now.
type Connection struct {
	ID      string    `json:"id"`
	Service string    `json:"service"`
	Remote  string    `json:"remote,omitempty"` // empty: a program of this machine
	Began   time.Time `json:"began"`
	Who     string    `json:"who,omitempty"`   // who has logged in
	Doing   string    `json:"doing,omitempty"` // the last command
	Since   time.Time `json:"since,omitzero"`  // when it came
	TLS     bool      `json:"tls,omitempty"`   // from its beginning
}

// ConnectionFilter says which are wanted; an empty field takes all.
type ConnectionFilter struct {
	Service string `json:"service,omitempty"`
	Text    string `json:"text,omitempty"` // a part of who, or of the address
}

// Connections lists those that are open, the oldest first.
func (h *House) Connections(_ context.Context, f ConnectionFilter) ([]Connection, error) {
	if h.machine.Connections == nil {
		return nil, errNoHouse()
	}
	out, text := []Connection{}, strings.ToLower(strings.TrimSpace(f.Text))
	for _, c := range h.machine.Connections() {
		if (f.Service == "" || f.Service == c.Service) && (text == "" || strings.Contains(strings.ToLower(c.Who), text) || strings.Contains(c.Remote, text)) {
			out = append(out, c)
		}
	}
	return out, nil
}

// EndConnection closes one at once.
func (h *House) EndConnection(ctx context.Context, id string) error {
	if h.machine.EndConnection == nil {
		return errNoHouse()
	}
	what := id
	for _, c := range h.machine.Connections() {
		if c.ID == id {
			what = c.Service + " " + c.Remote
			if c.Who != "" {
				what += " of " + c.Who
			}
		}
	}
	if !h.machine.EndConnection(id) {
		return missing("the connection " + id + " is not there any more")
	}
	h.done(ctx, "connection end", what)
	return h.noted(ctx, "connection end", what, "")
}

// Certificate is one that the doors show, or a name that is to get one.
type Certificate struct {
	Names []string  `json:"names"`
	From  time.Time `json:"from,omitzero"`
	Until time.Time `json:"until,omitzero"`
	File  string    `json:"file,omitempty"`
	Auto  bool      `json:"auto,omitempty"`  // from an authority, renewed by the house
	Tried time.Time `json:"tried,omitzero"`  // the last attempt
	Got   time.Time `json:"got,omitzero"`    // the last that came since the house was started
	Error string    `json:"error,omitempty"` // of the last attempt, or of the file
}

// Certificates tells how it stands with them.
func (h *House) Certificates(context.Context) ([]Certificate, error) {
	if h.machine.Certificates == nil {
		return nil, errNoHouse()
	}
	return append([]Certificate{}, h.machine.Certificates()...), nil
}

// RenewCertificate asks for a new certificate of a name now; Certificates tells how it goes.
func (h *House) RenewCertificate(ctx context.Context, name string) error {
	if h.machine.Renew == nil {
		return &Error{Class: Conflict, Message: "the certificates of this house are files that somebody else renews (tls.certificates); reload takes a new one at once"}
	}
	switch err := h.machine.Renew(name); {
	case errors.Is(err, ErrNoName):
		return &Error{Missing, name + " is no name that this house gets a certificate for", err}
	case errors.Is(err, ErrRenewing):
		return &Error{Conflict, "a certificate of " + name + " is on its way already", err}
	case err != nil:
		return translate(name, err)
	}
	h.done(ctx, "certificate renew", name)
	return h.noted(ctx, "certificate renew", name, "")
}
