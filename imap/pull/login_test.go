package pull_test

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/posthouse-mail/posthouse/imap/pull"
	"github.com/posthouse-mail/posthouse/internal/cert"
)

// TestLogin: which login is used, and what goes over the wire.
func TestLogin(t *testing.T) {
	plain := base64.StdEncoding.EncodeToString([]byte("\x00u\x00p"))
	oauth := base64.StdEncoding.EncodeToString([]byte("n,a=u,\x01auth=Bearer tok\x01\x01"))
	xoauth := base64.StdEncoding.EncodeToString([]byte("user=u\x01auth=Bearer tok\x01\x01"))
	for _, c := range []struct {
		name, caps, password, token string
		want                        string // what is sent, lines joined with "|"
		err                         string
	}{
		{"PLAIN with initial response", "IMAP4rev1 AUTH=PLAIN SASL-IR", "p", "", "AUTHENTICATE PLAIN " + plain, ""},
		{"PLAIN", "IMAP4rev1 AUTH=PLAIN AUTH=LOGIN", "p", "", "AUTHENTICATE PLAIN|" + plain, ""},
		{"LOGIN command", "IMAP4rev1", `p"\`, "", `LOGIN "u" "p\"\\"`, ""},
		{"8-bit password", "IMAP4rev1", "pä", "", `LOGIN "u" {3}|pä`, ""},
		{"8-bit password, LITERAL+", "IMAP4rev1 LITERAL+", "pä", "", `LOGIN "u" {3+}|pä`, ""},
		{"AUTH=LOGIN", "IMAP4rev1 LOGINDISABLED AUTH=LOGIN", "p", "", "AUTHENTICATE LOGIN|dQ==|cA==", ""},
		{"OAUTHBEARER", "IMAP4rev1 AUTH=OAUTHBEARER AUTH=XOAUTH2 SASL-IR", "", "tok", "AUTHENTICATE OAUTHBEARER " + oauth, ""},
		{"XOAUTH2", "IMAP4rev1 AUTH=XOAUTH2", "", "tok", "AUTHENTICATE XOAUTH2|" + xoauth, ""},
		{"refused with a reason", "IMAP4rev1 AUTH=XOAUTH2 SASL-IR", "", "bad", "AUTHENTICATE XOAUTH2 " + base64.StdEncoding.EncodeToString([]byte("user=u\x01auth=Bearer bad\x01\x01")) + "|", "NO [AUTHENTICATIONFAILED] token"},
		{"no way", "IMAP4rev1 LOGINDISABLED AUTH=GSSAPI", "p", "", "", "--tls starttls"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(filled("INBOX", 1, 2))
				f.caps = c.caps
				var sent []string
				f.hook = func(s *fakeSession, tag, command string) bool { return loginHook(s, tag, command, &sent) }
				m := newMove(t, f)
				m.o.Password, m.o.Token, m.o.Patience = c.password, c.token, time.Second
				_, err := m.try(t.Context())
				if got := strings.Join(sent, "|"); got != c.want && c.want != "" {
					t.Errorf("sent %s, want %s", got, c.want)
				}
				switch {
				case c.err == "" && err != nil, c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
					t.Errorf("%v, want %q", err, c.err)
				case err != nil && strings.Contains(err.Error(), base64.StdEncoding.EncodeToString([]byte("bad"))):
					t.Errorf("the error holds the token: %v", err)
				}
			})
		})
	}
}

// loginHook answers logins as servers do, and notes what the client said.
func loginHook(s *fakeSession, tag, command string, sent *[]string) bool {
	word, rest, _ := strings.Cut(command, " ")
	if word != "AUTHENTICATE" && word != "LOGIN" {
		return false
	}
	*sent = append(*sent, command)
	more := func(challenge string) {
		s.say("+ %s", challenge)
		*sent = append(*sent, strings.TrimRight(<-s.lines, "\r\n"))
	}
	switch mech, ir, has := strings.Cut(rest, " "); {
	case strings.HasSuffix(command, "+}"):
		*sent = append(*sent, strings.TrimRight(<-s.lines, "\r\n"))
	case strings.HasSuffix(command, "}"):
		more("")
	case word == "LOGIN":
	case mech == "LOGIN":
		more("VXNlcm5hbWU6")
		more("UGFzc3dvcmQ6")
	case !has:
		more("")
	case mech == "XOAUTH2" && strings.Contains(ir, base64.StdEncoding.EncodeToString([]byte("user=u\x01auth=Bearer bad"))[:30]):
		more("eyJzdGF0dXMiOiI0MDAifQ==")
		s.say("%s NO [AUTHENTICATIONFAILED] token", tag)
		return true
	}
	s.say("%s OK in", tag)
	return true
}

// TestSecurity: TLS is verified, STARTTLS is not given up, and what a server says in clear is forgotten.
func TestSecurity(t *testing.T) {
	authority, err := cert.NewAuthority("old", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := authority.Leaf("old.test")
	if err != nil {
		t.Fatal(err)
	}
	server := &tls.Config{Certificates: []tls.Certificate{leaf}}
	good := &tls.Config{ServerName: "old.test", RootCAs: authority.Pool()}
	for _, c := range []struct {
		name     string
		security pull.Security
		tls      *tls.Config
		hook     func(s *fakeSession, tag, command string) bool
		err      string
	}{
		{"implicit", pull.Implicit, good, nil, ""},
		{"another name", pull.Implicit, &tls.Config{ServerName: "other.test", RootCAs: authority.Pool()}, nil, "certificate is valid for old.test"},
		{"another authority", pull.Implicit, &tls.Config{ServerName: "old.test"}, nil, "certificate"},
		{"insecure", pull.Implicit, &tls.Config{InsecureSkipVerify: true}, nil, ""},
		{"STARTTLS refused", pull.StartTLS, good, nil, "STARTTLS with BAD"},
		{"STARTTLS", pull.StartTLS, good, func(s *fakeSession, tag, command string) bool {
			if command == "STARTTLS" {
				s.say("%s OK go", tag)
				s.startTLS(server)
				return true
			}
			return false
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFake(filled("INBOX", 1, 2))
			f.hook = c.hook
			m := newMove(t, f)
			m.o.Security, m.o.TLS, m.o.Patience = c.security, c.tls, time.Millisecond
			if c.security == pull.Implicit {
				m.o.Dial = func(ctx context.Context, network, address string) (net.Conn, error) { return f.dialTLS(server) }
			}
			_, err := m.try(t.Context())
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("%v, want %q", err, c.err)
			}
			secret := slices.ContainsFunc(f.commands, func(s string) bool { return strings.HasPrefix(s, "AUTHENTICATE") })
			if secret != (c.err == "") {
				t.Errorf("the password was sent: %v", secret)
			}
		})
	}
}
