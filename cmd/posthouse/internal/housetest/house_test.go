package housetest

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	gosasl "github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/cmd/posthouse/internal/daemon"
	"github.com/posthouse-mail/posthouse/internal/cert"
	"github.com/posthouse-mail/posthouse/internal/config"
	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/web/admin"
)

const (
	password = "secret of a test"
	patience = 30 * time.Second // of everything that has to happen; nothing here takes so long
)

// street is the world that the houses of a test stand in.
type street struct {
	t     *testing.T
	zone  *dns.Zone
	names *dns.Server
	ca    *cert.Authority
	port  string // of SMTP, the same for all: each house has a loopback address of its own
	next  int    // last octet of the next house's address

	reports time.Duration     // how often houses look at reports; 0: as always
	fixed   map[string]string // addresses of doors that programs are told of; others have any port
}

func newStreet(t *testing.T) *street {
	t.Helper()
	s := &street{t: t, next: 2}
	var err error
	if s.zone, err = dns.NewZone(); err != nil {
		t.Fatal(err)
	}
	if s.names, err = dns.Serve(netip.MustParseAddrPort("127.0.0.1:0"), s.zone); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { check(t, s.names.Close()) })
	if s.ca, err = cert.NewAuthority("house test", nil); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0") // held, so that the port stays ours
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { check(t, l.Close()) })
	if _, s.port, err = net.SplitHostPort(l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	return s
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

// house is one of the houses; start and stop may be called in turn.
type house struct {
	t       *testing.T
	street  *street
	dir     string
	ip      string
	name    string // host name: mx.DOMAIN of the first domain
	extra   string // more settings
	disk    func() (daemon.Disk, error)
	ahead   atomic.Int64 // of its clock, in nanoseconds
	Daemon  *daemon.Daemon
	Level   *slog.LevelVar
	log     *buffer
	stopRun context.CancelFunc
	done    chan error
	doors   map[string]string
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// build makes a house for the domains of the addresses, with an account for each, and starts it.
func (s *street) build(extra string, addresses ...string) *house {
	s.t.Helper()
	return s.buildOn(nil, extra, addresses...)
}

// buildOn is build on a disk of the test's.
func (s *street) buildOn(disk func() (daemon.Disk, error), extra string, addresses ...string) *house {
	s.t.Helper()
	h := &house{t: s.t, street: s, dir: s.t.TempDir(), ip: fmt.Sprint("127.0.0.", s.next), extra: extra, disk: disk, log: &buffer{}}
	s.next++
	_, domain, _ := strings.Cut(addresses[0], "@")
	h.name = "mx." + domain
	if err := s.zone.Add(h.name + ". A " + h.ip); err != nil {
		s.t.Fatal(err)
	}
	h.writePair("tls")
	h.writeSettings("")
	h.start()
	ctx := s.t.Context()
	known := map[string]bool{}
	for _, a := range addresses {
		_, domain, _ := strings.Cut(a, "@")
		if !known[domain] {
			known[domain] = true
			if err := s.zone.Add(domain + ". MX 10 " + h.name + "."); err != nil {
				s.t.Fatal(err)
			}
			if _, err := h.Daemon.House().AddDomain(ctx, admin.Domain{Name: domain}); err != nil {
				s.t.Fatal(err)
			}
		}
		if _, err := h.Daemon.House().AddAccount(ctx, admin.NewAccount{Addresses: []string{a}, Password: password}); err != nil {
			s.t.Fatal(err)
		}
	}
	s.t.Cleanup(h.cleanup)
	return h
}

// writePair puts a fresh certificate into the house's folder.
func (h *house) writePair(base string) {
	h.t.Helper()
	if _, err := h.street.ca.WritePair(h.dir, base, "localhost", h.ip, h.name); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) settingsFile() string { return filepath.Join(h.dir, "posthouse.toml") }

// writeSettings writes the settings file; more comes last.
func (h *house) writeSettings(more string) {
	h.t.Helper()
	any := h.ip + ":0"
	text := fmt.Sprintf(`hostname = %q
data = "data"
remote.port = %s
remote.allow_loopback = true
dns.servers = [%q]
metrics.listen = ["127.0.0.1:0"]
tls.certificates = [{cert = "tls.pem", key = "tls.key"}]
log.level = "debug"
[listen]
smtp = [%q]
submission = [%q]
submissions = [%q]
pop3 = [%q]
pop3s = [%q]
imap = [%q]
imaps = [%q]
%s
%s
`, h.name, h.street.port, h.street.names.Addr(), h.ip+":"+h.street.port, any, cmp.Or(h.street.fixed["submissions"], any), any, any, any, cmp.Or(h.street.fixed["imaps"], any), h.extra, more)
	if err := os.WriteFile(h.settingsFile(), []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

// start makes the house of what lies in its folder and opens its doors.
func (h *house) start() {
	h.t.Helper()
	c, err := config.Load(h.settingsFile())
	if err != nil {
		h.t.Fatal(err)
	}
	h.serve(c)
}

// serve makes the house of c and opens its doors.
func (h *house) serve(c *config.Config) {
	h.t.Helper()
	h.Level = new(slog.LevelVar)
	h.Level.Set(slog.LevelDebug)
	ctx, stop := context.WithCancel(h.t.Context())
	var err error
	h.Daemon, err = daemon.New(ctx, daemon.Options{
		Config: c, File: h.settingsFile(), Level: h.Level, Version: "test", Logger: logx.New(h.log, logx.Options{Level: h.Level}),
		Disk: h.disk, DiskEvery: 50 * time.Millisecond, BackupRetry: 50 * time.Millisecond, ReportsEvery: h.street.reports,
		Now: func() time.Time { return time.Now().Add(time.Duration(h.ahead.Load())) },
	})
	if err != nil {
		stop()
		h.t.Fatal(err)
	}
	h.stopRun, h.done = stop, make(chan error, 1)
	go func() { h.done <- h.Daemon.Run(ctx) }()
	status, err := h.Daemon.Status(ctx)
	if err != nil {
		h.t.Fatal(err)
	}
	h.doors = map[string]string{}
	for _, l := range status.Listeners {
		h.doors[l.Service] = l.Address
	}
}

// stop ends the house as SIGTERM does, and waits for it.
func (h *house) stop() {
	h.t.Helper()
	h.stopRun()
	h.ended()
}

func (h *house) ended() {
	h.t.Helper()
	select {
	case err := <-h.done:
		h.done <- nil
		if err != nil {
			h.t.Errorf("the house ended with %v", err)
		}
	case <-time.After(patience):
		h.t.Fatal("the house does not end")
	}
}

// cleanup ends the house and checks its store whole.
func (h *house) cleanup() {
	h.stop()
	c, err := config.Load(h.settingsFile())
	if err != nil {
		c = config.Default() // a test left a broken file on purpose
		c.Data = filepath.Join(h.dir, "data")
	}
	files, err := daemon.OpenFiles(context.Background(), c, slog.New(slog.DiscardHandler))
	if err != nil {
		h.t.Fatal(err)
	}
	problems, err := files.House.Check(context.Background(), true)
	if err = errors.Join(err, files.Close()); err != nil || len(problems) > 0 {
		h.t.Errorf("the store of %s is not sound: %v %q", h.name, err, problems)
	}
	if h.t.Failed() {
		text := h.log.String()
		h.t.Logf("%s logged:\n%s", h.name, text[max(0, len(text)-8000):])
	}
}

// trust is the TLS settings of a client of the house.
func (h *house) trust() *tls.Config {
	return &tls.Config{RootCAs: h.street.ca.Pool(), ServerName: "localhost", MinVersion: tls.VersionTLS12}
}

// dial opens a connection with a deadline for the whole of it.
func (h *house) dial(service string) net.Conn {
	h.t.Helper()
	c, err := net.DialTimeout("tcp", h.doors[service], patience)
	if err != nil {
		h.t.Fatal(err)
	}
	check(h.t, c.SetDeadline(time.Now().Add(patience)))
	h.t.Cleanup(func() { c.Close() })
	return c
}

// dialTLS is dial for the doors of implicit TLS.
func (h *house) dialTLS(service string) *tls.Conn {
	h.t.Helper()
	c := tls.Client(h.dial(service), h.trust())
	if err := c.Handshake(); err != nil {
		h.t.Fatalf("TLS with %s: %v", service, err)
	}
	return c
}

// submission is a session on port 587 that has logged in.
func (h *house) submission(user string) *gosmtp.Client {
	h.t.Helper()
	c, err := gosmtp.NewClientStartTLS(h.dial("submission"), h.trust())
	if err != nil {
		h.t.Fatal(err)
	}
	if err := c.Auth(gosasl.NewPlainClient("", user, password)); err != nil {
		h.t.Fatal(err)
	}
	return c
}

// send submits a message with the subject.
func (h *house) send(from, subject string, to ...string) {
	h.t.Helper()
	c := h.submission(from)
	if err := c.SendMail(from, to, strings.NewReader(text(from, subject, to...))); err != nil {
		h.t.Fatal(err)
	}
	check(h.t, c.Quit())
}

func text(from, subject string, to ...string) string {
	return "From: <" + from + ">\r\nTo: <" + strings.Join(to, ">, <") + ">\r\nSubject: " + subject + "\r\nBcc: hidden@example.org\r\n\r\nA line.\r\n.with a dot first\r\n"
}

// reader is an IMAP session; news gets a value when the server tells of new messages.
type reader struct {
	*imapclient.Client
	t    *testing.T
	news chan struct{}
}

func (h *house) reader(user string) *reader {
	h.t.Helper()
	r := &reader{t: h.t, news: make(chan struct{}, 1)}
	r.Client = imapclient.New(h.dialTLS("imaps"), &imapclient.Options{UnilateralDataHandler: &imapclient.UnilateralDataHandler{
		Mailbox: func(data *imapclient.UnilateralDataMailbox) {
			if data.NumMessages != nil {
				select {
				case r.news <- struct{}{}:
				default:
				}
			}
		},
	}})
	h.t.Cleanup(func() { r.Client.Close() })
	if err := r.Login(user, password).Wait(); err != nil {
		h.t.Fatal(err)
	}
	if _, err := r.Select("INBOX", nil).Wait(); err != nil {
		h.t.Fatal(err)
	}
	return r
}

// awaits waits in IDLE until n messages have the word in their subject, and returns their uids.
func (r *reader) awaits(n int, word string) []goimap.UID {
	r.t.Helper()
	for end := time.Now().Add(patience); ; {
		data, err := r.UIDSearch(&goimap.SearchCriteria{Header: []goimap.SearchCriteriaHeaderField{{Key: "Subject", Value: word}}}, nil).Wait()
		if err != nil {
			r.t.Fatal(err)
		}
		if uids := data.AllUIDs(); len(uids) >= n {
			if len(uids) > n {
				r.t.Errorf("%d messages with %q, want %d", len(uids), word, n)
			}
			return uids
		}
		idle, err := r.Idle()
		if err != nil {
			r.t.Fatal(err)
		}
		select {
		case <-r.news:
		case <-time.After(time.Until(end)):
			r.t.Fatalf("%q did not arrive", word)
		}
		if err := errors.Join(idle.Close(), idle.Wait()); err != nil {
			r.t.Fatal(err)
		}
	}
}

// body is the whole text of a message.
func (r *reader) body(uid goimap.UID) string {
	r.t.Helper()
	section := &goimap.FetchItemBodySection{Peek: true}
	list, err := r.Fetch(goimap.UIDSetNum(uid), &goimap.FetchOptions{BodySection: []*goimap.FetchItemBodySection{section}}).Collect()
	if err != nil || len(list) != 1 {
		r.t.Fatalf("FETCH of %d: %d messages, %v", uid, len(list), err)
	}
	return string(list[0].FindBodySection(section))
}
