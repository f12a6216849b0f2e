//go:build interop

package interop

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/posthouse-mail/posthouse/internal/cert"
)

// dovecot is Debian's, with a configuration, certificates and mail of its own, and the accounts of the demo.
type dovecot struct {
	dir         string
	ca          string
	imaps, pops int
}

const dovecotConf = `base_dir = DIR/run
state_dir = DIR/run
log_path = DIR/log
ssl = required
ssl_cert = <DIR/mx.crt
ssl_key = <DIR/mx.key
listen = 127.0.0.1
protocols = imap pop3
mail_location = maildir:~/Maildir
first_valid_uid = 1
first_valid_gid = 1
mail_max_userip_connections = 100
default_internal_user = dovecot
default_login_user = dovenull
auth_failure_delay = 0
passdb {
  driver = passwd-file
  args = username_format=%u DIR/users
}
userdb {
  driver = passwd-file
  args = username_format=%u DIR/users
}
namespace inbox {
  inbox = yes
  separator = .
  prefix = INBOX.
  mailbox Gesendet {
    special_use = \Sent
  }
}
service imap-login {
  inet_listener imap {
    port = 0
  }
  inet_listener imaps {
    port = IMAPS
  }
}
service pop3-login {
  inet_listener pop3 {
    port = 0
  }
  inet_listener pop3s {
    port = POPS
  }
}
`

// startDovecot needs root, as Dovecot's own login processes do.
func startDovecot(t *testing.T) *dovecot {
	t.Helper()
	dir, err := os.MkdirTemp("", "interop-dovecot-") // t.TempDir's parent is closed to other users
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	d := &dovecot{dir: dir, imaps: freePort(t), pops: freePort(t), ca: filepath.Join(dir, "ca.pem")}
	authority, err := cert.NewAuthority("dovecot", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := authority.WritePair(dir, "mx", "localhost")
	if err != nil {
		t.Fatal(err)
	}
	uid, gid := strings.TrimSpace(run(t, dir, "", "id", "-u", "mail")), strings.TrimSpace(run(t, dir, "", "id", "-g", "mail"))
	users := ""
	for _, u := range []string{alice, bob} {
		users += fmt.Sprintf("%s:{PLAIN}%s:%s:%s::%s/mail/%s::\n", u, password, uid, gid, dir, u)
	}
	conf := strings.NewReplacer("DIR/mx.crt", pair.Certificate, "DIR/mx.key", pair.Key, "DIR", dir, "IMAPS", strconv.Itoa(d.imaps), "POPS", strconv.Itoa(d.pops)).Replace(dovecotConf)
	write(t, dir, "users", users)
	write(t, dir, "dovecot.conf", conf)
	if err := os.WriteFile(d.ca, authority.PEM(), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, sub := range []string{"run", "mail"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	run(t, dir, "", "chmod", "755", dir)
	run(t, dir, "", "chown", "mail", filepath.Join(dir, "mail"))
	run(t, dir, "", "chown", "root:dovecot", filepath.Join(dir, "users"))
	run(t, dir, "", "chmod", "640", filepath.Join(dir, "users"))
	cmd := exec.Command("dovecot", "-F", "-c", filepath.Join(dir, "dovecot.conf"))
	log := &buffer{}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
		if t.Failed() {
			text, _ := os.ReadFile(filepath.Join(dir, "log"))
			t.Logf("dovecot said:\n%s%s", log, text[max(0, len(text)-3000):])
		}
	})
	for _, port := range []int{d.imaps, d.pops} {
		awaitPort(t, port)
	}
	return d
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func awaitPort(t *testing.T, port int) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) { // another process
		if c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			c.Close()
			return
		}
	}
	t.Fatalf("nothing listens on port %d", port)
}

// fill puts n messages into a Maildir folder of a user, with dates, and every third with flags.
func (d *dovecot) fill(t *testing.T, user, folder string, n int) {
	t.Helper()
	dir := filepath.Join(d.dir, "mail", user, "Maildir", folder)
	makeMaildir(t, dir)
	for i := range n {
		flags := []string{"", "S", "FRS"}[i%3]
		name := filepath.Join(dir, "cur", fmt.Sprintf("%d.M%dP1.host:2,%s", 1_500_000_000+i, i, flags))
		text := message("a@gamma.test", user, fmt.Sprintf("%s number %d", strings.TrimPrefix(folder, "."), i))
		if i%7 == 0 {
			text += strings.Repeat("a longer text\r\n", 200+i)
		}
		if err := os.WriteFile(name, []byte(strings.ReplaceAll(text, "\r\n", "\n")), 0o600); err != nil {
			t.Fatal(err)
		}
		at := time.Unix(1_500_000_000+int64(i)*3600, 0)
		if err := os.Chtimes(name, at, at); err != nil {
			t.Fatal(err)
		}
	}
}

// own gives the mail to the user that Dovecot works as.
func (d *dovecot) own(t *testing.T) {
	run(t, d.dir, "", "chown", "-R", "mail", filepath.Join(d.dir, "mail"))
}

func (d *dovecot) imap(t *testing.T, user string) *imapclient.Client {
	t.Helper()
	pem, err := os.ReadFile(d.ca)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	c, err := imapclient.DialTLS(fmt.Sprintf("127.0.0.1:%d", d.imaps), &imapclient.Options{TLSConfig: &tls.Config{RootCAs: pool, ServerName: "localhost"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.Login(user, password).Wait(); err != nil {
		t.Fatal(err)
	}
	return c
}

// flag sets flags of messages of a folder there.
func (d *dovecot) flag(t *testing.T, user, folder string, uids goimap.UIDSet, flags ...goimap.Flag) {
	t.Helper()
	c := d.imap(t, user)
	defer c.Close()
	if _, err := c.Select(folder, nil).Wait(); err != nil {
		t.Fatal(err)
	}
	if err := c.Store(uids, &goimap.StoreFlags{Op: goimap.StoreFlagsAdd, Flags: flags}, nil).Close(); err != nil {
		t.Fatal(err)
	}
}

// pull runs posthouse import.
func (h *house) pull(t *testing.T, args ...string) string {
	t.Helper()
	return run(t, h.data, password+"\n", binary, append(append([]string{"import"}, args...), "--data", h.data, "--password-stdin")...)
}

// imapServer is where mbsync goes.
type imapServer struct {
	port int
	ca   string
	path string // a line of its configuration
}

// mbsyncrc is a one-way sync of folders into a Maildir, with what it knows in it.
func mbsyncrc(t *testing.T, mail, name string, at imapServer) string {
	t.Helper()
	if err := os.MkdirAll(mail, 0o700); err != nil {
		t.Fatal(err)
	}
	return write(t, filepath.Dir(mail), name, fmt.Sprintf("FSync no\n\nIMAPAccount a\nHost localhost\nPort %d\nUser %s\nPass %s\nSSLType IMAPS\nCertificateFile %s\n\nIMAPStore far\nAccount a\n%s"+
		"\nMaildirStore near\nPath %s/\nInbox %s/INBOX\nSubFolders Verbatim\n\nChannel all\nFar :far:\nNear :near:\nPatterns INBOX Arbeit* Leer\nCreate Near\nRemove None\nExpunge None\nSyncState *\nSync Pull\n",
		at.port, bob, password, at.ca, at.path, mail, mail))
}

// contents is every message below a folder: where it stands, its flags and a hash of its text.
func contents(t *testing.T, dir string) string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			return err
		}
		text, err := os.ReadFile(path)
		var kept []string
		for line := range strings.Lines(string(text)) {
			if !strings.HasPrefix(line, "X-TUID: ") { // mbsync's own
				kept = append(kept, line)
			}
		}
		_, flags, _ := strings.Cut(filepath.Base(path), ":2,")
		all = append(all, fmt.Sprintf("%s %s %x", strings.TrimPrefix(filepath.Dir(filepath.Dir(path)), dir), flags, sha256.Sum256([]byte(strings.Join(kept, "")))))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

// popClients are two POP3 clients that keep mail on the server, and what they have.
type popClients struct{ home string }

// mpop fetches what is new and returns how much it has in all.
func (p popClients) mpop(t *testing.T, port int, ca string) int {
	t.Helper()
	makeMaildir(t, p.home+"/pop")
	conf := write(t, p.home, "mpoprc", fmt.Sprintf("account a\nhost localhost\nport %d\ntls on\ntls_starttls off\ntls_trust_file %s\nuser %s\npassword %s\nkeep on\nuidls_file %s/uidls\ndelivery maildir %s/pop\n",
		port, ca, bob, password, p.home, p.home))
	run(t, p.home, "", "mpop", "-C", conf, "a")
	return maildir(t, p.home+"/pop")
}

// fetchmail is mpop for the other one, which takes its time.
func (p popClients) fetchmail(t *testing.T, port int, ca string) int {
	t.Helper()
	conf := write(t, p.home, "fetchmailrc", fmt.Sprintf("set no bouncemail\npoll localhost protocol pop3 service %d timeout 30 uidl\n  user %q password %q sslcertfile %q sslcertck ssl keep\n  mda \"cat >>%s/fetched\"\n",
		port, bob, password, ca, p.home))
	out, err := try(t, p.home, "", "fetchmail", "-f", conf, "--nodetach", "--nosyslog", "--idfile", p.home+"/ids", "--pidfile", p.home+"/pid")
	if err != nil && !strings.Contains(err.Error(), "exit status 1") { // 1: nothing new
		t.Fatalf("fetchmail: %v\n%s", err, out)
	}
	text, _ := os.ReadFile(p.home + "/fetched")
	return strings.Count(string(text), "\nSubject: ")
}

// flagsOf reads the flags of one message.
func flagsOf(t *testing.T, c *imapclient.Client, folder string, uid goimap.UID) string {
	t.Helper()
	if _, err := c.Select(folder, &goimap.SelectOptions{ReadOnly: true}).Wait(); err != nil {
		t.Fatal(err)
	}
	list, err := c.Fetch(goimap.UIDSetNum(uid), &goimap.FetchOptions{Flags: true, UID: true}).Collect()
	if err != nil || len(list) != 1 {
		t.Fatalf("uid %d of %s: %d messages, %v", uid, folder, len(list), err)
	}
	var all []string
	for _, f := range list[0].Flags {
		if f != "\\Recent" {
			all = append(all, string(f))
		}
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// TestPullFromDovecot moves an account from Debian's Dovecot: clients that were there download nothing again.
func TestPullFromDovecot(t *testing.T) {
	d, h := startDovecot(t), demo(t)
	home := t.TempDir()
	d.fill(t, bob, "", 2000)
	for folder, n := range map[string]int{".Arbeit": 30, ".Arbeit.Pl&AOQ-ne": 40, ".Arbeit.Pl&AOQ-ne.2024": 10, ".Gesendet": 25, ".Leer": 0} {
		d.fill(t, bob, folder, n)
	}
	d.own(t)
	d.flag(t, bob, "INBOX", goimap.UIDSetNum(5, 6, 7), "$Work", "$Forwarded")
	d.flag(t, bob, "INBOX.Arbeit", goimap.UIDSetNum(2), "Dringend", goimap.FlagDeleted)
	c := d.imap(t, bob)
	for _, name := range []string{"INBOX.Arbeit", "INBOX.Gesendet"} {
		if err := c.Subscribe(name).Wait(); err != nil {
			t.Fatal(err)
		}
	}
	c.Close()

	// Clients that work with Dovecot.
	mail, pop := home+"/mail", popClients{home}
	if n := pop.mpop(t, d.pops, d.ca); n != 2000 {
		t.Fatalf("mpop fetched %d from Dovecot", n)
	}
	run(t, home, "", "mbsync", "-c", mbsyncrc(t, mail, "before", imapServer{d.imaps, d.ca, "Path INBOX.\n"}), "-a")
	synced := tree(t, mail)

	from := []string{"imap", "--account", bob, "--from", fmt.Sprintf("imaps://%s@localhost:%d", bob, d.imaps), "--ca", d.ca, "--pop3-uidl-from", fmt.Sprintf("pop3s://localhost:%d", d.pops)}
	began := time.Now()
	out := h.pull(t, from...)
	t.Logf("the import of 2,105 messages took %s:\n%s", time.Since(began).Round(time.Millisecond), out)
	if !strings.Contains(out, "2105 messages") || strings.Contains(out, "new uids") || strings.Contains(out, "passed over") {
		t.Errorf("the first run:\n%s", out)
	}

	// The same clients, with what they know, at the new house.
	run(t, home, "", "mbsync", "-c", mbsyncrc(t, mail, "after", imapServer{1993 + h.offset, h.ca, ""}), "-a")
	if got := tree(t, mail); got != synced {
		t.Errorf("mbsync found a difference after the move: %s", difference(got, synced))
	}
	if n := pop.mpop(t, 1995+h.offset, h.ca); n != 2000 {
		t.Errorf("after the move mpop has %d messages, want 2000: it downloaded again", n)
	}
	// A new client sees the same at both, texts, flags and folders.
	run(t, home, "", "mbsync", "-c", mbsyncrc(t, home+"/there/mail", "rc", imapServer{d.imaps, d.ca, "Path INBOX.\n"}), "-a")
	run(t, home, "", "mbsync", "-c", mbsyncrc(t, home+"/here/mail", "rc", imapServer{1993 + h.offset, h.ca, ""}), "-a")
	if there, here := contents(t, home+"/there/mail"), contents(t, home+"/here/mail"); there != here || strings.Count(here, "\n") < 2070 {
		t.Errorf("both synced anew differ: %s", difference(here, there))
	}
	us := h.imap(t, bob)
	if got := flagsOf(t, us, "INBOX", 6); got != `$Forwarded $Work \Answered \Flagged \Seen` && got != `$Forwarded $Work \Seen` && got != `$Forwarded $Work` {
		t.Errorf("flags of uid 6: %s", got)
	}
	if there, here := flagsOf(t, d.imap(t, bob), "INBOX", 6), flagsOf(t, us, "INBOX", 6); there != here {
		t.Errorf("flags of uid 6: %s, there %s", here, there)
	}
	if there, here := flagsOf(t, d.imap(t, bob), "INBOX.Arbeit", 2), flagsOf(t, us, "Arbeit", 2); there != here {
		t.Errorf("flags of Arbeit, uid 2: %s, there %s", here, there)
	}
	us.Close()
	h.awaitMail(t, bob, "Sent", "Gesendet", 25)

	// Until the cut-over: only what changed comes.
	d.flag(t, bob, "INBOX", goimap.UIDSetNum(10), goimap.FlagFlagged, "Neu")
	appendThere(t, d.imap(t, bob), "INBOX", message("late@gamma.test", bob, "late mail"))
	out = h.pull(t, from...)
	if !strings.Contains(out, "\n1 messages") || strings.Contains(out, "new uids") {
		t.Errorf("the second run:\n%s", out)
	}
	us = h.imap(t, bob)
	defer us.Close()
	if there, here := flagsOf(t, d.imap(t, bob), "INBOX", 10), flagsOf(t, us, "INBOX", 10); there != here || !strings.Contains(here, "Neu") {
		t.Errorf("flags of uid 10: %s, there %s", here, there)
	}
	if n := pop.mpop(t, 1995+h.offset, h.ca); n != 2001 {
		t.Errorf("mpop has %d messages, want 2001", n)
	}
	if n := pop.mpop(t, d.pops, d.ca); n != 2001 {
		t.Errorf("back at Dovecot mpop has %d messages, want 2001", n)
	}
	run(t, h.data, "", binary, "check", "store", "--deep", "--data", h.data)
}

func appendThere(t *testing.T, c *imapclient.Client, folder, text string) {
	t.Helper()
	a := c.Append(folder, int64(len(text)), nil)
	a.Write([]byte(text))
	a.Close()
	if _, err := a.Wait(); err != nil {
		t.Fatal(err)
	}
}

// difference is the first line that only one of two texts has.
func difference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return fmt.Sprintf("line %d is %q, want %q", i, g[i], w[i])
		}
	}
	return fmt.Sprintf("%d lines, want %d", len(g), len(w))
}

// TestPullPOP3 brings a POP3 mailbox, with the unique-ids, and empties it there.
func TestPullPOP3(t *testing.T) {
	d, h := startDovecot(t), demo(t)
	d.fill(t, bob, "", 300)
	d.own(t)
	pop := popClients{t.TempDir()}
	if n, m := pop.mpop(t, d.pops, d.ca), pop.fetchmail(t, d.pops, d.ca); n != 300 || m != 300 {
		t.Fatalf("mpop fetched %d, fetchmail %d from Dovecot", n, m)
	}
	from := []string{"pop3", "--account", bob, "--from", fmt.Sprintf("pop3s://%s@localhost:%d", bob, d.pops), "--ca", d.ca}
	if out := h.pull(t, from...); !strings.Contains(out, "300 messages there, 300 ") {
		t.Errorf("the first run:\n%s", out)
	}
	if n, m := pop.mpop(t, 1995+h.offset, h.ca), pop.fetchmail(t, 1995+h.offset, h.ca); n != 300 || m != 300 {
		t.Errorf("after the move mpop has %d messages, fetchmail %d, want 300: they downloaded again", n, m)
	}
	if out := h.pull(t, append(from, "--delete")...); !strings.Contains(out, "300 messages there, 0 (0 B) brought, 300 deleted") {
		t.Errorf("with --delete:\n%s", out)
	}
	if out := h.pull(t, from...); !strings.Contains(out, "0 messages there") {
		t.Errorf("after --delete:\n%s", out)
	}
	h.awaitMail(t, bob, "INBOX", "number", 300)
}

// TestPullFromPosthouse moves an account from one of our own houses.
func TestPullFromPosthouse(t *testing.T) {
	old, h := demo(t), demo(t)
	for i := range 5 {
		old.deliver(t, "a@gamma.test", bob, fmt.Sprintf("moved %d", i))
	}
	old.awaitMail(t, bob, "INBOX", "moved", 5)
	c := old.imap(t, bob)
	for _, name := range []string{"Pläne", "Pläne/R & D"} {
		if err := c.Create(name, nil).Wait(); err != nil {
			t.Fatal(err)
		}
	}
	appendThere(t, c, "Pläne/R & D", message(bob, bob, "planned"))
	c.Close()
	from := []string{"imap", "--account", bob, "--from", fmt.Sprintf("imap://%s@localhost:%s", bob, old.port(1143)), "--ca", old.ca}
	if out := h.pull(t, from...); !strings.Contains(out, "6 messages") || strings.Contains(out, "new uids") {
		t.Errorf("the first run:\n%s", out)
	}
	h.awaitMail(t, bob, "INBOX", "moved", 5)
	h.awaitMail(t, bob, "Pläne/R & D", "planned", 1)
	if out := h.pull(t, from...); !strings.Contains(out, "\n0 messages") {
		t.Errorf("again:\n%s", out)
	}
	if out, err := try(t, h.data, password+"\n", binary, append(append([]string{"import"}, from[:len(from)-2]...), "--data", h.data, "--password-stdin")...); err == nil || !strings.Contains(out, "certificate") {
		t.Errorf("without its authority: %v\n%s", err, out)
	}
}

// TestPullKilled ends the import with SIGKILL again and again, each time a little later; nothing is lost and nothing comes twice.
func TestPullKilled(t *testing.T) {
	d, data := startDovecot(t), t.TempDir()
	d.fill(t, bob, "", 1500)
	d.fill(t, bob, ".Arbeit", 100)
	d.own(t)
	run(t, data, "", binary, "domain", "add", "alpha.test", "--data", data)
	run(t, data, password+"\n", binary, "account", "add", bob, "--password-stdin", "--data", data)
	args := []string{"import", "imap", "--account", bob, "--from", fmt.Sprintf("imaps://%s@localhost:%d", bob, d.imaps), "--ca", d.ca, "--password-stdin", "--data", data}
	kills := 0
	for after := 60 * time.Millisecond; after < time.Minute; after += 40 * time.Millisecond {
		cmd := exec.Command(binary, args...)
		cmd.Stdin = strings.NewReader(password + "\n")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		killer := time.AfterFunc(after, func() { cmd.Process.Kill() })
		err := cmd.Wait()
		killer.Stop()
		if err == nil {
			break
		}
		if !strings.Contains(err.Error(), "killed") {
			t.Fatalf("after %d kills: %v", kills, err)
		}
		kills++
	}
	t.Logf("%d kills", kills)
	if out := run(t, data, password+"\n", binary, args...); !strings.Contains(out, "\n0 messages") || strings.Contains(out, "new uids") {
		t.Errorf("a last run:\n%s", out)
	}
	if out := run(t, data, "", binary, "account", "show", bob, "--data", data); !strings.Contains(out, "messages   1600 of") {
		t.Errorf("1600 messages were there:\n%s", out)
	}
	run(t, data, "", binary, "check", "store", "--deep", "--data", data)
	if kills == 0 {
		t.Error("the import was never killed")
	}
}
