//go:build interop

package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCurlPOP3(t *testing.T) {
	h := demo(t)
	home := t.TempDir()
	for i := range 3 {
		h.deliver(t, "stranger@gamma.test", bob, fmt.Sprintf("curl pop %d", i))
	}
	curl := func(args ...string) string {
		return run(t, home, "", "curl", append([]string{"-sS", "--cacert", h.ca, "--user", bob + ":" + password}, args...)...)
	}
	if out := curl("pop3s://localhost:" + h.port(1995)); strings.Count(out, "\n") != 3 {
		t.Errorf("LIST: %q", out)
	}
	if out := curl("--ssl-reqd", "pop3://localhost:"+h.port(1110)+"/2"); !strings.Contains(out, "Subject: curl pop 1\r\n") || !strings.Contains(out, "\r\n.a dot first\r\n") {
		t.Errorf("RETR 2 over STLS:\n%s", out)
	}
	if out := curl("-X", "UIDL", "pop3s://localhost:"+h.port(1995)); strings.Count(out, "\n") != 3 {
		t.Errorf("UIDL: %q", out)
	}
	if out := curl("-X", "TOP 1 1", "pop3s://localhost:"+h.port(1995)); !strings.Contains(out, "A line.") || strings.Contains(out, "a dot first") {
		t.Errorf("TOP 1 1:\n%s", out)
	}
	curl("-l", "-X", "DELE", "pop3s://localhost:"+h.port(1995)+"/1")
	h.awaitMail(t, bob, "INBOX", "curl pop", 2)
}

func TestMpop(t *testing.T) {
	h := demo(t)
	home := t.TempDir()
	for i := range 5 {
		h.deliver(t, "stranger@gamma.test", bob, fmt.Sprintf("mpop %d", i))
	}
	makeMaildir(t, filepath.Join(home, "Mail"))
	conf := write(t, home, "mpoprc", "defaults\ntls on\ntls_trust_file "+h.ca+"\nuser "+bob+"\npassword "+password+"\nuidls_file "+home+"/uidls-%H\n"+
		"delivery maildir "+home+"/Mail\naccount tls\nhost localhost\nport "+h.port(1995)+"\ntls_starttls off\nkeep on\n"+
		"account stls\nhost localhost\nport "+h.port(1110)+"\ntls_starttls on\nkeep off\n")
	run(t, home, "", "mpop", "-C", conf, "tls")
	if n := maildir(t, filepath.Join(home, "Mail"), "Subject: mpop"); n != 5 {
		t.Errorf("the first run fetched %d of 5", n)
	}
	run(t, home, "", "mpop", "-C", conf, "tls")
	if n := maildir(t, filepath.Join(home, "Mail")); n != 5 {
		t.Errorf("the second run fetched again: %d messages; are the UIDLs stable?", n)
	}
	run(t, home, "", "mpop", "-C", conf, "stls")
	h.awaitMail(t, bob, "INBOX", "mpop", 0)
}

func TestFetchmail(t *testing.T) {
	h := demo(t)
	for i := range 4 {
		h.deliver(t, "stranger@gamma.test", bob, fmt.Sprintf("fetchmail %d", i))
	}
	for _, c := range []struct {
		name, protocol string
		port           int
		server         string // options of the server
		options        string // options of the user
		left           int
	}{
		{"POP3 keep", "pop3", 1995, " uidl", "ssl keep", 4},
		{"POP3 STLS", "pop3", 1110, " uidl", "sslproto tls1.2+ keep", 4},
		{"IMAP keep", "imap", 1993, "", "ssl keep", 4},
		{"IMAP delete", "imap", 1993, "", "ssl no keep fetchall", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			home := t.TempDir()
			out := filepath.Join(home, "out")
			conf := write(t, home, "fetchmailrc", fmt.Sprintf("set no bouncemail\npoll localhost protocol %s service %s timeout 30%s\n  user %q password %q sslcertfile %q sslcertck %s\n  mda \"cat >>%s\"\n",
				c.protocol, h.port(c.port), c.server, bob, password, h.ca, c.options, out))
			run(t, home, "", "fetchmail", "-f", conf, "--nodetach", "--nosyslog", "--idfile", home+"/ids", "--pidfile", home+"/pid")
			text, err := os.ReadFile(out)
			if err != nil || strings.Count(string(text), "Subject: fetchmail") != 4 {
				t.Errorf("fetched %d of 4 (%v)", strings.Count(string(text), "Subject: fetchmail"), err)
			}
			h.awaitMail(t, bob, "INBOX", "fetchmail", c.left)
		})
	}
}

// TestGetmail runs getmail as the user mail: it refuses to deliver as root.
func TestGetmail(t *testing.T) {
	h := demo(t)
	for i := range 4 {
		h.deliver(t, "stranger@gamma.test", bob, fmt.Sprintf("getmail %d", i))
	}
	for _, c := range []struct{ kind, port, extra string }{
		{"SimplePOP3SSLRetriever", h.port(1995), ""},
		{"SimpleIMAPSSLRetriever", h.port(1993), "mailboxes = (\"INBOX\",)\n"},
	} {
		t.Run(c.kind, func(t *testing.T) {
			home, err := os.MkdirTemp("", "interop-getmail-") // t.TempDir's parent is closed to other users
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(home) })
			makeMaildir(t, filepath.Join(home, "Mail"))
			ca, err := os.ReadFile(h.ca)
			if err != nil {
				t.Fatal(err)
			}
			conf := write(t, home, "getmailrc", "[retriever]\ntype = "+c.kind+"\nserver = localhost\nport = "+c.port+"\nusername = "+bob+"\npassword = "+password+
				"\nca_certs = "+write(t, home, "ca.pem", string(ca))+"\n"+c.extra+"[destination]\ntype = Maildir\npath = "+home+"/Mail/\n[options]\nread_all = false\ndelete = false\n")
			run(t, home, "", "chown", "-R", "mail", home)
			for range 2 {
				run(t, home, "", "runuser", "-u", "mail", "--", "getmail", "--rcfile", conf, "--getmaildir", home)
			}
			if n := maildir(t, filepath.Join(home, "Mail"), "Subject: getmail"); n != 4 {
				t.Errorf("two runs fetched %d messages, want 4", n)
			}
		})
	}
}

func TestPythonPOP3(t *testing.T) {
	h := demo(t)
	for i := range 3 {
		h.deliver(t, "stranger@gamma.test", bob, fmt.Sprintf("poplib %d", i))
	}
	python(t, h, "pop3.py")
	h.awaitMail(t, bob, "INBOX", "poplib", 2)
}
