package smtp

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	gosmtp "github.com/emersion/go-smtp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/serve"
	"github.com/posthouse-mail/posthouse/internal/wire"
)

// Server speaks one flavour; its Handle is a serve.Handler.
type Server struct {
	o        Options
	commands map[string]command
	onMail   map[string]param[mailArgs]
	onRcpt   map[string]param[rcptArgs]
	unknown  prometheus.Counter
	accepted prometheus.Counter
	refused  prometheus.Counter
	broken   prometheus.Counter
	bytes    prometheus.Counter
}

// NewServer returns a Server.
func NewServer(o Options) *Server {
	s := &Server{o: o.withDefaults(), onMail: mailParams(o.FutureRelease > 0), onRcpt: rcptParams()}
	verbs := o.Metrics.Counters("smtp_commands_total", "SMTP and LMTP commands read.", "command")
	messages := o.Metrics.Counters("smtp_messages_total", "Messages received to their end, or cut off.", "result")
	s.commands = table(s.o.LMTP)
	for verb, c := range s.commands {
		label := verb
		if c.stray {
			label = "stray"
		}
		c.count, c.name = verbs.WithLabelValues(label), verb
		s.commands[verb] = c
	}
	s.unknown = verbs.WithLabelValues("unknown")
	s.accepted = messages.WithLabelValues("accepted")
	s.refused = messages.WithLabelValues("refused")
	s.broken = messages.WithLabelValues("broken")
	s.bytes = o.Metrics.Counter("smtp_message_bytes_total", "Octets of messages received, as they were sent.")
	return s
}

// conn is one connection.
type conn struct {
	s       *Server
	c       *wire.Conn
	wait    context.Context // ends at a shutdown: for idle waits
	ctx     context.Context // ends with the connection: for the desk
	peer    Peer
	does    func(command string) // tells who looks at connections
	session gosmtp.Session       // nil before EHLO
	state   state
	size    int64    // of the transaction: SIZE
	utf8    bool     // of the transaction: SMTPUTF8
	from    string   // of the transaction, for logs
	rcpts   []string // of the transaction: those taken
	next    *spoken  // a command that ended a BDAT sequence and is still to be run
	closing string   // why the connection ends after this reply; "" it does not
	tally   tally
}

// tally counts what limits and logs need.
type tally struct {
	commands, mails, messages, errors, refusals, junk int
}

// spoken is a command as it was read.
type spoken struct {
	command
	args string
}

const (
	maxCommandLine = 2048  // RFC 5321 section 4.5.3.1.4 says 512; ORCPT and ENVID need more
	maxAuthLine    = 12288 // RFC 4954 section 4
	maxJunk        = 1000  // a connection kept open with NOOP all night is closed some time
)

// Handle serves one connection.
func (s *Server) Handle(ctx context.Context, sc *serve.Conn) {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	c := &conn{
		s: s, wait: ctx, ctx: work, does: sc.Does,
		c:    wire.New(sc, wire.Options{ReadTimeout: s.o.CommandWait, WriteTimeout: s.o.DataWait}),
		peer: Peer{ID: sc.ID, Service: sc.Service, Remote: sc.Remote, Local: sc.Local, LMTP: s.o.LMTP},
	}
	c.peer.TLS = c.c.TLS()
	if c.peer.TLS != nil {
		c.state |= inTLS
	}
	defer c.c.Close()
	defer c.logout()
	if c.greet() {
		c.loop()
	}
	c.c.Flush() // its error is the client's loss: the connection ends here
	level := s.o.Logger.DebugContext
	if c.closing != "quit" && c.closing != "eof" {
		level = s.o.Logger.InfoContext
	}
	level(ctx, logx.SMTPClosed, "remote", c.peer.Remote.Addr(), "reason", c.closing, "commands", c.tally.commands, "messages", c.tally.messages)
}

// loop reads and runs commands until the connection ends.
func (c *conn) loop() {
	for c.closing == "" {
		cmd := c.next
		c.next = nil
		if cmd == nil {
			cmd = c.read()
		}
		if cmd != nil {
			c.run(*cmd)
		}
		if c.closing == "" && c.tally.errors >= c.s.o.MaxErrors {
			c.farewell("too many errors", 421, code(4, 7, 0), "Too many errors, closing")
		}
	}
}

// read returns the next command; nil when there was none that can be run, or the connection ends (closing says so).
// Replies wait in the buffer while more commands stand in the input (RFC 2920 section 3.2).
func (c *conn) read() *spoken {
	line, ok := c.readLine(c.maxLine())
	if !ok {
		return nil
	}
	c.tally.commands++
	verb, args, _ := strings.Cut(string(line), " ")
	cmd, known := c.s.commands[strings.ToUpper(verb)]
	if !known {
		c.s.unknown.Inc()
		c.bad(500, code(5, 5, 1), "Command not recognised")
		return nil
	}
	cmd.count.Inc()
	c.does(cmd.name)
	if cmd.junk {
		if c.tally.junk++; c.tally.junk > maxJunk {
			c.farewell("too much junk", 421, code(4, 7, 0), "Too many commands without a message, closing")
			return nil
		}
	}
	return &spoken{cmd, strings.Trim(args, " \t")}
}

func (c *conn) maxLine() int {
	if c.s.o.Auth {
		return maxAuthLine
	}
	return maxCommandLine
}

// readLine waits for a line and reads it; false: it was answered already, or the connection ends.
func (c *conn) readLine(max int) ([]byte, bool) {
	if !c.c.HasLine() {
		if err := c.c.Flush(); err != nil {
			c.lost(err)
			return nil, false
		}
	}
	if c.c.Buffered() == 0 {
		if err := c.c.WaitReadable(c.wait, c.s.o.CommandWait); err != nil {
			c.lost(err)
			return nil, false
		}
	}
	line, err := c.wholeLine(max)
	if err == wire.ErrLineTooLong {
		c.bad(500, code(5, 5, 6), "Line too long")
		return nil, false
	}
	if err != nil {
		c.lost(err)
		return nil, false
	}
	for _, b := range line {
		if b < ' ' && b != '\t' || b == 0x7f {
			c.bad(500, code(5, 5, 2), "Control characters are not allowed in commands")
			return nil, false
		}
	}
	return line, true
}

// wholeLine reads the line whose beginning is here. A shutdown does not wait for a client that stopped inside of it.
func (c *conn) wholeLine(max int) ([]byte, error) {
	if c.c.HasLine() {
		return c.c.ReadLine(max)
	}
	stop := context.AfterFunc(c.wait, func() {
		_ = c.c.NetConn().SetReadDeadline(time.Unix(1, 0)) // fails only on a connection that has ended
	})
	defer stop()
	line, err := c.c.ReadLine(max)
	if err == wire.ErrTimeout && c.wait.Err() != nil {
		err = context.Cause(c.wait)
	}
	return line, err
}

// lost ends the connection because nothing more can be read; the client is told where it may still listen.
func (c *conn) lost(err error) {
	switch {
	case errors.Is(err, serve.ErrShutdown):
		c.farewell("shutdown", 421, code(4, 3, 2), c.s.o.Hostname+" is shutting down, come back later")
	case errors.Is(err, wire.ErrTimeout):
		c.farewell("timeout", 421, code(4, 4, 2), c.s.o.Hostname+" timeout, closing")
	case err == io.EOF:
		c.closing = "eof"
	default:
		c.closing = err.Error()
	}
}

// farewell is the last reply of the connection.
func (c *conn) farewell(reason string, status int, enhanced gosmtp.EnhancedCode, text string) {
	c.answer(status, enhanced, text)
	c.closing = reason
}

// logout ends the session that is open, if any.
func (c *conn) logout() {
	if c.session == nil {
		return
	}
	if err := c.session.Logout(); err != nil {
		c.s.o.Logger.ErrorContext(c.ctx, logx.SMTPError, "command", "logout", "error", err)
	}
	c.session = nil
}
