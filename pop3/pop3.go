// Package pop3 is the POP3 door (RFC 1939), with CAPA and response codes (RFC
// 2449, 3206), STLS (2595), SASL (5034) and UTF8 (6856).
//
// Server holds what all connections share; session.go is one of them, table.go its
// commands, maildrop.go the fixed view of INBOX that its numbers stand for.
// Deletions happen at QUIT, in one transaction, and nowhere else.
package pop3

import (
	"cmp"
	"context"
	"crypto/tls"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/metrics"
	"github.com/posthouse-mail/posthouse/internal/serve"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/story"
)

const (
	defaultIdle         = 10 * time.Minute // RFC 1939 section 3: at least
	loginWait           = 5 * time.Minute  // from the greeting to the login, whatever a stranger says meanwhile
	defaultWriteTimeout = 5 * time.Minute  // without progress
	defaultPerAccount   = 20
	maxErrors           = 20 // of one connection; who makes more is no mail program
	maxFailedLogins     = 5
	maxLine             = 255       // RFC 2449 section 4
	maxSASLLine         = 16 << 10  // a client's answer to a challenge; RFC 4954 section 4 has SMTP take 12,288
	copySize            = 128 << 10 // one read of a message's text
)

// Options of a Server. The zero value of a duration or count means its default.
type Options struct {
	Store   *store.Store
	Auth    *auth.Directory
	TLS     *tls.Config // for STLS; nil: not offered
	Logger  *slog.Logger
	Metrics *metrics.Set
	Now     func() time.Time
	Story   *story.Book // who reads what; nil: nothing is told

	Hostname     string        // in the greeting
	Idle         time.Duration // silence that ends a session; 10 min
	WriteTimeout time.Duration // a client that takes nothing for so long is cut; 5 min
	PerAccount   int           // sessions of one account at once; 20
	Exclusive    bool          // one session of an account at once, the next gets [IN-USE]
	LoginDelay   time.Duration // between two logins of an account (LOGIN-DELAY); 0: none

	Sessions *Sessions // that this server shares with one before it; nil: its own
}

// Server is the POP3 door.
type Server struct {
	o        Options
	log      *slog.Logger
	buffers  sync.Pool // *[copySize]byte, for RETR
	commands *prometheus.CounterVec
	octets   prometheus.Counter
	messages *prometheus.CounterVec
}

// NewServer returns a Server; its Handle is the handler of a serve.Service.
func NewServer(o Options) *Server {
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Idle = cmp.Or(o.Idle, defaultIdle)
	o.WriteTimeout = cmp.Or(o.WriteTimeout, defaultWriteTimeout)
	o.PerAccount = cmp.Or(o.PerAccount, defaultPerAccount)
	if o.Exclusive {
		o.PerAccount = 1
	}
	if o.Sessions == nil {
		o.Sessions = NewSessions()
	}
	return &Server{
		o: o, log: cmp.Or(o.Logger, slog.New(slog.DiscardHandler)),
		buffers:  sync.Pool{New: func() any { return new([copySize]byte) }},
		commands: o.Metrics.Counters("pop3_commands_total", "POP3 commands, by name and answer.", "command", "answer"),
		octets:   o.Metrics.Counter("pop3_sent_bytes_total", "Octets of messages sent over POP3."),
		messages: o.Metrics.Counters("pop3_messages_total", "Messages sent to or deleted by POP3 clients.", "what"),
	}
}

// Handle serves one connection until it ends. When ctx ends, the command that runs is finished, then the client is told.
func (s *Server) Handle(ctx context.Context, c *serve.Conn) {
	newSession(s, c).run(ctx)
}
