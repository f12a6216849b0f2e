package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/internal/config"
	"github.com/posthouse-mail/posthouse/internal/serve"
	"github.com/posthouse-mail/posthouse/smtp"
	"github.com/posthouse-mail/posthouse/web/api"
)

// smtpOnStdin is sendmail -bs: the program that called us speaks SMTP over our stdin and stdout.
func (p *program) smtpOnStdin(ctx context.Context, c *config.Config, m api.Message) error {
	s := smtp.NewServer(smtp.Options{
		Desk: &stdinDesk{p: p, config: c, message: m}, Hostname: cmp.Or(c.Hostname, "localhost"),
		MaxSize: int64(c.Limits.MessageSize), MaxRecipients: c.Limits.Recipients,
	})
	s.Handle(ctx, &serve.Conn{Conn: &stdio{in: &crlf{r: bufio.NewReader(p.stdin)}, out: p.stdout}, ID: "stdin", Service: "sendmail"})
	return nil
}

// stdinDesk hands each message of the session to the house or its spool.
type stdinDesk struct {
	p       *program
	config  *config.Config
	message api.Message // what the command line said
}

func (d *stdinDesk) NewSession(ctx context.Context, _ smtp.Peer) (gosmtp.Session, error) {
	return &stdinSession{ctx: ctx, desk: d}, nil
}

type stdinSession struct {
	ctx     context.Context // of the connection: go-smtp's Session has none
	desk    *stdinDesk
	message api.Message
	receipt string
}

func (s *stdinSession) Mail(from string, _ *gosmtp.MailOptions) error {
	s.message = s.desk.message
	s.message.From, s.message.Recipients, s.message.FromHeader = from, nil, false
	if from == "" {
		s.message.From = "<>"
	}
	return nil
}

func (s *stdinSession) Rcpt(to string, _ *gosmtp.RcptOptions) error {
	s.message.Recipients = append(s.message.Recipients, to)
	return nil
}

func (s *stdinSession) Data(body io.Reader) error {
	receipt, err := s.desk.p.handIn(s.ctx, s.desk.config, s.message, body)
	var coded *codedError
	switch {
	case err == nil:
		s.receipt = receipt
		return nil
	case errors.As(err, &coded) && coded.code != exTempFail:
		return &gosmtp.SMTPError{Code: 554, EnhancedCode: gosmtp.EnhancedCode{5, 7, 1}, Message: err.Error()}
	}
	return &gosmtp.SMTPError{Code: 451, EnhancedCode: gosmtp.EnhancedCode{4, 3, 0}, Message: err.Error()}
}

// Receipt is what the house said of the last message.
func (s *stdinSession) Receipt() string { return s.receipt }

func (s *stdinSession) Reset()        {}
func (s *stdinSession) Logout() error { return nil }

// stdio is stdin and stdout as a connection; it has no deadlines: who holds the other end may take his time.
type stdio struct {
	in  io.Reader
	out io.Writer
}

func (c *stdio) Read(b []byte) (int, error)       { return c.in.Read(b) }
func (c *stdio) Write(b []byte) (int, error)      { return c.out.Write(b) }
func (c *stdio) Close() error                     { return nil }
func (c *stdio) LocalAddr() net.Addr              { return &net.UnixAddr{Name: "stdout", Net: "unix"} }
func (c *stdio) RemoteAddr() net.Addr             { return &net.UnixAddr{Name: "stdin", Net: "unix"} }
func (c *stdio) SetDeadline(time.Time) error      { return nil }
func (c *stdio) SetReadDeadline(time.Time) error  { return nil }
func (c *stdio) SetWriteDeadline(time.Time) error { return nil }
