package pull

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	gosasl "github.com/emersion/go-sasl"

	"github.com/posthouse-mail/posthouse/internal/wire"
)

const (
	maxLine   = 4096 // servers are more generous than RFC 1939 section 3
	maxHeader = 64 << 10
	maxList   = 1_000_000 // messages of a mailbox
	maxID     = 70        // octets of a unique-id (RFC 1939 section 7); of longer ones their hash is kept
	maxWords  = 300       // octets of what a server says to people
	maxText   = 8 << 30   // octets of a message that are read, although the store takes 4 GiB only
)

// client is one connection to the server, logged in.
type client struct {
	o    *Options
	conn *wire.Conn
	caps map[string]string // nil: not asked
	in   *bufio.Reader
	lf   bool // its lines end with LF alone
}

// refusal is an -ERR.
type refusal struct {
	command string
	text    string
}

func (e *refusal) Error() string { return "the server answers " + e.command + " with " + e.text }

// Permanent reports whether waiting will not help (RFC 3206; the rest as servers word it).
func (e *refusal) Permanent() bool {
	text := strings.ToLower(e.text)
	for _, word := range []string{"[in-use]", "[login-delay]", "[sys/temp]", "try again", "temporar", "too many", "in use", "locked", "busy"} {
		if strings.Contains(text, word) {
			return false
		}
	}
	return true
}

// listed is a message as the server lists it.
type listed struct {
	number int
	size   int64
	id     string
	isUIDL bool // id is a unique-id
	copy   int  // so many before it have the same id
	key    [16]byte
}

// dial connects, secures and logs in.
func dial(ctx context.Context, o *Options) (*client, error) {
	d := wire.DialOptions{Address: o.Address, Dial: o.Dial, Options: wire.Options{ReadTimeout: o.Timeout, WriteTimeout: o.Timeout}}
	if o.Security == Implicit {
		d.TLS = o.TLS
	}
	conn, err := wire.Dial(ctx, d)
	if err != nil {
		return nil, err
	}
	c := &client{o: o, conn: conn, in: bufio.NewReaderSize(conn, 16<<10)}
	if err := c.begin(ctx); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *client) close() {
	_ = c.conn.Close() // what counts is in the store, or QUIT has said it
}

func (c *client) begin(ctx context.Context) error {
	if _, err := c.answer("the connection"); err != nil {
		return err
	}
	if c.o.Security == StartTLS {
		if _, err := c.do("STLS"); err != nil {
			return err
		}
		if err := c.conn.StartTLSClient(ctx, c.o.TLS); err != nil {
			return err
		}
		c.in.Reset(c.conn) // what came in clear is not heard
	}
	if err := c.login(); err != nil {
		return err
	}
	return c.capa() // again: it may differ after the login (RFC 2449 section 5)
}

// login proves who we are: an OAuth token, or USER and PASS. APOP is left out: it needs the password in clear on the server, and
// protects nothing that TLS does not.
func (c *client) login() error {
	if c.o.Token != "" {
		if err := c.capa(); err != nil {
			return err
		}
		return c.authenticate()
	}
	for _, s := range []string{c.o.User, c.o.Password} {
		if strings.ContainsAny(s, "\r\n\x00") {
			return fmt.Errorf("%w: user name or password has a line end", errUnfit)
		}
	}
	for _, line := range []string{"USER " + c.o.User, "PASS " + c.o.Password} {
		if err := c.send(line); err != nil {
			return err
		}
		if _, err := c.answer(line[:4]); err != nil {
			return err
		}
	}
	return nil
}

// authenticate is the AUTH command (RFC 5034) for OAuth.
func (c *client) authenticate() error {
	mech, first := "XOAUTH2", []byte("user="+c.o.User+"\x01auth=Bearer "+c.o.Token+"\x01\x01")
	if strings.Contains(" "+c.caps["SASL"]+" ", " OAUTHBEARER ") {
		var err error
		m := gosasl.NewOAuthBearerClient(&gosasl.OAuthBearerOptions{Username: c.o.User, Token: c.o.Token})
		if mech, first, err = m.Start(); err != nil {
			return err
		}
	}
	// Without an initial response: a line of a command has 255 octets, a token has more (RFC 5034 section 4).
	if err := c.send("AUTH " + mech); err != nil {
		return err
	}
	answer := base64.StdEncoding.EncodeToString(first)
	for range 3 {
		line, err := c.line()
		if err != nil {
			return err
		}
		if !strings.HasPrefix(line, "+ ") && line != "+" {
			return said("AUTH "+mech, c.unsecret(line))
		}
		if err := c.send(answer); err != nil {
			return err
		}
		answer = "" // what the server asks now is only why it refuses
	}
	return errors.New("the server does not end the login")
}

// send writes a command; it goes out with the next answer.
func (c *client) send(command string) error {
	_, err := c.conn.WriteString(command + "\r\n")
	return err
}

func (c *client) do(command string) (string, error) {
	if err := c.send(command); err != nil {
		return "", err
	}
	return c.answer(command)
}

// line reads one line.
func (c *client) line() (string, error) {
	if err := c.conn.Flush(); err != nil {
		return "", err
	}
	var line []byte
	for {
		part, err := c.in.ReadSlice('\n')
		if line = append(line, part...); len(line) > maxLine {
			return "", fmt.Errorf("%w: the server sends a line that does not end", errUnfit)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF):
			return "", io.ErrUnexpectedEOF
		case err != nil:
			return "", err
		default:
			c.lf = !bytes.HasSuffix(line, []byte("\r\n"))
			return string(bytes.TrimRight(line, "\r\n")), nil
		}
	}
}

// answer reads +OK or -ERR; the error never holds what was sent.
func (c *client) answer(command string) (string, error) {
	line, err := c.line()
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(strings.TrimPrefix(line, "+OK")), said(command, c.unsecret(line))
}

// unsecret takes password and token out of what the server says: some repeat what they were told, and it goes into logs and reports.
func (c *client) unsecret(text string) string {
	for _, s := range []string{c.o.Password, c.o.Token} {
		if len(s) >= 3 { // hiding a shorter one would tell it
			text = strings.ReplaceAll(text, s, "***")
		}
	}
	return text
}

// words is what a server says to people: of a length that can be kept, and without what a terminal would obey.
func words(text string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || unicode.IsControl(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(text[:min(len(text), maxWords)], "?"))
}

func said(command, line string) error {
	switch {
	case strings.HasPrefix(line, "+OK"):
		return nil
	case strings.HasPrefix(line, "-ERR"):
		return &refusal{command: command, text: words(line)}
	}
	return fmt.Errorf("the server answers %s with what is no answer of POP3", command)
}

// capa asks what the server can do (RFC 2449); one that does not know the command can little.
func (c *client) capa() error {
	c.caps = map[string]string{}
	if _, err := c.do("CAPA"); err != nil {
		if _, ok := errors.AsType[*refusal](err); ok {
			return nil
		}
		return err
	}
	return c.lines(func(line string) {
		name, args, _ := strings.Cut(line, " ")
		if len(c.caps) < 100 {
			c.caps[strings.ToUpper(name)] = strings.ToUpper(args)
		}
	})
}

func (c *client) capable(name string) bool {
	_, ok := c.caps[name]
	return ok
}

// lines reads a list up to the line with a dot.
func (c *client) lines(each func(string)) error {
	for range maxList {
		line, err := c.line()
		if err != nil {
			return err
		}
		if line == "." {
			return nil
		}
		each(strings.TrimPrefix(line, "."))
	}
	return fmt.Errorf("%w: the list does not end", errUnfit)
}

// list asks for numbers, sizes and unique-ids. A server without UIDL gets names made of the headers.
func (c *client) list() ([]listed, error) {
	if _, err := c.do("LIST"); err != nil {
		return nil, err
	}
	var all []listed
	err := c.lines(func(line string) {
		var l listed
		if _, err := fmt.Sscan(line, &l.number, &l.size); err == nil && l.number > 0 {
			l.size = max(l.size, 0)
			all = append(all, l)
		}
	})
	if err != nil || len(all) == 0 {
		return nil, err
	}
	at := make(map[int]int, len(all))
	for i, l := range all {
		at[l.number] = i
	}
	if _, err := c.do("UIDL"); err != nil {
		if _, ok := errors.AsType[*refusal](err); !ok {
			return nil, err
		}
		return c.named(all)
	}
	err = c.lines(func(line string) {
		number, id, _ := strings.Cut(line, " ")
		n, err := strconv.Atoi(number)
		if i, ok := at[n]; ok && err == nil {
			all[i].id, all[i].isUIDL = shortID(strings.TrimSpace(id)), true
		}
	})
	return keyed(all), err
}

// shortID is a unique-id of which no more is kept than it may have.
func shortID(id string) string {
	if len(id) > maxID || words(id) != id {
		key := keyOf(id, 0)
		return fmt.Sprintf("(odd unique-id %x)", key[:8])
	}
	return strings.Clone(id) // not the whole line
}

// named gives messages names made of their headers: the only thing that stays the same where there is no UIDL.
func (c *client) named(all []listed) ([]listed, error) {
	for i := range all {
		header, err := c.top(all[i].number)
		if err != nil {
			if _, ok := errors.AsType[*refusal](err); ok {
				return nil, fmt.Errorf("%w: the server has neither UIDL nor TOP, so that nobody can know what was brought already", errUnfit)
			}
			return nil, err
		}
		key := keyOf(string(header), int(all[i].size))
		all[i].id = fmt.Sprintf("(header %x)", key[:6])
	}
	return keyed(all), nil
}

// keyed numbers copies and gives each message its key; those without an id are left out.
func keyed(all []listed) []listed {
	seen := map[string]int{}
	out := all[:0]
	for _, l := range all {
		if l.id == "" {
			continue
		}
		l.copy = seen[l.id]
		seen[l.id]++
		l.key = keyOf(l.id, l.copy)
		out = append(out, l)
	}
	return out
}

// top reads a message's header.
func (c *client) top(number int) ([]byte, error) {
	if _, err := c.do(fmt.Sprintf("TOP %d 0", number)); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	_, err := c.text(&limited{&b, maxHeader})
	return b.Bytes(), err
}

var errEndless = errors.New("the message does not end")

// limited keeps the first octets and passes over the others.
type limited struct {
	b    *bytes.Buffer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	n := min(len(p), l.left)
	l.left -= n
	l.b.Write(p[:n])
	return len(p), nil
}

// text hands a multi-line answer to w, its dots taken out; all of it is read even when w fails. It ends at CRLF.CRLF only (or,
// where the server writes its lines so, at LF.LF): a dot behind a bare LF is text. A bare LF becomes CRLF.
func (c *client) text(w io.Writer) (writeErr, err error) {
	write := func(b []byte) {
		if writeErr == nil && len(b) > 0 {
			_, writeErr = w.Write(b)
		}
	}
	begin, cr := true, false // of a line; the octet before was CR
	for size := int64(0); ; {
		b, err := c.in.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return writeErr, err
		}
		if begin && b[0] == '.' {
			if end := string(b); end == ".\r\n" || c.lf && end == ".\n" {
				return writeErr, nil
			}
			b = b[1:]
		}
		n := len(b)
		if size += int64(n); size > maxText {
			return writeErr, errEndless
		}
		switch {
		case n == 0: // a dot alone before the buffer ended
			begin = false
		case b[n-1] != '\n':
			write(b)
			begin, cr = false, b[n-1] == '\r'
		case n > 1 && b[n-2] == '\r' || n == 1 && cr:
			write(b)
			begin, cr = true, false
		default:
			write(b[:n-1])
			write([]byte("\r\n"))
			begin, cr = c.lf, false
		}
	}
}

// quit ends the session; deletions hold from here on.
func (c *client) quit() error {
	_, err := c.do("QUIT")
	return err
}
