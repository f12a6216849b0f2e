package pull_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/posthouse-mail/posthouse/imap/pull"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

func (u *unique) List(context.Context) ([]pull.UniqueID, error) {
	var out []pull.UniqueID
	for _, i := range u.order {
		out = append(out, pull.UniqueID{ID: fmt.Sprintf("uidl-%d", i), Size: int64(len(u.x.messages[i].text))})
	}
	return out, nil
}

func (u *unique) Headers(_ context.Context, yield func(i int, header []byte)) error {
	for n, i := range u.order {
		head, _, _ := strings.Cut(u.x.messages[i].text, "\r\n\r\n")
		u.headers++
		yield(n, []byte("X-UIDL: "+fmt.Sprint(i)+"\r\n"+head+"\r\n\r\n"))
	}
	return nil
}

// TestOddServers: whatever a server does to one message, the others come.
func TestOddServers(t *testing.T) {
	for _, c := range []struct {
		name string
		body func(s *fakeSession, m *fakeMessage) (string, bool)
		hook func(s *fakeSession, tag, command string) bool
		skip string // of message 5; empty: it comes
		caps string
		uids bool // all uids are kept
	}{
		{name: "no text", body: only(5, func(*fakeMessage) (string, bool) { return "", false }), skip: "lists it and gives no text", uids: true},
		{name: "NIL", body: only(5, func(*fakeMessage) (string, bool) { return "BODY[] NIL", true }), skip: "no text", uids: true},
		{name: "empty", body: only(5, func(*fakeMessage) (string, bool) { return `BODY[] ""`, true }), skip: "no text", uids: true},
		{name: "size too small", body: only(5, func(m *fakeMessage) (string, bool) {
			return strings.Replace(plainBody(m), fmt.Sprintf("{%d}", len(m.text)), "{10}", 1), true
		}), skip: "breaks each time", uids: true},
		{name: "size too large", body: only(5, func(m *fakeMessage) (string, bool) {
			return strings.Replace(plainBody(m), fmt.Sprintf("{%d}", len(m.text)), fmt.Sprintf("{%d}", len(m.text)+7), 1), true
		}), skip: "breaks each time", uids: true},
		{name: "NUL octets", body: only(5, func(m *fakeMessage) (string, bool) {
			m.text = "Subject: \x00\r\n\r\n\x00\x01\r\n"
			return "BODY[] ~" + plainBody(m)[7:], true
		}), uids: true},
		{name: "quoted text", body: only(5, func(m *fakeMessage) (string, bool) {
			m.text = `no \ "header"`
			return `BODY[] "no \\ \"header\""`, true
		}), uids: true},
		{name: "unknown items", body: func(_ *fakeSession, m *fakeMessage) (string, bool) {
			return `X-ODD (a (b "c)") {3}` + "\r\n)(\" NIL)  MODSEQ (12) " + plainBody(m) + " X-LAST 5 ", true
		}, uids: true},
		{name: "unknown responses", body: func(s *fakeSession, m *fakeMessage) (string, bool) {
			s.say("* XTHING (((")
			s.say("* OK [XCODE 1] [ALERT] hear")
			s.say("* 7 XNEW {5}\r\n(((((")
			s.say("*")
			s.say("* 3 RECENT")
			s.say(`* FLAGS (\Seen)`)
			return plainBody(m), true
		}, uids: true},
		{name: "the command is refused", hook: func(s *fakeSession, tag, command string) bool {
			set := strings.Fields(strings.TrimPrefix(command, "UID FETCH "))[0]
			if strings.HasPrefix(command, "UID FETCH") && strings.Contains(command, "BODY.PEEK[]") && inSet(set, 5) {
				s.say("%s NO [UNKNOWN-CTE] cannot convert", tag)
				return true
			}
			return false
		}, skip: "NO [UNKNOWN-CTE]", uids: true},
		{name: "no CONDSTORE, no NAMESPACE, LOGIN", caps: "IMAP4rev1", uids: true},
		{name: "no date", body: only(5, func(m *fakeMessage) (string, bool) {
			m.text = "Date: Tue, 1 Apr 2003 10:52:37 +0200\r\n\r\nx\r\n"
			return plainBody(m), true
		}), uids: true},
		{name: "flags that are none", uids: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inbox := newFolder("INBOX", 77)
				for i := range 20 {
					inbox.add("", text(i))
				}
				switch c.name {
				case "no date":
					inbox.messages[4].date, inbox.messages[4].dateless = "01-Apr-2003 08:52:37 +0000", true
				case "flags that are none":
					inbox.messages[4].flags = `\Recent \XCustom "bad key" \* $Label1 $label1`
				}
				f := newFake(inbox)
				f.body, f.hook = c.body, c.hook
				if c.caps != "" {
					f.caps = c.caps
				}
				m := newMove(t, f)
				r := m.run()
				if c.skip == "" {
					if c.name == "flags that are none" {
						inbox.messages[4].flags = "$Label1"
					}
					m.same(inbox, "INBOX")
				} else {
					if r.Skips != 1 || r.Skipped[0].UID != 5 || !strings.Contains(r.Skipped[0].Reason, c.skip) {
						t.Errorf("skipped %+v, want %q", r.Skipped, c.skip)
					}
					rest := *inbox
					rest.messages = append(append([]*fakeMessage{}, inbox.messages[:4]...), inbox.messages[5:]...)
					m.same(&rest, "INBOX")
				}
				if x := of(t, r, "INBOX"); c.uids && x.NewUIDs != 0 {
					t.Errorf("%d messages have new uids", x.NewUIDs)
				}
				if c.skip == "" {
					return
				}
				f.body, f.hook = nil, nil // it was put right: the next run brings it
				if r := m.run(); r.Pulled != 1 || r.Skips != 0 || len(storetest.Rows(t, m.Store, 1, "INBOX")) != 20 {
					t.Errorf("after it was put right: %+v", r)
				}
			})
		})
	}
}

// only changes one message.
func only(uid uint32, change func(m *fakeMessage) (string, bool)) func(*fakeSession, *fakeMessage) (string, bool) {
	return func(_ *fakeSession, m *fakeMessage) (string, bool) {
		if m.uid == uid {
			return change(m)
		}
		return plainBody(m), true
	}
}

// TestBrokenConnections: a server that closes the connection every few messages, or says that it is too busy.
func TestBrokenConnections(t *testing.T) {
	for _, c := range []struct {
		name string
		set  func(f *fake)
	}{
		{"drops after 150 messages", func(f *fake) {
			f.body = func(s *fakeSession, m *fakeMessage) (string, bool) {
				if s.sent == 150 {
					s.conn.Close()
				}
				return plainBody(m), true
			}
		}},
		{"drops inside of a text, sometimes", func(f *fake) {
			n := 0
			f.body = func(s *fakeSession, m *fakeMessage) (string, bool) {
				if n++; n%97 == 0 {
					s.conn.Write([]byte("* 1 FETCH (UID 1 BODY[] {1000}\r\nSubject"))
					s.conn.Close()
				}
				return plainBody(m), true
			}
		}},
		{"BYE", func(f *fake) {
			f.body = func(s *fakeSession, m *fakeMessage) (string, bool) {
				if s.sent == 300 {
					s.say("* BYE [UNAVAILABLE] too long here")
					s.conn.Close()
				}
				return plainBody(m), true
			}
		}},
		{"throttled", func(f *fake) {
			n := 0
			f.hook = func(s *fakeSession, tag, command string) bool {
				if !strings.Contains(command, "BODY.PEEK[]") {
					return false
				}
				if n++; n%5 == 0 {
					s.say("%s NO [THROTTLED] slow down", tag)
					return true
				}
				return false
			}
		}},
		{"answers the second of two commands first", func(f *fake) {
			tag, held := "", ""
			f.hook = func(s *fakeSession, now, command string) bool {
				switch {
				case s.folder != f.folders[0] || !strings.Contains(command, "BODY.PEEK[]"):
					return false
				case held == "":
					tag, held = now, command
					return true
				}
				s.answer(now, command)
				command, held = held, ""
				return s.answer(tag, command)
			}
		}},
		{"expunges in between", func(f *fake) {
			done := false
			f.hook = func(s *fakeSession, tag, command string) bool {
				if strings.Contains(command, "BODY.PEEK[]") && !done && s.folder == f.folders[0] {
					done = true
					for range 40 {
						s.folder.expunge(3)
						s.say("* 4 EXPUNGE")
					}
				}
				return false
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inbox, other := filled("INBOX", 7001, 2400), filled("Other", 7002, 5)
				f := newFake(inbox, other)
				c.set(f)
				m := newMove(t, f)
				r := m.run()
				m.same(inbox, "INBOX")
				m.same(other, "Other")
				if x := of(t, r, "INBOX"); x.NewUIDs != 0 || r.Skips != 0 {
					t.Errorf("%+v", r)
				}
			})
		})
	}
}

func TestGivesUp(t *testing.T) {
	for _, c := range []struct {
		name string
		hook func(s *fakeSession, tag, command string) bool
		want string
		most int // connections
	}{
		{"wrong password", func(s *fakeSession, tag, command string) bool {
			if strings.HasPrefix(command, "AUTHENTICATE") {
				s.say("%s NO [AUTHENTICATIONFAILED] who?", tag)
				return true
			}
			return false
		}, "AUTHENTICATIONFAILED", 1},
		{"never lets in", func(s *fakeSession, tag, command string) bool {
			s.say("* BYE come back later")
			s.conn.Close()
			return true
		}, "without getting on", 100},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(filled("INBOX", 1, 1))
				f.hook = c.hook
				m := newMove(t, f)
				_, err := m.try(t.Context())
				if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "cGF") || f.sessions > c.most {
					t.Errorf("%v, %d connections", err, f.sessions)
				}
			})
		})
	}
}

// TestNewUIDValidity: the server gives new uids to everything, between two runs and in the middle of one. Nothing comes twice.
func TestNewUIDValidity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inbox := filled("INBOX", 7001, 1300)
		f := newFake(inbox)
		m := newMove(t, f)
		m.run()
		renumber := func() {
			inbox.validity++
			for i, m := range inbox.messages {
				m.uid = uint32(i + 1)
			}
		}
		renumber()
		inbox.add("", text(5000))
		r := m.run()
		m.same(inbox, "INBOX")
		if x := of(t, r, "INBOX"); x.Pulled != 1 || x.Matched != 1300 {
			t.Errorf("between two runs: %+v", x)
		}
		for i := range 700 {
			inbox.add("", text(6000+i))
		}
		f.body = func(s *fakeSession, m *fakeMessage) (string, bool) {
			if s.sent == 300 {
				s.conn.Close()
				renumber()
				f.body = nil
			}
			return plainBody(m), true
		}
		r = m.run()
		m.same(inbox, "INBOX")
		if len(r.Warnings) == 0 {
			t.Errorf("no word about the new UIDVALIDITY: %+v", r)
		}
	})
}

// TestKilled: the run ends at any point, the house is opened again, and the next run goes on. Nothing is lost, nothing twice.
func TestKilled(t *testing.T) {
	for cut := 1; cut < 40; cut += 4 {
		inbox, other := filled("INBOX", 7001, 150), filled("Other", 7002, 20)
		f := newFake(inbox, other)
		m := newMove(t, f)
		for round := 0; ; round++ {
			ctx, stop := context.WithCancelCause(t.Context())
			n := 0
			f.hook = func(s *fakeSession, tag, command string) bool {
				if n++; n == cut+round {
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
		m.same(inbox, "INBOX")
		m.same(other, "Other")
	}
}

// TestWrongAddress: what was never reached is not waited for.
func TestWrongAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMove(t, newFake())
		dials := 0
		m.o.Dial = func(context.Context, string, string) (net.Conn, error) {
			dials++
			return nil, &net.OpError{Op: "dial", Err: errCut}
		}
		if _, err := m.try(t.Context()); !errors.Is(err, errCut) || dials != 1 {
			t.Errorf("%v after %d dials", err, dials)
		}
		f := newFake(filled("INBOX", 7001, 300))
		f.body = func(s *fakeSession, m *fakeMessage) (string, bool) {
			if s.sent == 150 {
				s.conn.Close()
			}
			return plainBody(m), true
		}
		m.o.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			if dials++; dials%3 == 0 { // down for a moment
				return nil, &net.OpError{Op: "dial", Err: errCut}
			}
			return f.dial(ctx, network, address)
		}
		m.run()
		m.same(f.folders[0], "INBOX")
	})
}

func TestQuota(t *testing.T) {
	h := storetest.Start(t, storetest.Options{})
	storetest.Account(t, h.Store, h.DB, 1, store.Quota{Messages: 30})
	f := newFake(filled("INBOX", 7001, 50))
	m := &move{House: h, t: t, f: f, o: pull.Options{Account: 1, Address: "old.test:143", Security: pull.Clear, User: "u", Password: "p", Dial: f.dial}}
	_, err := m.try(t.Context())
	if !errors.Is(err, store.ErrOverQuota) || f.sessions != 1 {
		t.Errorf("%v, %d connections", err, f.sessions)
	}
}
