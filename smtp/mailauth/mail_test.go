package mailauth

import (
	"flag"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/posthouse-mail/posthouse/internal/mail"
)

var update = flag.Bool("update", false, "write the .want files anew")

// TestMail runs whole messages: testdata/mail/NAME.eml under the DNS of NAME.dns, whose first line is the session (address, EHLO, MAIL
// FROM), gives the results of NAME.want.
func TestMail(t *testing.T) {
	for _, file := range glob(t, "testdata/mail/*.eml") {
		base := strings.TrimSuffix(file, ".eml")
		t.Run(strings.TrimPrefix(base, "testdata/mail/"), func(t *testing.T) {
			text, err := os.ReadFile(base + ".dns")
			if err != nil {
				t.Fatal(err)
			}
			first, _, _ := strings.Cut(string(text), "\n")
			f := strings.Fields(first)
			if len(f) != 4 || f[0] != "session" {
				t.Fatalf("%s.dns begins with %q", base, first)
			}
			s := Session{Remote: netip.MustParseAddr(f[1]), Hello: f[2]}
			if f[3] != "<>" {
				if s.From, err = mail.ParseAddress(f[3]); err != nil {
					t.Fatal(err)
				}
			}
			c := New(Options{Resolver: resolver(t, zone(t, base+".dns")), Hostname: "mx.example.net", Choose: func(int) int { return 50 }})
			r := check(t, c, s, wire(t, file))
			got := strings.ReplaceAll(r.Results(), "; ", ";\n") + "\n"
			if d := r.DMARC.Disposition; d != "" {
				got += "disposition " + d + "\n"
			}
			if e := r.SPF.Explanation; e != "" {
				got += "explanation " + e + "\n"
			}
			if *update {
				if err := os.WriteFile(base+".want", []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(base + ".want")
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}
