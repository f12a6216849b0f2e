package inbound

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/smtp"
	"github.com/posthouse-mail/posthouse/smtp/local"
	"github.com/posthouse-mail/posthouse/smtp/queue"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

func TestFullDiskIsTemporary(t *testing.T) {
	var e *gosmtp.SMTPError
	if err := local.FullDisk(fmt.Errorf("append: %w", kv.ErrFull)); !errors.As(err, &e) || e.Code != 452 || e.EnhancedCode != (gosmtp.EnhancedCode{4, 3, 1}) {
		t.Error(err)
	}
	if err := local.FullDisk(io.ErrUnexpectedEOF); err != io.ErrUnexpectedEOF {
		t.Error(err)
	}
}

// begin opens a transaction of a new session.
func (r *rig) begin(t *testing.T, size int64, to string) (gosmtp.Session, error) {
	t.Helper()
	s, err := r.desk.NewSession(t.Context(), smtp.Peer{Hello: "c", Extended: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Mail("a@away.test", &gosmtp.MailOptions{Size: size}); err != nil {
		t.Fatal(err)
	}
	return s, s.Rcpt(to, &gosmtp.RcptOptions{})
}

// TestReservations: a transaction holds room in bob's mailbox of 5000 octets until it ends, however it ends.
func TestReservations(t *testing.T) {
	r := newRig(t)
	one, err := r.begin(t, 3000, "bob@alpha.test")
	if err != nil {
		t.Fatal(err)
	}
	if err := one.Rcpt("bob@alpha.test", &gosmtp.RcptOptions{}); err != nil {
		t.Error("the same account twice is one copy:", err)
	}
	full := func(want int) {
		t.Helper()
		s, err := r.begin(t, 3000, "bob@alpha.test")
		var e *gosmtp.SMTPError
		if errors.As(err, &e); (e == nil) != (want == 0) || (e != nil && e.Code != want) {
			t.Errorf("%v, want %d", err, want)
		}
		s.Logout()
	}
	full(452)
	one.Reset()
	full(0)
	if two, err := r.begin(t, 6000, "bob@alpha.test"); !strings.Contains(fmt.Sprint(err), "552") {
		t.Error(two, err)
	}
	three, _ := r.begin(t, 3000, "bob@alpha.test")
	if err := three.Data(strings.NewReader("Subject: x\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	three.Reset()
	full(0)
}

// TestPromisesFillNoMailbox: strangers who announce much and send nothing keep little of a quota from others.
func TestPromisesFillNoMailbox(t *testing.T) {
	r := newRig(t)
	err := r.db.Update(t.Context(), func(tx *kv.Tx) error { return r.store.SetQuota(tx, r.ids["alice"], store.Quota{Bytes: 20 << 20}) })
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if _, err := r.begin(t, 12<<20, "alice@alpha.test"); err != nil {
			t.Fatal("there is room for each of them:", err)
		}
	}
	honest, err := r.begin(t, 12<<20, "alice@alpha.test")
	if err != nil {
		t.Fatal("promises keep honest mail out:", err)
	}
	if err := honest.Data(strings.NewReader("Subject: x\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
}

// TestCutMessage: what did not come to its end is not delivered.
func TestCutMessage(t *testing.T) {
	r := newRig(t)
	s, err := r.begin(t, 0, "alice@alpha.test")
	if err != nil {
		t.Fatal(err)
	}
	cut := errors.New("cut")
	if err := s.Data(io.MultiReader(strings.NewReader("Subject: x\r\n\r\nhalf"), failing{cut})); err != cut {
		t.Error(err)
	}
	if rows := storetest.Rows(t, r.store, r.ids["alice"], store.Inbox); len(rows) != 0 {
		t.Error("half a message was delivered")
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// TestSizeIsNoPromise: who announces little and sends much spends no quota that is not there (RFC 1870 section 6.3).
func TestSizeIsNoPromise(t *testing.T) {
	r := newRig(t)
	first, err := r.begin(t, 1, "bob@alpha.test")
	if err != nil {
		t.Fatal(err)
	}
	large := "Subject: x\r\n\r\n" + strings.Repeat("x", 4600)
	if err := first.Data(strings.NewReader(large[:2000])); err != nil {
		t.Fatal("larger than announced, with room for it:", err)
	}
	first.Reset()
	second, err := r.begin(t, 1, "bob@alpha.test")
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Data(strings.NewReader(large + large)); !strings.Contains(fmt.Sprint(err), "552") {
		t.Error("a message over the quota was taken:", err)
	}
	second.Reset()
	third, err := r.begin(t, 1, "bob@alpha.test")
	if err != nil {
		t.Fatal("the reservation of the refused one is still held:", err)
	}
	if err := third.Data(strings.NewReader(large)); !strings.Contains(fmt.Sprint(err), "is full") {
		t.Error("a message over the quota was taken:", err)
	}
	if rows := storetest.Rows(t, r.store, r.ids["bob"], store.Inbox); len(rows) != 1 {
		t.Errorf("%d messages", len(rows))
	}
}

// TestFullMember: mail to an alias does not pass the quota of a full member: its copy waits in the queue, the others have theirs.
func TestFullMember(t *testing.T) {
	r := newRig(t)
	fill, err := r.begin(t, 4700, "bob@alpha.test")
	if err != nil {
		t.Fatal(err)
	}
	defer fill.Logout()
	s, err := r.begin(t, 1000, "team@alpha.test")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Data(strings.NewReader("Subject: x\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if a, b := storetest.Rows(t, r.store, r.ids["alice"], store.Inbox), storetest.Rows(t, r.store, r.ids["bob"], store.Inbox); len(a) != 1 || len(b) != 0 {
		t.Errorf("alice has %d, bob %d", len(a), len(b))
	}
	items, err := r.queue.List(t.Context(), queue.Filter{})
	if err != nil || len(items) != 1 || items[0].Envelope.Recipients[0].Address.String() != "bob@alpha.test" {
		t.Error(items, err)
	}
}
