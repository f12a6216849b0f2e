// Package external asks a helper program on a unix socket whether a password is right, for accounts whose passwords are kept elsewhere:
// in LDAP, PAM, or a database (ADR 42).
//
// One line of JSON goes out, one comes back, in that order, on a connection that is kept:
//
//	{"user":"bob@example.org","password":"...","protocol":"imap","remote":"192.0.2.7"}
//	{"answer":"yes"}
//
// answer is yes, no, or later (it cannot be known now); words say why, for the log. Anything else than a clear yes or no is ErrLater: a
// directory that is down must never look like a wrong password, which programs forget and people type again.
package external

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// ErrLater is wrapped with the reason why nothing is known of a password now.
var ErrLater = errors.New("external: the helper gives no answer")

// Bounds of a conversation.
const (
	maxAnswer = 4096             // octets of a line
	maxWords  = 200              // octets of it that are logged
	idleFor   = 30 * time.Second // a connection that was silent for longer is not used again
)

// Question is one login, as the helper sees it.
type Question struct {
	User     string `json:"user"` // the account's main address
	Password string `json:"password"`
	Protocol string `json:"protocol"`         // imap, pop3, submission or web
	Remote   string `json:"remote,omitempty"` // the client's IP address
}

// answer is the helper's line.
type answer struct {
	Answer string `json:"answer"`
	Words  string `json:"words"`
}

// Options of a Helper. The zero value of a duration or count means its default.
type Options struct {
	Socket      string
	Timeout     time.Duration // of one question, waiting for its turn included; 10 s
	Connections int           // how many questions are asked at once; 8
	Now         func() time.Time
}

// Helper is the program at the other end of the socket. It is connected to when it is asked.
type Helper struct {
	o     Options
	turns chan struct{}

	mu     sync.Mutex
	idle   []*line // guarded by mu; used from its end
	closed bool    // guarded by mu
}

// line is a connection to the helper.
type line struct {
	net.Conn
	in    *bufio.Reader
	since time.Time // it is idle
}

// New makes a Helper; nothing is connected yet.
func New(o Options) *Helper {
	o.Timeout, o.Connections = cmp.Or(o.Timeout, 10*time.Second), cmp.Or(o.Connections, 8)
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Helper{o: o, turns: make(chan struct{}, o.Connections)}
}

// Ask tells whether the password is right. ready is called when it is the question's turn, before anything is sent: its error ends it.
// The other errors are ErrLater, or that of ctx.
func (h *Helper) Ask(ctx context.Context, q Question, ready func() error) (bool, error) {
	outer := ctx
	ctx, cancel := context.WithTimeout(ctx, h.o.Timeout)
	defer cancel()
	select {
	case h.turns <- struct{}{}:
	case <-ctx.Done():
		return false, h.late(outer, errors.New("all connections are in use"))
	}
	defer func() { <-h.turns }()
	if err := ready(); err != nil {
		return false, err
	}
	a, err := h.exchange(ctx, q)
	if err != nil {
		return false, h.late(outer, err)
	}
	switch a.Answer {
	case "yes":
		return true, nil
	case "no":
		return false, nil
	case "later":
		return false, fmt.Errorf("%w: it says %q", ErrLater, clip(a.Words))
	}
	return false, fmt.Errorf("%w: its answer is neither yes, no nor later, but %q", ErrLater, clip(a.Answer))
}

// late is a failure in words; who has gone meanwhile is told that.
func (h *Helper) late(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("%w: %w", ErrLater, err)
}

// exchange asks on a connection that is open, or on a new one. The helper may have closed the first meanwhile: then it has not seen the
// question, or has died of it, and is asked once more.
func (h *Helper) exchange(ctx context.Context, q Question) (answer, error) {
	for {
		l, old, err := h.connect(ctx)
		if err != nil {
			return answer{}, err
		}
		a, err := l.ask(ctx, q)
		if err == nil {
			h.keep(l)
			return a, nil
		}
		_ = l.Close()
		if !old || ctx.Err() != nil {
			return answer{}, err
		}
		h.drop() // those beside it are of the same helper
	}
}

func (h *Helper) drop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.idle {
		_ = l.Close()
	}
	h.idle = nil
}

// connect is an open connection; old tells that it was used before.
func (h *Helper) connect(ctx context.Context) (l *line, old bool, err error) {
	if l := h.take(); l != nil {
		return l, true, nil
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", h.o.Socket)
	if err != nil {
		return nil, false, err
	}
	return &line{Conn: conn, in: bufio.NewReaderSize(conn, maxAnswer)}, false, nil
}

func (h *Helper) take() *line {
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.idle) > 0 {
		l := h.idle[len(h.idle)-1]
		h.idle = h.idle[:len(h.idle)-1]
		if h.o.Now().Sub(l.since) <= idleFor {
			return l
		}
		_ = l.Close()
	}
	return nil
}

func (h *Helper) keep(l *line) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		_ = l.Close()
		return
	}
	l.since = h.o.Now()
	h.idle = append(h.idle, l) // never more than there are turns
}

// Close ends the connections that are idle; those in use end with their questions.
func (h *Helper) Close() {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.drop()
}

// ask is one question and its answer. Whatever goes wrong, the connection is of no use any more: an answer that comes late must not be
// taken for that of the next question.
func (l *line) ask(ctx context.Context, q Question) (a answer, err error) {
	stop := context.AfterFunc(ctx, func() { _ = l.SetDeadline(time.Unix(1, 0)) })
	defer func() {
		if !stop() && err == nil {
			err = context.Cause(ctx)
		}
	}()
	text, err := json.Marshal(q)
	if err != nil {
		return a, err
	}
	defer clear(text)
	if l.in.Buffered() > 0 {
		return a, errors.New("it said something before it was asked")
	}
	if _, err := l.Write(append(text, '\n')); err != nil {
		return a, err
	}
	reply, err := l.in.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return a, fmt.Errorf("its line is longer than %d octets", maxAnswer)
	case errors.Is(err, io.EOF):
		return a, errors.New("it hung up without an answer")
	case err != nil:
		return a, err
	}
	if err := json.Unmarshal(bytes.TrimSpace(reply), &a); err != nil {
		return a, errors.New("its line is no JSON of this protocol")
	}
	return a, nil
}

// clip makes what the helper says fit for a log.
func clip(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), maxWords)], "")
}

// Sendable tells whether a password can be asked about at all. An empty one must not be: LDAP takes it for a login of nobody, which
// succeeds (RFC 4513 section 5.1.2).
func Sendable(password string) bool {
	return password != "" && utf8.ValidString(password) && !strings.ContainsRune(password, 0)
}
