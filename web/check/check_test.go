package check_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/cert"
	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/internal/dns/dnstest"
	"github.com/posthouse-mail/posthouse/web/check"
)

// options is a site in a world of the lines; port 25 is what answers.
func options(t *testing.T, answers func(net.Conn), lines ...string) check.Options {
	t.Helper()
	_, client, _ := dnstest.New(t, append([]string{"mx.one.test. A 127.0.0.1"}, lines...)...)
	site := check.Site{
		Hostname: "mx.one.test", Issuer: "letsencrypt.org", Services: []check.Service{{Label: "imaps", Port: 993}, {Label: "submissions", Port: 465}},
	}
	return check.Options{
		Site: site, Resolver: client, Local: []netip.Addr{netip.MustParseAddr("127.0.0.1")},
		Domains: []check.Domain{{Name: "one.test", Wants: check.RecordsOf("one.test", nil, site)}},
		Dial: func(context.Context, string, string) (net.Conn, error) {
			if answers == nil {
				return nil, &net.OpError{Op: "dial", Err: fmt.Errorf("connection refused")}
			}
			ours, theirs := net.Pipe()
			go answers(theirs)
			return ours, nil
		},
	}
}

func of(r check.Report, name string) check.Result {
	for _, x := range r.Results {
		if x.Check == name {
			return x
		}
	}
	return check.Result{State: "not looked at"}
}

// script answers like a mail host; reply gives the answer to a command.
func script(reply func(command string) string) func(net.Conn) {
	return func(c net.Conn) {
		defer c.Close()
		fmt.Fprint(c, "220 mx.one.test ready\r\n")
		for lines := bufio.NewScanner(c); lines.Scan(); {
			answer := reply(lines.Text())
			if answer == "" {
				return
			}
			fmt.Fprint(c, answer+"\r\n")
		}
	}
}

// A server that takes any of the spellings is an open relay; one that refuses them all, or answers nothing, is told apart.
func TestOpenRelay(t *testing.T) {
	takes := func(part string) func(string) string {
		return func(command string) string {
			if strings.HasPrefix(command, "RCPT") && (part == "" || !strings.Contains(command, part)) {
				return "550 5.7.1 no"
			}
			return "250 yes"
		}
	}
	for what, c := range map[string]struct {
		answers func(net.Conn)
		state   check.State
		says    string
	}{
		"refuses":           {script(takes("")), check.OK, "is refused"},
		"takes all":         {script(func(string) string { return "250 yes" }), check.Wrong, "to strangers: MAIL FROM:<> RCPT TO:<u@relay-test"},
		"takes a route":     {script(takes("<@one.test:")), check.Wrong, "@one.test:u@"},
		"takes a percent":   {script(takes("u%")), check.Wrong, "u%relay"},
		"takes a path":      {script(takes("!u")), check.Wrong, "!u"},
		"takes a quotation": {script(takes(`"u@`)), check.Wrong, `"u@`},
		"puts off": {script(func(c string) string {
			return map[bool]string{true: "250 yes", false: "450 later"}[c[0] != 'R' || c[1] == 'S']
		}), check.Unseen, "put off"},
		"hangs up": {script(func(c string) string { return map[bool]string{true: "250 yes"}[c[0] == 'E'] }), check.Unseen, "not all could be tried"},
		"talks for ever": {func(c net.Conn) {
			defer c.Close()
			for {
				if _, err := c.Write([]byte("220-and so on\r\n")); err != nil {
					return
				}
			}
		}, check.Unseen, "not all could be tried"},
		"is closed": {nil, check.Unseen, "connection refused"},
	} {
		x := of(check.Run(t.Context(), options(t, c.answers)), "relay")
		if x.State != c.state || !strings.Contains(x.Found, c.says) {
			t.Errorf("%s: %s: %s -> %s; want %s with %q", what, x.State, x.Found, x.Advice, c.state, c.says)
		}
	}
}

func TestRecordsInDNS(t *testing.T) {
	for what, c := range map[string]struct {
		check string
		lines []string
		state check.State
		says  string
	}{
		"SRV as it should be":     {"srv", []string{"_imaps._tcp.one.test. SRV 0 1 993 mx.one.test.", "_submissions._tcp.one.test. SRV 0 1 465 MX.one.test."}, check.OK, "imaps, submissions"},
		"SRV missing":             {"srv", []string{"_imaps._tcp.one.test. SRV 0 1 993 mx.one.test."}, check.Warning, "submissions"},
		"SRV elsewhere":           {"srv", []string{"_imaps._tcp.one.test. SRV 0 1 993 old.one.test.", "_submissions._tcp.one.test. SRV 0 1 465 mx.one.test."}, check.Wrong, "old.one.test port 993"},
		"SRV of another port":     {"srv", []string{"_imaps._tcp.one.test. SRV 0 1 143 mx.one.test."}, check.Wrong, "port 143"},
		"SRV says nowhere":        {"srv", []string{"_imaps._tcp.one.test. SRV 0 0 0 ."}, check.Wrong, "nowhere"},
		"no CAA":                  {"caa", nil, check.OK, "every authority"},
		"CAA names ours":          {"caa", []string{`test. CAA 0 issue "letsencrypt.org; accounturi=https://x/1"`}, check.OK, "letsencrypt.org may"},
		"CAA names another":       {"caa", []string{`one.test. CAA 0 issue "ca.example"`}, check.Wrong, "ca.example only"},
		"CAA forbids all":         {"caa", []string{`one.test. CAA 0 issue ";"`}, check.Wrong, "nobody only"},
		"CAA says other things":   {"caa", []string{`one.test. CAA 0 iodef "mailto:a@one.test"`}, check.OK, ""},
		"the nearest CAA holds":   {"caa", []string{`one.test. CAA 0 issue "ca.example"`, `mx.one.test. CAA 0 issue "letsencrypt.org"`}, check.OK, ""},
		"an address of both":      {"ptr6", []string{"mx.one.test. AAAA 2001:db8::1", "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. PTR mx.one.test."}, check.OK, "2001:db8::1 has the name"},
		"no name over IPv6":       {"ptr6", []string{"mx.one.test. AAAA 2001:db8::1"}, check.Warning, "2001:db8::1 has no name"},
		"no name over IPv4":       {"ptr4", nil, check.Wrong, "127.0.0.1 has no name"},
		"MX under another name":   {"mx", []string{"one.test. MX 10 mail.one.test.", "mail.one.test. A 127.0.0.1"}, check.OK, "mail.one.test, which is this host"},
		"null MX":                 {"mx", []string{"one.test. MX 0 ."}, check.Wrong, "not here"},
		"no key":                  {"dkim", nil, check.Wrong, "not signed"},
		"nobody listens":          {"starttls", nil, check.Wrong, "connection refused"},
		"terminal tricks in DNS":  {"dmarc", []string{`_dmarc.one.test. TXT "v=DMARC1; p=\027[31mred"`}, check.Wrong, "p= [31mred"},
		"DMARC that says nothing": {"dmarc", []string{`_dmarc.one.test. TXT "v=DMARC1; p=none"`}, check.OK, "p=quarantine"},
	} {
		r := check.Run(t.Context(), options(t, nil, c.lines...))
		x := of(r, c.check)
		if x.State != c.state || !strings.Contains(x.Found+" "+x.Advice, c.says) {
			t.Errorf("%s: %s: %s -> %s; want %s with %q", what, x.State, x.Found, x.Advice, c.state, c.says)
		}
	}
}

func TestFacts(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for what, c := range map[string]struct {
		check string
		facts check.Facts
		state check.State
	}{
		"nobody knows":            {"disk", check.Facts{}, check.Unseen},
		"room":                    {"disk", check.Facts{Disk: &check.Disk{Free: 30, Low: 20, Stop: 10}}, check.OK},
		"little room":             {"disk", check.Facts{Disk: &check.Disk{Free: 15, Low: 20, Stop: 10}}, check.Warning},
		"no room":                 {"disk", check.Facts{Disk: &check.Disk{Free: 5, Low: 20, Stop: 10}}, check.Wrong},
		"no backups":              {"backup", check.Facts{Backup: &check.Backup{}}, check.Warning},
		"never a backup":          {"backup", check.Facts{Backup: &check.Backup{To: "/b"}}, check.Wrong},
		"a backup of last night":  {"backup", check.Facts{Backup: &check.Backup{To: "/b", Last: now.Add(-9 * time.Hour)}}, check.OK},
		"a backup of last week":   {"backup", check.Facts{Backup: &check.Backup{To: "/b", Last: now.Add(-7 * 24 * time.Hour)}}, check.Wrong},
		"weekly backups":          {"backup", check.Facts{Backup: &check.Backup{To: "/b", Last: now.Add(-7 * 24 * time.Hour), Every: 7 * 24 * time.Hour}}, check.OK},
		"backups cannot be read":  {"backup", check.Facts{Backup: &check.Backup{To: "/b", Error: "input/output error"}}, check.Wrong},
		"an empty queue":          {"queue", check.Facts{Queue: &check.Queue{}}, check.OK},
		"mail that has just come": {"queue", check.Facts{Queue: &check.Queue{Entries: 3, Oldest: now.Add(-time.Minute)}}, check.OK},
		"old mail":                {"queue", check.Facts{Queue: &check.Queue{Entries: 3, Oldest: now.Add(-5 * time.Hour)}}, check.Warning},
		"much mail":               {"queue", check.Facts{Queue: &check.Queue{Entries: 3000, Oldest: now}}, check.Warning},
		"held mail":               {"queue", check.Facts{Queue: &check.Queue{Entries: 3, Held: 1, Oldest: now}}, check.Warning},
	} {
		o := options(t, nil)
		o.Facts, o.Now = c.facts, func() time.Time { return now }
		if x := of(check.Run(t.Context(), o), c.check); x.State != c.state {
			t.Errorf("%s: %s: %s -> %s; want %s", what, x.State, x.Found, x.Advice, c.state)
		}
	}
}

// Where nothing answers, all of it ends in time, and nothing is called wrong that could not be seen.
func TestNobodyAnswers(t *testing.T) {
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	resolver, err := dns.New(dns.Options{Servers: []netip.AddrPort{silent.LocalAddr().(*net.UDPAddr).AddrPort()}})
	if err != nil {
		t.Fatal(err)
	}
	defer resolver.Close()
	authority, err := cert.NewAuthority("test", nil)
	if err != nil {
		t.Fatal(err)
	}
	o := options(t, nil)
	o.Resolver, o.Each, o.Whole, o.Roots = resolver, 50*time.Millisecond, 150*time.Millisecond, authority.Pool()
	for range 300 {
		o.Domains = append(o.Domains, o.Domains[0])
	}
	began := time.Now()
	r := check.Run(t.Context(), o)
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("it took %s", took)
	}
	for _, x := range r.Results {
		switch x.Check {
		case "certificate", "dkim": // the house itself says that there is none
		default:
			if x.State != check.Unseen {
				t.Errorf("%s %s: %s: %s", x.Check, x.Domain, x.State, x.Found)
			}
		}
	}
}
