package housetest

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/posthouse-mail/posthouse/cmd/posthouse/internal/daemon"
	"github.com/posthouse-mail/posthouse/web/admin"
)

// TestNearlyFull: who has used most of his quota gets a message, and so does the postmaster of a domain.
func TestNearlyFull(t *testing.T) {
	h := newStreet(t).build("", "admin@one.test", "alice@one.test")
	ten := uint64(10)
	if _, err := h.Daemon.House().SetAccount(t.Context(), "alice@one.test", admin.Change{Messages: &ten}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Daemon.House().SetDomainQuota(t.Context(), "one.test", admin.Amount{Messages: 10}); err != nil {
		t.Fatal(err)
	}
	for range 9 {
		h.send("admin@one.test", "fills it", "alice@one.test")
	}
	alice, postmaster := h.reader("alice@one.test"), h.reader("admin@one.test")
	told := alice.body(alice.awaits(1, "mailbox is 90")[0])
	for _, want := range []string{"Return-Path: <>\r\n", "Auto-Submitted: auto-generated\r\n", "9 of 10 messages", "postmaster@one.test"} {
		if !strings.Contains(told, want) {
			t.Errorf("%q is missing in\n%s", want, told)
		}
	}
	if told := postmaster.body(postmaster.awaits(1, "mailboxes of one.test are")[0]); !strings.Contains(told, "posthouse domain quota one.test") {
		t.Errorf("the postmaster reads\n%s", told)
	}
	refused := h.submission("admin@one.test").SendMail("admin@one.test", []string{"alice@one.test"}, strings.NewReader(text("admin@one.test", "too much", "alice@one.test")))
	if refused == nil || !strings.Contains(refused.Error(), "full") {
		t.Errorf("mail beyond the quota: %v", refused)
	}
}

// TestDiskNearlyFull: the postmaster is told, new mail is refused, the rest goes on, and all comes back by itself.
func TestDiskNearlyFull(t *testing.T) {
	const size = 100 << 30
	var free atomic.Int64
	free.Store(size / 2)
	disk := func() (daemon.Disk, error) { return daemon.Disk{Free: free.Load(), Size: size}, nil }
	h := newStreet(t).buildOn(disk, "", "admin@one.test", "alice@one.test")
	h.send("admin@one.test", "before", "alice@one.test")
	alice, postmaster := h.reader("alice@one.test"), h.reader("admin@one.test")
	one := alice.awaits(1, "before")[0]

	free.Store(500 << 20)
	told := postmaster.body(postmaster.awaits(1, "nearly full")[0])
	for _, want := range []string{"500 MiB of 100 GiB", "mx.one.test", "posthouse account list", "store.keep_deleted", "1 messages"} {
		if !strings.Contains(told, want) {
			t.Errorf("%q is missing in\n%s", want, told)
		}
	}
	h.send("admin@one.test", "while there is little", "alice@one.test")
	alice.awaits(1, "while there is little")

	free.Store(100 << 20)
	h.awaitAnswer("MAIL FROM:<stranger@far.test>", "452 4.3.1")
	err := h.submission("admin@one.test").Mail("admin@one.test", nil)
	if err == nil || !strings.Contains(err.Error(), "No space") {
		t.Errorf("submission on a full disk: %v", err)
	}
	err = appendText(alice, "Subject: x\r\n\r\nx\r\n")
	if err == nil || !strings.Contains(err.Error(), "disk is full") {
		t.Errorf("APPEND on a full disk: %v", err)
	}
	flags := goimap.StoreFlags{Op: goimap.StoreFlagsAdd, Flags: []goimap.Flag{goimap.FlagDeleted}}
	if _, err := alice.Store(goimap.UIDSetNum(one), &flags, nil).Collect(); err != nil {
		t.Errorf("STORE on a full disk: %v", err)
	}
	if _, err := alice.Expunge().Collect(); err != nil {
		t.Errorf("EXPUNGE on a full disk: %v", err)
	}

	free.Store(size / 2)
	h.awaitAnswer("MAIL FROM:<stranger@far.test>", "250")
	if err := appendText(alice, "Subject: after\r\n\r\nx\r\n"); err != nil {
		t.Errorf("APPEND when there is room again: %v", err)
	}
	postmaster.awaits(1, "nearly full") // once
}

// awaitAnswer says the command on port 25, on one connection after the other, until the answer is this.
func (h *house) awaitAnswer(command, want string) {
	h.t.Helper()
	var got string
	for end := time.Now().Add(patience); time.Now().Before(end); {
		c := h.smtp()
		c.say(command)
		if got = c.hear(); strings.HasPrefix(got, want) {
			return
		}
	}
	h.t.Fatalf("%s is answered %q, want %q", command, got, want)
}

func appendText(r *reader, text string) error {
	cmd := r.Append("INBOX", int64(len(text)), nil)
	if _, err := cmd.Write([]byte(text)); err != nil {
		return err
	}
	if err := cmd.Close(); err != nil {
		return err
	}
	_, err := cmd.Wait()
	return err
}
