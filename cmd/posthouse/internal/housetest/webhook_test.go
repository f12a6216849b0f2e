package housetest

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/hook"
)

// listener is a program elsewhere that is told of events.
type listener struct {
	*httptest.Server
	mu     sync.Mutex
	events []hooked
	bad    []string
}

type hooked struct {
	Type string    `json:"type"`
	Data hook.Data `json:"data"`
}

func newListener(t *testing.T) *listener {
	l := &listener{}
	l.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var e hooked
		if err == nil {
			err = json.Unmarshal(body, &e)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if err != nil || !strings.HasPrefix(r.Header.Get("webhook-signature"), "v1,") {
			l.bad = append(l.bad, string(body))
		}
		l.events = append(l.events, e)
	}))
	t.Cleanup(l.Close)
	return l
}

// of is the events of a type about mail to somebody.
func (l *listener) of(kind, to string) (out []hooked) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.events {
		if e.Type == kind && e.Data.To == to {
			out = append(out, e)
		}
	}
	return out
}

// TestWebhook: what happens to mail of a house, and to its accounts, is told to who asked for it; who asked is in the audit log.
func TestWebhook(t *testing.T) {
	s := newStreet(t)
	one, two := s.build("", "admin@one.test", "alice@one.test"), s.build("", "bob@two.test")
	one.publish("one.test")
	two.publish("two.test")
	l := newListener(t)
	verbs := one.Daemon.House()
	made, err := verbs.AddWebhook(t.Context(), admin.NewWebhook{URL: l.URL, Private: true})
	if err != nil {
		t.Fatal(err)
	}
	one.send("alice@one.test", "hello", "bob@two.test")
	one.send("alice@one.test", "to nobody", "nobody@two.test")
	two.send("bob@two.test", "back", "alice@one.test")
	if _, err := verbs.SetSending(t.Context(), "alice@one.test", admin.SendSwitch{Reason: "stolen"}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ kind, to string }{
		{hook.Delivered, "bob@two.test"}, {hook.Bounced, "nobody@two.test"}, {hook.Received, "alice@one.test"}, {hook.Suspended, ""},
	} {
		got := await(t, c.kind, func() ([]hooked, error) { return l.of(c.kind, c.to), nil }, func(e []hooked) bool { return len(e) > 0 })[0]
		if c.kind == hook.Suspended && (got.Data.Account != "alice@one.test" || got.Data.Text != "stolen") {
			t.Errorf("%+v", got)
		}
		if (c.kind == hook.Delivered || c.kind == hook.Bounced) && (got.Data.From != "alice@one.test" || got.Data.Account != "alice@one.test" || got.Data.Code == 0 || got.Data.ID == "") {
			t.Errorf("%+v", got)
		}
	}
	if len(l.bad) > 0 {
		t.Errorf("not as it should be: %q", l.bad)
	}
	// A provider complains about the message that bob got.
	id := l.of(hook.Delivered, "bob@two.test")[0].Data.MessageID
	c := two.submission("bob@two.test")
	for _, text := range []string{ // made up: about no message of ours, and in a name that is no complaint; then the true one
		complaintAbout("<made.up@one.test>"), complaintAbout("alice@one.test"), strings.Replace(complaintAbout(id), "Feedback-Type: abuse", "Feedback-Type: not-spam", 1),
		strings.Replace(complaintAbout(id), "Original-Rcpt-To: <bob@two.test>", "Original-Rcpt-To: <victim@far.test>", 1),
	} {
		check(t, c.SendMail("bob@two.test", []string{"admin@one.test"}, strings.NewReader(text)))
	}
	check(t, c.Quit())
	got := await(t, "complaint", func() ([]hooked, error) { return l.of(hook.Complaint, "bob@two.test"), nil }, func(e []hooked) bool { return len(e) > 0 })[0]
	if got.Data.MessageID != id || got.Data.Account != "alice@one.test" || got.Data.Host != "two.test" || got.Data.Status != "abuse" {
		t.Errorf("%+v", got)
	}
	l.mu.Lock()
	for _, e := range l.events {
		if e.Type == hook.Complaint && (e.Data.MessageID != id || e.Data.To != "bob@two.test" || e.Data.Status != "abuse") {
			t.Errorf("it was made up: %+v", e)
		}
	}
	l.mu.Unlock()
	page, err := verbs.Audit(t.Context(), admin.AuditFilter{})
	if err != nil || !slices.ContainsFunc(page.Entries, func(e admin.AuditEntry) bool { return e.Verb == "webhook add" && strings.Contains(e.Note, made.ID) }) {
		t.Error(page, err)
	}
}

func complaintAbout(id string) string {
	return "From: <bob@two.test>\r\nTo: <admin@one.test>\r\nSubject: complaint\r\nMIME-Version: 1.0\r\n" +
		"Content-Type: multipart/report; report-type=feedback-report; boundary=x\r\n\r\n" +
		"--x\r\nContent-Type: text/plain\r\n\r\nSomebody called it junk.\r\n" +
		"--x\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type: abuse\r\nUser-Agent: test/1\r\nVersion: 1\r\n" +
		"Original-Mail-From: <alice@one.test>\r\nOriginal-Rcpt-To: <bob@two.test>\r\nReported-Domain: one.test\r\n\r\n" +
		"--x\r\nContent-Type: message/rfc822\r\n\r\nFrom: <alice@one.test>\r\nMessage-ID: " + id + "\r\n\r\nhello\r\n--x--\r\n"
}

// TestSuspendedAnyWay: an account that is kept from sending again, by an undo or by a directory file, sends nothing that waits.
func TestSuspendedAnyWay(t *testing.T) {
	s := newStreet(t)
	a := s.build("", "alice@one.test", "bob@one.test")
	verbs, ctx := a.Daemon.House(), t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := verbs.SetSending(ctx, "alice@one.test", admin.SendSwitch{Reason: "stolen"})
	must(err)
	file, err := verbs.ExportDirectory(ctx, admin.DirectoryExport{})
	must(err)
	for name, suspend := range map[string]func(on uint64) error{
		"undo": func(on uint64) error { _, err := verbs.Undo(ctx, admin.Undo{Number: on}); return err },
		"file": func(uint64) error {
			_, err := verbs.ApplyDirectory(ctx, admin.DirectoryApply{Text: file.Text})
			return err
		},
	} {
		_, err := verbs.SetSending(ctx, "alice@one.test", admin.SendSwitch{On: true})
		must(err)
		page, err := verbs.Audit(ctx, admin.AuditFilter{Limit: 1})
		must(err)
		a.submit("alice@one.test", "HOLDFOR=3600", "From: <alice@one.test>\r\nTo: <bob@one.test>\r\nSubject: "+name+"\r\n\r\nlater\r\n", "bob@one.test")
		must(suspend(page.Entries[0].Number))
		queue, err := verbs.Queue(ctx)
		if err != nil || len(queue) != 1 || !queue[0].Held {
			t.Errorf("%s: %+v, %v", name, queue, err)
		}
		_, err = verbs.QueueAction(ctx, admin.Drop, nil)
		must(err)
	}
}
