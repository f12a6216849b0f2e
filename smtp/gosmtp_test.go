package smtp

import (
	"context"
	"io"
	"log"
	"net"
	"strings"
	"testing"

	gosasl "github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"
)

// backend makes a desk go-smtp's Backend, so that the same desk answers behind both protocol engines.
type backend struct{ desk Desk }

func (b backend) NewSession(c *gosmtp.Conn) (gosmtp.Session, error) {
	s, err := b.desk.NewSession(context.Background(), Peer{ID: "go-smtp", Service: "smtp", Hello: c.Hostname(), Extended: true})
	if err != nil {
		return nil, err
	}
	if a, ok := s.(gosmtp.AuthSession); ok {
		return oracleAuth{a}, nil
	}
	return s, nil
}

// oracleAuth passes AUTH through; go-smtp finds the methods by type.
type oracleAuth struct{ gosmtp.AuthSession }

func (o oracleAuth) Auth(mechanism string) (gosasl.Server, error) {
	return o.AuthSession.Auth(mechanism)
}

// oracle runs the dialogue on go-smtp's server.
func oracle(t *testing.T, desk Desk, in string) string {
	t.Helper()
	s := gosmtp.NewServer(backend{desk})
	s.Domain, s.MaxMessageBytes, s.MaxRecipients = "mx.test", 1000, 5
	s.EnableSMTPUTF8, s.EnableDSN, s.AllowInsecureAuth = true, true, true
	s.ErrorLog = log.New(io.Discard, "", 0)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(ln) }()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(c, in)
	c.(*net.TCPConn).CloseWrite()
	out, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	s.Close()
	<-done
	return string(out)
}

// codes are the reply codes of a dialogue, one for each reply.
func codes(out string) string {
	var all []string
	for line := range strings.SplitSeq(out, "\r\n") {
		if len(line) > 3 && line[3] == ' ' {
			all = append(all, line[:3])
		}
	}
	return strings.Join(all, " ")
}

// TestSameDeskUnderBoth plays dialogues on both engines: the same replies and the same notes of the desk, but for the known differences.
func TestSameDeskUnderBoth(t *testing.T) {
	hello := "EHLO trusted.test\r\n"
	open := hello + "MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\n"
	tests := []struct {
		name, in    string
		ours, other string // set where they differ, with the reason
		notes       bool   // the desk hears different things
		why         string
	}{
		{name: "a message", in: open + "DATA\r\nSubject: x\r\n\r\n..hi\r\n.\r\nQUIT\r\n"},
		{name: "two messages", in: open + "DATA\r\na\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<c@y.test>\r\nDATA\r\nb\r\n.\r\nQUIT\r\n"},
		{name: "refused recipients", in: hello + "MAIL FROM:<a@x.test>\r\nRCPT TO:<nobody@y.test>\r\nRCPT TO:<b@y.test>\r\nRSET\r\nQUIT\r\n"},
		{name: "parameters", in: hello + "MAIL FROM:<a@x.test> SIZE=10 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+2Bb AUTH=<>\r\nRCPT TO:<b@y.test> NOTIFY=SUCCESS,DELAY ORCPT=RFC822;b@y.test\r\nQUIT\r\n"},
		{name: "a space before the path", in: hello + "MAIL FROM: <a@x.test>\r\nRCPT TO: <b@y.test>\r\nQUIT\r\n"},
		{name: "BDAT", in: open + "BDAT 4\r\nab\r\nBDAT 4 LAST\r\ncd\r\nQUIT\r\n"},
		{name: "AUTH", in: hello + "AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\nAUTH PLAIN AGFsaWNlAHNlY3JldA==\r\nQUIT\r\n"},
		{name: "AUTH LOGIN", in: hello + "AUTH LOGIN\r\nYWxpY2U=\r\nc2VjcmV0\r\nQUIT\r\n"},
		{name: "internal error", in: hello + "MAIL FROM:<a@x.test>\r\nRCPT TO:<broken@y.test>\r\nQUIT\r\n"},
		{name: "Postmaster", in: hello + "MAIL FROM:<a@x.test>\r\nRCPT TO:<Postmaster>\r\nQUIT\r\n", ours: "220 250 250 250 221", other: "220 250 250 501 221", notes: true, why: "RFC 5321 section 4.5.1"},
		{name: "second MAIL", in: hello + "MAIL FROM:<a@x.test>\r\nMAIL FROM:<b@x.test>\r\nQUIT\r\n", ours: "220 250 250 503 221", other: "220 250 250 250 221", notes: true, why: "RFC 5321 section 4.1.4"},
		{name: "unknown parameter", in: hello + "MAIL FROM:<a@x.test> HOLDFOR=10\r\nQUIT\r\n", ours: "220 250 555 221", other: "220 250 500 221", why: "RFC 5321 section 4.1.1.11"},
		{name: "too large by SIZE", in: hello + "MAIL FROM:<a@x.test> SIZE=2000\r\nQUIT\r\n"},
		{name: "exactly SIZE", in: open + "DATA\r\n" + strings.Repeat("x", 998) + "\r\n.\r\nQUIT\r\n", ours: "220 250 250 250 354 250 221", other: "220 250 250 250 354 552 221", notes: true, why: "SIZE octets are allowed"},
		{name: "CR CR LF", in: open + "DATA\r\nline\r\r\n.\r\nQUIT\r\n", ours: "220 250 250 250 354 550 221", other: "220 250 250 250 354 554", notes: true, why: "there the message never ends"},
		{name: "bare LF", in: open + "DATA\r\nhi\n.\nx\r\n.\r\nQUIT\r\n", ours: "220 250 250 250 354 550 221", other: "220 250 250 250 354 250 221", notes: true, why: "there it is passed on"},
		{name: "quoted local part", in: hello + "MAIL FROM:<a@x.test>\r\nRCPT TO:<\"a@b\"@y.test>\r\nQUIT\r\n", notes: true, why: "there the quotes are lost"},
		{name: "unknown command", in: hello + "XCLIENT a\r\nETRN b\r\nQUIT\r\n", ours: "220 250 500 500 221", other: "220 250 501 500 221", why: "there verbs have four letters"},
		{name: "small commands", in: hello + "NOOP\r\nVRFY a\r\nEXPN b\r\nHELP\r\nQUIT\r\n", ours: "220 250 250 252 502 214 221", other: "220 250 250 252 502 502 221", why: "HELP is required, RFC 5321 section 4.5.1"},
		{name: "wrong order", in: "MAIL FROM:<a@x.test>\r\n" + hello + "RCPT TO:<b@y.test>\r\nDATA\r\nQUIT\r\n", ours: "220 503 250 503 503 221", other: "220 502 250 502 502 221", why: "503 is bad sequence"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, b := &notebook{auth: true}, &notebook{auth: true}
			s := NewServer(Options{Hostname: "mx.test", Desk: a, Auth: true, MaxSize: 1000, MaxRecipients: 5})
			ours, theirs := codes(talk(t, s, tt.in)), codes(oracle(t, b, tt.in))
			if tt.ours == "" && ours != theirs || tt.ours != "" && (ours != tt.ours || theirs != tt.other) {
				t.Errorf("ours   %s\ntheirs %s\nknown: %s", ours, theirs, tt.why)
			}
			mine, others := strings.Join(a.take(), "\n"), strings.Join(b.take(), "\n")
			if same := mine == others; same == tt.notes {
				t.Errorf("our desk heard\n%s\ntheirs\n%s", mine, others)
			}
		})
	}
}
