package inbound

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/smtp"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

// signer is a domain that signs.
func signer(t *testing.T, domain string) (mailauth.SigningKey, string) {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := x509.MarshalPKIXPublicKey(&k.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	text := "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(pub)
	return mailauth.SigningKey{Domain: domain, Selector: "s", Private: k}, "s._domainkey." + domain + `. IN TXT "` + text[:200] + `" "` + text[200:] + `"`
}

func signed(t *testing.T, k mailauth.SigningKey, header, body string) string {
	t.Helper()
	s := mailauth.NewSigner([]byte(header), time.Now(), k)
	s.Write([]byte(body))
	f, err := s.Sign()
	if err != nil {
		t.Fatal(err)
	}
	return string(f) + header + "\r\n" + body
}

// TestChecks: what a message claims stands in one field at its top, and what its domain asks for is done.
func TestChecks(t *testing.T) {
	key, record := signer(t, "good.test")
	const header = "From: Zoe <zoe@good.test>\r\nTo: alice@alpha.test\r\nSubject: hello\r\nDate: Fri, 02 Jan 2026 03:04:05 +0000\r\n"
	const body = "one\r\n\r\ntwo\r\n"
	proven := signed(t, key, header, body)
	unproven := "Authentication-Results: mx.alpha.test; dmarc=pass\r\nAuthentication-Results: mx.other.test; dmarc=pass\r\n" + header + "\r\n" + body
	for _, c := range []struct {
		name   string
		policy Policy
		dmarc  string // record of good.test
		mail   string
		to     string
		fail   string // a name that DNS does not answer for
		lmtp   bool
		code   int // 0: taken
		box    string
		has    []string
		lacks  []string
	}{
		{name: "proven", dmarc: "p=reject", mail: proven, box: "INBOX", has: []string{"dkim=pass", "spf=pass", "dmarc=pass", "iprev=pass", "Authentication-Results: mx.alpha.test;"}},
		{name: "unproven, its domain asks for nothing", dmarc: "p=none", mail: unproven, box: "INBOX", has: []string{"dmarc=fail", "mx.other.test; dmarc=pass"}, lacks: []string{"mx.alpha.test; dmarc=pass"}},
		{name: "unproven, refused", dmarc: "p=reject", mail: unproven, code: 550},
		{name: "unproven, to Junk", dmarc: "p=quarantine", mail: unproven, box: "Junk", has: []string{"dmarc=fail"}},
		{name: "never refused", policy: Quarantine, dmarc: "p=reject", mail: unproven, box: "Junk"},
		{name: "only noted", policy: Note, dmarc: "p=reject", mail: unproven, box: "INBOX", has: []string{"dmarc=fail"}},
		{name: "a postmaster hears everything", dmarc: "p=reject", mail: unproven, to: "postmaster@alpha.test", box: "Junk"},
		{name: "cannot be told now", dmarc: "p=reject", mail: strings.Replace(proven, "one", "uno", 1), fail: "good.test", code: 451},
		{name: "cannot be told now, only noted", policy: Note, dmarc: "p=reject", mail: proven, fail: "s._domainkey.good.test", box: "INBOX", has: []string{"dkim=temperror"}},
		{name: "handed over by a program", dmarc: "p=reject", mail: unproven, lmtp: true, box: "INBOX", has: []string{"mx.alpha.test; dmarc=pass"}},
		{name: "a body without an end", dmarc: "p=reject", mail: signed(t, key, header, strings.Repeat("long line of a long text\r\n", 100)+"end"), box: "INBOX", has: []string{"dkim=pass"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			z, err := dns.NewZone(record, `_dmarc.good.test. IN TXT "v=DMARC1; `+c.dmarc+`"`, `bounce.test. IN TXT "v=spf1 ip4:192.0.2.7 -all"`,
				"7.2.0.192.in-addr.arpa. IN PTR mx.good.test.", "mx.good.test. IN A 192.0.2.7")
			if err != nil {
				t.Fatal(err)
			}
			if c.fail != "" {
				z.Fail(c.fail)
			}
			resolver := z.Client(dns.Options{})
			defer resolver.Close()
			r := newRig(t)
			r.desk.o.Checks = mailauth.New(mailauth.Options{Resolver: resolver, Hostname: "mx.alpha.test"})
			if c.policy != "" {
				r.desk.o.Policy = c.policy
			}
			p := smtp.Peer{ID: "c1", Hello: "mx.good.test", Extended: true, LMTP: c.lmtp, Remote: netip.MustParseAddrPort("192.0.2.7:4711")}
			s, err := r.desk.NewSession(t.Context(), p)
			if err != nil {
				t.Fatal(err)
			}
			from, to := "zoe@bounce.test", "alice@alpha.test"
			if c.fail == "good.test" { // SPF of the author's own domain decides here
				from = "zoe@good.test"
			}
			if c.to != "" {
				to = c.to
			}
			if err := errors.Join(s.Mail(from, &gosmtp.MailOptions{}), s.Rcpt(to, &gosmtp.RcptOptions{})); err != nil {
				t.Fatal(err)
			}
			err = s.Data(strings.NewReader(c.mail))
			if c.code != 0 {
				if said, ok := errors.AsType[*gosmtp.SMTPError](err); !ok || said.Code != c.code || !strings.Contains(said.Message, "good.test") {
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
			if !strings.HasPrefix(text, "Return-Path: <"+from+">\r\n") {
				t.Errorf("it begins with %.60q", text)
			}
			for _, want := range c.has {
				if !strings.Contains(text, want) {
					t.Errorf("lacks %q:\n%s", want, text)
				}
			}
			for _, bad := range c.lacks {
				if strings.Contains(text, bad) {
					t.Errorf("has %q:\n%s", bad, text)
				}
			}
		})
	}
}
