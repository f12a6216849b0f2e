package pull

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	gosasl "github.com/emersion/go-sasl"

	"github.com/posthouse-mail/posthouse/internal/wire"
)

// Bounds of what a server may claim.
const (
	maxResponses = 200_000 // to one command; ours ask for 20,000 messages at most
	maxExists    = 1 << 31
	maxCaps      = 500
)

// client is one connection to the server, logged in.
type client struct {
	o    *Options
	conn *wire.Conn
	r    reader
	caps map[string]bool
	utf8 bool                 // mailbox names are UTF-8 (RFC 6855)
	last int                  // number of the last tag
	over map[string]*response // commands that ended before those that were sent before them

	exists  uint32 // of the selected mailbox
	shifted uint32 // EXPUNGEs that came: sequence numbers are up to so many less than they were
	alert   func(text string)
}

// refusal is what the server said no with.
type refusal struct {
	command string
	name    string // NO, BAD or BYE
	code    string
	text    string
}

func (e *refusal) Error() string {
	text := e.text
	if e.code != "" {
		text = "[" + e.code + "] " + text
	}
	return "the server answers " + e.command + " with " + e.name + " " + text
}

// later reports whether the same may be answered otherwise after a while (RFC 5530, and what Yahoo and Google say).
func (e *refusal) later() bool {
	switch e.code {
	case "UNAVAILABLE", "INUSE", "LIMIT", "THROTTLED", "OVERQUOTA", "SERVERBUG", "WEBALERT-LATER":
		return true
	}
	text := strings.ToLower(e.text)
	for _, word := range []string{"throttl", "too many", "try again", "bandwidth", "rate limit", "temporar", "server busy"} {
		if strings.Contains(text, word) {
			return true
		}
	}
	return false
}

// dial connects, secures and logs in.
func dial(ctx context.Context, o *Options, alert func(string)) (*client, error) {
	d := wire.DialOptions{Address: o.Address, Dial: o.Dial, Options: wire.Options{ReadTimeout: o.Timeout, WriteTimeout: o.Timeout}}
	if o.Security == Implicit {
		d.TLS = o.TLS
	}
	conn, err := wire.Dial(ctx, d)
	if err != nil {
		return nil, err
	}
	c := &client{o: o, conn: conn, r: reader{src: conn}, alert: alert, over: map[string]*response{}}
	if err := c.begin(ctx); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *client) close() {
	_ = c.conn.Close() // what was to be kept of it is in the store
}

// logout is polite; nothing depends on it.
func (c *client) logout() {
	c.conn.SetReadTimeout(5 * time.Second)
	_, _ = c.do("LOGOUT", nil)
	c.close()
}

func (c *client) begin(ctx context.Context) error {
	hello, err := c.r.next(nil)
	if err != nil {
		return fmt.Errorf("greeting: %w", err)
	}
	switch hello.name {
	case "OK", "PREAUTH":
	case "BYE":
		return c.refused("the connection", hello)
	default:
		return errors.New("what answers there is no IMAP server")
	}
	c.noteCode(hello)
	if c.o.Security == StartTLS {
		if hello.name == "PREAUTH" { // RFC 9051 section 7.1.4: somebody between us keeps TLS away
			return errors.New("the server skips the login, so that TLS cannot be begun: not safe")
		}
		if _, err := c.do("STARTTLS", nil); err != nil {
			return err
		}
		if err := c.conn.StartTLSClient(ctx, c.o.TLS); err != nil {
			return err
		}
		c.caps = nil // RFC 9051 section 6.2.1: learned in clear
		clear(c.over)
	}
	if hello.name != "PREAUTH" {
		if err := c.login(); err != nil {
			return err
		}
	}
	if c.caps == nil {
		if _, err := c.do("CAPABILITY", nil); err != nil {
			return err
		}
	}
	return c.introduce()
}

// introduce is what some servers want to hear before anything else.
func (c *client) introduce() error {
	if c.caps["ID"] { // 163.com refuses SELECT without it
		if _, err := c.do(`ID ("name" "posthouse")`, nil); isLost(err) {
			return err
		}
	}
	c.utf8 = !c.caps["IMAP4REV1"] && c.caps["IMAP4REV2"]
	if c.caps["UTF8=ACCEPT"] || c.caps["UTF8=ONLY"] { // messages come as they are (RFC 6855 section 3)
		switch _, err := c.do("ENABLE UTF8=ACCEPT", nil); {
		case err == nil:
			c.utf8 = true
		case isLost(err):
			return err
		}
	}
	return nil
}

// isLost reports an error after which the connection is of no use.
func isLost(err error) bool {
	var no *refusal
	return err != nil && (!errors.As(err, &no) || no.name == "BYE")
}

// login proves who we are: an OAuth token, else AUTHENTICATE PLAIN, LOGIN, AUTHENTICATE LOGIN, in this order.
func (c *client) login() error {
	if c.caps == nil {
		if _, err := c.do("CAPABILITY", nil); err != nil {
			return err
		}
	}
	offered := c.caps
	c.caps = nil // they change with the login
	o := c.o
	switch {
	case o.Token != "" && offered["AUTH=OAUTHBEARER"]:
		return c.authenticate(gosasl.NewOAuthBearerClient(&gosasl.OAuthBearerOptions{Username: o.User, Token: o.Token}), offered)
	case o.Token != "":
		return c.authenticate(&xoauth2{user: o.User, token: o.Token}, offered)
	case offered["AUTH=PLAIN"]:
		return c.authenticate(gosasl.NewPlainClient("", o.User, o.Password), offered)
	case !offered["LOGINDISABLED"]:
		return c.plainLogin(offered["LITERAL+"] || offered["LITERAL-"])
	case offered["AUTH=LOGIN"]:
		return c.authenticate(gosasl.NewLoginClient(o.User, o.Password), offered)
	}
	return errors.New("the server takes no login of the kinds PLAIN, LOGIN and OAuth here; perhaps it wants TLS: --tls starttls")
}

// authenticate runs a SASL exchange (RFC 9051 section 6.2.2), with the initial response where that is possible (RFC 4959).
func (c *client) authenticate(m gosasl.Client, offered map[string]bool) error {
	mech, first, err := m.Start()
	if err != nil {
		return err
	}
	command := "AUTHENTICATE " + mech
	if first != nil && offered["SASL-IR"] {
		command += " " + orEqual(first)
		first = nil
	}
	tag, err := c.send(command)
	if err != nil {
		return err
	}
	_, err = c.wait(tag, "AUTHENTICATE "+mech, func(r *response) error { // never command: it may hold the password
		if r.tag != "+" {
			return nil
		}
		answer := first
		if first == nil {
			challenge, err := base64.StdEncoding.DecodeString(r.text)
			if err != nil {
				challenge = []byte(r.text) // Exchange explains itself here
			}
			if answer, err = m.Next(challenge); err != nil {
				answer = nil // an empty line ends it with the server's reason
			}
		}
		first = nil
		_, err := c.conn.WriteString(base64.StdEncoding.EncodeToString(answer) + "\r\n")
		return errors.Join(err, c.conn.Flush())
	}, nil)
	if err != nil {
		return c.loginError(err, "AUTHENTICATE "+mech)
	}
	return nil
}

// orEqual is base64, "=" for an empty response (RFC 4959 section 3).
func orEqual(b []byte) string {
	if len(b) == 0 {
		return "="
	}
	return base64.StdEncoding.EncodeToString(b)
}

// loginError leaves out what was sent: it holds the password.
func (c *client) loginError(err error, command string) error {
	if no, ok := errors.AsType[*refusal](err); ok && no.name != "BYE" {
		no.command = command
		return &loginRefused{no}
	}
	return err
}

// loginRefused: trying again with the same password helps nobody, and may lock the account.
type loginRefused struct{ *refusal }

func (e *loginRefused) Unwrap() error { return e.refusal }

// plainLogin is the LOGIN command (RFC 9051 section 6.2.3). What quotes cannot hold goes as a literal.
func (c *client) plainLogin(nonSync bool) error {
	var b bytes.Buffer
	b.WriteString("LOGIN")
	var later []string // what stands behind each literal that waits for its "+"
	for _, s := range []string{c.o.User, c.o.Password} {
		b.WriteByte(' ')
		switch {
		case quotable(s):
			b.WriteString(quote(s))
		case nonSync:
			fmt.Fprintf(&b, "{%d+}\r\n%s", len(s), s)
		default:
			fmt.Fprintf(&b, "{%d}", len(s))
			later = append(later, b.String())
			b.Reset()
			b.WriteString(s)
		}
	}
	later = append(later, b.String())
	tag, err := c.send(later[0])
	if err != nil {
		return err
	}
	n := 0
	_, err = c.wait(tag, "LOGIN", func(r *response) error {
		if r.tag != "+" || n+1 >= len(later) {
			return nil
		}
		n++
		_, err := c.conn.WriteString(later[n] + "\r\n")
		return errors.Join(err, c.conn.Flush())
	}, nil)
	if err != nil {
		return c.loginError(err, "LOGIN")
	}
	return nil
}

func quotable(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// xoauth2 is the client's side of Google's and Microsoft's older OAuth mechanism.
type xoauth2 struct{ user, token string }

func (x *xoauth2) Start() (string, []byte, error) {
	return "XOAUTH2", []byte("user=" + x.user + "\x01auth=Bearer " + x.token + "\x01\x01"), nil
}

// Next answers the challenge that holds the error: with nothing.
func (x *xoauth2) Next([]byte) ([]byte, error) { return []byte{}, nil }

// send writes a command; it goes out with the next wait.
func (c *client) send(command string) (tag string, err error) {
	c.last++
	tag = "P" + strconv.Itoa(c.last)
	_, err = c.conn.WriteString(tag + " " + command + "\r\n")
	return tag, err
}

// do sends a command and waits for its end.
func (c *client) do(command string, on func(*response) error) (*response, error) {
	tag, err := c.send(command)
	if err != nil {
		return nil, err
	}
	return c.wait(tag, command, on, nil)
}

// wait reads responses up to the one with the tag; on gets all others, body the message texts.
func (c *client) wait(tag, command string, on func(*response) error, body func(int64) io.Writer) (*response, error) {
	if err := c.conn.Flush(); err != nil {
		return nil, err
	}
	if r := c.over[tag]; r != nil {
		delete(c.over, tag)
		return c.ended(r, command)
	}
	for range maxResponses {
		r, err := c.r.next(body)
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		if r.tag == tag {
			return c.ended(r, command)
		}
		if r.tag != "*" && r.tag != "+" { // Dovecot works on several at once
			if len(c.over) >= ahead {
				return nil, errLost
			}
			if c.sent(r.tag) {
				c.over[r.tag] = r
			}
			continue
		}
		if err := c.note(r); err != nil {
			return nil, err
		}
		if on != nil {
			if err := on(r); err != nil {
				return nil, err
			}
		}
	}
	return nil, fmt.Errorf("%w: %s has no end", errLost, strings.Fields(command)[0])
}

// sent reports whether a tag is one of ours: no answer to what was not asked yet.
func (c *client) sent(tag string) bool {
	n, err := strconv.Atoi(strings.TrimPrefix(tag, "P"))
	return err == nil && n <= c.last
}

// ended is what became of a command.
func (c *client) ended(r *response, command string) (*response, error) {
	c.noteCode(r)
	if r.name != "OK" {
		word, _, _ := strings.Cut(command, " (")
		return r, c.refused(word, r)
	}
	return r, nil
}

// refused is the error of a response. Some servers repeat what they were told.
func (c *client) refused(command string, r *response) *refusal {
	return &refusal{command: command, name: r.name, code: r.code, text: c.unsecret(r.text)}
}

// unsecret takes password and token out of what the server says: it goes into logs and reports.
func (c *client) unsecret(text string) string {
	for _, s := range []string{c.o.Password, c.o.Token} {
		if len(s) < 3 { // hiding it would tell it
			continue
		}
		text = strings.ReplaceAll(text, s, "***")
		for word := range strings.FieldsSeq(text) { // of an initial response; it may be cut off
			if b, _ := base64.RawStdEncoding.DecodeString(strings.TrimRight(word, "=")); len(word) >= 8 && bytes.Contains(b, []byte(s[:3])) {
				text = strings.ReplaceAll(text, word, "***")
			}
		}
	}
	return text
}

// note takes what may come at any time (RFC 9051 section 7).
func (c *client) note(r *response) error {
	switch r.name {
	case "CAPABILITY":
		var all []string
		for _, v := range r.args {
			all = append(all, v.text)
		}
		c.noteCaps(strings.Join(all, " "))
	case "EXISTS":
		c.exists = min(max(c.exists, r.num), maxExists) // it never gets less but by EXPUNGE (RFC 9051 section 7.4.1)
	case "EXPUNGE":
		c.shifted++
		c.exists = max(c.exists, 1) - 1
	case "OK", "NO", "BAD":
		c.noteCode(r)
	case "BYE":
		return c.refused("the connection", r)
	}
	return nil
}

func (c *client) noteCode(r *response) {
	switch r.code {
	case "CAPABILITY":
		c.noteCaps(r.arg)
	case "ALERT":
		c.alert("the server says: " + c.unsecret(r.text))
	}
}

func (c *client) noteCaps(words string) {
	c.caps = map[string]bool{}
	for w := range strings.FieldsSeq(strings.ToUpper(words)) {
		if len(c.caps) == maxCaps {
			return
		}
		c.caps[w] = true
	}
}
