package submission

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
	"github.com/posthouse-mail/posthouse/smtp/queue"
)

// TestSigned: what leaves carries its author's signature, which holds for the octets that leave: completed, without Bcc, in 7 bit.
func TestSigned(t *testing.T) {
	r := newRig(t)
	r.desk.o.MaxSize = 10 << 20
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	record := "v=DKIM1; p=" + base64.StdEncoding.EncodeToString(pub)
	z, err := dns.NewZone(`s._domainkey.alpha.test. IN TXT "` + record[:200] + `" "` + record[200:] + `"`)
	if err != nil {
		t.Fatal(err)
	}
	resolver := z.Client(dns.Options{})
	defer resolver.Close()
	checker := mailauth.New(mailauth.Options{Resolver: resolver})
	r.desk.o.Keys = func(_ context.Context, d mail.Domain) ([]mailauth.SigningKey, error) {
		if d == "alpha.test" {
			return []mailauth.SigningKey{{Domain: "alpha.test", Selector: "s", Private: private}}, nil
		}
		if d == "beta.test" {
			return nil, errors.New("the keys cannot be read")
		}
		return nil, nil
	}
	for _, c := range []struct {
		name, from, to, text string
		signed               bool
	}{
		{"plain", "alice@alpha.test", "dora@away.test", "From: alice@alpha.test\r\nBcc: hidden@away.test\r\nSubject: hi\r\n\r\none\r\n", true},
		{"nothing but a body", "alice@alpha.test", "dora@away.test", "\r\njust text\r\n", true},
		{"8 bit", "alice@alpha.test", "dora@away.test", "From: alice@alpha.test\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGr\u00fc\u00dfe\r\n", true},
		{"large", "alice@alpha.test", "dora@away.test", "From: alice@alpha.test\r\n\r\n" + strings.Repeat("a line of text that is not short\r\n", 20_000), true},
		{"it stays here", "alice@alpha.test", "bob@alpha.test", "From: alice@alpha.test\r\n\r\none\r\n", false},
		{"the keys cannot be read", "carol@beta.test", "dora@away.test", "From: carol@beta.test\r\n\r\none\r\n", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := r.desk.Local(t.Context(), LocalMessage{From: address(t, c.from), Recipients: []mail.Address{address(t, c.to)}}, strings.NewReader(c.text))
			if err != nil {
				t.Fatal(err)
			}
			var raw []byte
			if c.to == "bob@alpha.test" {
				raw = []byte(r.newest(t, "bob"))
			} else {
				raw = r.queued(t)
			}
			line, rest, _ := bytes.Cut(raw, []byte("\r\n"))
			if string(line) != "Return-Path: <"+c.from+">" {
				t.Errorf("it begins with %q", line)
			}
			k := checker.Begin(t.Context(), mailauth.Session{Remote: netip.MustParseAddr("192.0.2.1")})
			header, body, _ := bytes.Cut(rest, []byte("\r\n\r\n"))
			k.Header(append(bytes.Clone(header), "\r\n"...))
			k.Write(body)
			got := k.Finish().DKIM
			if !c.signed {
				if len(got) != 0 {
					t.Errorf("signed: %+v", got)
				}
				return
			}
			if len(got) != 1 || got[0].Result != mailauth.Pass || got[0].Domain != "alpha.test" {
				t.Errorf("%+v\n%.2000s", got, raw)
			}
		})
	}
}

// queued is the newest message that waits to leave; it is taken out.
func (r *rig) queued(t *testing.T) []byte {
	t.Helper()
	items, err := r.queue.List(t.Context(), queue.Filter{})
	if err != nil || len(items) != 1 {
		t.Fatalf("%d wait, %v", len(items), err)
	}
	b, err := r.store.OpenAt(t.Context(), items[0].Place)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	raw := make([]byte, b.Size())
	if _, err := b.ReadAt(raw, 0); err != nil && int64(len(raw)) != b.Size() {
		t.Fatal(err)
	}
	if _, err := r.queue.Cancel(t.Context(), queue.Filter{}, false); err != nil {
		t.Fatal(err)
	}
	return raw
}
