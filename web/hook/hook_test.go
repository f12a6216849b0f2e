package hook_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/storetest"
	"github.com/posthouse-mail/posthouse/store/story"
	"github.com/posthouse-mail/posthouse/web/hook"
)

// post is what a webhook was sent.
type post struct {
	header http.Header
	body   string
}

// other is a program elsewhere.
type other struct {
	*httptest.Server
	mu     sync.Mutex
	posts  []post
	answer func(n int, w http.ResponseWriter, r *http.Request) // nil: 204
}

func newOther(t *testing.T) *other {
	o := &other{}
	o.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		o.mu.Lock()
		o.posts = append(o.posts, post{r.Header, string(body)})
		n, answer := len(o.posts), o.answer
		o.mu.Unlock()
		if answer != nil {
			answer(n, w, r)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(o.Close)
	return o
}

func (o *other) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.posts)
}

// house is a book over real tables, with a clock of its own.
type house struct {
	*hook.Book
	t     *testing.T
	db    *kv.DB
	side  *kv.Side
	story *story.Book
	mu    sync.Mutex
	at    time.Time
	dial  func(context.Context, string, string) (net.Conn, error)
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{t: t, at: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
	_, h.db = storetest.New(t)
	side, err := kv.OpenSide(kv.SideOptions{Path: filepath.Join(t.TempDir(), "side.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := side.Close(); err != nil {
			t.Error(err)
		}
	})
	h.side, h.story = side, story.New(story.Options{Side: side, Now: h.now})
	h.open()
	return h
}

func (h *house) now() time.Time { h.mu.Lock(); defer h.mu.Unlock(); return h.at }

func (h *house) later(d time.Duration) { h.mu.Lock(); h.at = h.at.Add(d); h.mu.Unlock() }

// open makes the book anew, as a start does.
func (h *house) open() {
	h.t.Helper()
	h.Book = hook.New(hook.Options{DB: h.db, Side: h.side, Story: h.story, Now: h.now, Dial: h.dial, Program: "posthouse/test"})
	if err := h.Load(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) add(url string, private bool, events ...string) hook.Hook {
	h.t.Helper()
	made, err := h.Make(hook.Hook{URL: url, Events: events, Private: private})
	if err == nil {
		err = h.db.Update(h.t.Context(), func(tx *kv.Tx) error { return h.Put(tx, made) })
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return made
}

// rounds works until nothing is due.
func (h *house) rounds() time.Duration {
	h.t.Helper()
	for range 1000 {
		next, err := h.Round(h.t.Context())
		if err != nil {
			h.t.Fatal(err)
		}
		if next > 0 {
			return next
		}
	}
	h.t.Fatal("there is always something to do")
	return 0
}

// TestSignature: the example of the specification's reference libraries.
func TestSignature(t *testing.T) {
	got := hook.Sign("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestDelivers: what stories are told reaches the webhooks that ask for it, signed, with what is known of the message.
func TestDelivers(t *testing.T) {
	h, o, few := newHouse(t), newOther(t), newOther(t)
	all := h.add(o.URL, true, hook.Events()...)
	h.add(few.URL, true, hook.Bounced)
	h.story.Begin(story.Message{ID: "in1", Direction: story.In, From: "x@far.test", To: []string{"anna@one.test"}, MessageID: "<1@far.test>", Size: 7},
		story.Event{Step: story.Checked}, story.Event{Step: story.Delivered, Who: "anna@one.test", Mailbox: "INBOX"})
	h.story.Begin(story.Message{ID: "in2", Direction: story.In, From: "y@far.test"}, story.Event{Step: story.Refused, Text: "no"})
	h.story.Begin(story.Message{ID: "out1", Direction: story.Out, From: "anna@one.test", Account: "anna@one.test", MessageID: "<2@one.test>", Size: 9}, story.Event{Step: story.Queued})
	h.story.Tell("out1", story.Event{Step: story.Relayed, Who: "x@far.test", Code: 250, Host: "mx.far.test", Text: "ok"},
		story.Event{Step: story.Failed, Who: "z@far.test", Code: 550, Status: "5.1.1", Text: "no such user"}, story.Event{Step: story.Delayed, Who: "w@far.test"})
	h.Tell(hook.Event{Type: hook.Suspended, Data: hook.Data{Account: "anna@one.test", Text: "stolen"}})
	if next := h.rounds(); next != 10*time.Minute {
		t.Errorf("idle for %s", next)
	}
	at := `"timestamp":"2026-11-22T12:00:00Z"`
	want := []string{
		`{"type":"message.received",` + at + `,"data":{"id":"in1","message_id":"\u003c1@far.test\u003e","direction":"in","from":"x@far.test","to":"anna@one.test","size":7}}`,
		`{"type":"message.delivered",` + at + `,"data":{"id":"out1","message_id":"\u003c2@one.test\u003e","direction":"out","from":"anna@one.test","to":"x@far.test","account":"anna@one.test","size":9,"code":250,"host":"mx.far.test","text":"ok"}}`,
		`{"type":"message.bounced",` + at + `,"data":{"id":"out1","message_id":"\u003c2@one.test\u003e","direction":"out","from":"anna@one.test","to":"z@far.test","account":"anna@one.test","size":9,"code":550,"status":"5.1.1","text":"no such user"}}`,
		`{"type":"message.delayed",` + at + `,"data":{"id":"out1","message_id":"\u003c2@one.test\u003e","direction":"out","from":"anna@one.test","to":"w@far.test","account":"anna@one.test","size":9}}`,
		`{"type":"account.suspended",` + at + `,"data":{"account":"anna@one.test","text":"stolen"}}`,
	}
	got := map[string]post{}
	for _, p := range o.posts {
		got[p.body] = p
	}
	for _, body := range want {
		if _, ok := got[body]; !ok {
			t.Errorf("not sent: %s", body)
		}
	}
	if len(o.posts) != len(want) || few.count() != 1 || few.posts[0].body != want[2] {
		t.Errorf("%d and %d were sent: %v", len(o.posts), few.count(), got)
	}
	for _, p := range o.posts {
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(all.Secret, "whsec_"))
		if err != nil || len(key) < 24 {
			t.Fatal(all.Secret, err)
		}
		mac := hmac.New(sha256.New, key)
		fmt.Fprintf(mac, "%s.%s.%s", p.header.Get("webhook-id"), p.header.Get("webhook-timestamp"), p.body)
		if p.header.Get("webhook-signature") != "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)) || p.header.Get("webhook-timestamp") != "1795348800" {
			t.Errorf("signed as %v", p.header)
		}
		if p.header.Get("Content-Type") != "application/json" || p.header.Get("User-Agent") != "posthouse/test" {
			t.Errorf("%v", p.header)
		}
	}
	if s := h.States()[all.ID]; s.Waiting != 0 || s.Good.IsZero() || s.Error != "" {
		t.Errorf("%+v", s)
	}
}

// TestRetries: one event, the same each time, for three days and no longer; over restarts.
func TestRetries(t *testing.T) {
	h, o := newHouse(t), newOther(t)
	o.answer = func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }
	made := h.add(o.URL, true, hook.Suspended)
	h.Tell(hook.Event{Type: hook.Suspended, Data: hook.Data{Account: "anna@one.test"}})
	began := h.now()
	var last time.Duration
	for range 2000 {
		h.rounds()
		if h.States()[made.ID].Waiting == 0 {
			break
		}
		last = h.now().Sub(began)
		h.later(time.Duration(max(int64(time.Second), int64(h.rounds()))))
		if o.count() == 4 {
			h.open() // a restart forgets nothing but pauses
			if h.States()[made.ID].Waiting != 1 {
				t.Fatalf("after a restart: %+v", h.States())
			}
		}
	}
	s := h.States()[made.ID]
	if s.Waiting != 0 || s.Lost != 1 || !strings.Contains(s.Error, "502 Bad Gateway") {
		t.Errorf("%+v", s)
	}
	if n := o.count(); n < 8 || n > 11 || last > 73*time.Hour || last < 24*time.Hour {
		t.Errorf("%d attempts in %s", n, last)
	}
	for _, p := range o.posts {
		if p.body != o.posts[0].body || p.header.Get("webhook-id") != o.posts[0].header.Get("webhook-id") {
			t.Errorf("another event: %v", p)
		}
	}
	if o.posts[0].header.Get("webhook-timestamp") == o.posts[3].header.Get("webhook-timestamp") {
		t.Error("each attempt is signed with its own time")
	}
}

// TestComesBack: events wait while nobody answers, without an attempt for each, and all arrive.
func TestComesBack(t *testing.T) {
	h, o := newHouse(t), newOther(t)
	down := true
	o.answer = func(_ int, w http.ResponseWriter, _ *http.Request) {
		if down {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}
	made := h.add(o.URL, true, hook.Suspended)
	for i := range 200 {
		h.Tell(hook.Event{Type: hook.Suspended, Data: hook.Data{Account: fmt.Sprint(i)}})
	}
	for range 20 {
		h.later(h.rounds())
	}
	if n := o.count(); n > 60 {
		t.Errorf("%d attempts at a program that is down", n)
	}
	down = false
	for range 40 {
		h.later(h.rounds())
	}
	seen := map[string]bool{}
	for _, p := range o.posts {
		seen[p.header.Get("webhook-id")] = true
	}
	if s := h.States()[made.ID]; s.Waiting != 0 || s.Lost != 0 || len(seen) != 200 {
		t.Errorf("%+v, %d events", s, len(seen))
	}
}

// TestGone: 410 ends an event at once, other refusals do not hold up the next one.
func TestAnswers(t *testing.T) {
	h, o, trap := newHouse(t), newOther(t), newOther(t)
	made := h.add(o.URL, true, hook.Suspended)
	o.answer = func(n int, w http.ResponseWriter, r *http.Request) {
		switch n {
		case 1:
			w.WriteHeader(http.StatusGone)
		case 2:
			http.Redirect(w, r, trap.URL, http.StatusTemporaryRedirect)
		case 3:
			w.WriteHeader(http.StatusBadRequest)
		default:
			_, _ = io.CopyN(w, zeros{}, 1<<20) // nobody reads it
		}
	}
	for i := range 4 {
		h.Tell(hook.Event{Type: hook.Suspended, Data: hook.Data{Account: fmt.Sprint(i)}})
		h.rounds()
	}
	if s := h.States()[made.ID]; s.Waiting != 2 || s.Lost != 1 || o.count() != 4 || trap.count() != 0 {
		t.Errorf("%+v, %d posts, %d at the address of the redirect", s, o.count(), trap.count())
	}
	if err := h.db.Update(t.Context(), func(tx *kv.Tx) error { _, err := h.Remove(tx, made.ID); return err }); err != nil {
		t.Fatal(err)
	}
	h.later(time.Hour)
	h.rounds()
	h.open()
	if o.count() != 4 || len(h.States()) != 0 {
		t.Errorf("%d posts after it was removed", o.count())
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestGuard: nothing inside the house's networks is reached, by no name and no address; which those are, smtp/remote says.
func TestGuard(t *testing.T) {
	h, o := newHouse(t), newOther(t)
	for name, url := range map[string]string{
		"address": "https://" + o.Listener.Addr().String(), "name": "https://localhost:" + o.URL[strings.LastIndex(o.URL, ":")+1:],
		"IPv6": "https://[::1]:1/", "mapped": "https://[::ffff:127.0.0.1]:1/", "translated": "https://[64:ff9b::7f00:1]:1/", "metadata": "https://169.254.169.254/",
	} {
		made := h.add(url, false, hook.Suspended)
		if _, err := h.Test(t.Context(), made.ID); !errors.Is(err, hook.ErrPrivate) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A name that led elsewhere when it was looked at: what counts is where the connection goes.
	h.dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, o.Listener.Addr().String())
	}
	h.open()
	made := h.add("https://rebinding.test/", false, hook.Suspended)
	if _, err := h.Test(t.Context(), made.ID); !errors.Is(err, hook.ErrPrivate) || strings.Contains(err.Error(), "rebinding") {
		t.Error(err)
	}
	if o.count() != 0 {
		t.Error("something was sent")
	}
	for _, url := range []string{"http://far.test/", "https://a:b@far.test/", "far.test", "https:///x", "file:///etc/passwd", "https://far.test/#x", "https://far.test/ x", "https://" + strings.Repeat("a", 2000)} {
		if _, err := h.Make(hook.Hook{URL: url, Events: hook.Events()}); !errors.Is(err, hook.ErrInvalid) {
			t.Errorf("%s: %v", url, err)
		}
	}
	if _, err := h.Make(hook.Hook{URL: "https://far.test/", Events: []string{"message.read"}}); !errors.Is(err, hook.ErrInvalid) {
		t.Error(err)
	}
}

// TestBounds: more than fits is counted, and a slow program gets no more than its share of connections.
func TestBounds(t *testing.T) {
	h, o := newHouse(t), newOther(t)
	made := h.add(o.URL, true, hook.Suspended)
	var mu sync.Mutex
	most, here := 0, 0
	two := make(chan struct{})
	o.answer = func(int, http.ResponseWriter, *http.Request) {
		mu.Lock()
		here++
		if most = max(most, here); here == 2 {
			select {
			case <-two:
			default:
				close(two)
			}
		}
		mu.Unlock()
		<-two // two are here at once
		mu.Lock()
		here--
		mu.Unlock()
	}
	for range hook.MaxWaiting + 5 {
		h.Tell(hook.Event{Type: hook.Suspended})
	}
	if s := h.States()[made.ID]; s.Waiting != hook.MaxWaiting || s.Lost != 5 {
		t.Errorf("%+v", s)
	}
	for range 3 {
		if _, err := h.Round(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if most != 2 || o.count() != 3*64 {
		t.Errorf("%d at once, %d in three rounds", most, o.count())
	}
}

// TestSlow: a program that takes its time does not hold up the others.
func TestSlow(t *testing.T) {
	h, slow, quick := newHouse(t), newOther(t), newOther(t)
	slow.answer = func(int, http.ResponseWriter, *http.Request) { h.later(14 * time.Second) }
	h.add(slow.URL, true, hook.Suspended)
	h.add(quick.URL, true, hook.Suspended)
	for range 50 {
		h.Tell(hook.Event{Type: hook.Suspended})
	}
	rounds := 0
	for ; quick.count() < 50 && rounds < 50; rounds++ {
		if _, err := h.Round(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := slow.count(); n > 4*(rounds+1) {
			t.Fatalf("%d slow attempts in %d rounds", n, rounds+1)
		}
	}
	for slow.count() < 50 {
		if _, err := h.Round(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestWordsOfOthers: what the other side writes beside its answer gets into no list and no log as it is.
func TestWordsOfOthers(t *testing.T) {
	for name, answer := range map[string]string{
		"status": "HTTP/1.1 500 \x1b[2J" + strings.Repeat("x", 5000) + "\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
		"broken": "\x1b[2J" + strings.Repeat("x", 5000) + "\r\n\r\n",
		"header": "HTTP/1.1 200 OK\r\n\x1b[2J" + strings.Repeat("x", 5000) + "\r\n\r\n",
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var served sync.WaitGroup
		served.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
					_, _ = io.WriteString(c, answer)
				}
				_ = c.Close()
			}
		})
		h := newHouse(t)
		made := h.add("http://"+l.Addr().String(), true, hook.Suspended)
		_, err = h.Test(t.Context(), made.ID)
		h.Tell(hook.Event{Type: hook.Suspended})
		h.rounds()
		for _, words := range []string{fmt.Sprint(err), h.States()[made.ID].Error} {
			if err == nil || words == "" || len(words) > 320 || strings.Contains(words, "\x1b") {
				t.Errorf("%s: %q", name, words)
			}
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		served.Wait()
	}
}

// TestStray: what waits for a webhook that is gone goes at the next start.
func TestStray(t *testing.T) {
	h := newHouse(t)
	if err := h.side.Update(t.Context(), func(tx *kv.Tx) error {
		tx.Put("O", append([]byte("gone\x00"), make([]byte, 16)...), []byte("{}"))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	made := h.add("http://127.0.0.1:1", true, hook.Suspended)
	h.Tell(hook.Event{Type: hook.Suspended})
	if err := h.side.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.open()
	if err := h.side.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	var left []string
	if err := h.side.View(t.Context(), func(tx *kv.Tx) error {
		for key := range tx.Scan("O", nil, nil) {
			left = append(left, string(key[:bytes.IndexByte(key, 0)]))
		}
		return nil
	}); err != nil || len(left) != 1 || left[0] != made.ID {
		t.Error(left, err)
	}
}

// TestStops: what is on its way as the house stops is tried again after the next start.
func TestStops(t *testing.T) {
	h, o := newHouse(t), newOther(t)
	made := h.add(o.URL, true, hook.Suspended)
	h.Tell(hook.Event{Type: hook.Suspended})
	ctx, stop := context.WithCancel(t.Context())
	o.answer = func(int, http.ResponseWriter, *http.Request) { stop() }
	if _, err := h.Round(ctx); err != nil && ctx.Err() == nil {
		t.Fatal(err)
	}
	if s := h.States()[made.ID]; s.Waiting != 1 || s.Lost != 0 {
		t.Errorf("%+v", s)
	}
	o.answer = nil
	h.open()
	h.rounds()
	if s := h.States()[made.ID]; s.Waiting != 0 || o.count() != 2 {
		t.Errorf("%+v, %d posts", s, o.count())
	}
}

// TestRemoved: what waits for a webhook goes with it, at once.
func TestRemoved(t *testing.T) {
	h := newHouse(t)
	made := h.add("http://127.0.0.1:1", true, hook.Suspended)
	h.Tell(hook.Event{Type: hook.Suspended})
	if err := h.db.Update(t.Context(), func(tx *kv.Tx) error { _, err := h.Remove(tx, made.ID); return err }); err != nil {
		t.Fatal(err)
	}
	if err := h.side.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := h.side.View(t.Context(), func(tx *kv.Tx) error {
		for key := range tx.Scan("O", nil, nil) {
			t.Errorf("%q is left", key)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// TestNoSecretInErrors: the path of an address may be a secret; what went wrong is said without it.
func TestNoSecretInErrors(t *testing.T) {
	h := newHouse(t)
	made := h.add("http://127.0.0.1:1/services/hidden?key=hidden", true, hook.Suspended)
	_, err := h.Test(t.Context(), made.ID)
	h.Tell(hook.Event{Type: hook.Suspended})
	h.rounds()
	if words := h.States()[made.ID].Error; err == nil || words == "" || strings.Contains(err.Error()+words, "hidden") {
		t.Errorf("%v, %q", err, words)
	}
}

// TestRotate: a new secret signs from now on, and the former one too for a day.
func TestRotate(t *testing.T) {
	h, o := newHouse(t), newOther(t)
	old := h.add(o.URL, true, hook.Suspended)
	var made hook.Hook
	rotate := func(id string) error {
		return h.db.Update(t.Context(), func(tx *kv.Tx) (err error) { made, err = h.Rotate(tx, id); return err })
	}
	if err := rotate("none"); !errors.Is(err, hook.ErrUnknown) {
		t.Error(err)
	}
	if err := rotate(old.ID); err != nil || made.Secret == old.Secret || made.ID != old.ID || made.URL != old.URL {
		t.Fatal(made, err)
	}
	h.open() // and after a restart
	for _, after := range []time.Duration{0, 25 * time.Hour} {
		h.later(after)
		h.Tell(hook.Event{Type: hook.Suspended})
		h.rounds()
		p := o.posts[len(o.posts)-1]
		id := p.header.Get("webhook-id")
		want := hook.Sign(made.Secret, id, h.now(), []byte(p.body))
		if after == 0 {
			want += " " + hook.Sign(old.Secret, id, h.now(), []byte(p.body))
		}
		if got := p.header.Get("webhook-signature"); got != want {
			t.Errorf("after %s: %s, want %s", after, got, want)
		}
	}
}

// TestRun: Run ends with its context, and sends what comes while it waits.
func TestRun(t *testing.T) {
	h, o := newHouse(t), newOther(t)
	came := make(chan struct{}, 1)
	o.answer = func(int, http.ResponseWriter, *http.Request) { came <- struct{}{} }
	h.add(o.URL, true, hook.Suspended)
	ctx, stop := context.WithCancel(t.Context())
	over := make(chan struct{})
	go func() { h.Run(ctx); close(over) }()
	h.Tell(hook.Event{Type: hook.Suspended})
	<-came
	stop()
	<-over
}

// BenchmarkTell is what an event costs where there is no webhook, and where there is one.
func BenchmarkTell(b *testing.B) {
	var none *hook.Book
	e := hook.Event{Type: hook.Delivered, Data: hook.Data{ID: "x"}}
	b.Run("nil", func(b *testing.B) {
		for b.Loop() {
			none.Tell(e)
		}
	})
	_, db := storetest.New(b)
	side, err := kv.OpenSide(kv.SideOptions{Path: filepath.Join(b.TempDir(), "side.db")})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := side.Close(); err != nil {
			b.Error(err)
		}
	})
	book := story.New(story.Options{Side: side})
	h := hook.New(hook.Options{DB: db, Side: side, Story: book})
	m, events := story.Message{ID: "out1", Direction: story.Out}, []story.Event{{Step: story.Relayed, Who: "x@far.test"}}
	b.Run("none", func(b *testing.B) {
		for b.Loop() {
			h.Tell(e)
		}
	})
	b.Run("story none", func(b *testing.B) {
		for b.Loop() {
			book.Begin(m, events...)
		}
	})
	made, err := h.Make(hook.Hook{URL: "https://far.test/", Events: hook.Events()})
	if err == nil {
		err = db.Update(b.Context(), func(tx *kv.Tx) error { return h.Put(tx, made) })
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Run("story one", func(b *testing.B) {
		for b.Loop() {
			book.Begin(m, events...)
		}
	})
}
