package external_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/auth/external"
)

// helper is a program at the other end: answer gets each line and says what is written; "" hangs up.
type helper struct {
	net.Listener
	path  string
	conns atomic.Int32
	lines atomic.Int32
}

func newHelper(t *testing.T, answer func(n int32, q external.Question) string) *helper {
	t.Helper()
	h := &helper{path: filepath.Join(t.TempDir(), "s")}
	var err error
	if h.Listener, err = net.Listen("unix", h.path); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() { _ = h.Close(); all.Wait() })
	ctx := t.Context()
	all.Go(func() {
		for {
			conn, err := h.Accept()
			if err != nil {
				return
			}
			h.conns.Add(1)
			context.AfterFunc(ctx, func() { _ = conn.Close() })
			all.Go(func() {
				defer func() { _ = conn.Close() }()
				in := bufio.NewScanner(conn)
				for in.Scan() {
					var q external.Question
					if err := json.Unmarshal(in.Bytes(), &q); err != nil {
						t.Errorf("the question %q: %v", in.Text(), err)
						return
					}
					say := answer(h.lines.Add(1), q)
					if say == "" {
						return
					}
					if _, err := conn.Write([]byte(say)); err != nil {
						return
					}
				}
			})
		}
	})
	return h
}

func ready() error { return nil }

func TestAnswers(t *testing.T) {
	long := strings.Repeat("x", 5000)
	for say, want := range map[string]string{
		`{"answer":"yes"}` + "\n":                        "yes",
		`{"answer":"no","words":"wrong"}` + "\r\n":       "no",
		`{"answer":"later","words":"LDAP down"}` + "\n":  `it says "LDAP down"`,
		`{"answer":"YES"}` + "\n":                        "neither yes, no nor later",
		`{}` + "\n":                                      "neither yes, no nor later",
		`yes` + "\n":                                     "no JSON",
		`{"answer":true}` + "\n":                         "no JSON",
		`{"answer":"yes"} {"answer":"no"}` + "\n":        "no JSON",
		`{"answer":"yes","words":"` + long + `"}` + "\n": "longer than 4096",
		"": "hung up",
	} {
		h := newHelper(t, func(int32, external.Question) string { return say })
		got, err := external.New(external.Options{Socket: h.path}).Ask(t.Context(), external.Question{User: "bob@alpha.test", Password: "pä\"ss\n", Protocol: "imap"}, ready)
		switch want {
		case "yes", "no":
			if err != nil || got != (want == "yes") {
				t.Errorf("%q: %v, %v", say, got, err)
			}
		default:
			if got || !errors.Is(err, external.ErrLater) || !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v, %v; want %q", say, got, err, want)
			}
		}
	}
}

// TestConnections: one is kept and used again; one that the helper closed meanwhile costs no answer; an answer too many spoils its
// connection, and is nobody's.
func TestConnections(t *testing.T) {
	h := newHelper(t, func(n int32, q external.Question) string {
		switch q.Password {
		case "hang up":
			return ""
		case "twice":
			return "{\"answer\":\"no\"}\n{\"answer\":\"yes\"}\n"
		}
		return "{\"answer\":\"yes\"}\n"
	})
	x := external.New(external.Options{Socket: h.path})
	defer x.Close()
	ask := func(password string) (bool, error) {
		return x.Ask(t.Context(), external.Question{User: "bob@alpha.test", Password: password}, ready)
	}
	for range 3 {
		if ok, err := ask("good"); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	if n := h.conns.Load(); n != 1 {
		t.Errorf("three questions took %d connections", n)
	}
	if _, err := ask("hang up"); !errors.Is(err, external.ErrLater) {
		t.Error(err)
	}
	if n := h.lines.Load(); n != 5 {
		t.Errorf("a connection that was open was closed by the question: it was asked %d times, want 2", n-3)
	}
	if ok, err := ask("twice"); ok || err != nil {
		t.Error(ok, err)
	}
	if ok, err := ask("good"); !ok || err != nil {
		t.Error(ok, err)
	}
}

// TestGone: nobody listens, and then somebody does.
func TestGone(t *testing.T) {
	x := external.New(external.Options{Socket: filepath.Join(t.TempDir(), "nobody")})
	if ok, err := x.Ask(t.Context(), external.Question{}, ready); ok || !errors.Is(err, external.ErrLater) {
		t.Error(ok, err)
	}
	refused := errors.New("not now")
	if _, err := x.Ask(t.Context(), external.Question{}, func() error { return refused }); !errors.Is(err, refused) {
		t.Error(err)
	}
}

// TestSlowHelper: a question has its time, and those behind it too; who hangs up is told so.
func TestSlowHelper(t *testing.T) {
	asked, hold := make(chan struct{}, 8), make(chan struct{})
	h := newHelper(t, func(int32, external.Question) string {
		asked <- struct{}{}
		<-hold
		return "{\"answer\":\"yes\"}\n"
	})
	defer close(hold)
	x := external.New(external.Options{Socket: h.path, Timeout: 50 * time.Millisecond, Connections: 1})
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			if ok, err := x.Ask(t.Context(), external.Question{}, ready); ok || !errors.Is(err, external.ErrLater) {
				t.Error(ok, err)
			}
		})
	}
	all.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	y := external.New(external.Options{Socket: h.path})
	all.Go(func() {
		if _, err := y.Ask(ctx, external.Question{}, ready); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	<-asked
	cancel()
	all.Wait()
}

// TestManyAtOnce: no more than the connections at the same time, all of them answered, each with its own answer.
func TestManyAtOnce(t *testing.T) {
	var now, most atomic.Int32
	h := newHelper(t, func(_ int32, q external.Question) string {
		if n := now.Add(1); n > most.Load() {
			most.Store(n)
		}
		defer now.Add(-1)
		if q.Password == "right" {
			return "{\"answer\":\"yes\"}\n"
		}
		return "{\"answer\":\"no\"}\n"
	})
	x := external.New(external.Options{Socket: h.path, Connections: 3})
	defer x.Close()
	var all sync.WaitGroup
	for i := range 60 {
		all.Go(func() {
			password := [...]string{"right", "wrong"}[i%2]
			ok, err := x.Ask(t.Context(), external.Question{Password: password}, ready)
			if err != nil || ok != (password == "right") {
				t.Errorf("%s: %v, %v", password, ok, err)
			}
		})
	}
	all.Wait()
	if most.Load() > 3 || h.conns.Load() > 3 {
		t.Errorf("%d questions at once on %d connections", most.Load(), h.conns.Load())
	}
}

func TestSendable(t *testing.T) {
	for password, want := range map[string]bool{"": false, "x": true, "pä": true, "a\x00": false, "\xff": false} {
		if external.Sendable(password) != want {
			t.Errorf("%q: %v", password, !want)
		}
	}
}
