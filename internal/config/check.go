package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
)

// checker collects what is wrong with a value whose types are right.
type checker struct {
	doc  *document
	c    *Config
	errs []error
}

// fail notes a mistake at a setting.
func (k *checker) fail(key, message, remedy string) {
	k.errs = append(k.errs, k.doc.at(key, message, remedy))
}

func (k *checker) check() {
	k.names()
	k.doors()
	k.certificates()
	k.clients()
	k.acme()
	k.numbers()
	k.durations()
	k.remote()
	k.backup()
	k.submission()
	k.junk()
	k.lists()
	k.scanners()
	k.choices()
	k.outside()
	k.loopbackOnly()
}

func (k *checker) names() {
	c := k.c
	if c.Hostname == "" {
		k.fail("hostname", "the house has no name", `Write hostname = "mail.example.org": the name that its address resolves to.`)
	} else if d, err := mail.ParseDomain(c.Hostname); err != nil || !strings.Contains(string(d), ".") && d != "localhost" {
		k.fail("hostname", fmt.Sprintf("%q is no full host name", c.Hostname), `Write the name with its domain: "mail.example.org".`)
	}
	if c.Data == "" {
		k.fail("data", "the data folder has no name", remedyFor("data"))
	}
	if s := c.Auth.Separator; s != "" && (len(s) != 1 || strings.ContainsAny(s, "@.\" ") || s[0] < '!' || s[0] > '~') {
		k.fail("auth.separator", fmt.Sprintf("%q cannot separate", s), remedyFor("auth.separator"))
	}
}

// doors: a unix socket is where another web server connects. Who comes through it has no address, and what mail is let do hangs on one.
func (k *checker) doors() {
	l := k.c.Listen
	for _, x := range []struct {
		key  string
		list []Address
	}{
		{"listen.smtp", l.SMTP}, {"listen.submission", l.Submission}, {"listen.submissions", l.Submissions}, {"listen.pop3", l.POP3}, {"listen.pop3s", l.POP3S},
		{"listen.imap", l.IMAP}, {"listen.imaps", l.IMAPS}, {"listen.https", l.HTTPS}, {"metrics.listen", k.c.Metrics.Listen},
	} {
		for i, a := range x.list {
			if a.Socket() != "" {
				k.fail(x.key+"."+strconv.Itoa(i), "it listens on ports, not on unix sockets", remedyFor(x.key))
			}
		}
	}
}

// BehindWeb reports whether another web server stands in front of the pages.
func (c *Config) BehindWeb() bool {
	return len(c.Web.Proxies) > 0 || slices.ContainsFunc(c.Listen.HTTP, func(a Address) bool { return a.Socket() != "" })
}

func (k *checker) certificates() {
	for i, p := range k.c.TLS.Certificates {
		key := "tls.certificates." + strconv.Itoa(i)
		if p.Cert == "" || p.Key == "" {
			k.fail(key, "a certificate is a pair of files", `Write cert = "..." and key = "...", both PEM.`)
		}
	}
	m := k.c.Metrics
	if (m.Cert == "") != (m.Key == "") {
		k.fail("metrics", "cert and key belong together", "Name both files, or none of them.")
	}
	if m.TokenFile == "" && m.Cert == "" && !allLoopback(m.Listen) {
		k.fail("metrics.listen", "everybody could read the metrics",
			"Listen on 127.0.0.1, or name a token_file, or cert and key.")
	}
}

// number is a bounded whole number.
type number struct {
	key       string
	value     int64
	low, high int64
}

func (k *checker) numbers() {
	c := k.c
	all := []number{
		{"limits.message_size", int64(c.Limits.MessageSize), 64 << 10, 1 << 30},
		{"limits.recipients", int64(c.Limits.Recipients), 100, 100_000}, // RFC 5321 section 4.5.3.1.8
		{"limits.connections", int64(c.Limits.Connections), 10, 1_000_000},
		{"limits.connections_per_address", int64(c.Limits.PerAddress), 1, 1_000_000},
		{"limits.smtp_connections", int64(c.Limits.SMTP), 1, 1_000_000},
		{"quota.bytes", int64(c.Quota.Bytes), 0, 1 << 50},
		{"quota.messages", int64(c.Quota.Messages), 0, 1 << 40},
		{"quota.warn", int64(c.Quota.Warn), 0, 100},
		{"store.disk_low", int64(c.Store.DiskLow), 0, 1 << 50},
		{"store.disk_stop", int64(c.Store.DiskStop), 0, int64(c.Store.DiskLow)},
		{"store.segment_size", int64(c.Store.SegmentSize), 64 << 10, 1 << 30},
		{"store.compact_below", int64(c.Store.CompactBelow), 1, 99},
		{"store.compact_share", int64(c.Store.CompactShare), 1, 100},
		{"story.size", int64(c.Story.Size), 1 << 20, 1 << 40},
		{"lists.bounce_days", int64(c.Lists.BounceDays), 1, 60},
		{"backup.keep_daily", int64(c.Backup.KeepDaily), 0, 10_000},
		{"backup.keep_weekly", int64(c.Backup.KeepWeekly), 0, 10_000},
		{"backup.keep_monthly", int64(c.Backup.KeepMonthly), 0, 10_000},
		{"backup.share", int64(c.Backup.Share), 1, 100},
		{"queue.connections_per_host", int64(c.Queue.PerHost), 1, 1000},
		{"queue.connections", int64(c.Queue.Connections), 1, 10_000},
		{"remote.port", int64(c.Remote.Port), 1, 65535},
	}
	all = append(all, c.Sending.ranges()...)
	for i, h := range c.Remote.SmartHosts {
		prefix := "remote.smart_hosts." + strconv.Itoa(i) + "."
		all = append(all, number{prefix + "port", int64(h.Port), 0, 65535}, number{prefix + "after_tries", int64(h.After), 0, 1000})
	}
	for _, n := range all {
		if n.value < n.low || n.value > n.high {
			low, high := strconv.FormatInt(n.low, 10), strconv.FormatInt(n.high, 10)
			if strings.HasSuffix(n.key, "size") || strings.HasSuffix(n.key, "bytes") || strings.HasPrefix(n.key, "store.disk") {
				low, high = Size(n.low).String(), Size(n.high).String()
			}
			k.fail(n.key, "out of bounds", "Write "+low+" to "+high+".")
		}
	}
}

func (k *checker) durations() {
	l, q := k.c.Limits, k.c.Queue
	for _, d := range []struct {
		key       string
		value     Duration
		low, high string
	}{
		{"dns.timeout", k.c.DNS.Timeout, "100ms", "1m"},
		{"limits.smtp_command_wait", l.SMTPCommand, "10s", "1h"},
		{"limits.smtp_data_wait", l.SMTPData, "10s", "1h"},
		{"limits.pop3_idle", l.POP3Idle, "10m", "1d"},  // RFC 1939 section 3
		{"limits.imap_idle", l.IMAPIdle, "30m", "10d"}, // RFC 9051 section 5.4
		{"pop3.login_delay", k.c.POP3.LoginDelay, "0s", "1d"},
		{"limits.shutdown_wait", l.ShutdownFinish, "1s", "10m"},
		{"store.keep_deleted", k.c.Store.KeepDeleted, "0s", "3650d"},
		{"store.compact_every", k.c.Store.CompactEvery, "10ms", "30d"},
		{"story.keep", k.c.Story.Keep, "0s", "3650d"},
		{"audit.keep", k.c.Audit.Keep, "0s", "36500d"},
		{"acme.dns_wait", k.c.ACME.DNSWait, "0s", "10m"},
		{"web.sign_in", k.c.Web.SignIn, "10m", "90d"},
		{"junk.list_wait", k.c.Junk.ListWait, "100ms", "20s"},
		{"junk.greylist_delay", k.c.Junk.GreylistDelay, "0s", "1d"},
		{"junk.refusals", k.c.Junk.Refusals, "1d", "365d"},
		{"backup.every", k.c.Backup.Every, "0s", "365d"},
		{"submission.hold", k.c.Submission.Hold, "0s", "1d"},
		{"submission.schedule", k.c.Submission.Schedule, "0s", "365d"},
		{"queue.lifetime", q.Lifetime, "1m", "30d"},
		{"queue.delay_notice", q.DelayNotice, "0s", "30d"},
	} {
		k.duration(d.key, d.value, d.low, d.high)
	}
	if len(q.Retry) == 0 {
		k.fail("queue.retry", "at least one interval is needed", remedyFor("queue.retry"))
	}
	for i, d := range q.Retry {
		k.duration("queue.retry."+strconv.Itoa(i), d, "1s", "2d")
	}
}

// duration checks low <= d <= high, both in the form of the file.
func (k *checker) duration(key string, d Duration, low, high string) {
	var from, to Duration
	if from.UnmarshalText([]byte(low)) != nil || to.UnmarshalText([]byte(high)) != nil || d.Duration < from.Duration || d.Duration > to.Duration {
		k.fail(key, "out of bounds", "Write "+low+" to "+high+".")
	}
}

func (k *checker) backup() {
	b := k.c.Backup
	if _, err := time.Parse("15:04", b.At); b.At != "" && err != nil {
		k.fail("backup.at", fmt.Sprintf("%q is no time of day", b.At), remedyFor("backup.at"))
	}
	if b.To != "" && b.At == "" && b.Every.Duration == 0 {
		k.fail("backup.to", "backups have a folder and no time", `Write at = "03:00" or every = "6h".`)
	}
	if len(b.Recipients) > 0 && b.PassphraseFile != "" {
		k.fail("backup.passphrase_file", "a public key and a passphrase", "Write recipients or passphrase_file, not both.")
	}
	for i, r := range b.Recipients {
		if !strings.HasPrefix(r, "age1") {
			k.fail("backup.recipients."+strconv.Itoa(i), "no public key of age", remedyFor("backup.recipients"))
		}
	}
	if rel, err := filepath.Rel(k.c.Data, b.To); b.To != "" && err == nil && filepath.IsLocal(rel) {
		k.fail("backup.to", "the backup would stand in the data folder, and be lost with it", "Name a folder on another disk or machine.")
	}
}

func (k *checker) remote() {
	for i, h := range k.c.Remote.SmartHosts {
		prefix := "remote.smart_hosts." + strconv.Itoa(i)
		if h.Host == "" {
			k.fail(prefix, "a smart host needs a name", `Write host = "relay.example.net".`)
		}
		if (h.User == "") != (h.PasswordFile == "") {
			k.fail(prefix, "user and password_file belong together", "Write both, or none where the smart host knows us by our address.")
		}
		if h.TLS == SmartTLSNone && h.User != "" {
			k.fail(prefix+".tls", "a password would travel in clear", `Write tls = "starttls" or tls = "implicit".`)
		}
		if !slices.Contains([]string{"", SmartTLSImplicit, SmartTLSStart, SmartTLSNone}, h.TLS) {
			k.fail(prefix+".tls", fmt.Sprintf("%q is unknown", h.TLS), `Write "starttls", "implicit" or "none".`)
		}
	}
}

func (k *checker) submission() {
	for i, t := range k.c.Submission.Trusted {
		prefix := "submission.trusted." + strconv.Itoa(i)
		if len(t.Networks) == 0 || len(t.Senders) == 0 {
			k.fail(prefix, "networks and senders belong together", `Write networks = ["192.0.2.7/32"] and senders = ["printer@example.org"].`)
		}
		for j, n := range t.Networks {
			if n.Bits() == 0 {
				k.fail(prefix+".networks."+strconv.Itoa(j), "the whole world cannot be trusted", "Name the addresses of your own devices.")
			}
		}
		for j, s := range t.Senders {
			if s.IsNull() {
				k.fail(prefix+".senders."+strconv.Itoa(j), "an empty sender", "Write an address of one of your domains.")
			}
		}
	}
}

// maxSocket is the longest name that a unix socket can have on every system we run on (sun_path of unix(7) less its NUL).
const maxSocket = 103

// sockets checks names that are complete: relative ones have been joined to the folder of the file.
func (k *checker) sockets() {
	type socket struct{ key, path string }
	all := []socket{{"listen.lmtp", k.c.Listen.LMTP}, {"submission.socket", k.c.Submission.Socket}}
	for i, a := range k.c.Listen.HTTP {
		all = append(all, socket{"listen.http." + strconv.Itoa(i), a.Socket()})
	}
	taken := map[string]string{}
	for _, s := range all {
		if s.path == "" {
			continue
		}
		if other := taken[filepath.Clean(s.path)]; other != "" {
			k.fail(s.key, other+" is at "+s.path+" too", "Give each socket a path of its own.")
		}
		taken[filepath.Clean(s.path)] = s.key
		if len(s.path) > maxSocket {
			k.fail(s.key, fmt.Sprintf("%s has %d octets, too long for the name of a socket", s.path, len(s.path)),
				"Write one of "+strconv.Itoa(maxSocket)+" octets at most, as /run/posthouse/NAME.")
		}
	}
}

func (k *checker) choices() {
	for _, v := range []struct {
		key, value string
		of         []string
	}{
		{"route.across", k.c.Route.Across, []string{AcrossDirect, AcrossMX}},
		{"checks.dmarc", k.c.Checks.DMARC, []string{DMARCEnforce, DMARCQuarantine, DMARCNote, DMARCOff}},
		{"reports.letter", k.c.Reports.Letter, append(LetterDays(), LetterOff)},
		{"dns.trust_ad", k.c.DNS.TrustAD, []string{TrustADLoopback, TrustADAlways, TrustADNever}},
		{"remote.ipv6", k.c.Remote.IPv6, []string{IPv6Checked, IPv6Always, IPv6Never}},
		{"remote.tls_memory", k.c.Remote.TLSMemory, []string{TLSMemoryTell, TLSMemoryRefuse, TLSMemoryOff}},
		{"log.format", k.c.Log.Format, []string{"text", "json"}},
		{"log.level", k.c.Log.Level, []string{"debug", "info", "warn", "error"}},
	} {
		if !slices.Contains(v.of, v.value) {
			k.fail(v.key, fmt.Sprintf("%q is unknown", v.value), `Write "`+strings.Join(v.of, `" or "`)+`".`)
		}
	}
	if _, err := logx.ParseLevels(k.c.Log.Levels); err != nil {
		k.fail("log.levels", err.Error(), remedyFor("log.levels"))
	}
}

// loopbackOnly refuses the settings of demos and tests in a house that others can reach.
func (k *checker) loopbackOnly() {
	c := k.c
	if c.Listen.LoopbackOnly() {
		return
	}
	const remedy = "It is for demos and tests, where every listener is on 127.0.0.1, ::1 or localhost. Remove the line."
	if c.Remote.AllowLoopback {
		k.fail("remote.allow_loopback", "not in a house that others can reach", remedy)
	}
	if c.Route.Across == AcrossMX {
		k.fail("route.across", "not in a house that others can reach", remedy)
	}
	if c.Remote.Port != 25 && c.Remote.Port > 0 && c.Remote.Port < 65536 {
		k.fail("remote.port", "not in a house that others can reach", remedy)
	}
}

// LoopbackOnly reports whether every door is on this machine alone.
func (l Listen) LoopbackOnly() bool {
	for _, list := range [][]Address{l.SMTP, l.Submission, l.Submissions, l.POP3, l.POP3S, l.IMAP, l.IMAPS, l.HTTP, l.HTTPS} {
		if !allLoopback(list) {
			return false
		}
	}
	return true
}

func allLoopback(list []Address) bool {
	for _, a := range list {
		if !a.IsLoopback() {
			return false
		}
	}
	return true
}

func (k *checker) junk() {
	j := k.c.Junk
	if j.Doubtful < 1 || j.Refuse > 1000 || j.Doubtful > j.Line || j.Line > j.Refuse {
		k.fail("junk", fmt.Sprintf("the scores %g, %g and %g are in no order", j.Doubtful, j.Line, j.Refuse),
			"Write doubtful, line and refuse so that none is below the one before, and doubtful is 1 or more.")
	}
}
