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
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/metrics"
	"github.com/posthouse-mail/posthouse/internal/serve"
	"github.com/posthouse-mail/posthouse/internal/wire"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/story"
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
	Story   *story.Book // who reads what; nil: nothing is told

	RecentlyDeleted bool // show what is expunged and still kept as a mailbox (deleted.go)

	MaxMessage    int64         // octets of one APPEND (APPENDLIMIT, RFC 7889); 50 MiB
	MaxPerAccount int           // connections of one account at once; 64
	LoginTimeout  time.Duration // a wait before login; 1 minute
	IdleTimeout   time.Duration // a wait after login; 30 minutes (RFC 9051 section 5.4 forbids less)
	IODeadline    time.Duration // a line, literal or response that makes no progress; 2 minutes

	Sessions *Sessions // that this server shares with one before it; nil: its own
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
	sessions *Sessions
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
		counts:   o.Metrics.Counters("imap_commands_total", "IMAP commands by name and result.", "command", "result"),
		sessions: o.Sessions,
	}
	if s.sessions == nil {
		s.sessions = NewSessions()
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
