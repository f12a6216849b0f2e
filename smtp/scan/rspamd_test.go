package scan

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/posthouse-mail/posthouse/internal/message"
)

// TestRspamdIsAsked: what of a message rspamd sees, over TCP, a socket file and TLS.
func TestRspamdIsAsked(t *testing.T) {
	for _, way := range []string{"tcp", "unix", "tls"} {
		t.Run(way, func(t *testing.T) {
			srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				if r.URL.Path != "/checkv2" || string(body) != testHeader+"\r\n"+testBody {
					t.Errorf("asked %s with %q", r.URL.Path, body)
				}
				for name, want := range map[string][]string{"Ip": {"192.0.2.7"}, "Helo": {"mx.away.test"}, "Hostname": {"mx.away.test"}, "From": {"zoe@away.test"},
					"Rcpt": {"alice@alpha.test", "bob@alpha.test"}, "Queue-Id": {"Q1"}, "Mta-Name": {"mx.alpha.test"}, "Password": {"secret"}, "Tls-Version": {"TLSv1.3"}, "User": nil, "X-Idempotency-Key": nil} {
					if got := r.Header[name]; !reflect.DeepEqual(got, want) {
						t.Errorf("%s: %q, want %q", name, got, want)
					}
				}
				io.WriteString(w, `{"action":"no action","score":-1.5,"required_score":15}`)
			}))
			defer srv.Close()
			h := Helper{Kind: Rspamd, Password: "secret", Weight: 2}
			switch way {
			case "unix":
				path := filepath.Join(t.TempDir(), "s")
				l, err := net.Listen("unix", path)
				if err != nil {
					t.Fatal(err)
				}
				srv.Listener, h.Address = l, "unix:"+path
				srv.Start()
			case "tls":
				srv.StartTLS()
				h.TLS, h.Address, h.Roots = true, srv.Listener.Addr().String(), x509.NewCertPool()
				h.Roots.AddCert(srv.Certificate())
				if srv.TLS.MinVersion > tls.VersionTLS13 {
					t.Fatal("no common version")
				}
			default:
				srv.Start()
				h.Address = srv.Listener.Addr().String()
			}
			r := newRig(t, h)
			for range 2 { // the second over the same connection
				v := r.Scan(t.Context(), Inbound, testMessage())
				if v.Action != Pass || len(v.Signals) != 1 || v.Signals[0].Score != -3 || v.Signals[0].Text != "no action, -1.5 of 15.0" || string(v.Header) != testHeader {
					t.Errorf("verdict %+v", v)
				}
			}
			if r.count(t, "scan_up", "") != 1 || r.count(t, "scan_answers_total", "pass") != 2 {
				t.Errorf("not counted; log: %s", &r.log)
			}
		})
	}
}

// TestRspamdAnswers: what each answer means for a message.
func TestRspamdAnswers(t *testing.T) {
	for _, c := range []struct {
		name, answer string
		obey         Obey
		want         Action
		reply, text  string // of the signal
		doubtful     bool
		header       string
	}{
		{name: "nothing", answer: `{"action":"no action","score":1,"required_score":15,"messages":[]}`, text: "no action, 1.0 of 15.0"},
		{name: "reasons", answer: `{"action":"add header","score":7.5,"required_score":15,"symbols":{"A":{"score":0},"SMALL":{"score":-0.5},"BIG":{"score":8,"options":["one","two"]},"ODD":{"score":0.1,"options":[1]}}}`,
			text: "add header, 7.5 of 15.0: BIG 8.0 (one; two), SMALL -0.5, ODD 0.1"},
		{name: "marked, obeyed", obey: ObeyAll, answer: `{"action":"add header","score":7}`, want: Junk},
		{name: "rewritten subject, obeyed", obey: ObeyAll, answer: `{"action":"rewrite subject","score":7,"subject":"[SPAM] x"}`, want: Junk},
		{name: "refused", answer: `{"action":"reject","score":20,"messages":{"smtp_message":"Gtube\r\n250 pattern é"}}`, want: Refuse, reply: "550 [5 7 1] Gtube 250 pattern ?"},
		{name: "refused without words", answer: `{"action":"reject","score":20}`, want: Refuse, reply: "550 [5 7 1] The message looks like junk"},
		{name: "refused, not obeyed", obey: ObeyNone, answer: `{"action":"reject","score":20}`},
		{name: "later", answer: `{"action":"soft reject","messages":{"smtp_message":"Try again later"}}`, want: Later, reply: "451 [4 7 1] Try again later"},
		{name: "greylist is a hint", answer: `{"action":"greylist","score":4.5}`, doubtful: true},
		{name: "set aside", answer: `{"action":"quarantine"}`, want: Junk},
		{name: "to be dropped", answer: `{"action":"discard"}`, want: Refuse, reply: "550 [5 7 1] The message looks like junk"},
		{name: "skipped", answer: `{"is_skipped":true}`},
		{name: "refused at once", answer: `{"is_skipped":true,"score":15.0,"required_score":15.0,"action":"reject","symbols":{"GTUBE":{"name":"GTUBE","score":0.0}},"messages":{"smtp_message":"Gtube pattern"}}`, want: Refuse, reply: "550 [5 7 1] Gtube pattern"},
		{name: "a name of its own", answer: `{"action":"to the moon"}`},
		{name: "header", answer: `{"action":"no action","milter":{"remove_headers":{"X-Old":0,"Subject":1},"add_headers":{"X-A":"text","X-B":{"value":"v\nBcc: w","order":1},"X-C":[{"value":"1"},"2"],"B d":"no","X-E":7}}}`,
			header: "X-C: 2\r\nX-C: 1\r\nX-B: v\r\n\tBcc: w\r\nX-A: text\r\nFrom: zoe@away.test\r\n"},
		{name: "a header block of another form", answer: `{"action":"no action","milter":[1]}`},
		{name: "huge points", answer: `{"action":"no action","score":1e300}`, text: "no action, 1000000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, c.answer) }))
			defer srv.Close()
			r := newRig(t, Helper{Kind: Rspamd, Address: srv.Listener.Addr().String(), Obey: c.obey})
			v := r.Scan(t.Context(), Inbound, testMessage())
			if v.Action != c.want || v.Doubtful != c.doubtful || len(v.Told) != 1 {
				t.Errorf("verdict %+v\n%s", v, &r.log)
			}
			if reply := fmt.Sprintf("%d %v %s", v.Code, v.Enhanced, v.Text); c.reply != "" && reply != c.reply {
				t.Errorf("reply %q", reply)
			}
			if c.text != "" && (len(v.Signals) != 1 || !strings.HasPrefix(v.Signals[0].Text, c.text) || v.Signals[0].Score > maxPoints) {
				t.Errorf("signals %+v", v.Signals)
			}
			want := testHeader
			if c.header != "" {
				want = c.header
			}
			if string(v.Header) != want {
				t.Errorf("header %q", v.Header)
			}
		})
	}
}

// broken are programs that are no helpers; each is a message's way through one.
func broken() map[string]func(net.Conn) {
	answer := func(text string) func(net.Conn) {
		return func(c net.Conn) {
			c.Read(make([]byte, 1<<16))
			io.WriteString(c, text)
		}
	}
	endless := func(first, more string) func(net.Conn) {
		return func(c net.Conn) {
			go io.Copy(io.Discard, c)
			io.WriteString(c, first)
			for block := []byte(strings.Repeat(more, 4000)); ; {
				if _, err := c.Write(block); err != nil {
					return
				}
			}
		}
	}
	return map[string]func(net.Conn){
		"deaf":          deaf,
		"hangs up":      func(c net.Conn) { c.Read(make([]byte, 10)) },
		"never reads":   func(c net.Conn) { time.Sleep(time.Hour) },
		"garbage":       answer("hello\r\n\r\n\x00\x00\x00"),
		"no JSON":       answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"),
		"no report":     answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"),
		"an error":      answer("HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n{\"error\":\"broken\"}"),
		"a status":      answer("HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"),
		"another place": answer("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"),
		"cut short":     answer("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"action\":"),
		"deep":          answer("HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n{\"messages\":" + strings.Repeat("[", 200000-12)),
		"endless head":  endless("HTTP/1.1 200 OK\r\n", "X: y\r\n"),
		"endless body":  endless("HTTP/1.1 200 OK\r\n\r\n", "{\"symbols\":"),
		"an octet a second": func(c net.Conn) {
			go io.Copy(io.Discard, c)
			for _, b := range []byte("HTTP/1.1 200 OK\r\nContent-Length: 25\r\n\r\n{\"action\":\"no action\"    }") {
				if _, err := c.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		},
	}
}

// TestBrokenHelpers: whatever a helper does, a message waits no longer than its timeout, and becomes what the settings say.
func TestBrokenHelpers(t *testing.T) {
	for kind, all := range map[Kind]map[string]func(net.Conn){Rspamd: broken(), Milter: brokenMilters()} {
		for name, serve := range all {
			for _, f := range []Failure{FailAccept, FailLater, FailJunk} {
				t.Run(string(kind)+"/"+name+"/"+string(f), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						r := newRig(t, Helper{Kind: kind, Dial: behind(serve), Failure: f, Timeout: 5 * time.Second})
						m := testMessage()
						m.Body, m.Size = bytes.NewReader(make([]byte, 1<<20)), 1<<20
						start := time.Now()
						v := r.Scan(t.Context(), Inbound, m)
						if took := time.Since(start); took > 5*time.Second {
							t.Errorf("the message waited %v", took)
						}
						want := map[Failure]Action{FailAccept: Pass, FailLater: Later, FailJunk: Junk}[f]
						if v.Action != want || len(v.Told) != 1 || !strings.Contains(v.Told[0], "no answer: ") || string(v.Header) != testHeader || len(v.Signals) > 0 {
							t.Errorf("verdict %+v", v)
						}
						if f == FailLater && (v.Code != 451 || v.By != string(kind)) {
							t.Errorf("reply %+v", v)
						}
						if r.count(t, "scan_up", "") != 0 || r.count(t, "scan_answers_total", "failed") != 1 || !strings.Contains(r.log.String(), "helper gave no answer") {
							t.Errorf("log %s", &r.log)
						}
						r.Close()
						time.Sleep(2 * time.Hour) // of the test's own clock: nothing is left behind
					})
				})
			}
		}
	}
}

// TestDownAndBack: a helper that cannot be reached is left in peace, and found again.
func TestDownAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dialled, down := 0, true
		dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
			dialled++
			if down {
				time.Sleep(time.Second)
				return nil, errors.New("connection refused")
			}
			return behind(func(c net.Conn) {
				c.Read(make([]byte, 1<<16))
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 22\r\n\r\n{\"action\":\"no action\"}")
				deaf(c)
			})(ctx, "", "")
		}
		r := newRig(t, Helper{Kind: Rspamd, Dial: dial, Failure: FailLater})
		for range 10 {
			if v := r.Scan(t.Context(), Inbound, testMessage()); v.Action != Later {
				t.Errorf("verdict %+v", v)
			}
		}
		if dialled != patience || r.count(t, "scan_answers_total", "down") != 10-patience || strings.Count(r.log.String(), "helper is down") != 1 {
			t.Errorf("it was tried %d times\n%s", dialled, &r.log)
		}
		time.Sleep(rest)
		r.Scan(t.Context(), Inbound, testMessage())
		if dialled != patience+1 {
			t.Errorf("after the rest it was tried %d times", dialled-patience)
		}
		down = false
		time.Sleep(rest)
		if v := r.Scan(t.Context(), Inbound, testMessage()); v.Action != Pass || !strings.Contains(r.log.String(), "helper is back") || r.count(t, "scan_up", "") != 1 {
			t.Errorf("verdict %+v\n%s", v, &r.log)
		}
		r.Close()
	})
}

// TestNotPutOut: messages that a helper does not answer for do not switch it off for others.
func TestNotPutOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Helper{Kind: Milter, Dial: behind(deaf), Connections: 2})
		for range 2 * patience {
			r.Scan(t.Context(), Inbound, testMessage())
		}
		if r.count(t, "scan_answers_total", "failed") != 2*patience {
			t.Errorf("%s", &r.log)
		}
	})
}

// TestTurns: no more messages are shown at once than the settings say, and waiting for a turn is part of the time.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var open atomic.Int32
		dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
			open.Add(1)
			return behind(deaf)(ctx, "", "")
		}
		r := newRig(t, Helper{Kind: Milter, Dial: dial, Connections: 2, Timeout: time.Second})
		start := time.Now()
		done := make(chan Verdict)
		for range 5 {
			go func() { done <- r.Scan(t.Context(), Inbound, testMessage()) }()
		}
		busy := 0
		for range 5 {
			if v := <-done; strings.Contains(v.Told[0], errBusy.Error()) {
				busy++
			}
		}
		if time.Since(start) != time.Second || open.Load() < 2 || busy+int(open.Load()) != 5 {
			t.Errorf("%d were shown, %d had no turn, in %v", open.Load(), busy, time.Since(start))
		}
	})
}

// TestGivenUp: a client that goes takes its message along, and the helper is not blamed.
func TestGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Helper{Kind: Rspamd, Dial: behind(deaf)})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		start := time.Now()
		v := r.Scan(ctx, Inbound, testMessage())
		if v.Action != Later || time.Since(start) != time.Second || r.log.Len() > 0 || r.count(t, "scan_up", "") != 1 {
			t.Errorf("verdict %+v after %v\n%s", v, time.Since(start), &r.log)
		}
		r.Close()
	})
}

// TestWanted: who looks at what.
func TestWanted(t *testing.T) {
	var none *Panel
	if none.Wanted(Inbound) || none.Scan(t.Context(), Inbound, testMessage()).Action != Pass {
		t.Error("nobody looks, and yet")
	}
	none.Close()
	r := newRig(t, Helper{Kind: Rspamd, On: []Way{Submission}, MaxSize: 10, Dial: behind(deaf)})
	if r.Wanted(Inbound) || !r.Wanted(Submission) {
		t.Error("it looks the wrong way")
	}
	if v := r.Scan(t.Context(), Inbound, testMessage()); len(v.Told) != 0 {
		t.Errorf("verdict %+v", v)
	}
	if v := r.Scan(t.Context(), Submission, testMessage()); len(v.Told) != 1 || !strings.Contains(v.Told[0], "too large") {
		t.Errorf("verdict %+v", v)
	}
	for _, h := range []Helper{{Kind: "clam", Address: "a:1"}, {Kind: Milter, Address: "nowhere"}, {Kind: Milter, Address: "unix:"}} {
		if _, err := New(Options{Helpers: []Helper{h}}); err == nil {
			t.Errorf("%+v is taken", h)
		}
	}
}

// FuzzRspamd: no answer of rspamd breaks the message: its fields stay fields, in bounds, and its body its body.
func FuzzRspamd(f *testing.F) {
	f.Add([]byte(`{"action":"add header","score":7.5,"required_score":15,"symbols":{"BIG":{"score":8,"options":["one"]}},"messages":{"smtp_message":"x"}}`))
	f.Add([]byte(`{"action":"reject","milter":{"remove_headers":{"Subject":-1},"add_headers":{"X":{"value":"v\n\nBcc: x"},"Y":["1",{"value":"2"}]}}}`))
	f.Add([]byte(`{"is_skipped":true,"milter":[]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := parseRspamd(text)
		if err != nil {
			return
		}
		a := r.answer(&Helper{Name: "rspamd", Weight: 1, Obey: ObeyReject})
		checkAnswer(t, a)
	})
}

// checkAnswer is what must be true of every answer.
func checkAnswer(t *testing.T, a answer) {
	t.Helper()
	for _, s := range a.signals {
		if !(s.Score >= -maxPoints && s.Score <= maxPoints) || strings.ContainsAny(s.Text, "\r\n\x00") || len(s.Text) > 4000 {
			t.Errorf("signal %+v", s)
		}
	}
	if a.action >= Later && (a.code < 400 || a.code > 599 || a.text == "" || strings.ContainsFunc(a.text, func(r rune) bool { return r < ' ' || r > '~' }) || (a.action == Later) != (a.code < 500) || a.enhanced[0] != a.code/100) {
		t.Errorf("reply %+v", a)
	}
	header := apply([]byte(testHeader), a.edits)
	if len(header) > len(testHeader)+maxAdded+maxEdits*110 {
		t.Errorf("the header has %d octets", len(header))
	}
	n := 0
	for f := range message.Fields(header) {
		n += len(f.Raw)
		if len(f.Name) == 0 || !bytes.HasSuffix(f.Raw, []byte("\r\n")) {
			t.Errorf("no field: %q", f.Raw)
		}
	}
	if n != len(header) {
		t.Errorf("the header ends after %d of %d octets: %q", n, len(header), header)
	}
}

// TestRspamdHeader: one change of a form that is unknown, or a list in place of a number, does not take the others with it.
func TestRspamdHeader(t *testing.T) {
	const header = "X: 1\r\nX: 2\r\nX: 3\r\nY: 1\r\nZ: 1\r\n"
	r, err := parseRspamd([]byte(`{"action":"no action","milter":{"remove_headers":{"X":[1,2],"Y":0,"Z":{"all":true}},"add_headers":{"New":[{"value":"a"},"b"]}}}`))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(apply([]byte(header), r.edits())), "New: b\r\nNew: a\r\nX: 3\r\nZ: 1\r\n"; got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
}
