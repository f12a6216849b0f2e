package pull_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

// TestHostileServers: what a server may do that means harm. The folder of the attack is left out or ends, and the other one comes.
func TestHostileServers(t *testing.T) {
	megabyte := strings.Repeat("x", 1<<20-100)
	for _, c := range []struct {
		name string
		hook func(s *fakeSession, tag, command string) bool
		body func(s *fakeSession, m *fakeMessage) (string, bool)
		fail string // the run ends with it; empty: it comes to its end
		all  bool   // every message of INBOX comes all the same
	}{
		{name: "endless untagged responses", hook: func(s *fakeSession, _, command string) bool {
			if !strings.HasPrefix(command, "UID FETCH") {
				return false
			}
			for many := strings.Repeat("* OK still here\r\n", 4000); ; {
				if _, err := s.conn.Write([]byte(many)); err != nil {
					return true
				}
			}
		}, fail: "cannot be followed"},
		{name: "a text of 8 EiB", body: func(s *fakeSession, m *fakeMessage) (string, bool) {
			if m.uid == 5 && s.folder.name == "INBOX" {
				return "BODY[] {9223372036854775807}\r\n" + strings.Repeat("x", 1000), true
			}
			return plainBody(m), true
		}},
		{name: "EXISTS is a lie", hook: func(s *fakeSession, tag, command string) bool {
			if strings.HasPrefix(command, "EXAMINE \"INBOX\"") {
				s.answer("*", command)
				s.say("* 4294967295 EXISTS\r\n%s OK", tag)
				return true
			}
			return false
		}, all: true},
		{name: "EXISTS shrinks without an EXPUNGE", hook: func(s *fakeSession, _, command string) bool {
			if strings.HasPrefix(command, "FETCH 1:") && s.folder.name == "INBOX" {
				s.say("* 0 EXISTS")
			}
			return false
		}, all: true},
		{name: "EXPUNGE and EXISTS without end", hook: func(s *fakeSession, tag, command string) bool {
			if strings.HasPrefix(command, "FETCH ") && s.folder.name == "INBOX" {
				for range 1000 {
					s.say("* 1 EXPUNGE")
				}
				s.say("* 5000 EXISTS")
			}
			return false
		}, all: true},
		{name: "another UIDVALIDITY each time", hook: func(s *fakeSession, _, command string) bool {
			if strings.HasPrefix(command, "EXAMINE") {
				s.f.folders[0].validity++
			}
			if strings.HasPrefix(command, "UID FETCH") && s.folder.name == "INBOX" {
				s.conn.Close()
			}
			return false
		}},
		{name: "refusals of a megabyte", hook: func(s *fakeSession, tag, command string) bool {
			if strings.HasPrefix(command, "UID FETCH") && s.folder.name == "INBOX" {
				s.say("%s NO %s", tag, megabyte)
				return true
			}
			return false
		}},
		{name: "warnings of a megabyte", hook: func(s *fakeSession, _, command string) bool {
			s.say("* OK [ALERT] %s", megabyte)
			return false
		}, all: true},
		{name: "flags of a megabyte", hook: func(s *fakeSession, tag, command string) bool {
			if strings.HasPrefix(command, "FETCH ") && s.folder.name == "INBOX" {
				many := strings.Repeat("a ", 40_000)
				for i := range 50 {
					s.say("* %d FETCH (UID %d FLAGS (%s))", i+1, i+1, many)
				}
				s.say("%s OK", tag)
				return true
			}
			return false
		}, all: true},
		{name: "folders without end", hook: func(s *fakeSession, tag, command string) bool {
			if strings.HasPrefix(command, "LIST") {
				var b bytes.Buffer
				for i := range 30_000 {
					fmt.Fprintf(&b, "* LIST (\\Noselect) \"/\" \"%s%d\"\r\n", strings.Repeat("n", 900), i)
				}
				s.answer("*", command)
				s.conn.Write(b.Bytes())
				s.say("%s OK", tag)
				return true
			}
			return false
		}, all: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inbox, other := filled("INBOX", 7001, 50), filled("Other", 8002, 5)
				f := newFake(inbox, other)
				f.hook, f.body = c.hook, c.body
				m := newMove(t, f)
				if m.o.Patience = 2 * time.Minute; c.fail != "" {
					m.o.Patience = time.Second
				}
				r, err := m.try(t.Context())
				if c.fail != "" {
					if err == nil || !strings.Contains(err.Error(), c.fail) {
						t.Fatalf("%v", err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				m.same(other, "Other")
				if c.all {
					m.same(inbox, "INBOX")
					if r.Skips > 0 {
						t.Errorf("%+v", r.Skipped[0])
					}
				}
				size := len(fmt.Sprintf("%+v", r))
				if size > 200_000 {
					t.Errorf("the report has %d octets", size)
				}
			})
		})
	}
}

// TestPasswordStaysHere: a server that sends back what it was told must not get it into a log or a report.
func TestPasswordStaysHere(t *testing.T) {
	for _, answer := range []string{
		"%[1]s BYE no %[2]s", "%[1]s NO no %[2]s", "%[1]s BAD unknown: %[2]s", "* BYE %[2]s", "* OK [ALERT] %[2]s\r\n%[1]s NO no", "%[1]s NO the password Sesam-open is wrong",
	} {
		for _, caps := range []string{"IMAP4rev1 AUTH=PLAIN SASL-IR", "IMAP4rev1", "IMAP4rev1 LITERAL+"} {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(filled("INBOX", 7001, 1))
				f.caps = caps
				f.hook = func(s *fakeSession, tag, command string) bool {
					if strings.HasPrefix(command, "AUTHENTICATE") || strings.HasPrefix(command, "LOGIN") {
						s.say(answer, tag, command)
						s.conn.Close()
						return true
					}
					return false
				}
				m := newMove(t, f)
				m.o.User, m.o.Password = "anna", "Sesam-open"
				var log bytes.Buffer
				m.o.Logger = slog.New(slog.NewTextHandler(&log, nil))
				r, err := m.try(t.Context())
				all := fmt.Sprintf("%v %+v %s", err, r, log.String())
				for _, secret := range []string{"Sesam-open", "AGFubmEAU2VzYW0tb3Blbg"} {
					if strings.Contains(all, secret) {
						t.Errorf("%s, %s: %q is in %s", caps, answer, secret, all[:min(len(all), 400)])
					}
				}
			})
		}
	}
}

// TestNewUIDValidityKeepsNoUIDs: when the server gives new uids in the middle of a run, the mailbox keeps the UIDVALIDITY that clients
// know from there. So no message may have a uid which the server gave another one under it.
func TestNewUIDValidityKeepsNoUIDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inbox := filled("INBOX", 7001, 300)
		known := map[uint32]string{}
		for _, m := range inbox.messages {
			known[m.uid] = m.text
		}
		f := newFake(inbox)
		f.body = func(s *fakeSession, m *fakeMessage) (string, bool) {
			if s.sent == 120 {
				s.conn.Close()
				inbox.validity++
				for i, m := range inbox.messages { // in another order
					m.uid = uint32(300 - i)
				}
				for i := range 150 {
					inbox.messages[i], inbox.messages[299-i] = inbox.messages[299-i], inbox.messages[i]
				}
				f.body = nil
			}
			return plainBody(m), true
		}
		m := newMove(t, f)
		r := m.run()
		st, err := m.Store.State(t.Context(), m.box("INBOX").ID)
		if err != nil {
			t.Fatal(err)
		}
		rows := storetest.Rows(t, m.Store, 1, "INBOX")
		if len(rows) != 300 {
			t.Errorf("%d messages", len(rows))
		}
		for _, row := range rows {
			if text := storetest.Text(t, m.Store, row); st.UIDValidity == 7001 && known[row.UID] != "" && known[row.UID] != text {
				t.Fatalf("uid %d was another message at the old server: clients mistake it", row.UID)
			}
		}
		if of(t, r, "INBOX").KeptUIDs {
			t.Errorf("%+v", r)
		}
	})
}

// TestRecentlyDeleted: what was deleted at another posthouse does not come back as mail, and no mailbox of ours hides Recently Deleted.
func TestRecentlyDeleted(t *testing.T) {
	for _, folders := range [][]string{nil, {"*"}} {
		f := newFake(filled("INBOX", 7001, 2), filled(store.BinName, 7002, 3))
		m := newMove(t, f)
		m.o.Folders = folders
		r := m.run()
		x := of(t, r, store.BinName)
		if folders == nil && (x.To != "" || x.Why == "" || r.Pulled != 2) || folders != nil && (x.To == store.BinName || x.Pulled != 3) {
			t.Errorf("%v: %+v", folders, x)
		}
		if _, err := m.Store.Mailbox(t.Context(), 1, store.BinName); err == nil {
			t.Errorf("%v: there is a mailbox %s now", folders, store.BinName)
		}
	}
}
