package housetest

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/cmd/posthouse/internal/daemon"
	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/web/admin"
	checkup "github.com/posthouse-mail/posthouse/web/check"
)

// looked is a house that has all it should, in a world that a test can spoil.
type looked struct {
	*house
	full atomic.Bool // its disk
}

const ownDomain = "one.test"

// newLooked builds it: pages over TLS, a certificate for all names, a backup, block lists, and a mail host outside.
func newLooked(t *testing.T) *looked {
	t.Helper()
	s := newStreet(t)
	s.next = 9 // 127.0.0.2 and 127.0.0.1 are what block lists are tried with
	l := &looked{}
	ip := fmt.Sprint("127.0.0.", s.next)
	free, err := net.Listen("tcp", ip+":0")
	if err != nil {
		t.Fatal(err)
	}
	https := free.Addr().String()
	check(t, free.Close())
	_, port, _ := net.SplitHostPort(https)
	outside, err := net.Listen("tcp", "127.0.0.77:"+s.port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { outside.Close() })
	disk := func() (daemon.Disk, error) {
		if l.full.Load() {
			return daemon.Disk{Free: 1 << 20, Size: 100 << 30}, nil
		}
		return daemon.Disk{Free: 50 << 30, Size: 100 << 30}, nil
	}
	extra := fmt.Sprintf(`https = [%q]
[acme]
roots = "roots.pem"
directory = "https://mta-sts.%s:%s/"
[backup]
to = "copies"
at = "03:00"
[check]
lists = ["spamhaus_zen"]
probes = ["outside.test"]
`, https, ownDomain, port)
	roots := filepath.Join(t.TempDir(), "roots.pem")
	check(t, os.WriteFile(roots, s.ca.PEM(), 0o600))
	extra = strings.Replace(extra, "roots.pem", roots, 1)
	l.house = s.buildOn(disk, extra, "anna@"+ownDomain)
	if _, err := s.ca.WritePair(l.dir, "tls", "localhost", l.ip, l.name, "mta-sts."+ownDomain, "autoconfig."+ownDomain, "autodiscover."+ownDomain); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Daemon.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The house makes its first backup by itself, at once.
	for end := time.Now().Add(patience); l.look().of("backup").State != checkup.OK; {
		if time.Now().After(end) {
			t.Fatal("the house makes no backup")
		}
	}
	return l
}

// publish makes the world as it should be, with the records that the house itself names.
func (l *looked) publish() {
	l.t.Helper()
	r, err := l.Daemon.House().DomainRecords(l.t.Context(), ownDomain)
	if err != nil {
		l.t.Fatal(err)
	}
	zone := l.street.zone
	lines := []string{
		l.name + ". A " + l.ip, "9.0.0.127.in-addr.arpa. PTR " + l.name + ".",
		"2.0.0.127.zen.spamhaus.org. A 127.0.0.2", "outside.test. MX 5 mail.outside.test.", "mail.outside.test. A 127.0.0.77",
	}
	for _, x := range r.Records {
		if x.Type != "A" && x.Type != "AAAA" { // of the machine that the test runs on
			lines = append(lines, x.Line())
		}
	}
	for _, gone := range []string{"9.0.0.127.zen.spamhaus.org", "1.0.0.127.zen.spamhaus.org", "elsewhere.test"} {
		zone.Remove(gone)
	}
	for _, line := range lines {
		name, _, _ := strings.Cut(line, " ")
		zone.Remove(name)
	}
	check(l.t, zone.Add(lines...))
}

func (l *looked) look() findings {
	l.t.Helper()
	r, err := l.Daemon.House().CheckUp(l.t.Context(), admin.CheckupRequest{})
	if err != nil {
		l.t.Fatal(err)
	}
	return findings{r}
}

// findings is a report with what a test asks of it.
type findings struct{ checkup.Report }

func (r findings) of(name string) checkup.Result {
	for _, x := range r.Results {
		if x.Check == name {
			return x
		}
	}
	return checkup.Result{State: "not looked at"}
}

// A house that is as it should be has nothing but good results; each mistake is found, by its own check, with what to do.
func TestCheckUp(t *testing.T) {
	l := newLooked(t)
	l.publish()
	for _, x := range l.look().Results {
		if x.State != checkup.OK {
			t.Errorf("%s %s: %s: %s (%s)", x.Check, x.Domain, x.State, x.Found, x.Advice)
		}
	}
	r, err := l.Daemon.House().DomainRecords(t.Context(), ownDomain)
	if err != nil {
		t.Fatal(err)
	}
	key := ""
	for _, x := range r.Records {
		if strings.Contains(x.Name, "._domainkey.") {
			key = x.Name
		}
	}
	instead := func(name string, lines ...string) func(*dns.Zone) error {
		return func(z *dns.Zone) error { z.Remove(name); return z.Add(lines...) }
	}
	spf := func(text string) func(*dns.Zone) error {
		return instead(ownDomain, ownDomain+". MX 10 "+l.name+".", ownDomain+`. TXT "`+text+`"`)
	}
	for what, c := range map[string]struct {
		spoil func(*dns.Zone) error
		check string
		state checkup.State
		says  string // found or advice
	}{
		"no MX":                       {instead(ownDomain, ownDomain+`. TXT "v=spf1 ip4:127.0.0.0/8 -all"`), "mx", checkup.Wrong, "IN MX 10 " + l.name},
		"MX elsewhere":                {instead(ownDomain, ownDomain+". MX 5 elsewhere.test."), "mx", checkup.Wrong, "5 elsewhere.test"},
		"another MX first":            {instead(ownDomain, ownDomain+". MX 5 elsewhere.test.", ownDomain+". MX 10 "+l.name+"."), "mx", checkup.Warning, "first"},
		"no SPF":                      {instead(ownDomain, ownDomain+". MX 10 "+l.name+"."), "spf", checkup.Wrong, `"v=spf1 mx -all"`},
		"two SPF":                     {instead(ownDomain, ownDomain+`. TXT "v=spf1 mx -all"`, ownDomain+`. TXT "v=spf1 -all"`), "spf", checkup.Wrong, "2 SPF records"},
		"SPF without us":              {spf("v=spf1 ip4:192.0.2.1 -all"), "spf", checkup.Wrong, "127.0.0.9"},
		"SPF for all":                 {spf("v=spf1 mx +all"), "spf", checkup.Wrong, "everybody"},
		"SPF broken":                  {spf("v=spf1 mxx -all"), "spf", checkup.Wrong, "cannot be read"},
		"SPF without end":             {spf("v=spf1 mx"), "spf", checkup.Warning, "-all"},
		"no DKIM":                     {instead(key), "dkim", checkup.Wrong, "publish: " + key},
		"another DKIM key":            {instead(key, key+` TXT "v=DKIM1; k=rsa; p=MIIB"`), "dkim", checkup.Wrong, "another key"},
		"no DMARC":                    {instead("_dmarc." + ownDomain), "dmarc", checkup.Wrong, "p=quarantine"},
		"DMARC without reports":       {instead("_dmarc."+ownDomain, "_dmarc."+ownDomain+`. TXT "v=DMARC1; p=reject"`), "dmarc", checkup.Warning, "rua="},
		"no STS name":                 {instead("mta-sts." + ownDomain), "mta-sts", checkup.Wrong, "no name mta-sts"},
		"STS name elsewhere":          {instead("mta-sts."+ownDomain, "mta-sts."+ownDomain+". A 127.0.0.78"), "mta-sts", checkup.Wrong, "cannot be had"},
		"STS without record":          {instead("_mta-sts." + ownDomain), "mta-sts", checkup.Warning, "STSv1"},
		"no TLS reports":              {instead("_smtp._tls." + ownDomain), "tls-rpt", checkup.Warning, "TLSRPTv1"},
		"no autoconfig":               {instead("autoconfig." + ownDomain), "autoconfig", checkup.Warning, "CNAME"},
		"autodiscover elsewhere":      {instead("autodiscover."+ownDomain, "autodiscover."+ownDomain+". A 192.0.2.7"), "autodiscover", checkup.Warning, "192.0.2.7"},
		"no PTR":                      {instead("9.0.0.127.in-addr.arpa"), "ptr4", checkup.Wrong, "reverse DNS"},
		"PTR that does not go back":   {instead("9.0.0.127.in-addr.arpa", "9.0.0.127.in-addr.arpa. PTR elsewhere.test."), "ptr4", checkup.Wrong, "does not lead back"},
		"PTR with another name":       {instead("9.0.0.127.in-addr.arpa", "9.0.0.127.in-addr.arpa. PTR mta-sts."+ownDomain+"."), "ptr4", checkup.Warning, "calls itself"},
		"TLSA of another key":         {instead("_25._tcp."+l.name, "_25._tcp."+l.name+". TLSA 3 1 1 "+strings.Repeat("ab", 32)), "tlsa", checkup.Wrong, "DANE"},
		"no host SPF":                 {instead(l.name, l.name+". A "+l.ip), "spf-host", checkup.Warning, "v=spf1 a -all"},
		"no host address":             {instead(l.name), "hostname", checkup.Wrong, "has no address"},
		"host elsewhere":              {instead(l.name, l.name+". A 127.0.0.78"), "starttls", checkup.Unseen, "no TLS at port"},
		"listed":                      {instead("9.0.0.127.zen.spamhaus.org", "9.0.0.127.zen.spamhaus.org. A 127.0.0.2"), "dnsbl-spamhaus_zen", checkup.Wrong, "known senders of junk"},
		"a list that refuses us":      {instead("9.0.0.127.zen.spamhaus.org", "9.0.0.127.zen.spamhaus.org. A 127.255.255.254"), "dnsbl-spamhaus_zen", checkup.Unseen, "127.255.255.254"},
		"a list that lists all":       {instead("1.0.0.127.zen.spamhaus.org", "1.0.0.127.zen.spamhaus.org. A 127.0.0.2"), "dnsbl-spamhaus_zen", checkup.Unseen, "RFC 5782"},
		"port 25 closed on way out":   {instead("mail.outside.test", "mail.outside.test. A 127.0.0.78"), "port25-out", checkup.Wrong, "smart host"},
		"nobody outside":              {instead("outside.test"), "port25-out", checkup.Unseen, "way out"},
		"DNS of the domain is silent": {func(z *dns.Zone) error { z.Fail("_dmarc." + ownDomain); return nil }, "dmarc", checkup.Unseen, "DNS does not answer"},
	} {
		l.publish()
		check(t, c.spoil(l.street.zone))
		x := l.look().of(c.check)
		if x.State != c.state || !strings.Contains(x.Found+" "+x.Advice, c.says) {
			t.Errorf("%s: %s is %s: %s -> %s; want %s with %q", what, c.check, x.State, x.Found, x.Advice, c.state, c.says)
		}
	}
	l.publish()
	l.ahead.Store(int64(time.Hour))
	if x := l.look().of("clock"); x.State != checkup.Wrong || !strings.Contains(x.Advice, "set-ntp") {
		t.Errorf("a clock that is an hour ahead: %+v", x)
	}
	l.ahead.Store(int64(20 * 365 * 24 * time.Hour))
	r2 := l.look()
	if x := r2.of("certificate"); x.State != checkup.Wrong || !strings.Contains(x.Found, "expired") {
		t.Errorf("years later: %+v", x)
	}
	if x := r2.of("backup"); x.State != checkup.Wrong {
		t.Errorf("years later: %+v", x)
	}
	l.ahead.Store(0)
	l.full.Store(true)
	if x := l.look().of("disk"); x.State != checkup.Wrong || !strings.Contains(x.Found, "refused") {
		t.Errorf("a full disk: %+v", x)
	}
	l.full.Store(false)
}
