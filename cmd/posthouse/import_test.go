package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// seedOldMail makes what other servers and programs leave behind: maildir, mbox and eml in dir.
func seedOldMail(t *testing.T, dir string) {
	t.Helper()
	const from = "From a@far.test Thu Jan  2 03:04:05 2020\n"
	when := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, text := range map[string]string{
		"maildir/dovecot-uidlist":        "3 V1500000000 N20 G00112233445566778899aabbccddeeff\n5 :1.a\n9 :2.b\n",
		"maildir/dovecot-keywords":       "0 Work\n",
		"maildir/cur/1.a:2,Sa":           "Subject: one\n\none\n",
		"maildir/cur/2.b:2,":             "Subject: two\n\ntwo\n",
		"maildir/cur/3.empty:2,":         "",
		"maildir/new/4.c":                "Subject: three\n\nthree\n",
		"maildir/.Sent Items/cur/1.s:2,": "Subject: sent\n\nsent\n",
		"mail.mbox":                      from + "Status: RO\nSubject: box\n\nbox\n\n" + from + "Subject: box 2\n\nbox 2\n\n",
		"eml/Letters/a.eml":              "Subject: letter\r\nDate: Thu, 02 Jan 2020 03:04:05 +0000\r\n\r\nletter\r\n",
		"full/cur/1.a:2,":                "Subject: large\r\n\r\n" + string(make([]byte, 3000)),
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, when, when); err != nil {
			t.Fatal(err)
		}
	}
}

// TestNamesAreNoOrders: the name of a file or what a server says reaches the terminal as text, never as an order to it.
func TestNamesAreNoOrders(t *testing.T) {
	dir := t.TempDir()
	const odd = "1.a\x1b[2J\x9b1m\n! forged:2,"
	for _, folder := range []string{"data", "m/cur", "m/new"} {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "m/cur", odd), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	typed(t, dir, "posthouse domain add one.test", "", false)
	typed(t, dir, "posthouse account add a@one.test --password-stdin", "secret\n", false)
	out := typed(t, dir, "posthouse import maildir $DIR/m --account a@one.test", "", false)
	out += typed(t, dir, "posthouse import maildir $DIR/none\x1b[2J --account a@one.test", "", false)
	if strings.ContainsAny(out, "\x1b\u009b") || strings.Contains(out, "\x9b") || strings.Contains(out, "\n! forged") || !strings.Contains(out, "1.a?[2J") {
		t.Errorf("%q", out)
	}
}
