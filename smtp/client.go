package smtp

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	gosasl "github.com/emersion/go-sasl"

	"github.com/posthouse-mail/posthouse/internal/wire"
)

var (
	// ErrNoUTF8: the envelope needs SMTPUTF8 and the server does not offer it (RFC 6531 section 3.2). The connection is as good as before.
	ErrNoUTF8 = errors.New("smtp: server does not offer SMTPUTF8")
	// ErrTooLarge: the message is larger than the server's SIZE (RFC 1870 section 6.1). The connection is as good as before.
	ErrTooLarge = errors.New("smtp: message is larger than the server takes")
	// ErrReply: the server said something that is no SMTP reply. The connection is of no use any more.
	ErrReply = errors.New("smtp: not an SMTP reply")
)

// Timeouts of a Client; the zero value of each means that of RFC 5321 section 4.5.3.2.
type Timeouts struct {
	Greeting time.Duration // 5 min; EHLO, AUTH and STARTTLS too
	Command  time.Duration // 5 min: MAIL, RCPT, RSET, NOOP
	Data     time.Duration // 2 min: the 354
	Block    time.Duration // 3 min for each block of the message
	Final    time.Duration // 10 min: the reply behind the final dot
	Quit     time.Duration // 5 s: nobody cares for its reply
}

// ClientOptions of a Client.
type ClientOptions struct {
	Hostname string // our name in EHLO
	LMTP     bool   // LHLO, and a final reply for each recipient (RFC 2033)
	Chunking bool   // BDAT where it is offered, instead of DATA
	Timeouts Timeouts
}

// Client is our end of an SMTP or LMTP connection that we opened: Hello, then perhaps StartTLS and Auth, then any
// number of Send. An error that is no *ReplyError (nor ErrNoUTF8, ErrTooLarge) leaves a connection that must be closed.
type Client struct {
	o          ClientOptions
	c          *wire.Conn
	greeting   Reply
	hello      Reply
	extensions map[string]string // upper case keyword: parameters
}

// NewClient wraps a connection that nothing was read from yet; implicit TLS is the caller's (pass the *tls.Conn).
func NewClient(nc net.Conn, o ClientOptions) *Client {
	t := &o.Timeouts
	for _, d := range []struct {
		value *time.Duration
		def   time.Duration
	}{
		{&t.Greeting, 5 * time.Minute}, {&t.Command, 5 * time.Minute}, {&t.Data, 2 * time.Minute},
		{&t.Block, 3 * time.Minute}, {&t.Final, 10 * time.Minute}, {&t.Quit, 5 * time.Second},
	} {
		if *d.value <= 0 {
			*d.value = d.def
		}
	}
	return &Client{o: o, c: wire.New(nc, wire.Options{ReadTimeout: t.Greeting, WriteTimeout: t.Block})}
}

// watch ends the connection when ctx ends; the returned function stops watching and translates the error.
func (k *Client) watch(ctx context.Context) func(error) error {
	nc := k.c.NetConn()
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	return func(err error) error {
		if !stop() && ctx.Err() != nil && err != nil {
			return context.Cause(ctx)
		}
		return err
	}
}

// Hello reads the greeting and introduces us: EHLO, and HELO where that is refused with a 5xx (RFC 5321 section 3.2).
// A refusal of either is a *ReplyError.
func (k *Client) Hello(ctx context.Context) (err error) {
	done := k.watch(ctx)
	defer func() { err = done(err) }()
	k.greeting, err = k.reply(k.o.Timeouts.Greeting)
	if err != nil {
		return err
	}
	if k.greeting.Code != 220 {
		return &ReplyError{"greeting", k.greeting}
	}
	return k.introduce()
}

func (k *Client) introduce() error {
	k.extensions = map[string]string{}
	verb := "EHLO"
	if k.o.LMTP {
		verb = "LHLO"
	}
	r, err := k.command(k.o.Timeouts.Greeting, verb+" "+k.o.Hostname)
	if err != nil {
		return err
	}
	if r.Class() == 5 && !k.o.LMTP {
		verb = "HELO"
		if r, err = k.command(k.o.Timeouts.Greeting, verb+" "+k.o.Hostname); err != nil {
			return err
		}
	}
	k.hello = r
	if r.Code != 250 {
		return &ReplyError{verb, r}
	}
	if verb == "HELO" {
		return nil
	}
	for _, line := range r.Lines[1:] {
		word, params, _ := strings.Cut(line, " ")
		k.extensions[strings.ToUpper(word)] = params
	}
	return nil
}

// Greeting and HelloReply are what the server said first.
func (k *Client) Greeting() Reply   { return k.greeting }
func (k *Client) HelloReply() Reply { return k.hello }

// Extension returns the parameters of an EHLO keyword (upper case) and whether it was offered.
func (k *Client) Extension(keyword string) (params string, ok bool) {
	params, ok = k.extensions[keyword]
	return params, ok
}

func (k *Client) has(keyword string) bool { _, ok := k.extensions[keyword]; return ok }

// MaxSize is the server's SIZE; 0: it said none.
func (k *Client) MaxSize() int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(k.extensions["SIZE"]), 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// Limit is a value of LIMITS (RFC 9422), such as RCPTMAX or MAILMAX; 0: not said.
func (k *Client) Limit(name string) int {
	for _, p := range strings.Fields(k.extensions["LIMITS"]) {
		if key, value, ok := strings.Cut(p, "="); ok && strings.EqualFold(key, name) {
			if n, err := strconv.Atoi(value); err == nil && n > 0 {
				return n
			}
		}
	}
	return 0
}

// Mechanisms lists what AUTH offers.
func (k *Client) Mechanisms() []string { return strings.Fields(strings.ToUpper(k.extensions["AUTH"])) }

// TLS returns the state, nil in clear.
func (k *Client) TLS() *tls.ConnectionState { return k.c.TLS() }

// StartTLS asks for TLS, shakes hands and introduces us anew (RFC 3207 section 4.2). A refusal before the handshake is a *ReplyError
// and the connection goes on in clear; after a failed handshake it must be closed.
func (k *Client) StartTLS(ctx context.Context, config *tls.Config) (err error) {
	done := k.watch(ctx)
	defer func() { err = done(err) }()
	r, err := k.command(k.o.Timeouts.Greeting, "STARTTLS")
	if err != nil {
		return err
	}
	if r.Code != 220 {
		return &ReplyError{"STARTTLS", r}
	}
	if err := k.c.StartTLSClient(ctx, config); err != nil {
		return err
	}
	return k.introduce()
}

// Auth runs a mechanism (RFC 4954 section 4). A refusal is a *ReplyError, and the connection may try another one.
func (k *Client) Auth(ctx context.Context, mechanism gosasl.Client) (err error) {
	done := k.watch(ctx)
	defer func() { err = done(err) }()
	name, ir, err := mechanism.Start()
	if err != nil {
		return fmt.Errorf("AUTH: %w", err)
	}
	line, late := "AUTH "+name, false
	if ir != nil {
		coded := base64.StdEncoding.EncodeToString(ir)
		switch {
		case len(ir) == 0:
			line += " ="
		case len(line)+1+len(coded) > 510: // RFC 4954 section 4: it has to fit a command line, else it waits for the first challenge
			late = true
		default:
			line += " " + coded
		}
	}
	r, err := k.command(k.o.Timeouts.Greeting, line)
	for err == nil && r.Code == 334 {
		var answer []byte
		if late {
			answer, late = ir, false
		} else {
			var challenge []byte
			challenge, err = base64.StdEncoding.DecodeString(r.Text())
			if err == nil {
				answer, err = mechanism.Next(challenge)
			}
			if err != nil { // the mechanism gives up: so do we, and stay in step
				if _, e := k.command(k.o.Timeouts.Greeting, "*"); e != nil {
					return e
				}
				return fmt.Errorf("AUTH: %w", err)
			}
		}
		r, err = k.command(k.o.Timeouts.Greeting, base64.StdEncoding.EncodeToString(answer))
	}
	if err != nil {
		return err
	}
	if r.Code != 235 {
		return &ReplyError{"AUTH", r}
	}
	return nil
}

// Reset gives up a transaction that may be open, and shows that the connection lives.
func (k *Client) Reset(ctx context.Context) error { return k.simple(ctx, "RSET") }

// Noop shows that the connection lives.
func (k *Client) Noop(ctx context.Context) error { return k.simple(ctx, "NOOP") }

func (k *Client) simple(ctx context.Context, verb string) (err error) {
	done := k.watch(ctx)
	defer func() { err = done(err) }()
	r, err := k.command(k.o.Timeouts.Command, verb)
	if err == nil && r.Class() != 2 {
		err = &ReplyError{verb, r}
	}
	return err
}

// Quit says good-bye and closes.
func (k *Client) Quit(ctx context.Context) error {
	done := k.watch(ctx)
	_, err := k.command(k.o.Timeouts.Quit, "QUIT")
	k.Close() // whatever it says, the connection is over
	return done(err)
}

// Close closes without a word.
func (k *Client) Close() error { return k.c.Close() }

// command sends one line and reads its reply.
func (k *Client) command(d time.Duration, line string) (Reply, error) {
	k.line(line)
	if err := k.c.Flush(); err != nil {
		return Reply{}, err
	}
	return k.reply(d)
}

// line buffers a command; a line break inside would be a second command, so it goes out as a space.
func (k *Client) line(s string) {
	if strings.ContainsAny(s, "\r\n") {
		s = strings.NewReplacer("\r", " ", "\n", " ").Replace(s)
	}
	k.c.WriteString(s)
	k.c.WriteString("\r\n")
}
