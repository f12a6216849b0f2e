//go:build interop

package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCurlIMAP(t *testing.T) {
	h := demo(t)
	home := t.TempDir()
	for i := range 3 {
		h.deliver(t, "stranger@gamma.test", bob, fmt.Sprintf("curl imap %d", i))
	}
	base := "imaps://localhost:" + h.port(1993)
	curl := func(args ...string) string {
		return run(t, home, "", "curl", append([]string{"-sS", "--cacert", h.ca, "--user", bob + ":" + password}, args...)...)
	}
	if out := curl(base); !strings.Contains(out, "INBOX") || !strings.Contains(out, `\Sent`) {
		t.Errorf("LIST:\n%s", out)
	}
	if out := curl(base + "/INBOX;UID=2"); !strings.Contains(out, "Subject: curl imap 1\r\n") {
		t.Errorf("UID 2:\n%s", out)
	}
	if out := curl(base + "/INBOX;MAILINDEX=1;SECTION=HEADER.FIELDS%20(SUBJECT)"); !strings.Contains(out, "Subject: curl imap 0") {
		t.Errorf("section:\n%s", out)
	}
	if out := curl(base + "/INBOX?SUBJECT%20%22imap%202%22"); !strings.Contains(out, "* SEARCH 3") {
		t.Errorf("SEARCH: %q", out)
	}
	curl(base, "-X", "CREATE Work/Projects")
	file := write(t, home, "mail.eml", message(bob, bob, "appended by curl"))
	curl("--ssl-reqd", "imap://localhost:"+h.port(1143)+"/Work/Projects", "-T", file)
	h.awaitMail(t, bob, "Work/Projects", "appended by curl", 1)
	if out := curl(base+"/INBOX", "-X", "STORE 1 +FLAGS (\\Deleted \\Seen)"); !strings.Contains(out, "FETCH") {
		t.Errorf("STORE: %q", out)
	}
	curl(base+"/INBOX", "-X", "EXPUNGE")
	h.awaitMail(t, bob, "INBOX", "curl imap", 2)
}

// TestIsync syncs several mailboxes both ways with flags, twice.
func TestIsync(t *testing.T) {
	h := demo(t)
	home := t.TempDir()
	for i := range 5 {
		h.deliver(t, "stranger@gamma.test", bob, fmt.Sprintf("isync %d", i))
	}
	conf := write(t, home, "mbsyncrc", "IMAPAccount house\nHost localhost\nPort "+h.port(1993)+"\nUser "+bob+"\nPass "+password+"\nSSLType IMAPS\nCertificateFile "+h.ca+
		"\n\nIMAPStore far\nAccount house\n\nMaildirStore near\nPath "+home+"/mail/\nInbox "+home+"/mail/INBOX\nSubFolders Verbatim\n"+
		"\nChannel all\nFar :far:\nNear :near:\nPatterns *\nCreate Both\nRemove Both\nExpunge Both\nSyncState *\nSync All\n")
	if err := os.MkdirAll(home+"/mail", 0o700); err != nil {
		t.Fatal(err)
	}
	sync := func() { run(t, home, "", "mbsync", "-c", conf, "-a") }
	sync()
	if n := maildir(t, home+"/mail/INBOX", "Subject: isync"); n != 5 {
		t.Fatalf("the first sync brought %d of 5", n)
	}
	for _, name := range []string{"Drafts", "Sent", "Junk", "Trash", "Archive"} {
		if _, err := os.Stat(filepath.Join(home, "mail", name, "cur")); err != nil {
			t.Errorf("special-use mailbox %s did not come: %v", name, err)
		}
	}
	// Local changes: a new message in a new folder, a flag, a deletion.
	makeMaildir(t, filepath.Join(home, "mail", "Local"))
	write(t, filepath.Join(home, "mail", "Local", "cur"), "1.made.here:2,FS", strings.ReplaceAll(message(bob, bob, "made here"), "\r\n", "\n"))
	files, _ := filepath.Glob(home + "/mail/INBOX/*/*")
	renameFlags(t, files[0], "T")
	renameFlags(t, files[1], "FS")
	sync()
	h.awaitMail(t, bob, "Local", "made here", 1)
	h.awaitMail(t, bob, "INBOX", "isync", 4)
	// A change on the server comes back.
	h.deliver(t, "stranger@gamma.test", bob, "isync late")
	sync()
	if n := maildir(t, home+"/mail/INBOX", "Subject: isync"); n != 5 {
		t.Errorf("after the second round %d messages, want 5", n)
	}
	flagged, _ := filepath.Glob(home + "/mail/INBOX/cur/*:2,F*S*")
	if len(flagged) != 1 {
		t.Errorf("%d messages with F and S, want 1", len(flagged))
	}
	before := tree(t, home+"/mail")
	sync()
	if after := tree(t, home+"/mail"); after != before {
		t.Errorf("a sync without changes changed something:\n%s\nnow\n%s", before, after)
	}
}

// renameFlags gives a Maildir file its flags and moves it to cur.
func renameFlags(t *testing.T, path, flags string) {
	t.Helper()
	name, _, _ := strings.Cut(filepath.Base(path), ":2,")
	to := filepath.Join(filepath.Dir(filepath.Dir(path)), "cur", name+":2,"+flags)
	if err := os.Rename(path, to); err != nil {
		t.Fatal(err)
	}
}

// tree lists the messages below a folder.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !strings.HasPrefix(d.Name(), ".") {
			b.WriteString(strings.TrimPrefix(path, dir) + "\n")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestOfflineimap(t *testing.T) {
	h := demo(t)
	home := t.TempDir()
	for i := range 3 {
		h.deliver(t, "stranger@gamma.test", bob, fmt.Sprintf("offlineimap %d", i))
	}
	conf := write(t, home, "offlineimaprc", "[general]\naccounts = house\nmetadata = "+home+"/meta\nui = basic\n[Account house]\nlocalrepository = near\nremoterepository = far\n"+
		"[Repository near]\ntype = Maildir\nlocalfolders = "+home+"/mail\n[Repository far]\ntype = IMAP\nremotehost = localhost\nremoteport = "+h.port(1993)+
		"\nremoteuser = "+bob+"\nremotepass = "+password+"\nssl = yes\nsslcacertfile = "+h.ca+"\nstarttls = no\n")
	run(t, home, "", "offlineimap", "-c", conf, "-o", "-1")
	if n := maildir(t, home+"/mail/INBOX", "Subject: offlineimap"); n != 3 {
		t.Fatalf("the first sync brought %d of 3", n)
	}
	files, _ := filepath.Glob(home + "/mail/INBOX/*/*")
	renameFlags(t, files[0], "S")
	write(t, home+"/mail/Sent/cur", "1.made.here:2,S", strings.ReplaceAll(message(bob, bob, "sent offline"), "\r\n", "\n"))
	run(t, home, "", "offlineimap", "-c", conf, "-o", "-1")
	h.awaitMail(t, bob, "Sent", "sent offline", 1)
}

// TestNeomutt reads, tags, saves and deletes through a terminal of its own, and sends.
func TestNeomutt(t *testing.T) {
	h := demo(t)
	home := t.TempDir()
	for i := range 3 {
		h.deliver(t, "stranger@gamma.test", alice, fmt.Sprintf("neomutt %d", i))
	}
	conf := write(t, home, "muttrc", "set from="+alice+"\nset imap_user="+alice+"\nset imap_pass="+password+"\nset folder=imaps://localhost:"+h.port(1993)+
		"/\nset spoolfile=+INBOX\nset ssl_ca_certificates_file="+h.ca+"\nset certificate_file="+h.ca+"\nset smtp_url=smtps://alice%40alpha.test@localhost:"+h.port(1465)+
		"\nset smtp_pass="+password+"\nset record=+Sent\nset confirmappend=no\nset confirmcreate=no\nset delete=yes\nset quit=yes\nset header_cache=\nset ssl_force_tls=yes\nset use_threads=flat\n")
	run(t, home, "A body.\n", "neomutt", "-F", conf, "-s", "neomutt in batch", carol)
	h.awaitMail(t, carol, "INBOX", "neomutt in batch", 1)
	mutt := func(keys string) {
		t.Helper()
		script := write(t, home, "keys", "set editor=true\nset abort_unmodified=no\npush \""+keys+"<quit>\"\n")
		run(t, home, "", "script", "-qec", "neomutt -F "+conf+" -e 'source "+script+"'", "/dev/null")
	}
	mutt("<mail>" + carol + "<enter>neomutt to carol<enter><send-message>")
	h.awaitMail(t, carol, "INBOX", "neomutt to carol", 1)
	h.awaitMail(t, alice, "Sent", "neomutt to carol", 1)
	mutt("<tag-pattern>~s 'neomutt 1'<enter><tag-prefix><save-message>=Archive<enter><delete-pattern>~s 'neomutt 2'<enter><sync-mailbox>")
	h.awaitMail(t, alice, "Archive", "neomutt 1", 1)
	h.awaitMail(t, alice, "INBOX", "neomutt", 1)
}

func TestPythonIMAP(t *testing.T) {
	h := demo(t)
	for i := range 3 {
		h.deliver(t, "stranger@gamma.test", bob, fmt.Sprintf("imaplib %d", i))
	}
	python(t, h, "imap.py")
	h.awaitMail(t, bob, "Archive", "imaplib 1", 1)
}
