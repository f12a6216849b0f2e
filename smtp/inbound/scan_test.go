package inbound

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/smtp"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
	"github.com/posthouse-mail/posthouse/smtp/scan"
	"github.com/posthouse-mail/posthouse/smtp/spam"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

// TestHelpers: what other programs say of a message is done, and they see it as it came.
func TestHelpers(t *testing.T) {
	const header = "From: Zoe <zoe@good.test>\r\nX-Spam-Level: *\r\nSubject: hello\r\nAuthentication-Results: mx.alpha.test; dmarc=pass\r\n"
	body := "one\r\n.two\r\n" + strings.Repeat("long line of a long text\r\n", 20_000)
	for _, c := range []struct {
		name, answer string
		failure      scan.Failure
		to           string
		judge        bool
		code         int
		box          string
		has, lacks   []string
	}{
		{name: "good", answer: `{"action":"no action","score":1}`, box: "INBOX", has: []string{"Subject: hello\r\n", "dkim=none"}, lacks: []string{"dmarc=pass"}},
		{name: "its header", answer: `{"action":"no action","milter":{"add_headers":{"X-Spam-Mine":"yes","Authentication-Results":"mx.alpha.test; spf=pass smtp.mailfrom=forged.test"},"remove_headers":{"Subject":0}}}`, box: "INBOX",
			judge: true, has: []string{"X-Spam-Mine: yes\r\n"}, lacks: []string{"Subject: hello", "forged.test", "X-Spam-Level"}},
		{name: "refused", answer: `{"action":"reject","score":20}`, code: 550},
		{name: "a postmaster hears everything", answer: `{"action":"reject","score":20}`, to: "postmaster@alpha.test", box: "Junk"},
		{name: "later", answer: `{"action":"soft reject"}`, code: 451},
		{name: "to Junk", answer: `{"action":"quarantine"}`, box: "Junk"},
		{name: "to Junk, with a judge", answer: `{"action":"quarantine"}`, judge: true, box: "Junk", has: []string{"X-Spam-Flag: YES"}},
		{name: "points", answer: `{"action":"no action","score":9,"required_score":15,"symbols":{"BAD_WORDS":{"score":9}}}`, judge: true, box: "Junk", has: []string{"rspamd=9.0"}},
		{name: "down", answer: "", failure: scan.FailJunk, box: "Junk"},
		{name: "down, later", answer: "", failure: scan.FailLater, code: 451},
		{name: "down, taken", answer: "", box: "INBOX"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var saw string
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				text, _ := io.ReadAll(r.Body)
				saw = string(text)
				if c.answer == "" {
					w.WriteHeader(http.StatusServiceUnavailable)
				}
				io.WriteString(w, c.answer)
			}))
			defer srv.Close()
			panel, err := scan.New(scan.Options{Hostname: "mx.alpha.test", Helpers: []scan.Helper{{Kind: scan.Rspamd, Address: srv.Listener.Addr().String(), Failure: c.failure}}})
			if err != nil {
				t.Fatal(err)
			}
			defer panel.Close()
			z, err := dns.NewZone("7.2.0.192.in-addr.arpa. IN PTR mx.good.test.", "mx.good.test. IN A 192.0.2.7", "good.test. IN MX 1 mx.good.test.")
			if err != nil {
				t.Fatal(err)
			}
			resolver := z.Client(dns.Options{})
			defer resolver.Close()
			r := newRig(t)
			r.desk.o.MaxSize = 10 << 20
			r.desk.o.Scan, r.desk.o.Temp = panel, t.TempDir()
			r.desk.o.Checks = mailauth.New(mailauth.Options{Resolver: resolver, Hostname: "mx.alpha.test"})
			if c.judge {
				r.desk.o.Judge = spam.New(spam.Options{Resolver: resolver})
			}
			s, err := r.desk.NewSession(t.Context(), smtp.Peer{ID: "c1", Hello: "mx.good.test", Extended: true, Remote: netip.MustParseAddrPort("192.0.2.7:4711")})
			if err != nil {
				t.Fatal(err)
			}
			if c.to == "" {
				c.to = "alice@alpha.test"
			}
			if err := errors.Join(s.Mail("zoe@good.test", &gosmtp.MailOptions{}), s.Rcpt(c.to, &gosmtp.RcptOptions{})); err != nil {
				t.Fatal(err)
			}
			err = s.Data(strings.NewReader(header + "\r\n" + body))
			if saw != header+"\r\n"+body {
				t.Errorf("it saw %d octets, %.300q", len(saw), saw)
			}
			if c.code != 0 {
				if said, ok := errors.AsType[*gosmtp.SMTPError](err); !ok || said.Code != c.code {
					t.Errorf("answered %v, want %d", err, c.code)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			rows := storetest.Rows(t, r.store, r.ids["alice"], c.box)
			if len(rows) != 1 || (rows[0].Flags&store.Junk != 0) != (c.box == "Junk") {
				t.Fatalf("%s has %+v", c.box, rows)
			}
			text := storetest.Text(t, r.store, rows[0])
			if !strings.HasPrefix(text, "Return-Path: <zoe@good.test>\r\n") || !strings.HasSuffix(text, "\r\n\r\n"+body) {
				t.Errorf("%.2000s", text)
			}
			head, _, _ := strings.Cut(text, "\r\n\r\n")
			for _, want := range c.has {
				if !strings.Contains(head+"\r\n", want) {
					t.Errorf("lacks %q:\n%s", want, head)
				}
			}
			for _, bad := range c.lacks {
				if strings.Contains(head, bad) {
					t.Errorf("has %q:\n%s", bad, head)
				}
			}
		})
	}
}
