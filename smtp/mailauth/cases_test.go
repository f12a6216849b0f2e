package mailauth

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/message"
)

// zone reads a .dns file: records in zone form, and "fail NAME" for a name whose server does not answer.
func zone(t *testing.T, path string) *dns.Zone {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	z, err := dns.NewZone()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "session ") {
			continue
		}
		if name, ok := strings.CutPrefix(line, "fail "); ok {
			z.Fail(name)
		} else if line != "" {
			if err := z.Add(line); err != nil {
				t.Fatalf("%s: %q: %v", path, line, err)
			}
		}
	}
	return z
}

func resolver(t *testing.T, z *dns.Zone) dns.Resolver {
	t.Helper()
	c := z.Client(dns.Options{})
	t.Cleanup(func() { c.Close() })
	return c
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases at %s: %v", pattern, err)
	}
	return files
}

// wire reads a message file, whose lines end in LF, as it travels.
func wire(t *testing.T, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.ReplaceAll(raw, []byte("\n"), []byte("\r\n"))
}

// split cuts a message behind the empty line.
func split(raw []byte) (header, body []byte) {
	if i := bytes.Index(raw, []byte("\r\n\r\n")); i >= 0 {
		return raw[:i+2], raw[i+4:]
	}
	return raw, nil
}

// check runs a whole message through a Checker.
func check(t *testing.T, c *Checker, s Session, raw []byte) Report {
	t.Helper()
	if !s.Remote.IsValid() {
		s.Remote = netip.MustParseAddr("192.0.2.1")
	}
	k := c.Begin(t.Context(), s)
	header, body := split(raw)
	k.Header(header)
	for len(body) > 0 { // in odd pieces
		n := min(len(body), 7)
		k.Write(body[:n])
		body = body[n:]
	}
	return k.Finish()
}

// TestSPFSuite is the published suite of RFC 7208, as tables: name, EHLO, address, MAIL FROM, result.
func TestSPFSuite(t *testing.T) {
	for _, want := range glob(t, "testdata/spf/*.want") {
		t.Run(strings.TrimSuffix(filepath.Base(want), ".want"), func(t *testing.T) {
			r := resolver(t, zone(t, strings.TrimSuffix(want, ".want")+".dns"))
			text, err := os.ReadFile(want)
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(text)) {
				f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
				if len(f) != 5 {
					t.Fatalf("case %q", line)
				}
				s := Session{Remote: netip.MustParseAddr(f[2]), Hello: f[1]}
				if at := strings.LastIndexByte(f[3], '@'); at >= 0 {
					s.From = mail.Address{Local: f[3][:at], Domain: mail.Domain(f[3][at+1:])}
				}
				got := checkSPF(t.Context(), r, s, "receiver.example.net")
				if !slices.Contains(strings.Split(f[4], "|"), string(got.Result)) {
					t.Errorf("%s: %s (%s), want %s", f[0], got.Result, got.Reason, f[4])
				}
			}
		})
	}
}

// deviations are vectors of the suite, made for the draft, that RFC 8617 decides otherwise.
var deviations = map[string]string{
	"ams_fields_c_na":    "fail", // without tag c it is simple/simple, as in DKIM (section 4.1.2); the vector was made as relaxed
	"ams_fields_h_empty": "fail", // tag h names at least one field (RFC 6376 section 3.5)
}

// TestARCSuite is the published vectors of chains to be validated.
func TestARCSuite(t *testing.T) {
	for _, file := range glob(t, "testdata/arc/validate-*/*.eml") {
		name := strings.TrimSuffix(filepath.Base(file), ".eml")
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(strings.TrimSuffix(file, ".eml") + ".want")
			if err != nil {
				t.Fatal(err)
			}
			want := strings.TrimSpace(string(text))
			if other, ok := deviations[name]; ok {
				want = other
			}
			c := New(Options{Resolver: resolver(t, zone(t, filepath.Join(filepath.Dir(file), "zone.dns")))})
			got := check(t, c, Session{}, wire(t, file)).ARC
			if string(got.Result) != want {
				t.Errorf("%s (%s), want %s", got.Result, got.Reason, want)
			}
		})
	}
}

// TestARCSigningSuite is the published vectors of sealing. The message signature is the vector's to the last octet; the seal covers how that is
// folded, which no two programs do alike, so it is validated instead.
func TestARCSigningSuite(t *testing.T) {
	for _, file := range glob(t, "testdata/arc/sign-*/*.eml") {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".eml"), func(t *testing.T) {
			dir := filepath.Dir(file)
			raw := wire(t, file)
			want, err := os.ReadFile(strings.TrimSuffix(file, ".eml") + ".want")
			if err != nil {
				t.Fatal(err)
			}
			v := map[string]string{}
			for line := range strings.Lines(string(want)) {
				name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
				v[name] = value
			}
			c := New(Options{Resolver: resolver(t, zone(t, filepath.Join(dir, "zone.dns"))), Hostname: "lists.example.org"})
			before := check(t, c, Session{}, raw).ARC
			when, _ := strconv.ParseInt(v["t"], 10, 64)
			header, body := split(raw)
			s := NewSealer(header, time.Unix(when, 0), SigningKey{Domain: "example.org", Selector: "dummy", Private: privateKey(t, filepath.Join(dir, "key.pem"))})
			s.fields = strings.Split(v["h"], ":")
			s.Write(body)
			set, err := s.Seal("lists.example.org", "spf=pass smtp.mailfrom=jqd@d1.example; dmarc=pass", before.Result)
			if err != nil {
				t.Fatal(err)
			}
			if _, none := v["none"]; none {
				if set != nil {
					t.Errorf("sealed:\n%s", set)
				}
				return
			}
			for f := range message.Fields(set) {
				tags, err := parseTags(f.Unfolded())
				if f.Is("ARC-Message-Signature") {
					if err != nil || tags.solid("b") != v["b"] || tags.solid("bh") != v["bh"] || tags["i"] != v["i"] {
						t.Errorf("%v: %s", err, f.Raw)
					}
				}
				if f.Is("ARC-Seal") && (err != nil || tags["cv"] != v["cv"] || tags["i"] != v["i"]) {
					t.Errorf("%v: %s", err, f.Raw)
				}
				for line := range bytes.Lines(f.Raw) {
					if len(line) > 80 {
						t.Errorf("a line of %d octets: %s", len(line), line)
					}
				}
			}
			after := check(t, c, Session{}, append(set, raw...)).ARC
			if want := map[string]Result{"none": Pass, "pass": Pass, "fail": Fail}[v["cv"]]; after.Result != want {
				t.Errorf("our chain: %s (%s), want %s", after.Result, after.Reason, want)
			}
		})
	}
}

func privateKey(t *testing.T, path string) crypto.Signer {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	k, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestBodyHashPieces(t *testing.T) {
	bodies := []string{"", "\r\n", "\r\n\r\n", "a", "a\r\n", "a\r\n\r\n\r\n", " a \t b \r\n c\r\n\r\n", "  \r\n\t\r\n", "a\rb\r\r\n", "a\nb\n", "\r", "a \r", " \r\n \r\nx"}
	want := map[string][2]string{
		"":                       {"\r\n", ""},
		"\r\n":                   {"\r\n", ""},
		"\r\n\r\n":               {"\r\n", ""},
		"a":                      {"a\r\n", "a\r\n"},
		"a\r\n":                  {"a\r\n", "a\r\n"},
		"a\r\n\r\n\r\n":          {"a\r\n", "a\r\n"},
		" a \t b \r\n c\r\n\r\n": {" a \t b \r\n c\r\n", " a b\r\n c\r\n"},
		"  \r\n\t\r\n":           {"  \r\n\t\r\n", ""},
		"a\rb\r\r\n":             {"a\rb\r\r\n", "a\rb\r\r\n"},
		"a\nb\n":                 {"a\r\nb\r\n", "a\r\nb\r\n"},
		"\r":                     {"\r\r\n", "\r\r\n"},
		"a \r":                   {"a \r\r\n", "a \r\r\n"},
		" \r\n \r\nx":            {" \r\n \r\nx\r\n", "\r\n\r\nx\r\n"},
	}
	for _, body := range bodies {
		for i, c := range []canonicalization{simple, relaxed} {
			sum := sha256.Sum256([]byte(want[body][i]))
			for n := 1; n <= len(body)+1; n++ {
				b := newBodyHash(c, sha256.New(), -1)
				for rest := []byte(body); len(rest) > 0; {
					k := min(n, len(rest))
					b.Write(rest[:k])
					rest = rest[k:]
				}
				if got := b.sum(); !bytes.Equal(got, sum[:]) || b.total != int64(len(want[body][i])) {
					t.Errorf("relaxed %v, %q in pieces of %d: not the hash of %q (%d octets)", c, body, n, want[body][i], b.total)
				}
			}
		}
	}
}

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
