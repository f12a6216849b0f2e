package learn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/spam"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

const account mail.AccountID = 1

// school is a house with one account, whose lessons are written down: "junk one" for the message with the subject one.
type school struct {
	*storetest.House
	t       *testing.T
	teacher *Teacher
	side    *kv.Side
	path    string

	mu      sync.Mutex
	lessons []string
	learned map[string]spam.Class
	fail    error
	told    chan string
	gone    []mail.AccountID
}

func newSchool(t *testing.T) *school {
	t.Helper()
	s := &school{House: storetest.Start(t, storetest.Options{}), t: t, path: filepath.Join(t.TempDir(), "side.db"), learned: map[string]spam.Class{}, told: make(chan string, 100)}
	storetest.Account(t, s.Store, s.DB, account)
	s.open()
	t.Cleanup(func() { s.side.Close() })
	s.begin()
	return s
}

// begin is the first look over new tables.
func (s *school) begin() {
	s.t.Helper()
	if err := errors.Join(s.DB.SettleAll(s.t.Context()), s.teacher.start(s.t.Context())); err != nil {
		s.t.Fatal(err)
	}
}

// open opens the side tables, as they are, or new ones after they were lost.
func (s *school) open() {
	s.t.Helper()
	side, err := kv.OpenSide(kv.SideOptions{Path: s.path, Pace: time.Millisecond})
	if err != nil {
		s.t.Fatal(err)
	}
	s.side = side
	s.teacher = New(Options{
		Store: s.Store, Side: side, Learn: s.learn, Delay: time.Millisecond, Retry: time.Millisecond, Share: 1,
		Gone:     func(_ context.Context, a mail.AccountID) error { s.gone = append(s.gone, a); return nil },
		Accounts: func(context.Context) ([]mail.AccountID, error) { return []mail.AccountID{account}, nil },
	})
}

// learn is idempotent, as the judge's is.
func (s *school) learn(_ context.Context, _ mail.AccountID, m io.Reader, c spam.Class) (bool, error) {
	text, err := io.ReadAll(m)
	if err != nil {
		return false, err
	}
	_, subject, _ := strings.Cut(string(text), "Subject: ")
	subject, _, _ = strings.Cut(subject, "\r\n")
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return false, s.fail
	}
	was, ok := s.learned[subject]
	if ok && was == c {
		return false, nil
	}
	s.learned[subject] = c
	s.lessons = append(s.lessons, c.String()+" "+subject)
	s.told <- c.String() + " " + subject
	return true, nil
}

// look makes one round and returns its lessons.
func (s *school) look() string {
	s.t.Helper()
	if err := errors.Join(s.DB.SettleAll(s.t.Context()), s.side.Flush(s.t.Context())); err != nil {
		s.t.Fatal(err)
	}
	r := round{t: s.teacher, account: account}
	if err := r.run(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	if err := s.side.Flush(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := strings.Join(s.lessons, ", ")
	s.lessons = nil
	return out
}

func (s *school) expect(what, want string) {
	s.t.Helper()
	if got := s.look(); got != want {
		s.t.Errorf("%s teaches %q; want %q", what, got, want)
	}
	if again := s.look(); again != "" {
		s.t.Errorf("%s: nothing changed, and it teaches %q", what, again)
	}
}

// deliver is mail that comes in; with junk, this house puts it aside.
func (s *school) deliver(subject string, junk bool) {
	s.t.Helper()
	d := store.Delivery{Account: account, Mailbox: "INBOX"}
	if junk {
		d.Mailbox, d.Flags = "Junk", store.Junk
	}
	lsn, err := s.Store.Deliver(s.t.Context(), storetest.Arrival(s.t, s.Store, "Subject: "+subject+"\r\n\r\ntext\r\n"), []store.Delivery{d})
	if err != nil {
		s.t.Fatal(err)
	}
	if junk {
		s.teacher.Junked(account, uint64(lsn))
	}
}

func (s *school) box(name string) store.MailboxID {
	s.t.Helper()
	b, err := s.Store.Mailbox(s.t.Context(), account, name)
	if err != nil {
		s.t.Fatal(name, err)
	}
	return b.ID
}

// last is the newest message of a mailbox.
func (s *school) last(name string) store.Message {
	s.t.Helper()
	rows := storetest.Rows(s.t, s.Store, account, name)
	if len(rows) == 0 {
		s.t.Fatal(name, "is empty")
	}
	return rows[len(rows)-1]
}

func (s *school) move(from, to string) {
	s.t.Helper()
	uid := s.last(from).UID
	if _, _, err := s.Store.Move(s.t.Context(), s.box(from), []store.UIDRange{{First: uid, Last: uid}}, s.box(to)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *school) flag(name string, op store.FlagsOp, f store.Flags) {
	s.t.Helper()
	uid := s.last(name).UID
	if _, _, err := s.Store.SetFlags(s.t.Context(), s.box(name), []store.UIDRange{{First: uid, Last: uid}}, store.FlagsChange{Op: op, Flags: f}); err != nil {
		s.t.Fatal(err)
	}
}

// says are the keywords of the newest message.
func (s *school) says(name string, want store.Flags) {
	s.t.Helper()
	if got := s.last(name).Flags & (store.Junk | store.NotJunk); got != want {
		s.t.Errorf("in %s it says %b; want %b", name, got, want)
	}
}

// TestMoves: what the user does with a message is the lesson, by whatever way; what this house does is none.
func TestMoves(t *testing.T) {
	s := newSchool(t)
	s.deliver("one", false)
	s.expect("a delivery", "")
	s.move("INBOX", "Junk")
	s.expect("into Junk", "junk one")
	s.says("Junk", store.Junk)
	s.move("Junk", "INBOX")
	s.expect("out of Junk", "good one")
	s.says("INBOX", store.NotJunk)
	s.move("INBOX", "Junk")
	s.expect("and back", "junk one")
	s.says("Junk", store.Junk)

	s.deliver("two", true)
	s.expect("what we put into Junk", "")
	s.flag("Junk", store.FlagsAdd, store.Seen)
	s.expect("reading it", "")
	s.move("Junk", "Trash")
	s.expect("deleting it", "")
	s.deliver("three", true)
	s.move("Junk", "Archive")
	s.expect("out of Junk before anybody looked", "good three")
	s.says("Archive", store.NotJunk)

	s.deliver("four", true)
	s.look()
	if _, _, err := s.Store.Expunge(t.Context(), s.box("Junk"), []store.UIDRange{{First: 1, Last: 100}}, false); err != nil {
		t.Fatal(err)
	}
	s.expect("expunging", "")

	storetest.Message(t, s.Store, account, "Junk", "Subject: five\r\n\r\nx\r\n")
	s.expect("APPEND into Junk", "junk five")
	uid := s.last("Junk").UID
	if _, err := s.Store.Copy(t.Context(), s.box("Junk"), []store.UIDRange{{First: uid, Last: uid}}, s.box("INBOX")); err != nil {
		t.Fatal(err)
	}
	s.expect("a copy out of Junk", "good five")
}

// TestFlags: keywords teach where the message stands; so do signs that nobody gives junk.
func TestFlags(t *testing.T) {
	s := newSchool(t)
	s.deliver("one", false)
	s.look()
	s.flag("INBOX", store.FlagsAdd, store.Junk)
	s.expect("$Junk", "junk one")
	if _, err := s.Store.CreateMailbox(t.Context(), account, "Spam", 0); err != nil {
		t.Fatal(err)
	}
	s.move("INBOX", "Spam")
	s.expect("into a mailbox of his own", "")
	s.flag("Spam", store.FlagsReplace, store.NotJunk)
	s.expect("$NotJunk", "good one")

	s.deliver("two", true)
	s.look()
	s.flag("Junk", store.FlagsReplace, store.NotJunk)
	s.expect("$NotJunk in Junk", "good two")
	s.move("Junk", "INBOX")
	s.expect("and out of it", "")

	s.deliver("three", false)
	s.look()
	s.flag("INBOX", store.FlagsAdd, store.Seen)
	s.expect("reading", "")
	s.flag("INBOX", store.FlagsAdd, store.Answered)
	s.expect("answering", "good three")
	s.deliver("four", false)
	s.look()
	s.move("INBOX", "Archive")
	s.expect("filing", "good four")
	s.deliver("five", false)
	s.look()
	s.move("INBOX", "Trash")
	s.expect("deleting", "")
	s.deliver("six", false)
	s.flag2Junk()
	s.expect("$Junk and into Junk at once", "junk six")
}

// flag2Junk is what a program does with junk: keyword, then move.
func (s *school) flag2Junk() {
	s.t.Helper()
	if err := s.DB.SettleAll(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	s.flag("INBOX", store.FlagsAdd, store.Junk)
	s.move("INBOX", "Junk")
}

// TestRestart: what happened while nobody looked is found; what failed is tried again; lost tables begin anew and know what was in Junk.
func TestRestart(t *testing.T) {
	s := newSchool(t)
	s.deliver("one", false)
	s.deliver("two", true)
	s.look()
	if err := s.side.Close(); err != nil {
		t.Fatal(err)
	}
	s.move("INBOX", "Junk")
	s.open()
	s.expect("a move while it was closed", "junk one")

	s.deliver("three", false)
	s.look()
	s.move("INBOX", "Junk")
	s.fail = errors.New("no tables")
	r := round{t: s.teacher, account: account}
	if err := r.run(t.Context()); err == nil {
		t.Error("a lesson that failed is no error")
	}
	s.fail = nil
	s.expect("after a failure", "junk three")

	if err := s.side.Close(); err != nil {
		t.Fatal(err)
	}
	s.path += ".new"
	s.open()
	s.begin()
	s.expect("the first look", "")
	s.move("Junk", "INBOX")
	s.expect("out of Junk", "good three")
}

// TestPause: what this house puts into Junk while nobody learns is no lesson when somebody learns again.
func TestPause(t *testing.T) {
	s := newSchool(t)
	s.deliver("one", true)
	s.look()
	if err := s.teacher.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	d := store.Delivery{Account: account, Mailbox: "Junk", Flags: store.Junk}
	if _, err := s.Store.Deliver(t.Context(), storetest.Arrival(t, s.Store, "Subject: two\r\n\r\ntext\r\n"), []store.Delivery{d}); err != nil {
		t.Fatal(err)
	}
	s.begin()
	s.expect("the first look after the pause", "")
	s.move("Junk", "INBOX")
	s.expect("out of Junk", "good two")
}

// TestNewAccount: one that is made later is known from its beginning, and one that is there is not looked at twice for the first time.
func TestNewAccount(t *testing.T) {
	s := newSchool(t)
	s.deliver("one", true)
	s.move2Inbox()
	s.begin()
	s.expect("out of Junk at once", "good one")
}

func (s *school) move2Inbox() {
	s.t.Helper()
	if err := s.DB.SettleAll(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	s.move("Junk", "INBOX")
}

// TestTrain: the tables are made again from the mailboxes.
func TestTrain(t *testing.T) {
	s := newSchool(t)
	s.deliver("read", false)
	s.deliver("junk", true)
	s.look()
	s.flag("INBOX", store.FlagsAdd, store.Seen)
	s.deliver("unread", false)
	storetest.Message(t, s.Store, account, "Archive", "Subject: filed\r\n\r\nx\r\n")
	storetest.Message(t, s.Store, account, "Sent", "Subject: sent\r\n\r\nx\r\n")
	got, err := s.teacher.Train(t.Context(), account)
	if err != nil || got != (Trained{Good: 2, Junk: 1}) {
		t.Error(got, err)
	}
	if s.learned["read"] != spam.Good || s.learned["filed"] != spam.Good || s.learned["junk"] != spam.Junk || len(s.learned) != 3 {
		t.Error(s.learned)
	}
	s.lessons = nil
	s.expect("what Train has taught", "")
}

// TestRun: the bell wakes it, nothing is asked while nothing happens, and a removed account is forgotten.
func TestRun(t *testing.T) {
	s := newSchool(t)
	s.deliver("one", false)
	s.look()
	ctx, stop := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() { s.teacher.Run(ctx) })
	defer done.Wait()
	defer stop()
	s.move("INBOX", "Junk")
	if got := <-s.told; got != "junk one" {
		t.Error(got)
	}
	s.move("Junk", "INBOX")
	if got := <-s.told; got != "good one" {
		t.Error(got)
	}
	stop()
	done.Wait()
	if err := s.DB.Update(t.Context(), func(tx *kv.Tx) error { return s.Store.DeleteAccount(tx, account) }); err != nil {
		t.Fatal(err)
	}
	if len(s.gone) != 0 {
		t.Error("it is forgotten before it is gone")
	}
	s.teacher.o.Accounts = func(context.Context) ([]mail.AccountID, error) { return nil, nil }
	s.begin() // the house stopped before all was forgotten
	s.teacher.lookAtAll(t.Context())
	if len(s.gone) != 1 || s.gone[0] != account {
		t.Errorf("forgotten are %v", s.gone)
	}
	err := s.side.View(t.Context(), func(tx *kv.Tx) error {
		for k := range tx.Scan(tabKnown, nil, nil) {
			return fmt.Errorf("%x is still there", k)
		}
		if len(readCursor(tx, account)) != 0 {
			return errors.New("the cursor is still there")
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestLedgerIsBounded: the oldest are forgotten.
func TestLedgerIsBounded(t *testing.T) {
	s := newSchool(t)
	err := s.side.Update(t.Context(), func(tx *kv.Tx) error {
		for id := range uint64(50) {
			putState(tx, account, id+1, ours, time.Now())
			putState(tx, account+1, id+1, ours, time.Now())
		}
		prune(tx, account, 10)
		if stateOf(tx, account, 40) != unknown || stateOf(tx, account, 41) != ours || stateOf(tx, account+1, 1) != ours {
			return errors.New("the wrong ones were forgotten")
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestFloodOfJunk: what this house puts into Junk is not remembered without end, though its owner never touches it.
func TestFloodOfJunk(t *testing.T) {
	s := newSchool(t)
	s.teacher.o.Most = 20
	for i := range 260 {
		s.deliver(fmt.Sprint("junk ", i), true)
	}
	s.expect("a flood", "")
	n := 0
	err := s.side.View(t.Context(), func(tx *kv.Tx) error {
		for range tx.Scan(tabKnown, nil, nil) {
			n++
		}
		return nil
	})
	if err != nil || n != 20 {
		t.Errorf("%d are remembered, want 20 (%v)", n, err)
	}
}
