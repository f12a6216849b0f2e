// Package admin is the operator's verbs, once: the command line, the API and
// the pages call them, on a running house or on its files. It is the only
// package that writes both keepers, auth and store, in one transaction.
//
// A House has the verbs; they take and give plain values with JSON names. An
// Error has a class, so that every caller can translate it once.
package admin

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/dialogue"
	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/queue"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/story"
	"github.com/posthouse-mail/posthouse/web/hook"
)

// Options of a House.
type Options struct {
	Logger          *slog.Logger
	DB              *kv.DB
	Side            *kv.Side // where it is kept what the last checkup found; nil: in memory
	Directory       *auth.Directory
	Store           *store.Store
	Queue           *queue.Queue
	Story           *story.Book      // nil: none is kept
	Apps            *auth.AppBook    // when app passwords were used; nil: nobody notes it
	TokenUses       *auth.AppBook    // when tokens were used; nil likewise
	CertificateUses *auth.AppBook    // when certificates of programs were used; nil likewise
	Devices         *auth.DeviceBook // from where accounts are used; nil: nobody notes it
	Imports         Imports          // of users, from other servers
	Masks           *auth.MaskBook   // what came to masked addresses; nil: nobody counts
	Quota           store.Quota      // of new accounts
	Resolver        dns.Resolver     // to see what is published; nil: nobody looks
	Site            Site
	Limits          Limits
	Now             func() time.Time // for the audit log; nil: the clock
	Hooks           *hook.Book       // who is told of events; nil: nobody
	Reports         Reports
	Junk            Junk
}

// House is what the verbs work on.
type House struct {
	o     Options
	quota atomic.Pointer[store.Quota] // of new accounts

	audit   atomic.Int64 // for how long entries of the audit log are kept
	busy    busyUsers
	backups atomic.Pointer[BackupSettings]
	world   atomic.Pointer[func(context.Context) (World, error)] // see SetCheckup
	backing sync.Mutex                                           // held by the backup that runs
	pulls   pulls
	zips    zips
	lessons lessons
	machine Machine
	writing sync.Mutex // of the settings file
	watches watches
	copies  copies
	reports seenReports
	looked  lookouts // what the last checkup found

	clientChecks atomic.Int32  // tests of mail programs that run
	levels       *logx.Levels  // nil: the log of this process is not ours to change
	talks        *dialogue.Hub // nil: no house runs here
}

// New returns the verbs over started keepers.
func New(o Options) *House {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	h := &House{o: o}
	h.SetDefaultQuota(o.Quota)
	h.SetAudit(DefaultAuditKeep)
	h.looked.open(o.Side)
	o.DB.Outline(outlineAudit())
	return h
}

// SetDefaultQuota changes what accounts get that are made from now on.
func (h *House) SetDefaultQuota(q store.Quota) { h.quota.Store(&q) }

func (h *House) now() time.Time {
	if h.o.Now != nil {
		return h.o.Now()
	}
	return time.Now()
}

// done logs a verb that changed something.
func (h *House) done(ctx context.Context, verb, what string) {
	h.o.Logger.InfoContext(ctx, logx.AdminVerb, "verb", verb, "what", what)
}

// Class says what kind of mistake an Error is.
type Class string

const (
	Invalid     Class = "invalid"     // the request cannot be understood
	Missing     Class = "missing"     // what it names is not there
	Conflict    Class = "conflict"    // it contradicts what is there
	Unavailable Class = "unavailable" // not now: try again
	Refused     Class = "refused"     // whoever asks may not, or not now
	Internal    Class = "internal"    // our fault; the log has the cause
)

// Error is what an operator reads: what is wrong, and what to do.
type Error struct {
	Class   Class  `json:"class"`
	Message string `json:"message"`
	cause   error
}

func (e *Error) Error() string { return e.Message }
func (e *Error) Unwrap() error { return e.cause }

func invalid(message string) error  { return &Error{Class: Invalid, Message: message} }
func missing(message string) error  { return &Error{Class: Missing, Message: message} }
func conflict(message string) error { return &Error{Class: Conflict, Message: message} }

// translate is the one place where an error of the keepers gets its class; what names the thing that the verb was about.
func translate(what string, err error) error {
	var known *Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return err
	case errors.Is(err, auth.ErrNoDomain), errors.Is(err, auth.ErrNotLocal):
		return &Error{Missing, plain(what, err) + "; to make it one of ours: posthouse domain add DOMAIN", err}
	case anyOf(err, auth.ErrNoAccount, auth.ErrNoAddress, auth.ErrNoKey, auth.ErrNoApp, auth.ErrNoToken, auth.ErrNoCertificate, store.ErrNoAccount, queue.ErrNoItem, story.ErrUnknown):
		return &Error{Missing, plain(what, err), err}
	case anyOf(err, auth.ErrExists, auth.ErrInUse, auth.ErrLoop, store.ErrExists, queue.ErrBusy):
		return &Error{Conflict, plain(what, err), err}
	case anyOf(err, auth.ErrInvalid, auth.ErrPassword):
		return &Error{Invalid, plain(what, err), err}
	case errors.Is(err, kv.ErrFull):
		return &Error{Unavailable, "the disk is full: nothing was changed; make room and try again", err}
	case errors.Is(err, kv.ErrClosed):
		return &Error{Unavailable, "the database takes no changes now: the house stops, or could not write; see its log", err}
	case anyOf(err, auth.ErrSlowDown, context.Canceled, context.DeadlineExceeded):
		return &Error{Unavailable, what + ": not done in time: try again", err}
	}
	return &Error{Internal, plain(what, err), err}
}

func anyOf(err error, targets ...error) bool {
	return slices.ContainsFunc(targets, func(t error) bool { return errors.Is(err, t) })
}

// plain is the error without the names of our packages, which mean nothing to an operator.
func plain(what string, err error) string {
	text := words(err.Error())
	if strings.Contains(text, what) {
		return text
	}
	return what + ": " + text
}

// words is a text without the names of our packages.
func words(text string) string {
	for _, p := range []string{"auth: ", "store: ", "queue: ", "kv: ", "backup: ", "story: ", "hook: not allowed: ", "hook: "} {
		text = strings.ReplaceAll(text, p, "")
	}
	return text
}

// address reads one address.
func address(s string) (mail.Address, error) {
	a, err := mail.ParseAddress(strings.TrimSpace(s))
	if err != nil {
		return mail.Address{}, &Error{Invalid, err.Error(), err}
	}
	return a, nil
}

// addresses reads several.
func addresses(list []string) ([]mail.Address, error) {
	all := make([]mail.Address, 0, len(list))
	for _, s := range list {
		a, err := address(s)
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	return all, nil
}

// domain reads a domain name; address literals are nobody's domain.
func domain(s string) (mail.Domain, error) {
	d, err := mail.ParseDomain(strings.TrimSpace(s))
	if err != nil {
		return "", &Error{Invalid, err.Error(), err}
	}
	if _, err := netip.ParseAddr(string(d)); err == nil || strings.HasPrefix(string(d), "[") {
		return "", invalid(s + " is an address, no domain name")
	}
	return d, nil
}
