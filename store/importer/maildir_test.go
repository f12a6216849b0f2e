package importer_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/importer"
)

// dovecot is a Maildir++ as Dovecot leaves it.
func dovecot(t testing.TB) string {
	dir := write(t, t.TempDir(), map[string]string{
		"tmp/": "", "new/": "", "tmp/1.half": "Subject: half",
		"dovecot-uidlist":              "3 V1500000000 N20 G00112233445566778899aabbccddeeff\n5 :1001.M1.host,S=20\n7 Pold-id W20 :1003.M3.host:2,\n9 :1002.M2.host\nnonsense\n",
		"dovecot-keywords":             "0 $Work\n1 Later\n",
		"subscriptions":                "Sent\nA.B &- C\n",
		"cur/1001.M1.host,S=20:2,RSab": "Subject: one\n\none\n",
		"cur/1002.M2.host:2,DFPT":      "Subject: two\r\n\r\ntwo\r\n",
		"new/1003.M3.host":             "Subject: three\n\nthree\n",
		".Sent/cur/1.a:2,S":            "Subject: sent\n\n",
		".A.B &- C/cur/":               "", ".A.B &- C/new/1.a": "Subject: deep\n\n",
		".Sent/maildirfolder":  "",
		".M&APw-ll/cur/1.b:2,": "Subject: muell\n\n",
		".Spam/cur/1.c:2,":     "Subject: spam\n\n",
	})
	for i, name := range []string{"cur/1001.M1.host,S=20:2,RSab", "cur/1002.M2.host:2,DFPT", "new/1003.M3.host", ".Sent/cur/1.a:2,S", ".A.B &- C/new/1.a", ".M&APw-ll/cur/1.b:2,", ".Spam/cur/1.c:2,"} {
		when := time.Date(2020, 1, 1+i, 0, 0, 0, 0, time.UTC)
		if err := os.Chtimes(filepath.Join(dir, name), when, when); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestMaildir(t *testing.T) {
	h := newHouse(t)
	sum := h.run(maildir(t, dovecot(t)), importer.Options{Kind: "maildir", Name: "x"})
	inbox, rest, _ := strings.Cut(h.show(true)[strings.Index(h.show(true), "INBOX"):], "Junk")
	equal(t, inbox, `INBOX 1500000000 20
  5 2020-01-01 00:00:00 ($Work Later \Answered \Seen) 0000000559682f00 "Subject: one\r\n\r\none\r\n"
  7 2020-01-03 00:00:00 () old-id "Subject: three\r\n\r\nthree\r\n"
  9 2020-01-02 00:00:00 ($Forwarded \Deleted \Draft \Flagged) 0000000959682f00 "Subject: two\r\n\r\ntwo\r\n"
`)
	for _, want := range []string{"Müll ", "Sent ", `1 2020-01-04 00:00:00 (\Seen) "Subject: sent\r\n\r\n"`} {
		if !strings.Contains(rest, want) {
			t.Errorf("%q is not in\n%s", want, rest)
		}
	}
	if sum.Taken.Messages != 7 || sum.Folders != 5 || sum.LineEnds != 6 {
		t.Errorf("summary %+v", sum)
	}
	boxes, err := h.Store.Mailboxes(t.Context(), account)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range boxes {
		if b.Name == "A/B & C" && b.Subscribed {
			return
		}
	}
	t.Errorf("no subscribed mailbox A/B & C: %+v", boxes)
}

// TestAgain: a second run takes in what is new, gives what is there its new flags, and nothing comes twice.
func TestAgain(t *testing.T) {
	h := newHouse(t)
	dir := dovecot(t)
	o := importer.Options{Kind: "maildir", Name: "x"}
	h.run(maildir(t, dir), o)
	before := h.show(true)
	if sum := h.run(maildir(t, dir), o); sum.Taken.Messages != 0 || sum.Already != 7 {
		t.Errorf("second run: %+v", sum)
	}
	equal(t, h.show(true), before)
	if err := os.Rename(filepath.Join(dir, "new/1003.M3.host"), filepath.Join(dir, "cur/1003.M3.host:2,Sb")); err != nil {
		t.Fatal(err)
	}
	write(t, dir, map[string]string{"cur/1004.M4.host:2,": "Subject: four\n\nfour\n"})
	list, err := os.ReadFile(filepath.Join(dir, "dovecot-uidlist"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, map[string]string{"dovecot-uidlist": strings.Replace(string(list), "N20", "N21", 1) + "20 :1004.M4.host\n"})
	dry := o
	dry.DryRun = true
	if sum := h.run(maildir(t, dir), dry); sum.Taken.Messages != 1 || sum.Taken.Reflagged != 1 {
		t.Errorf("dry run: %+v", sum)
	}
	equal(t, h.show(true), before)
	if sum := h.run(maildir(t, dir), o); sum.Taken.Messages != 1 || sum.Taken.Reflagged != 1 || sum.Already != 6 {
		t.Errorf("third run: %+v", sum)
	}
	if sum := h.run(maildir(t, dir), o); sum.Taken.Messages != 0 || sum.Taken.Reflagged != 0 || sum.Already != 8 {
		t.Errorf("fourth run: %+v", sum)
	}
	got := h.show(false)
	for _, want := range []string{"INBOX 1500000000 21\n", `  7 2020-01-03 00:00:00 (Later \Seen) old-id`, "\n  20 "} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	o.Again = true
	if sum := h.run(maildir(t, dir), o); sum.Taken.Messages != 8 || sum.Taken.Renumbered != 4 {
		t.Errorf("run with --again: %+v", sum)
	}
}

// TestBadFiles: whatever stands in a Maildir is passed over by its reason, or taken.
func TestBadFiles(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{
		"cur/1.good:2,": "Subject: good\n\n", "cur/2.empty:2,": "", "cur/3.dir:2,/": "",
		"cur/4.nul:2,": strings.Repeat("\x00", 5000), "cur/5.binary:2,": "\x7fELF\x01\x02\x03\x00\x00\n\n", "cur/6.secret:2,": "Subject: x\n\n",
		"cur/7.body:2,": "no header at all\n\nSome text", "cur/8.late:2,": "Subject: x\n\nattached: \x00\x00\x00\n", "cur/.hidden": "x",
		"cur/9.crs:2,": "Subject: a\r\rb\rc\nd\r\n", ".Loop/cur/": "", "new/": "",
	})
	if err := os.Symlink("1.good:2,", filepath.Join(dir, "cur/a.link:2,")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("..", filepath.Join(dir, ".Loop/.Round")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "cur/b.fifo:2,"), 0o600); err != nil {
		t.Fatal(err)
	}
	huge, err := os.Create(filepath.Join(dir, "cur/c.huge:2,"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(huge.Truncate(5<<30), huge.Close(), os.Chmod(filepath.Join(dir, "cur/6.secret:2,"), 0)); err != nil {
		t.Fatal(err)
	}
	h := newHouse(t)
	sum := h.run(maildir(t, dir), importer.Options{Kind: "maildir", Name: "x"})
	got := map[string]int64{}
	for _, k := range sum.Skipped {
		got[k.Reason] = k.Count
	}
	want := map[string]int64{"empty": 1, "no plain file": 3, "no message, but other data": 2, "larger than 4 GiB": 1, "cannot be read": 1}
	if os.Geteuid() == 0 { // nothing is unreadable to root
		delete(want, "cannot be read")
		sum.Taken.Messages--
	}
	if fmt.Sprint(got) != fmt.Sprint(want) || sum.Taken.Messages != 4 {
		t.Errorf("passed over %v, want %v; taken %d", got, want, sum.Taken.Messages)
	}
	if text := h.show(true); !strings.Contains(text, `"Subject: a\r\n\r\nb\r\nc\r\nd\r\n"`) || !strings.Contains(text, `\x00\x00\x00`) {
		t.Errorf("texts\n%s", text)
	}
}

// TestQuota: an import that does not fit stops and says how much is missing.
func TestQuota(t *testing.T) {
	files := map[string]string{}
	for i := range 3000 {
		files[fmt.Sprintf("cur/%d.x:2,", 1000+i)] = fmt.Sprintf("Subject: %04d\r\n\r\n", i) // 17 octets
	}
	dir := write(t, t.TempDir(), files)
	h := newHouse(t, store.Quota{Bytes: 17 * 2000})
	o := importer.Options{Kind: "maildir", Name: "x"}
	sum, err := importer.Run(t.Context(), maildir(t, dir), h, o)
	if !errors.Is(err, importer.ErrOverQuota) || sum.OverQuota == nil || sum.OverQuota.Bytes != 17*1000 {
		t.Fatalf("%v, %+v", err, sum.OverQuota)
	}
	if sum.Taken.Messages == 0 || sum.Taken.Messages > 2000 {
		t.Errorf("%d messages taken", sum.Taken.Messages)
	}
	// With room for it the next run takes the rest.
	other := newHouse(t)
	o.Names.Mailbox = "Old"
	if sum := other.run(maildir(t, dir), o); sum.Taken.Messages != 3000 {
		t.Errorf("%+v", sum)
	}
}

// TestStopAndGoOn: an import that is cut off anywhere goes on, and every message is there once.
func TestStopAndGoOn(t *testing.T) {
	files := map[string]string{}
	for i := range 3000 {
		files[fmt.Sprintf("cur/%d.x:2,S", 10000+i)] = fmt.Sprintf("Subject: %d\n\n", i)
	}
	dir := write(t, t.TempDir(), files)
	h := newHouse(t)
	o := importer.Options{Kind: "maildir", Name: "x"}
	tries := 0
	for stop := int64(300); ; stop += 500 {
		ctx, cancel := context.WithCancel(t.Context())
		o.Progress = func(p importer.Progress) {
			if p.Messages >= stop {
				cancel()
			}
		}
		o.Now = ticking()
		_, err := importer.Run(ctx, maildir(t, dir), h, o)
		cancel()
		tries++
		if err == nil {
			break
		}
		if tries%2 == 0 {
			h.Reopen()
		}
		if tries > 50 {
			t.Fatal("it never ends")
		}
	}
	once(t, h, 3000)
	if tries < 3 {
		t.Errorf("%d tries only", tries)
	}
}

// TestRefusedMailbox: a folder whose mailbox cannot be made is told of, and the others come.
func TestRefusedMailbox(t *testing.T) {
	h := newHouse(t)
	h.refuse = "Odd"
	dir := write(t, t.TempDir(), map[string]string{
		"cur/1.a:2,": "Subject: a\n\n", ".Odd/cur/1.b:2,": "Subject: b\n\n", ".Other/cur/1.c:2,": "Subject: c\n\n",
	})
	sum := h.run(maildir(t, dir), importer.Options{Kind: "maildir", Name: "x"})
	if sum.Taken.Messages != 2 || len(sum.Skipped) != 1 || !strings.Contains(sum.Skipped[0].Where[0], "Odd") || sum.Lost() != 1 {
		t.Errorf("%+v", sum)
	}
}
