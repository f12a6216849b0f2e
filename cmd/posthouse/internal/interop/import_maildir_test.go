//go:build interop

package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	goimap "github.com/emersion/go-imap/v2"
)

// TestImportMaildirOfDovecot moves Dovecot's files here, and back out to Dovecot: a client that synchronises and one that downloads
// see no difference.
func TestImportMaildirOfDovecot(t *testing.T) {
	d, h := startDovecot(t), demo(t)
	home := t.TempDir()
	d.fill(t, bob, "", 300)
	for folder, n := range map[string]int{".Arbeit": 30, ".Arbeit.Pl&AOQ-ne": 12, ".Gesendet": 9} {
		d.fill(t, bob, folder, n)
	}
	d.own(t)
	// Dovecot gives uids, keywords and new messages of its own; some are gone, so that uids have gaps.
	d.flag(t, bob, "INBOX", goimap.UIDSetNum(5, 6, 7), "$Work", "$Forwarded")
	d.flag(t, bob, "INBOX.Arbeit", goimap.UIDSetNum(2), "Dringend")
	d.flag(t, bob, "INBOX.Arbeit", goimap.UIDSetNum(1, 9, 30), goimap.FlagDeleted)
	c := d.imap(t, bob)
	for _, folder := range []string{"INBOX.Arbeit.Pläne", "INBOX.Gesendet", "INBOX.Arbeit"} {
		if _, err := c.Select(folder, nil).Wait(); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Expunge().Close(); err != nil {
		t.Fatal(err)
	}
	text := message("a@gamma.test", bob, "appended there")
	add := c.Append("INBOX", int64(len(text)), &goimap.AppendOptions{Flags: []goimap.Flag{goimap.FlagFlagged}})
	if _, err := add.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := add.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := add.Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	c.Close()

	sync := func(port, ca, user, path string) string {
		if err := os.MkdirAll(home+"/mail", 0o700); err != nil {
			t.Fatal(err)
		}
		rc := write(t, home, "mbsyncrc", fmt.Sprintf("IMAPAccount a\nHost localhost\nPort %s\nUser %s\nPass %s\nSSLType IMAPS\nCertificateFile %s\n\nIMAPStore far\nAccount a\n%s"+
			"\nMaildirStore near\nPath %s/mail/\nInbox %s/mail/INBOX\nSubFolders Verbatim\n\nChannel all\nFar :far:\nNear :near:\nPatterns INBOX Arbeit* Gesendet\nCreate Near\nRemove Near\nExpunge Near\nSyncState *\nSync Pull\n",
			port, user, password, ca, path, home, home))
		run(t, home, "", "mbsync", "-c", rc, "-a")
		return tree(t, home+"/mail")
	}
	fetch := func(port, ca, user string) int {
		makeMaildir(t, home+"/pop")
		conf := write(t, home, "mpoprc", fmt.Sprintf("account a\nhost localhost\nport %s\ntls on\ntls_starttls off\ntls_trust_file %s\nuser %s\npassword %s\nkeep on\nuidls_file %s/uidls\ndelivery maildir %s/pop\n",
			port, ca, user, password, home, home))
		run(t, home, "", "mpop", "-C", conf, "a")
		return maildir(t, home+"/pop")
	}
	if n := fetch(fmt.Sprint(d.pops), d.ca, bob); n != 301 { // before the other one: it marks as read
		t.Fatalf("mpop fetched %d messages from Dovecot", n)
	}
	there := sync(fmt.Sprint(d.imaps), d.ca, bob, "Path INBOX.\n")
	if n := strings.Count(there, "\n"); n != 301+27+12+9 {
		t.Fatalf("mbsync brought %d messages from Dovecot", n)
	}

	source := filepath.Join(d.dir, "mail", bob, "Maildir")
	out := run(t, home, "", binary, "import", "maildir", source, "--data", h.data, "--account", bob)
	if !strings.HasPrefix(out, "349 messages") || strings.Contains(out, "uids") || strings.Contains(out, "passed over") {
		t.Errorf("import:\n%s", out)
	}
	if here := sync(h.port(1993), h.ca, bob, ""); here != there {
		t.Errorf("mbsync sees a difference after the move:\n%s", lineDiff(here, there))
	}
	if n := fetch(h.port(1995), h.ca, bob); n != 301 {
		t.Errorf("mpop has %d messages after the move, want 301: it downloaded again", n)
	}
	if out := run(t, home, "", binary, "import", "maildir", source, "--data", h.data, "--account", bob); !strings.Contains(out, "349 were here already") {
		t.Errorf("second import:\n%s", out)
	}

	// And out again: Dovecot serves what we write, as another user's mail.
	export := filepath.Join(d.dir, "mail", alice, "Maildir")
	if err := os.MkdirAll(filepath.Dir(export), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Log(run(t, home, "", binary, "export", "maildir", export, "--data", h.data, "--account", bob))
	d.own(t)
	// The name of the account is part of no state: bob's client goes on with alice's login.
	if back := sync(fmt.Sprint(d.imaps), d.ca, alice, "Path INBOX.\n"); back != there {
		t.Errorf("mbsync sees a difference in Dovecot after the export:\n%s", lineDiff(back, there))
	}
	if _, err := os.Stat(filepath.Join(export, "dovecot-uidlist")); err != nil {
		t.Error(err)
	}
}

// lineDiff is the lines that only one of two texts has.
func lineDiff(got, want string) string {
	in := map[string]int{}
	for line := range strings.Lines(want) {
		in[line]--
	}
	for line := range strings.Lines(got) {
		in[line]++
	}
	var out strings.Builder
	for line, n := range in {
		switch {
		case n > 0:
			out.WriteString("only now: " + line)
		case n < 0:
			out.WriteString("only before: " + line)
		}
	}
	return out.String()
}
