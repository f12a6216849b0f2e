package api_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http/httptest"
	netmail "net/mail"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/api"
	"github.com/posthouse-mail/posthouse/web/page"
)

// TestSendJSON: parts become a message that others read as it was meant.
func TestSendJSON(t *testing.T) {
	h := newRoom(t)
	token := h.token("alice", "send")
	content := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("%PDF\x00", 40)))
	w := h.want("POST /api/v1/send", token, `{"from":"Ällice <alice@mail.test>","to":["Bob <bob@example.test>, carol@example.test"],"cc":["dave@example.test"],
		"bcc":["eve@example.test","BOB@example.test"],"subject":"Größe\r\nBcc: x@y.test","text":"Hi,\n.\nFrom me\n","html":"<img src=cid:one>","headers":{"X-Order":"7","In-Reply-To":"<1@x.test>"},
		"attachments":[{"name":"Rechnung ä.pdf","content":"`+content+`"},{"name":"a.png","content_id":"one","content":"AAAA"}]}`, 202, `"id":"id1"`)
	if w.Header().Get("Location") != "/api/v1/send/id1" {
		t.Errorf("Location: %q", w.Header().Get("Location"))
	}
	m := h.sent[0]
	if m.Identity.Account != 1 || m.From.String() != "alice@mail.test" || fmt.Sprint(m.Recipients) != "[bob@example.test carol@example.test dave@example.test eve@example.test]" {
		t.Errorf("%+v", m.Outgoing)
	}
	read, err := netmail.ReadMessage(strings.NewReader(m.text))
	if err != nil {
		t.Fatal(err)
	}
	var words mime.WordDecoder
	subject, err := words.DecodeHeader(read.Header.Get("Subject"))
	if err != nil || strings.Join(strings.Fields(subject), " ") != "Größe Bcc: x@y.test" || read.Header.Get("Bcc") != "" || read.Header.Get("X-Order") != "7" {
		t.Errorf("header: %v, %v", read.Header, err)
	}
	from, err := netmail.ParseAddress(read.Header.Get("From"))
	if err != nil || from.Name != "Ällice" {
		t.Errorf("from %v, %v", from, err)
	}
	got := parts(t, read.Header.Get("Content-Type"), read.Body)
	want := "multipart/mixed(multipart/alternative(text/plain multipart/related(text/html image/png)) application/pdf[Rechnung ä.pdf:200])"
	if got != want {
		t.Errorf("%s\nwant %s\n%s", got, want, m.text)
	}
	for line := range strings.SplitSeq(m.text, "\r\n") {
		if len(line) > 998 || strings.ContainsAny(line, "\r\n") {
			t.Errorf("line %q", line)
		}
	}
}

// parts is the shape of a MIME body; files with their name and size.
func parts(t *testing.T, kind string, body io.Reader) string {
	t.Helper()
	media, params, err := mime.ParseMediaType(kind)
	if err != nil {
		t.Fatal(kind, err)
	}
	if !strings.HasPrefix(media, "multipart/") {
		return media
	}
	var all []string
	for r := multipart.NewReader(body, params["boundary"]); ; {
		p, err := r.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		one := parts(t, p.Header.Get("Content-Type"), p)
		if disposition, names, err := mime.ParseMediaType(p.Header.Get("Content-Disposition")); err == nil && disposition == "attachment" {
			octets, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, p))
			one += fmt.Sprintf("[%s:%d]", names["filename"], len(octets))
			if err != nil {
				t.Error(err)
			}
		}
		all = append(all, one)
	}
	return media + "(" + strings.Join(all, " ") + ")"
}

// TestSendMistakes: nothing is sent, and the program reads why.
func TestSendMistakes(t *testing.T) {
	h := newRoom(t)
	token := h.token("alice", "send")
	for body, c := range map[string]struct {
		status int
		says   string
	}{
		`{"subject":"x"}`:   {400, "say who gets"},
		`{"to":["a <>"]}`:   {400, "is no address"},
		`{"to":["nobody"]}`: {400, "is no address"},
		`{"to":["a@b.test"],"from":"a@b.test, c@d.test"}`:                            {400, "one address"},
		`{"to":["a@b.test"],"headers":{"Bcc":"x@y.test"}}`:                           {400, "Bcc is not one"},
		`{"to":["a@b.test"],"headers":{"X-A: b\r\nTo":"x@y.test"}}`:                  {400, "is not one"},
		`{"to":["a@b.test"],"attachments":[{"name":"x","content":"%%"}]}`:            {400, "base64"},
		`{"to":["a@b.test"],"attachments":[{"name":"x","type":"x y","content":""}]}`: {400, "no media type"},
		`{"to":["a@b.test"],"at":"tomorrow"}`:                                        {400, ""},
		`{"to":["a@b.test"],"too":1}`:                                                {400, "too"},
	} {
		h.want("POST /api/v1/send", token, body, c.status, c.says)
	}
	w := h.request(t.Context(), "POST /api/v1/send", token, "x", "Content-Type", "text/plain")
	if w.Code != 415 {
		t.Errorf("another type: %d", w.Code)
	}
	w = h.request(t.Context(), "POST /api/v1/send?to=a@b.test", token, strings.Repeat("x", 1<<20+1), "Content-Type", "message/rfc822")
	if w.Code != 413 {
		t.Errorf("too large: %d %s", w.Code, w.Body)
	}
	h.fails = &admin.Error{Class: admin.Conflict, Message: "alice may not send as bob"}
	h.want("POST /api/v1/send", token, `{"to":["a@b.test"]}`, 409, "may not send as")
	if len(h.sent) != 0 {
		t.Errorf("sent: %+v", h.sent)
	}
}

// TestSendRaw: a message goes as it is, its envelope in the query.
func TestSendRaw(t *testing.T) {
	h := newRoom(t)
	token := h.token("alice", "send")
	w := h.request(t.Context(), "POST /api/v1/send?to=a@b.test&to=c@d.test&from=alice@mail.test&at=2027-01-01T00:00:00Z", token, "Subject: x\n\nhi\n", "Content-Type", "message/rfc822")
	if w.Code != 202 || h.sent[0].text != "Subject: x\n\nhi\n" || len(h.sent[0].Recipients) != 2 || h.sent[0].At.Year() != 2027 {
		t.Errorf("%d %s %+v", w.Code, w.Body, h.sent)
	}
}

// TestSendOnce: the same key sends once; other content, or two at once, are refused; after a day the key is free.
func TestSendOnce(t *testing.T) {
	h := newRoom(t)
	token := h.token("alice", "send")
	send := func(key, subject string) (int, api.Sent) {
		w := h.request(t.Context(), "POST /api/v1/send", token, `{"to":["a@b.test"],"text":"x","html":"y","subject":"`+subject+`"}`, "Content-Type", "application/json", "Idempotency-Key", key)
		var out api.Sent
		if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
			t.Fatal(err)
		}
		return w.Code, out
	}
	h.fails = &admin.Error{Class: admin.Unavailable, Message: "the disk is full"}
	if code, _ := send("k", "a"); code != 503 {
		t.Errorf("full disk: %d", code)
	}
	for range 3 {
		if code, out := send("k", "a"); code != 202 || out.ID != "id1" {
			t.Errorf("%d %+v", code, out)
		}
	}
	if code, _ := send("k", "b"); code != 422 {
		t.Errorf("another message with the key: %d", code)
	}
	if code, out := send("k2", "b"); code != 202 || out.ID != "id2" {
		t.Errorf("another key: %d %+v", code, out)
	}
	if code, _ := send(strings.Repeat("k", 201), "b"); code != 400 {
		t.Errorf("long key: %d", code)
	}
	h.now = h.now.Add(24 * time.Hour)
	if code, out := send("k", "a"); code != 202 || out.ID != "id3" {
		t.Errorf("a day later: %d %+v", code, out)
	}
	var wg sync.WaitGroup
	before := len(h.sent)
	for range 4 {
		wg.Go(func() {
			if code, _ := send("k4", "a"); code != 202 && code != 409 {
				t.Errorf("at once: %d", code)
			}
		})
	}
	wg.Wait()
	if len(h.sent) != before+1 {
		t.Errorf("%d were sent", len(h.sent)-before)
	}
}

// TestSendTooMuch: what would cost more than it is worth is refused before it does.
func TestSendTooMuch(t *testing.T) {
	h := newRoom(t)
	token := h.token("alice", "send")
	many := make([]string, 100_000)
	for i := range many {
		many[i] = fmt.Sprintf("%d@b.test", i)
	}
	all, err := json.Marshal(many)
	if err != nil {
		t.Fatal(err)
	}
	heads, long := map[string]string{}, strings.Repeat("a", 2000)
	for i := range 101 {
		heads[fmt.Sprintf("X-%d", i)] = "x"
	}
	fields, err := json.Marshal(heads)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	for body, says := range map[string]string{
		`{"to":` + string(all) + `}`:                                                                 "up to 1000 recipients",
		`{"to":["a@b.test"],"reply_to":` + string(all) + `}`:                                         "up to 1000",
		`{"to":["` + strings.Join(many, ", ") + `"]}`:                                                "one address in each place",
		`{"to":["a@b.test"],"headers":` + string(fields) + `}`:                                       "100 at most",
		`{"to":["a@b.test"],"headers":{"X-A":"1","x-a":"2"}}`:                                        "twice",
		`{"to":["a@b.test"],"headers":{"X-A":"` + long + `"}}`:                                       "X-A: it has a word",
		`{"to":["a@b.test"],"headers":{"X-` + long + `":"x"}}`:                                       "it has a word",
		`{"to":["a@b.test"],"subject":"` + long + `"}`:                                               "Subject: it has a word",
		`{"to":["a@b.test"],"attachments":[{"name":"` + long + `","content":""}]}`:                   "up to 255",
		`{"to":["a@b.test"],"attachments":[{"name":"x","type":"a/b; c=` + long + `","content":""}]}`: "no media type",
		`{"to":["a@b.test"],"attachments":[{"name":"x","content_id":"ä","content":""}]}`:             "content_id",
		`{"to":["a@b.test"]}}`:                                                                       "more behind",
		``:                                                                                           "is empty",
		strings.Repeat(`{"to":`, 20_000) + strings.Repeat("}", 20_000):                               "no JSON",
	} {
		h.now = h.now.Add(time.Minute)
		h.want("POST /api/v1/send", token, body, 400, says)
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
	if len(h.sent) > 0 {
		t.Error("sent")
	}
}

// TestSendSlowly: who sends his message an octet a minute keeps nobody else's from going.
func TestSendSlowly(t *testing.T) {
	h := newRoom(t)
	slow, quick := h.token("alice", "send"), h.token("olga", "send")
	var wg sync.WaitGroup
	var ends []*io.PipeWriter
	for range 4 {
		r, w := io.Pipe()
		ends = append(ends, w)
		wg.Go(func() {
			q := httptest.NewRequest("POST", "/api/v1/send", r)
			q.Header.Set("Authorization", "Bearer "+slow)
			q.Header.Set("Content-Type", "application/json")
			h.door.Handler.ServeHTTP(httptest.NewRecorder(), q.WithContext(page.WithVisit(t.Context(), &page.Visit{Secure: true})))
		})
		if _, err := w.Write([]byte(`{"to":`)); err != nil { // it is being read
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if w := h.request(ctx, "POST /api/v1/send", quick, `{"to":["a@b.test"]}`, "Content-Type", "application/json"); w.Code != 202 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for _, w := range ends {
		_ = w.Close() // a pipe's never fails
	}
	wg.Wait()
}

// TestRatesForget: tokens that come and go leave nothing behind.
func TestRatesForget(t *testing.T) {
	h := newRoom(t)
	if n := h.server.Rated(func() { h.now = h.now.Add(time.Minute) }, 5000); n > 2000 {
		t.Errorf("%d tokens are remembered", n)
	}
}

// TestSendOnceWithoutDisk: a message that is safe is told so, though its key could not be written down any more.
func TestSendOnceWithoutDisk(t *testing.T) {
	h := newRoom(t)
	token := h.token("alice", "send")
	h.then = func() {
		if err := h.side.Close(); err != nil {
			t.Error(err)
		}
	}
	if w := h.request(t.Context(), "POST /api/v1/send", token, `{"to":["a@b.test"]}`, "Content-Type", "application/json", "Idempotency-Key", "k"); w.Code != 202 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
