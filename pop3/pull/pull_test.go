package pull_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/pop3/pull"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

// fake is a POP3 server that can be as odd as those that are met.
type fake struct {
	mu       sync.Mutex
	running  sync.WaitGroup // sessions
	messages []fakeMessage
	noUIDL   bool
	noTOP    bool
	noCAPA   bool
	end      string // of lines; CRLF
	sessions int
	sent     int // RETRs answered
	hook     func(s *session, command string) bool
}

type fakeMessage struct{ id, text string }

type session struct {
	f       *fake
	conn    net.Conn
	sent    int
	deleted map[int]bool
}

func (f *fake) dial(context.Context, string, string) (net.Conn, error) {
	here, there := net.Pipe()
	f.mu.Lock()
	f.sessions++
	f.mu.Unlock()
	f.running.Go(func() { f.serve(there) })
	return here, nil
}

func (f *fake) serve(conn net.Conn) {
	defer conn.Close()
	s := &session{f: f, conn: conn, deleted: map[int]bool{}}
	lines := make(chan string, 100)
	go func() {
		defer close(lines)
		for in := bufio.NewReader(conn); ; {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			lines <- strings.TrimRight(line, "\r\n")
		}
	}()
	s.say("+OK ready")
	for line := range lines {
		f.mu.Lock()
		over := !(f.hook != nil && f.hook(s, line)) && s.answer(line)
		f.mu.Unlock()
		if over {
			return
		}
	}
}

func (s *session) say(format string, args ...any) {
	end := s.f.end
	if end == "" {
		end = "\r\n"
	}
	fmt.Fprintf(s.conn, format+end, args...)
}

// answer reports whether the session is over.
func (s *session) answer(line string) bool {
	var n int
	word, _, _ := strings.Cut(line, " ")
	fmt.Sscan(strings.TrimPrefix(line, word), &n)
	switch {
	case word == "USER", word == "PASS":
		s.say("+OK")
	case word == "CAPA" && !s.f.noCAPA:
		s.say("+OK\r\nPIPELINING\r\nUIDL\r\n.")
	case word == "LIST":
		s.say("+OK")
		for i, m := range s.f.messages {
			s.say("%d %d", i+1, len(m.text))
		}
		s.say(".")
	case word == "UIDL" && !s.f.noUIDL:
		s.say("+OK")
		for i, m := range s.f.messages {
			s.say("%d %s", i+1, m.id)
		}
		s.say(".")
	case word == "TOP" && !s.f.noTOP:
		head, _, _ := strings.Cut(s.f.messages[n-1].text, "\r\n\r\n")
		s.say("+OK\r\n%s\r\n\r\n.", head)
	case word == "RETR":
		s.f.sent++
		s.sent++
		fmt.Fprintf(s.conn, "+OK\r\n%s.\r\n", strings.ReplaceAll(s.f.messages[n-1].text, "\r\n.", "\r\n.."))
	case word == "DELE":
		s.deleted[n-1] = true
		s.say("+OK")
	case word == "QUIT":
		var left []fakeMessage
		for i, m := range s.f.messages {
			if !s.deleted[i] {
				left = append(left, m)
			}
		}
		s.f.messages = left
		s.say("+OK")
		return true
	default:
		s.say("-ERR what?")
	}
	return false
}

type move struct {
	*storetest.House
	t *testing.T
	f *fake
	o pull.Options
}

func newMove(t *testing.T, f *fake) *move {
	h := storetest.Start(t, storetest.Options{})
	storetest.Account(t, h.Store, h.DB, 1)
	return &move{House: h, t: t, f: f, o: pull.Options{
		Account: mail.AccountID(1), Address: "old.test:110", Security: pull.Clear, User: "u", Password: "p", Dial: f.dial, Timeout: time.Minute,
	}}
}

func (m *move) try(ctx context.Context) (pull.Report, error) {
	o := m.o
	o.Store = m.Store
	r, err := pull.Run(ctx, o)
	m.f.running.Wait() // what the test changes from here on, nobody reads
	return r, err
}

func (m *move) run() pull.Report {
	m.t.Helper()
	r, err := m.try(m.t.Context())
	if err != nil {
		m.t.Fatalf("pull: %v\n%+v", err, r)
	}
	return r
}

// same wants INBOX to hold the messages, with their unique-ids.
func (m *move) same(list []fakeMessage) {
	m.t.Helper()
	rows := storetest.Rows(m.t, m.Store, 1, "INBOX")
	box, err := m.Store.Mailbox(m.t.Context(), 1, "INBOX")
	if err != nil {
		m.t.Fatal(err)
	}
	ids, err := m.Store.UIDLs(m.t.Context(), box.ID, rows)
	if err != nil || len(rows) != len(list) {
		m.t.Fatalf("%d messages, want %d (%v)", len(rows), len(list), err)
	}
	for i, r := range rows {
		if text := storetest.Text(m.t, m.Store, r); text != list[i].text {
			m.t.Errorf("message %d: %q, want %q", i, text, list[i].text)
		}
		if want := list[i].id; want != "" && ids[i] != want {
			m.t.Errorf("message %d: unique-id %q, want %q", i, ids[i], want)
		}
	}
}

func messages(n int) []fakeMessage {
	var all []fakeMessage
	for i := range n {
		all = append(all, fakeMessage{fmt.Sprintf("id-%d", i), fmt.Sprintf("Subject: %d\r\nDate: Tue, 1 Apr 2003 10:52:37 +0200\r\n\r\n.dot\r\n..\r\ntext %d\r\n", i, i)})
	}
	return all
}

func TestBringsEverything(t *testing.T) {
	f := &fake{messages: messages(450)}
	m := newMove(t, f)
	r := m.run()
	m.same(f.messages)
	if r.Pulled != 450 || r.There != 450 || r.Skips != 0 {
		t.Errorf("%+v", r)
	}
	if row := storetest.Rows(t, m.Store, 1, "INBOX")[0]; row.Received.Unix() != 1049187157 {
		t.Errorf("date %v", row.Received)
	}
	was := f.sent
	f.messages = append(f.messages, fakeMessage{"new", "Subject: new\r\n\r\n"})
	if r := m.run(); r.Pulled != 1 || f.sent != was+1 {
		t.Errorf("again: %+v, %d fetched", r, f.sent-was)
	}
	m.same(f.messages)
}

func TestDelete(t *testing.T) {
	f := &fake{messages: messages(10)}
	want := slices.Clone(f.messages)
	m := newMove(t, f)
	m.o.Delete = true
	if r := m.run(); r.Deleted != 10 || len(f.messages) != 0 {
		t.Errorf("%+v, %d left", r, len(f.messages))
	}
	// A server that counts from 1 again gives a new message an old unique-id.
	f.messages = []fakeMessage{{"id-3", "Subject: another\r\n\r\n"}}
	want = append(want, fakeMessage{"id-3", f.messages[0].text})
	if r := m.run(); r.Pulled != 1 || len(f.messages) != 0 {
		t.Errorf("%+v, %d left", r, len(f.messages))
	}
	m.same(want)
}

func TestOddServers(t *testing.T) {
	for _, c := range []struct {
		name string
		set  func(f *fake)
		want func(list []fakeMessage) []fakeMessage
		skip int
		err  string
	}{
		{name: "one unique-id for two", set: func(f *fake) { f.messages[2].id = f.messages[1].id }, want: func(l []fakeMessage) []fakeMessage { l[2].id = ""; return l }},
		{name: "unique-ids that are none here", set: func(f *fake) { f.messages[2].id = strings.Repeat("x", 90); f.messages[3].id = "a b" },
			want: func(l []fakeMessage) []fakeMessage { l[2].id, l[3].id = "", ""; return l }},
		{name: "no UIDL", set: func(f *fake) { f.noUIDL = true }, want: withoutIDs},
		{name: "no CAPA", set: func(f *fake) { f.noCAPA = true }},
		{name: "no UIDL, no TOP", set: func(f *fake) { f.noUIDL, f.noTOP = true, true }, err: "neither UIDL nor TOP"},
		{name: "refuses one", set: func(f *fake) {
			f.hook = func(s *session, line string) bool {
				if line == "RETR 3" {
					s.say("-ERR damaged")
				}
				return line == "RETR 3"
			}
		}, want: func(l []fakeMessage) []fakeMessage { return slices.Delete(l, 2, 3) }, skip: 1},
		{name: "breaks in one", set: func(f *fake) {
			f.hook = func(s *session, line string) bool {
				if line == "RETR 3" {
					fmt.Fprint(s.conn, "+OK\r\nSubject:")
					s.conn.Close()
				}
				return line == "RETR 3"
			}
		}, want: func(l []fakeMessage) []fakeMessage { return slices.Delete(l, 2, 3) }, skip: 1},
		{name: "breaks after four", set: func(f *fake) {
			f.hook = func(s *session, line string) bool {
				if s.sent == 4 {
					s.conn.Close()
				}
				return false
			}
		}},
		{name: "in use for a while", set: func(f *fake) {
			n := 0
			f.hook = func(s *session, line string) bool {
				if strings.HasPrefix(line, "PASS") {
					if n++; n < 5 {
						s.say("-ERR [IN-USE] another session")
						return true
					}
				}
				return false
			}
		}},
		{name: "wrong password", set: func(f *fake) {
			f.hook = func(s *session, line string) bool {
				if strings.HasPrefix(line, "PASS") {
					s.say("-ERR [AUTH] no")
					return true
				}
				return false
			}
		}, err: "PASS with -ERR [AUTH] no"},
		{name: "bare LF and CR in a text, NUL, a long line", set: func(f *fake) {
			f.messages[4].text = "Subject: x\n\n.\nfoo\rbar\x00" + strings.Repeat("y", 40_000) + "\r\n"
		}, want: func(l []fakeMessage) []fakeMessage {
			l[4].text = "Subject: x\r\n\r\n.\r\nfoo\rbar\x00" + strings.Repeat("y", 40_000) + "\r\n"
			return l
		}},
		{name: "lines that end with LF", set: func(f *fake) { f.end = "\n"; f.noCAPA = true }},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{messages: messages(20)}
				c.set(f)
				want := slices.Clone(f.messages)
				if c.want != nil {
					want = c.want(want)
				}
				m := newMove(t, f)
				r, err := m.try(t.Context())
				if c.err != "" {
					if err == nil || !strings.Contains(err.Error(), c.err) || f.sessions != 1 {
						t.Errorf("%v, %d sessions, want %q", err, f.sessions, c.err)
					}
					return
				}
				if err != nil || r.Skips != c.skip {
					t.Fatalf("%v, %+v", err, r)
				}
				m.same(want)
				f.hook = nil
				if r := m.run(); r.Pulled != c.skip {
					t.Errorf("again: %+v", r)
				}
			})
		})
	}
}

func withoutIDs(l []fakeMessage) []fakeMessage {
	for i := range l {
		l[i].id = ""
	}
	return l
}

var errCut = errors.New("cut")

// TestKilled: the run ends at any command, the house is opened again, the next run goes on; with --delete nothing is lost.
func TestKilled(t *testing.T) {
	for cut := 1; cut < 60; cut += 4 {
		f := &fake{messages: messages(25)}
		want := slices.Clone(f.messages)
		m := newMove(t, f)
		m.o.Delete = true
		for round := 0; ; round++ {
			ctx, stop := context.WithCancelCause(t.Context())
			n := 0
			f.hook = func(*session, string) bool {
				if n++; n == cut+8*round {
					stop(errCut)
				}
				return false
			}
			_, err := m.try(ctx)
			stop(nil)
			m.Reopen()
			if err == nil {
				break
			}
			if !errors.Is(err, errCut) {
				t.Fatal(err)
			}
		}
		m.same(want)
		if len(f.messages) != 0 {
			t.Errorf("%d messages are still there", len(f.messages))
		}
	}
}

func TestUnique(t *testing.T) {
	f := &fake{messages: messages(5)}
	var ids []string
	u := &pull.Unique{Options: pull.Options{Address: "old.test:110", Security: pull.Clear, Dial: f.dial}, Each: func(id string, size int64) {
		ids = append(ids, fmt.Sprint(id, " ", size))
	}}
	if err := u.List(t.Context()); err != nil || len(ids) != 5 || ids[4] != fmt.Sprintf("id-4 %d", len(f.messages[4].text)) {
		t.Errorf("%v, %v", ids, err)
	}
	n := 0
	err := u.Headers(t.Context(), func(i int, header []byte) {
		if n++; !strings.HasPrefix(string(header), fmt.Sprintf("Subject: %d\r\n", i)) {
			t.Errorf("header %d: %q", i, header)
		}
	})
	if err != nil || n != 5 {
		t.Errorf("%d headers, %v", n, err)
	}
}

func TestQuota(t *testing.T) {
	h := storetest.Start(t, storetest.Options{})
	storetest.Account(t, h.Store, h.DB, 1, store.Quota{Messages: 10})
	f := &fake{messages: messages(30)}
	m := &move{House: h, t: t, f: f, o: pull.Options{Account: 1, Address: "old.test:110", Security: pull.Clear, Dial: f.dial, Delete: true}}
	_, err := m.try(t.Context())
	if !errors.Is(err, store.ErrOverQuota) || f.sessions != 1 || len(f.messages) != 30 {
		t.Errorf("%v, %d sessions, %d messages", err, f.sessions, len(f.messages))
	}
}
