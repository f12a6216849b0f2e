package strangers

import (
	"bytes"
	"testing"

	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
)

// TestMail: what strangers send is proven in every way.
func TestMail(t *testing.T) {
	d, err := New(12)
	if err != nil {
		t.Fatal(err)
	}
	z, err := d.Zone()
	if err != nil {
		t.Fatal(err)
	}
	resolver := z.Client(dns.Options{})
	defer resolver.Close()
	for _, i := range []int{0, 11, 25} {
		text, err := d.Message(i, 12<<10, "u1@bench.test")
		if err != nil {
			t.Fatal(err)
		}
		if n := len(text); n < 11<<10 || n > 14<<10 {
			t.Errorf("it has %d octets", n)
		}
		from, err := mail.ParseAddress(d.From(i))
		if err != nil {
			t.Fatal(err)
		}
		k := mailauth.New(mailauth.Options{Resolver: resolver}).Begin(t.Context(), mailauth.Session{Remote: d.Addr(i), Hello: d.Host(i), From: from})
		header, body, _ := bytes.Cut(text, []byte("\r\n\r\n"))
		k.Header(append(bytes.Clone(header), "\r\n"...))
		k.Write(body)
		if r := k.Finish(); r.SPF.Result != mailauth.Pass || r.DKIM[0].Result != mailauth.Pass || r.DMARC.Result != mailauth.Pass || r.IPRev.Result != mailauth.Pass {
			t.Errorf("%+v", r)
		}
	}
}
