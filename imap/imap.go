// Package imap is the IMAP door: RFC 9051 and RFC 3501 with the extensions that
// CAPABILITY lists, over the store and the directory.
//
// Read in this order: Server, conn.go (one connection's loop), table.go (which
// command is allowed when), reply.go (errors become answers), view.go and
// selected.go (what a client believes of its mailbox, and how it learns more).
// Each command family has a file of its own.
package imap

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/metrics"
	"github.com/posthouse-mail/posthouse/internal/serve"
	"github.com/posthouse-mail/posthouse/internal/wire"
	"github.com/posthouse-mail/posthouse/store"
)

// Options of a Server. The zero value of a limit means its default.
type Options struct {
	Store   *store.Store
	Auth    *auth.Directory
	Logger  *slog.Logger
	Metrics *metrics.Set
	Now     func() time.Time
	TLS     *tls.Config // for STARTTLS; nil: not offered
	Version string      // told by ID

	RecentlyDeleted bool // show what is expunged and still kept as a mailbox (deleted.go)

	MaxMessage    int64         // octets of one APPEND (APPENDLIMIT, RFC 7889); 50 MiB
	MaxPerAccount int           // connections of one account at once; 64
	LoginTimeout  time.Duration // a wait before login; 1 minute
	IdleTimeout   time.Duration // a wait after login; 30 minutes (RFC 9051 section 5.4 forbids less)
	IODeadline    time.Duration // a line, literal or response that makes no progress; 2 minutes
}

// What a server does not let be configured.
const (
	keepAlive    = 29 * time.Minute // of IDLE, below what NATs and clients (RFC 2177) bear
	loginPhase   = 5 * time.Minute  // from the first octet to the login, whatever the client says
	maxBad       = 20               // BAD answers in a row
	maxFailed    = 5                // failed logins on one connection
	maxLine      = 64 << 10         // after login: clients send long sets (RFC 7162 section 4)
	maxLoginLine = 16 << 10         // before login: tokens of AUTHENTICATE
	maxString    = 64 << 10         // a literal that stands for a string
	maxCommand   = 1 << 20          // lines and such literals of one command
)

// Server serves IMAP connections.
type Server struct {
	o        Options
	store    *store.Store
	auth     *auth.Directory
	log      *slog.Logger
	now      func() time.Time
	commands map[string]*command
	counts   *prometheus.CounterVec
	ahead    chan struct{} // a place for each FETCH that reads ahead

	mu     sync.Mutex
	open   map[mail.AccountID]map[*conn]struct{} // connections by account
	quiet  func()                                // ends the watch of the directory; nil while nobody is logged in
	recent map[store.MailboxID]store.UID         // first uid that no session has been told as \Recent
}

// NewServer returns a Server; its Handle is a serve.Handler.
func NewServer(o Options) *Server {
	def(&o.MaxMessage, 50<<20)
	def(&o.MaxPerAccount, 64)
	def(&o.LoginTimeout, time.Minute)
	def(&o.IdleTimeout, 30*time.Minute)
	def(&o.IODeadline, 2*time.Minute)
	def(&o.Version, "dev")
	s := &Server{
		o: o, store: o.Store, auth: o.Auth, log: o.Logger, now: o.Now, commands: commandTable(),
		counts: o.Metrics.Counters("imap_commands_total", "IMAP commands by name and result.", "command", "result"),
		open:   map[mail.AccountID]map[*conn]struct{}{}, recent: map[store.MailboxID]store.UID{}, ahead: make(chan struct{}, aheadFetches),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	return s
}

func def[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}

// Handle serves one connection until it ends. The end of ctx ends it after the command in flight, with a BYE.
func (s *Server) Handle(ctx context.Context, sc *serve.Conn) {
	c := newConn(s, sc, wire.New(sc, wire.Options{ReadTimeout: s.o.IODeadline, WriteTimeout: s.o.IODeadline}))
	defer c.close()
	c.farewell(ctx, c.serve(ctx))
}

var errTooMany = errors.New("imap: too many connections of this account")

// enter makes c a connection of an account.
func (s *Server) enter(id mail.AccountID, c *conn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.open[id]) >= s.o.MaxPerAccount {
		return errTooMany
	}
	if s.quiet == nil {
		s.quiet = s.auth.Watch(s.changed)
	}
	if s.open[id] == nil {
		s.open[id] = map[*conn]struct{}{}
	}
	s.open[id][c] = struct{}{}
	return nil
}

func (s *Server) leave(id mail.AccountID, c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if delete(s.open[id], c); len(s.open[id]) == 0 {
		delete(s.open, id)
	}
	if len(s.open) == 0 && s.quiet != nil {
		s.quiet()
		s.quiet = nil
	}
}

// changed makes the sessions of an account look whether it still lets them in.
func (s *Server) changed(id mail.AccountID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.open[id] {
		c.stale.Store(true)
		c.w.Interrupt()
	}
}

// claimRecent returns the first uid below next that no session has been told as \Recent (RFC 3501 section 2.3.2);
// with take the caller is the one. Nothing is written down: after a start no message is recent.
func (s *Server) claimRecent(id store.MailboxID, next store.UID, take bool) store.UID {
	s.mu.Lock()
	defer s.mu.Unlock()
	first, known := s.recent[id]
	if !known || first > next {
		first = next
	}
	if take || !known {
		s.recent[id] = next
	}
	return first
}
