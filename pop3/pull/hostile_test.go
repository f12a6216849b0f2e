package pull_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/posthouse-mail/posthouse/store/storetest"
)

// TestReusedUniqueID: RFC 1939 section 7 lets a server give the unique-id of a message that is gone to another one. With --delete it
// must not be deleted there before it is here.
func TestReusedUniqueID(t *testing.T) {
	for _, noTOP := range []bool{false, true} {
		f := &fake{messages: messages(5), noTOP: noTOP}
		m := newMove(t, f)
		m.run()
		f.messages[3].text = "Message-ID: <other@far.test>\r\n\r\nanother one\r\n" // between two runs, by the user's other program
		m.o.Delete = true
		r := m.run()
		rows := storetest.Rows(t, m.Store, 1, "INBOX")
		if noTOP { // nobody can tell: nothing is deleted
			if len(f.messages) != 5 || len(r.Warnings) == 0 {
				t.Errorf("no TOP: %d are left there, %+v", len(f.messages), r)
			}
			continue
		}
		if r.Pulled != 1 || r.Deleted != 5 || len(f.messages) != 0 || !strings.Contains(storetest.Text(t, m.Store, rows[len(rows)-1]), "another one") {
			t.Errorf("%+v, %d here, %d there", r, len(rows), len(f.messages))
		}
	}
}

// TestHostileServers: long names cost no memory, a text without end is left out, and what a server repeats of the login goes nowhere.
func TestHostileServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{messages: messages(5)}
		f.messages[2].id = "\x1b[2J" + strings.Repeat("i", 4000)
		f.hook = func(s *session, line string) bool {
			if line == "RETR 3" {
				s.say("-ERR \x1b[2J%s", strings.Repeat("x", 4000))
			}
			return line == "RETR 3"
		}
		m := newMove(t, f)
		r := m.run()
		if text := fmt.Sprintf("%+v", r); r.Skips != 1 || len(text) > 1500 || strings.Contains(text, "\x1b") {
			t.Errorf("%d octets: %.300q", len(text), text)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		f := &fake{messages: messages(1)}
		f.hook = func(s *session, line string) bool {
			if strings.HasPrefix(line, "PASS") {
				s.say("-ERR [SYS/TEMP] what is %s?", line)
			}
			return strings.HasPrefix(line, "PASS")
		}
		m := newMove(t, f)
		m.o.Password = "Sesam-open"
		var log bytes.Buffer
		m.o.Logger = slog.New(slog.NewTextHandler(&log, nil))
		r, err := m.try(t.Context())
		if all := fmt.Sprintf("%v %+v %s", err, r, log.String()); strings.Contains(all, "Sesam-open") || !strings.Contains(all, "SYS/TEMP") {
			t.Errorf("%.500s", all)
		}
	})
}
