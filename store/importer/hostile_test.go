package importer_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/importer"
)

// TestHostileMaildir: pipes and sockets where folders belong make nobody wait, and long lists cost little.
func TestHostileMaildir(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{
		"cur/1.good:2,": "Subject: good\n\n", "cur/2.line\nfeed\x1b[2J:2,": "Subject: odd name\n\n",
		"dovecot-uidlist": "3 V1500000000 N9\n1 :1.good\n" + strings.Repeat("x", 10<<20) + "\n2 P" + strings.Repeat("y", 5000) + " :2.other\n",
		".A/cur/1.a:2,":   "Subject: a\n\n",
	})
	for _, name := range []string{"new", ".A/new", ".A/dovecot-uidlist", "subscriptions"} {
		if err := syscall.Mkfifo(filepath.Join(dir, name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h := newHouse(t)
	if sum := h.run(maildir(t, dir), importer.Options{Kind: "maildir", Name: "x"}); sum.Taken.Messages != 3 {
		t.Errorf("%+v", sum)
	}
}

// TestRenamedWhileListed: a server that gives a file another name while its folder is read shows it twice. Two files of one name are
// two messages.
func TestRenamedWhileListed(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{"cur/1.a:2,": "Subject: a\n\n", "cur/2.b:2,": "Subject: b\n\n", "new/2.b": "Subject: other b\n\n"})
	if err := os.Link(filepath.Join(dir, "cur/1.a:2,"), filepath.Join(dir, "cur/1.a:2,S")); err != nil { // as the reader sees it
		t.Fatal(err)
	}
	h := newHouse(t)
	o := importer.Options{Kind: "maildir", Name: "x"}
	if sum := h.run(maildir(t, dir), o); sum.Taken.Messages != 3 {
		t.Errorf("%+v\n%s", sum, h.show(true))
	}
	if sum := h.run(maildir(t, dir), o); sum.Taken.Messages != 0 || sum.Already != 3 {
		t.Errorf("again: %+v", sum)
	}
}

// TestOtherPeoplesMail: root brings in the Maildirs of all users. A link to somebody else's in one of them leads nowhere.
func TestOtherPeoplesMail(t *testing.T) {
	if os.Geteuid() != 0 {
		return // the system itself keeps everybody else out
	}
	other := write(t, t.TempDir(), map[string]string{"cur/1.secret:2,": "Subject: secret\n\n", "new/": ""})
	dir := write(t, t.TempDir(), map[string]string{"cur/1.mine:2,": "Subject: mine\n\n", "new/": ""})
	for _, path := range []string{dir, filepath.Join(dir, "cur"), filepath.Join(dir, "cur/1.mine:2,")} {
		if err := os.Chown(path, 12345, 12345); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(other, filepath.Join(dir, ".Stolen")); err != nil {
		t.Fatal(err)
	}
	h := newHouse(t)
	sum := h.run(maildir(t, dir), importer.Options{Kind: "maildir", Name: "x"})
	if sum.Taken.Messages != 1 || strings.Contains(h.show(true), "secret") || sum.Lost() != 1 {
		t.Errorf("%+v\n%s", sum, h.show(true))
	}
}

// TestRecentlyDeleted: no mailbox that is imported hides the one of mail that was deleted here.
func TestRecentlyDeleted(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{"cur/": "", ".Recently Deleted/cur/1.a:2,": "Subject: a\n\n"})
	h := newHouse(t)
	if sum := h.run(maildir(t, dir), importer.Options{Kind: "maildir", Name: "x"}); sum.Taken.Messages != 1 {
		t.Errorf("%+v", sum)
	}
	if _, err := h.Store.Mailbox(t.Context(), account, store.BinName); err == nil {
		t.Errorf("there is a mailbox %s now", store.BinName)
	}
}
