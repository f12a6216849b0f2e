//go:build interop

package interop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// postfix is a Debian Postfix with configuration, queue and mailboxes of its own on a loopback port.
type postfix struct{ dir, port string }

// startPostfix takes mail for gamma.test into Maildirs of ann and ben; mail for alpha.test goes to the given port.
func startPostfix(t *testing.T, port, house string) *postfix {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("Postfix's master runs as root only: run make interop as root")
	}
	dir, err := os.MkdirTemp("", "interop-postfix-") // t.TempDir's parent is closed to Postfix's user
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	for _, sub := range []string{"", "etc", "queue", "data", "mail", "log"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
		os.Chmod(filepath.Join(dir, sub), 0o755)
	}
	run(t, dir, "", "chown", "postfix:root", dir+"/data")
	run(t, dir, "", "chown", "mail:mail", dir+"/mail")
	os.Chmod(dir+"/log", 0o777)
	uid, gid := strings.TrimSpace(run(t, dir, "", "id", "-u", "mail")), strings.TrimSpace(run(t, dir, "", "id", "-g", "mail"))
	write(t, dir, "etc/main.cf", "compatibility_level = 3.6\nqueue_directory = "+dir+"/queue\ndata_directory = "+dir+"/data\ncommand_directory = /usr/sbin\ndaemon_directory = /usr/lib/postfix/sbin\n"+
		"maillog_file = "+dir+"/log/postfix.log\nmaillog_file_prefixes = "+dir+"/log\nsyslog_name = postfix-interop\ninet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nmyhostname = mx.gamma.test\n"+
		"mydestination =\nmynetworks = 127.0.0.0/8\nvirtual_mailbox_domains = gamma.test\nvirtual_mailbox_base = "+dir+"/mail\nvirtual_mailbox_maps = inline:{ann@gamma.test=ann/, ben@gamma.test=ben/}\n"+
		"virtual_uid_maps = static:"+uid+"\nvirtual_gid_maps = static:"+gid+"\nvirtual_minimum_uid = 1\nalias_maps =\nalias_database =\ndisable_dns_lookups = yes\n"+
		"transport_maps = inline:{alpha.test=smtp:[127.0.0.1]:"+house+"}\nsmtp_tls_security_level = may\n")
	write(t, dir, "etc/master.cf", "127.0.0.1:"+port+" inet n - n - - smtpd\n"+
		"pickup unix n - n 60 1 pickup\ncleanup unix n - n - 0 cleanup\nqmgr unix n - n 300 1 qmgr\ntlsmgr unix - - n 1000? 1 tlsmgr\nrewrite unix - - n - - trivial-rewrite\n"+
		"bounce unix - - n - 0 bounce\ndefer unix - - n - 0 bounce\ntrace unix - - n - 0 bounce\nverify unix - - n - 1 verify\nproxymap unix - - n - - proxymap\nproxywrite unix - - n - 1 proxymap\n"+
		"smtp unix - - n - - smtp\nrelay unix - - n - - smtp\nerror unix - - n - - error\nretry unix - - n - - error\nvirtual unix - n n - - virtual\nanvil unix - - n - 1 anvil\nscache unix - - n - 1 scache\n"+
		"showq unix n - n - - showq\nflush unix n - n 1000? 0 flush\npostlog unix-dgram n - n - 1 postlogd\n")
	for _, f := range []string{"main.cf", "master.cf"} {
		os.Chmod(filepath.Join(dir, "etc", f), 0o644)
	}
	if text, err := os.ReadFile("/usr/share/postfix/dynamicmaps.cf"); err == nil {
		write(t, dir, "etc/dynamicmaps.cf", string(text))
	}
	try(t, dir, "", "postfix", "-c", dir+"/etc", "check")
	run(t, dir, "", "postfix", "-c", dir+"/etc", "start")
	p := &postfix{dir: dir, port: port}
	t.Cleanup(func() {
		if t.Failed() {
			text, _ := os.ReadFile(dir + "/log/postfix.log")
			t.Logf("Postfix logged:\n%s", text)
		}
		exec.Command("postfix", "-c", dir+"/etc", "stop").Run()
	})
	return p
}

// await waits until a Maildir has want messages with the words.
func (p *postfix) await(t *testing.T, user string, want int, words ...string) {
	t.Helper()
	got := 0
	for end := time.Now().Add(40 * time.Second); time.Now().Before(end) && got < want; time.Sleep(100 * time.Millisecond) {
		got = maildir(t, filepath.Join(p.dir, "mail", user), words...)
	}
	if got != want {
		t.Errorf("Postfix has %d messages with %q for %s, want %d", got, words, user, want)
	}
}

// TestPostfix: we deliver to Debian's Postfix, and it to us.
func TestPostfix(t *testing.T) {
	port := fmt.Sprint(freeOffset(t) + 1026)
	h := serveHouse(t, filepath.Join(t.TempDir(), "data"), port)
	p := startPostfix(t, port, h.port(1025))
	home := t.TempDir()
	conf := write(t, home, "msmtprc", "account default\nhost localhost\nport "+h.port(1465)+"\ntls on\ntls_starttls off\ntls_trust_file "+h.ca+"\nauth on\nuser "+alice+"\npassword "+password+"\nfrom "+alice+"\n")
	send := func(mail string, to ...string) {
		t.Helper()
		run(t, home, mail, "msmtp", append([]string{"-C", conf}, to...)...)
	}
	send(message(alice, "ann@gamma.test", "to postfix"), "ann@gamma.test", "ben@gamma.test")
	send("From: "+alice+"\nTo: ben@gamma.test\nSubject: umlauts\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nGrüße aus dem Posthaus\n", "ben@gamma.test")
	p.await(t, "ann", 1, "Subject: to postfix", "\n.a dot first\n")
	p.await(t, "ben", 1, "Subject: to postfix")
	p.await(t, "ben", 1, "Subject: umlauts", "Posthaus")

	send(message(alice, "nobody@gamma.test", "will bounce"), "nobody@gamma.test")
	h.awaitMail(t, alice, "INBOX", "could not be delivered", 1)

	// Postfix to us: many at once, some to nobody.
	run(t, home, "", "smtp-source", "-c", "-d", "-s", "5", "-m", "200", "-l", "4096", "-S", "from postfix", "-f", "ann@gamma.test", "-t", bob, "inet:127.0.0.1:"+p.port)
	run(t, home, "", "smtp-source", "-s", "1", "-m", "1", "-f", "ben@gamma.test", "-t", "nobody@alpha.test", "-S", "to nobody", "inet:127.0.0.1:"+p.port)
	h.awaitMail(t, bob, "INBOX", "from postfix", 200)
	p.await(t, "ben", 1, "Undelivered Mail Returned to Sender", "5.1.1")
}
