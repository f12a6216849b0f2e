package api_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/smtp/queue"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/storetest"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/api"
)

// running serves a house on the socket of folder and returns a client of it.
func running(t *testing.T, folder string, o api.Options) *api.Client {
	t.Helper()
	var q *queue.Queue
	s, db := storetest.New(t, func(db *kv.DB, s *store.Store) {
		var err error
		if q, err = queue.New(db, s, queue.Options{}); err != nil {
			t.Fatal(err)
		}
	})
	o.House = admin.New(admin.Options{DB: db, Directory: auth.New(db, auth.Options{}), Store: s, Queue: q})
	l, err := api.Listen(folder, nil)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: api.New(o)}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	c, err := api.Dial(t.Context(), folder)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// must fails the test on an error of a verb.
func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// TestEveryVerbCrosses: each verb of the client does on the other side what its name says.
func TestEveryVerbCrosses(t *testing.T) {
	ctx := t.Context()
	c := running(t, t.TempDir(), api.Options{})
	must[admin.Domain](t)(c.AddDomain(ctx, admin.Domain{Name: "alpha.test"}))
	if d := must[[]admin.Domain](t)(c.Domains(ctx)); len(d) != 1 || d[0].Name != "alpha.test" {
		t.Errorf("domains: %+v", d)
	}
	a := must[admin.Account](t)(c.AddAccount(ctx, admin.NewAccount{Addresses: []string{"alice@alpha.test"}, Password: "secret"}))
	if got := must[admin.Account](t)(c.Account(ctx, "alice@alpha.test")); got.ID != a.ID {
		t.Errorf("account: %+v", got)
	}
	name := "Alice"
	if got := must[admin.Account](t)(c.SetAccount(ctx, "alice@alpha.test", admin.Change{Name: &name})); got.Name != name {
		t.Errorf("set: %+v", got)
	}
	if err := c.SetPassword(ctx, "alice@alpha.test", "other"); err != nil {
		t.Error(err)
	}
	if got := must[[]admin.Account](t)(c.Accounts(ctx)); len(got) != 1 {
		t.Errorf("accounts: %+v", got)
	}
	must[admin.Alias](t)(c.AddAlias(ctx, admin.Alias{Address: `"a/b?c"@alpha.test`, Members: []string{"alice@alpha.test"}}))
	if got := must[[]admin.Alias](t)(c.Aliases(ctx)); len(got) != 1 {
		t.Errorf("aliases: %+v", got)
	}
	if got := must[[]admin.QueueEntry](t)(c.Queue(ctx)); len(got) != 0 {
		t.Errorf("queue: %+v", got)
	}
	if got := must[int](t)(c.QueueAction(ctx, admin.Retry, nil)); got != 0 {
		t.Errorf("retry: %d", got)
	}
	if got := must[[]admin.Finding](t)(c.CheckStore(ctx, admin.CheckRequest{Deep: true})); len(got) != 0 {
		t.Errorf("check: %q", got)
	}
	for _, remove := range []struct {
		do   func(context.Context, string) error
		what string
	}{{c.RemoveAlias, `"a/b?c"@alpha.test`}, {c.RemoveAccount, "alice@alpha.test"}, {c.RemoveDomain, "alpha.test"}} {
		if err := remove.do(ctx, remove.what); err != nil {
			t.Errorf("remove %s: %v", remove.what, err)
		}
	}
}

// TestErrorsKeepTheirClass on the way through HTTP.
func TestErrorsKeepTheirClass(t *testing.T) {
	ctx := t.Context()
	c := running(t, t.TempDir(), api.Options{})
	_, notThere := c.Account(ctx, "nobody@alpha.test")
	_, wrong := c.AddDomain(ctx, admin.Domain{Name: "a b"})
	_, noEntry := c.QueueEntry(ctx, "x")
	_, noReload := c.Reload(ctx)
	_, noSubmit := c.Submit(ctx, api.Message{}, strings.NewReader("x"))
	for _, s := range []struct {
		err  error
		want admin.Class
	}{{notThere, admin.Missing}, {wrong, admin.Invalid}, {noEntry, admin.Missing}, {noReload, admin.Unavailable}, {noSubmit, admin.Unavailable}} {
		var e *admin.Error
		if !errors.As(s.err, &e) || e.Class != s.want || e.Message == "" {
			t.Errorf("got %v, want %s", s.err, s.want)
		}
	}
}

// TestWrongRequests: what is no JSON of ours is refused, and never a crash.
func TestWrongRequests(t *testing.T) {
	folder := t.TempDir()
	running(t, folder, api.Options{})
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", filepath.Join(folder, api.SocketName))
	}, DisableKeepAlives: true}}
	for _, s := range []struct {
		method, path, body string
		want               int
	}{
		{"PUT", "/v1/domains", `{"name":`, 400},
		{"PUT", "/v1/domains", `{"nam":"x.test"}`, 400},
		{"PUT", "/v1/domains", `[]`, 400},
		{"PUT", "/v1/domains", strings.Repeat(" ", 2<<20), 413},
		{"PUT", "/v1/domains", "", 400},
		{"GET", "/v1/nothing", "", 404},
		{"PATCH", "/v1/domains", "", 405},
		{"GET", "/v1/accounts/%00", "", 404},
	} {
		r, err := http.NewRequestWithContext(t.Context(), s.method, "http://x"+s.path, strings.NewReader(s.body))
		if err != nil {
			t.Fatal(err)
		}
		a, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(a.Body)
		if err != nil || a.StatusCode != s.want {
			t.Errorf("%s %s %.20q: %d, want %d: %s %v", s.method, s.path, s.body, a.StatusCode, s.want, text, err)
		}
		if err := a.Body.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestSubmitAndStatus(t *testing.T) {
	var got api.Message
	var text string
	c := running(t, t.TempDir(), api.Options{
		Submit: func(_ context.Context, m api.Message, body io.Reader) (string, error) {
			b, err := io.ReadAll(body)
			got, text = m, string(b)
			return "queued as 1a", err
		},
		Status: func(context.Context) (admin.Status, error) { return admin.Status{Hostname: "h", PID: 7}, nil },
		Reload: func(context.Context) (admin.Reloaded, error) {
			return admin.Reloaded{Changed: []string{"log.level"}}, nil
		},
	})
	body := strings.Repeat("line & more\r\n", 200_000)
	receipt := must[string](t)(c.Submit(t.Context(), api.Message{From: "a@x.test", Recipients: []string{"b+c@x.test", "d&e@x.test"}, FromHeader: true, Name: "A B", User: "root"}, strings.NewReader(body)))
	if receipt != "queued as 1a" || text != body || strings.Join(got.Recipients, " ") != "b+c@x.test d&e@x.test" || !got.FromHeader || got.Name != "A B" || got.User != "root" || got.From != "a@x.test" {
		t.Errorf("receipt %q, %d octets, %+v", receipt, len(text), got)
	}
	if s := must[admin.Status](t)(c.Status(t.Context())); s.PID != 7 {
		t.Errorf("status %+v", s)
	}
	if r := must[admin.Reloaded](t)(c.Reload(t.Context())); len(r.Changed) != 1 {
		t.Errorf("reload %+v", r)
	}
}

// TestSocket: only its owner's, replaced when a dead house left it, and found in folders with long names too.
func TestSocket(t *testing.T) {
	folder := filepath.Join(t.TempDir(), strings.Repeat("long/", 30))
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := api.Dial(t.Context(), folder); !errors.Is(err, api.ErrNotRunning) {
		t.Errorf("nothing there: %v", err)
	}
	path := filepath.Join(folder, api.SocketName)
	if err := os.WriteFile(path, nil, 0o666); err != nil { // what a crash leaves cannot be connected to either
		t.Fatal(err)
	}
	if _, err := api.Dial(t.Context(), folder); !errors.Is(err, api.ErrNotRunning) {
		t.Errorf("dead socket: %v", err)
	}
	l, err := api.Listen(folder, nil)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 || info.Mode().Type() != os.ModeSocket {
		t.Errorf("%v %v", info.Mode(), err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket stays: %v", err)
	}
}

// TestSpool: what goes in comes out, in order; what cannot be read is told apart and moved aside.
func TestSpool(t *testing.T) {
	data := t.TempDir()
	if list, err := api.Spooled(data); err != nil || len(list) != 0 {
		t.Fatalf("%q %v", list, err)
	}
	first := must[string](t)(api.Spool(data, api.Message{From: "a@x.test", Recipients: []string{"b@x.test"}}, strings.NewReader("Subject: 1\r\n\r\nx\r\n")))
	second := must[string](t)(api.Spool(data, api.Message{FromHeader: true}, strings.NewReader("Subject: 2\r\n\r\n")))
	if err := os.WriteFile(filepath.Join(data, "spool", "half.tmp"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if list := must[[]string](t)(api.Spooled(data)); len(list) != 2 || list[0] != first || list[1] != second {
		t.Errorf("%q", list)
	}
	s, err := api.OpenSpooled(first)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(s.Body)
	if err != nil || string(body) != "Subject: 1\r\n\r\nx\r\n" || s.From != "a@x.test" || s.Recipients[0] != "b@x.test" {
		t.Errorf("%q %+v %v", body, s.Message, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(second, []byte("no envelope"), 0o600); err != nil {
		t.Fatal(err)
	}
	var e *admin.Error
	if _, err := api.OpenSpooled(second); !errors.As(err, &e) || e.Class != admin.Invalid {
		t.Errorf("%v", err)
	}
	if kept, err := api.Reject(second); err != nil || filepath.Base(filepath.Dir(kept)) != api.FailedName {
		t.Error(err)
	}
	if list := must[[]string](t)(api.Spooled(data)); len(list) != 1 {
		t.Errorf("%q", list)
	}
	// The producer fails in the middle: nothing is left that could be taken for a message.
	if _, err := api.Spool(data, api.Message{}, io.MultiReader(strings.NewReader("half"), broken{})); err == nil {
		t.Error("half a message was spooled")
	}
	if list := must[[]string](t)(api.Spooled(data)); len(list) != 1 {
		t.Errorf("%q", list)
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("broken pipe") }
