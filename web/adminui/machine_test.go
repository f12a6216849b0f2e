package adminui_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/auth/authtest"
	"github.com/posthouse-mail/posthouse/internal/config"
	"github.com/posthouse-mail/posthouse/internal/dialogue"
	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/dmarcbook"
	"github.com/posthouse-mail/posthouse/smtp/junkbook"
	"github.com/posthouse-mail/posthouse/smtp/limit"
	"github.com/posthouse-mail/posthouse/smtp/queue"
	"github.com/posthouse-mail/posthouse/smtp/spam"
	"github.com/posthouse-mail/posthouse/smtp/tlsbook"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/backup"
	"github.com/posthouse-mail/posthouse/store/history"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/storetest"
	"github.com/posthouse-mail/posthouse/store/story"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/adminui"
	"github.com/posthouse-mail/posthouse/web/page"
)

// machine is a house with all that the pages about the machine ask for.
type machine struct {
	*house
	store   *store.Store
	queue   *queue.Queue
	story   *story.Book
	history *history.Book
	dmarc   *dmarcbook.Book
	hub     *dialogue.Hub
	db      *kv.DB
	to      string // where backups are
	file    string // of the settings
	ended   string // connection
	renewed string
	reloads int
}

func newMachine(t testing.TB) *machine {
	m := &machine{house: &house{t: t}}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	side, err := kv.OpenSide(kv.SideOptions{Path: filepath.Join(t.TempDir(), "side.db"), Pace: time.Millisecond})
	must(err)
	t.Cleanup(func() { must(side.Close()) })
	m.story, m.history, m.dmarc, m.hub = story.New(story.Options{Side: side}), history.New(side), dmarcbook.New(dmarcbook.Options{Side: side}), dialogue.NewHub(nil)
	var suppressed *limit.List
	s := storetest.Start(t, storetest.Options{Register: []func(*kv.DB, *store.Store){func(db *kv.DB, s *store.Store) {
		m.queue, err = queue.New(db, s, queue.Options{Hostname: "mx.mail.test", Story: m.story})
		must(err)
		suppressed = limit.NewList(limit.ListOptions{DB: db})
	}}})
	m.store, m.directory = s.Store, auth.New(s.DB, auth.Options{})
	authtest.Make(t, s, m.directory, authtest.Account{Name: "alice"}, authtest.Account{Name: "bob"})
	judge := spam.New(spam.Options{Side: side, Hostname: "mx.mail.test"})
	m.admin = admin.New(admin.Options{
		DB: s.DB, Directory: m.directory, Store: s.Store, Queue: m.queue, Story: m.story, Limits: admin.Limits{Suppressed: suppressed},
		Reports: admin.Reports{DMARC: m.dmarc, TLS: tlsbook.New(tlsbook.Options{Side: side})},
		Junk:    admin.Junk{Judge: judge, Book: junkbook.New(s.DB, nil), Enabled: true, Line: 6},
	})
	t.Cleanup(func() { must(m.admin.Close()) })
	m.file = filepath.Join(t.TempDir(), "posthouse.toml")
	must(os.WriteFile(m.file, []byte("hostname = \"mx.mail.test\"\n"), 0o600))
	c, err := config.Load(m.file)
	must(err)
	now := time.Now()
	m.admin.SetLog(logx.LevelsOf(logx.New(io.Discard, logx.Options{})))
	m.admin.SetDialogues(m.hub)
	m.db, m.to = s.DB, filepath.Join(t.TempDir(), "backups")
	m.admin.SetBackup(admin.BackupSettings{To: m.to, Temp: t.TempDir()})
	m.admin.SetMachine(admin.Machine{
		Vitals: func(context.Context) (admin.Vitals, error) {
			return admin.Vitals{At: now, Version: "v1", Hostname: "mx.mail.test", Started: now, Values: map[string]float64{"disk_free_bytes": 5e9, "disk_size_bytes": 9e9, "disk_state": 1, "connections{service=imaps}": 7},
				Waiting: []admin.WaitingDomain{{Domain: "slow.test", Entries: 3, Oldest: now, Answer: "421 <later>"}}}, nil
		},
		Reload: func(context.Context) (admin.Reloaded, error) {
			m.reloads++
			return admin.Reloaded{Changed: []string{"quota.warn"}, Waiting: []string{"listen.smtp"}}, nil
		},
		Connections: func() []admin.Connection {
			return []admin.Connection{{ID: "c1", Service: "imaps", Remote: "192.0.2.7:1", Who: "alice@mail.test", Began: now, Doing: "IDLE", Since: now}}
		},
		EndConnection: func(id string) bool { m.ended = id; return id == "c1" },
		Certificates: func() []admin.Certificate {
			return []admin.Certificate{{Names: []string{"mx.mail.test"}, Until: now.Add(9 * 24 * time.Hour), Auto: true, Error: "HTTP 429 too many"}, {Names: []string{"imap.mail.test"}, Auto: true},
				{Names: []string{"old.mail.test"}, Until: now.Add(-time.Hour)}}
		},
		Renew:    func(name string) error { m.renewed = name; return nil },
		History:  m.history,
		Settings: admin.Settings{File: m.file, Data: t.TempDir(), Now: func() *config.Config { return c }, Live: func(key string) bool { return key == "quota.warn" }},
	})
	m.room = adminui.New(adminui.Options{House: m.admin})
	id, err := m.directory.Confirm(t.Context(), auth.Identity{Main: mail.Address{Local: "alice", Domain: "mail.test"}}, netip.MustParseAddr("127.0.0.1"), authtest.Password)
	must(err)
	m.visit = page.Visit{Site: "mail.test", Remote: netip.MustParseAddr("127.0.0.1"), SignIn: &page.SignIn{Identity: id, Name: "alice", Session: "this", Admin: true, Strong: true}}
	return m
}

// send puts a message into the queue.
func (m *machine) send(to string) string {
	m.t.Helper()
	id := m.queue.NewID()
	a, err := mail.ParseAddress(to)
	if err != nil {
		m.t.Fatal(err)
	}
	e := mail.Envelope{From: mail.Address{Local: "alice", Domain: "mail.test"}, Recipients: []mail.Recipient{{Address: a}}}
	if _, err := m.store.Deliver(m.t.Context(), storetest.Arrival(m.t, m.store, "Subject: x\r\n\r\nx\r\n"), nil, m.queue.Part(id, e)); err != nil {
		m.t.Fatal(err)
	}
	m.story.Begin(story.Message{ID: id, At: time.Now(), Direction: story.Out, From: "alice@mail.test", To: []string{to}, Subject: "<b>" + to, MessageID: "<" + id + "@mail.test>"},
		story.Event{At: time.Now(), Step: story.Queued, Who: to})
	return id
}

func TestQueuePages(t *testing.T) {
	m := newMachine(t)
	gone := m.queue.NewID()
	m.want("/admin/queue", url.Values{"action": {"cancel"}, "id": {gone}}, 404, "They do not wait any more")
	m.want("/admin/queue", nil, 200, "Nothing waits.")
	one, two := m.send("u1@far.test"), m.send("u2@other.test")
	for i := range 60 {
		m.send(fmt.Sprintf("many%d@bulk.test", i))
	}
	first, _ := m.want("/admin/queue", nil, 200, one, `rel="next"`)
	if strings.Count(first, `type="checkbox"`) != 50 {
		t.Error("a page of the queue has not 50 rows")
	}
	body, _ := m.want("/admin/queue?address=U1@far", nil, 200, one, "Show all")
	if strings.Contains(body, two) {
		t.Error("the filter lets all through")
	}
	m.want("/admin/queue?domain=none.test", nil, 200, "Nothing waits that fits.")
	for _, bad := range []string{"state=x", "after=x", "domain=a..b"} {
		m.want("/admin/queue?"+bad, nil, 422)
	}
	m.want("/admin/queue/entry?id="+one, nil, 200, "u1@far.test", "not tried yet", "waits to be sent on")
	m.want("/admin/queue/entry?id=none", nil, 404, "It does not wait any more")
	m.want("/admin/queue/entry", nil, 404)
	act := func(action string, status int, ids ...string) string {
		t.Helper()
		body, h := m.want("/admin/queue", url.Values{"action": {action}, "id": ids}, status)
		return body + h.Get("Location")
	}
	if at := act("hold", 303, one); !strings.HasSuffix(at, "?done=queue-held") {
		t.Error(at)
	}
	m.want("/admin/queue?state=held", nil, 200, one)
	act("release", 303, one, one)
	act("retry", 303, one)
	act("eat", 404, one)
	act("hold", 422)
	if asked := act("cancel", 200, one, two); !strings.Contains(asked, "u1") && !strings.Contains(asked, "far.test") || !strings.Contains(asked, two) {
		t.Error(asked)
	}
	m.want("/admin/queue/entry?id="+one, nil, 200) // nothing is done before the answer
	m.want("/admin/queue", url.Values{"action": {"drop"}, "id": {one, two}, "sure": {"1"}}, 303)
	if _, h := m.want("/admin/queue/entry?id="+one, nil, 303); h.Get("Location") != "/admin/stories/one?id="+one {
		t.Error(h)
	}
}

func TestStoryPages(t *testing.T) {
	m := newMachine(t)
	id := m.send("bob@far.test")
	m.want("/admin/stories", nil, 200, id, "&lt;b&gt;bob@far.test", "sent by us")
	for _, q := range []string{id, "bob@FAR.test", id + "@mail.test"} {
		m.want("/admin/stories?q="+url.QueryEscape(q), nil, 200, "one?id="+id)
	}
	m.want("/admin/stories?q=zoe@far.test", nil, 200, "Nothing is known of zoe@far.test")
	m.want("/admin/stories?before=1", nil, 200, "Nothing is known", "Newest")
	m.want("/admin/stories/one?id="+id, nil, 200, "waits to be sent on", `class="timeline"`, "bob@far.test")
	m.want("/admin/stories/one?id=none", nil, 404)
	for i := range 60 {
		m.send(fmt.Sprintf("u%d@far.test", i))
	}
	body, _ := m.want("/admin/stories?q=alice@mail.test", nil, 200, `rel="next"`)
	next := body[strings.LastIndex(body, "before="):]
	next, _, _ = strings.Cut(next, `"`)
	m.want("/admin/stories?q=alice@mail.test&"+strings.ReplaceAll(next, "&amp;", "&"), nil, 200, id)
}

func TestNumbersPages(t *testing.T) {
	m := newMachine(t)
	m.history.Note(time.Now(), map[string]float64{"good": 31, "junk": 17, "delivered": 5}, map[string]float64{"memory": 5e7})
	now := time.Now().Add(-36 * time.Hour)
	if _, err := m.dmarc.KeepReport(t.Context(), dmarcbook.Received{ID: "r", Sender: "big.test", From: "Big", Domain: "mail.test", Begin: now, End: now.Add(24 * time.Hour), Taken: time.Now(), Sources: []dmarcbook.Source{{Address: "192.0.2.66", Count: 23, Disposition: "none"}}}); err != nil {
		t.Fatal(err)
	}
	m.send("x@far.test") // its story flushes the side tables when it is looked for
	m.want("/admin/stories", nil, 200)
	m.want("/admin/junk", nil, 200, "<svg", "junk: 17 in all", `<td class="figure">31</td>`)
	m.want("/admin/junk?days=365", nil, 200, `value="365" selected`)
	m.want("/admin/junk/why", nil, 200, "Message")
	m.want("/admin/junk/why?message=nothing", nil, 200, "No such message", `role="alert"`)
	m.want("/admin/reports", nil, 200, "not proven, let through: 23 in all", "mail.test")
	if _, err := m.dmarc.KeepReport(t.Context(), dmarcbook.Received{ID: "r2", Sender: "big.test", From: "Big", Domain: "mail.test", Begin: now, End: now.Add(24 * time.Hour), Taken: time.Now(), Sources: []dmarcbook.Source{{Address: "192.0.2.66", Count: 4, Disposition: "none"}}}); err != nil {
		t.Fatal(err)
	}
	m.want("/admin/reports", nil, 200, "not proven, let through: 27 in all")
	m.want("/admin/reports?domain=mail.test&days=7", nil, 200, "192.0.2.66", `<td class="figure">27</td>`)
	m.want("/admin/domains/add", form("name", "new.test"), 303)
	m.want("/admin/reports?domain=new.test", nil, 200, "new.test")
	m.want("/admin/reports?domain=mail.test&days=90", nil, 200, "192.0.2.66")
	m.want("/admin/reports?domain=else.test", nil, 404)
	m.want("/admin/system", nil, 200, "<svg", "slow.test", "421 &lt;later&gt;", "imaps", "little; deleted mail", `data-again="5"`)
}

func TestSuppressionPage(t *testing.T) {
	m := newMachine(t)
	m.want("/admin/suppression", nil, 200, "There are none.")
	m.want("/admin/suppression", url.Values{"address": {"nobody@far.test"}, "note": {"<gone>"}}, 303)
	m.want("/admin/suppression", url.Values{"address": {"bob@mail.test"}}, 422, "in a domain of this house", `value="bob@mail.test"`)
	m.want("/admin/suppression", url.Values{"address": {"x"}}, 422)
	m.want("/admin/suppression?q=NOBODY", nil, 200, "nobody@far.test", "&lt;gone&gt;", "for ever")
	m.want("/admin/suppression?q=zoe", nil, 200, "There are none that fit")
	m.want("/admin/suppression/remove", url.Values{"address": {"nobody@far.test"}}, 303)
	m.want("/admin/suppression/remove", url.Values{"address": {"nobody@far.test"}}, 404)
	for i := range 55 {
		if _, err := m.admin.AddSuppression(t.Context(), admin.Suppress{Address: fmt.Sprintf("u%02d@far.test", i)}); err != nil {
			t.Fatal(err)
		}
	}
	m.want("/admin/suppression", nil, 200, "u49@far.test", `rel="next"`)
	found, err := m.admin.FindSuppressions(t.Context(), admin.SuppressionFilter{Size: 50})
	if err != nil || len(found.All) != 50 {
		t.Fatal(found, err)
	}
	if body, _ := m.want("/admin/suppression?after="+url.QueryEscape(found.Next), nil, 200, "u54@far.test"); strings.Contains(body, "u49@far.test") || strings.Contains(body, `rel="next"`) {
		t.Error("the second page is not the rest")
	}
}

func TestMachinePages(t *testing.T) {
	m := newMachine(t)
	if body, _ := m.want("/admin/certificates", nil, 200, "8 days left", "HTTP 429 too many", "there is none yet", "on its way", "it has ended", "Renew now"); strings.Contains(body, ">good<") {
		t.Error("none of them is good")
	}
	m.want("/admin/certificates", url.Values{"name": {"imap.mail.test"}}, 303)
	m.want("/admin/connections", nil, 200, "alice@mail.test", "IDLE", "1 connection.", "192.0.2.7:1")
	m.want("/admin/connections?q=zoe", nil, 200, "0 connections.")
	m.want("/admin/connections", url.Values{"id": {"c1"}}, 303)
	m.want("/admin/connections", url.Values{"id": {"c2"}}, 404)
	if m.ended != "c2" || m.renewed != "imap.mail.test" {
		t.Error(m.ended, m.renewed)
	}
	m.want("/admin/traces", nil, 200, "Begin")
	m.want("/admin/traces", url.Values{"for": {"5m"}}, 422, "Say whose connections")
	m.want("/admin/traces", url.Values{"for": {"5m"}, "address": {"x"}}, 422, "write it like", `value="x"`)
	m.want("/admin/traces", url.Values{"for": {"5m"}, "account": {"zoe"}}, 422)
	m.want("/admin/traces", url.Values{"for": {"900h"}, "account": {"bob"}}, 422)
	_, h := m.want("/admin/traces", url.Values{"for": {"5m"}, "address": {"192.0.2.7"}}, 303)
	l := m.hub.Watch(dialogue.Conn{ID: "c9", Service: "imap", Protocol: dialogue.IMAP, Remote: netip.MustParseAddr("192.0.2.7")})
	l.Sent([]byte("* OK <hello>\r\n"))
	l.Closed()
	for !strings.Contains(m.text(h.Get("Location")), "(closed)") { // the lines arrive on their own
		if t.Context().Err() != nil {
			t.Fatal("nothing was written down")
		}
	}
	m.want(h.Get("Location"), nil, 200, "S: * OK &lt;hello&gt;", `data-again="3"`)
	id := strings.TrimPrefix(h.Get("Location"), "/admin/traces/one?id=")
	m.want("/admin/traces/end", url.Values{"id": {id}}, 303)
	m.want("/admin/traces/one?id=none", nil, 404)
}

// text is what a page says.
func (m *machine) text(path string) string {
	body, _ := m.want(path, nil, 200)
	return body
}

func TestBackupPages(t *testing.T) {
	m := newMachine(t)
	m.want("/admin/backups", nil, 200, "There are none yet", "Make one now")
	m.want("/admin/backups/check", url.Values{"name": {"../x"}}, 404)
	m.want("/admin/backups", url.Values{}, 303)
	body := m.text("/admin/backups")
	for strings.Contains(body, "is being made") {
		body = m.text("/admin/backups")
	}
	if !strings.Contains(body, "A backup was made") || !strings.Contains(body, "nothing is wrong with it") || strings.Contains(body, "None of them") {
		t.Fatal(body)
	}
	all, err := m.admin.Backups(t.Context())
	if err != nil || len(all.All) != 1 {
		t.Fatal(all, err)
	}
	m.want("/admin/backups/check", url.Values{"name": {all.All[0].Name}}, 303)
	for body = m.text("/admin/backups"); strings.Contains(body, "is being read back"); {
		body = m.text("/admin/backups")
	}
	if !strings.Contains(body, "was read back") {
		t.Error(body)
	}
}

func TestLogPages(t *testing.T) {
	m := newMachine(t)
	log := logx.New(io.Discard, logx.Options{})
	m.admin.SetLog(logx.LevelsOf(log))
	m.want("/admin/log", nil, 200, "Lines are kept from now on", `data-lines="/admin/log/lines?"`)
	logx.Part(log, logx.PartIMAP).Warn("something <odd>", "account", 7)
	for !strings.Contains(m.text("/admin/log"), "something &lt;odd&gt; account=7") {
		if t.Context().Err() != nil {
			t.Fatal("the line is not shown")
		}
	}
	if strings.Contains(m.text("/admin/log?part=smtp"), "something") || strings.Contains(m.text("/admin/log?level=error"), "something") {
		t.Error("a filter lets all through")
	}
	m.want("/admin/log?part=kitchen", nil, 422)
	m.want("/admin/log?account=zoe", nil, 404)
	m.want("/admin/log", url.Values{"part": {"smtp"}, "level": {"debug"}}, 303)
	m.want("/admin/log", nil, 200, "smtp (debug)")
	m.want("/admin/log", url.Values{"part": {"smtp"}, "level": {"loud"}}, 422)

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	visit := m.visit
	r := httptest.NewRequest("GET", "/admin/log/lines?part=imap", nil)
	out, in := io.Pipe()
	w := &piped{ResponseRecorder: httptest.NewRecorder(), in: in}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer in.Close()
		m.room.Handler.ServeHTTP(w, r.WithContext(page.WithVisit(ctx, &visit)))
	}()
	read := make([]byte, 500)
	if n, err := out.Read(read); err != nil || string(read[:n]) != ": it begins\n\n" {
		t.Fatalf("%q %v", read[:n], err)
	}
	go logx.Part(log, logx.PartIMAP).Warn("live\nline", "n", 1)
	if n, err := out.Read(read); err != nil || !strings.HasPrefix(string(read[:n]), "data: ") || !strings.Contains(string(read[:n]), "live line n=1\n\n") {
		t.Fatalf("%q %v", read[:n], err)
	}
	go m.admin.EndWatching()
	if rest, err := io.ReadAll(out); err != nil || string(rest) != "" {
		t.Errorf("%q %v", rest, err)
	}
	<-done
	if got := w.Header().Get("Content-Type"); !strings.HasPrefix(got, "text/event-stream") {
		t.Error(got)
	}
}

// piped hands each write to who reads.
type piped struct {
	*httptest.ResponseRecorder
	in io.Writer
}

func (p *piped) Write(b []byte) (int, error) { return p.in.Write(b) }
func (p *piped) FlushError() error           { return nil }

func TestSettingsPages(t *testing.T) {
	m := newMachine(t)
	m.want("/admin/settings", nil, 200, "hostname", "[limits]", m.file)
	m.want("/admin/settings?"+url.Values{"table": {"[limits]"}}.Encode(), nil, 200, "limits.message_size", "after a restart")
	m.want("/admin/settings?table=nothing", nil, 404)
	m.want("/admin/settings?q=greylist", nil, 200, "junk.greylist_delay")
	m.want("/admin/settings?q=zzzz", nil, 200, "Nothing fits.")
	is, err := m.admin.SettingsFile(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const text = "hostname = \"mx.mail.test\"\n[quota]\nwarn = 70\n"
	m.want("/admin/settings/file", nil, 200, "mx.mail.test", is.Version)
	form := func(text, action string) url.Values {
		return url.Values{"text": {text}, "version": {is.Version}, "action": {action}}
	}
	m.want("/admin/settings/file", form("hostnam = 1", "save"), 422, "Did you mean hostname?", "hostnam = 1")
	m.want("/admin/settings/file", form("hostnam = 1", "check"), 422, "Did you mean hostname?")
	m.want("/admin/settings/file", form(text, "check"), 200, "Nothing is wrong with this text.", "warn = 70", is.Version)
	m.want("/admin/settings/file", form(text, "save"), 303)
	m.want("/admin/settings/file", form(text+"#", "save"), 409, "was changed meanwhile", "warn = 70\n#")
	m.want("/admin/settings", nil, 200, "1 setting of the file does not hold yet", "when the file is read again")
	m.want("/admin/settings/restore", url.Values{"version": {is.Version}}, 409)
	now, err := m.admin.SettingsFile(t.Context())
	if err != nil || now.Text != text {
		t.Fatalf("%+v %v", now, err)
	}
	m.want("/admin/settings/restore", url.Values{"version": {now.Version}}, 303)
	if back, err := os.ReadFile(m.file); err != nil || string(back) != is.Text {
		t.Errorf("%q %v", back, err)
	}
	m.want("/admin/settings/reload", url.Values{}, 200, "quota.warn", "listen.smtp")
	if m.reloads != 1 {
		t.Error(m.reloads)
	}
}

// TestBounceInStories: mail of the mail system has no envelope sender, and the page says so as people write it.
func TestBounceInStories(t *testing.T) {
	m := newMachine(t)
	m.story.Begin(story.Message{ID: "b1", At: time.Now(), Direction: story.Out, Author: "MAILER-DAEMON@mail.test", To: []string{"alice@mail.test"}}, story.Event{At: time.Now(), Step: story.Delivered})
	if body, _ := m.want("/admin/stories", nil, 200, "as &lt;&gt;</span>"); strings.Contains(body, "&amp;lt;") {
		t.Error("escaped twice")
	}
}

// TestManyBackups: a page reads the lists of files of those that it shows, and no others.
func TestManyBackups(t *testing.T) {
	m := newMachine(t)
	house := backup.StoreName(m.db.UUID())
	for i := range 25 {
		x := backup.Manifest{Format: 1, Store: house, Taken: time.Date(2026, 11, 1+i, 3, 0, 0, 0, time.UTC)}
		text, err := json.Marshal(x)
		if err != nil {
			t.Fatal(err)
		}
		folder := filepath.Join(m.to, house, x.Taken.Format("2006-01-02T150405Z"))
		if i == 3 {
			text = []byte("{") // the disk forgot it
		}
		if err := errors.Join(os.MkdirAll(folder, 0o700), os.WriteFile(filepath.Join(folder, "manifest.json"), text, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	first, _ := m.want("/admin/backups", nil, 200, "None of the last 20 is proven", "2026-11-25T030000Z", "2026-11-06T030000Z", `href="/admin/backups?page=2"`)
	if strings.Contains(first, "2026-11-05T030000Z") {
		t.Error("more than a page")
	}
	second, _ := m.want("/admin/backups?page=2", nil, 200, "2026-11-05T030000Z", "2026-11-01T030000Z", "Page 2 of 2")
	if strings.Contains(second, "2026-11-04T030000Z") || strings.Contains(second, "2026-11-06T030000Z") {
		t.Error("one that cannot be read, or one of the page before")
	}
	m.want("/admin/backups?page=99999", nil, 200)
	if all, err := m.admin.Backups(t.Context()); err != nil || len(all.All) != 24 || all.Total != 25 {
		t.Errorf("%d of %d, %v", len(all.All), all.Total, err)
	}
}
