package housetest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/cert"
	"github.com/posthouse-mail/posthouse/web/admin"
)

// release names a binary whose folder is to be kept:
//
//	go test ./cmd/posthouse/internal/housetest -run TestMakeRelease -release /path/posthouse
var release = flag.String("release", "", "binary of a release: make its data folder and its list anew")

// maker runs the binary of a release.
type maker struct {
	t      *testing.T
	dir    string
	k      *keepsake
	cmd    *exec.Cmd
	doors  map[string]string
	errors bytes.Buffer
}

// TestMakeRelease lets a binary work on a fresh folder, notes what clients see, kills it in the middle of deliveries, and keeps both. Without
// -release it looks at what is kept: every release has its list and its folder, small enough for a repository.
func TestMakeRelease(t *testing.T) {
	if *release == "" {
		lists, err := filepath.Glob(filepath.Join(releases, "*.json"))
		check(t, err)
		archives, err := filepath.Glob(filepath.Join(releases, "*.tar.gz"))
		check(t, err)
		if len(lists) == 0 || len(lists) != len(archives) {
			t.Errorf("%d lists, %d folders", len(lists), len(archives))
		}
		for _, a := range archives {
			if st, err := os.Stat(a); err != nil || st.Size() > 500<<10 {
				t.Errorf("%s is too large: %v", a, err)
			}
		}
		return
	}
	m := &maker{t: t, dir: t.TempDir(), k: &keepsake{Password: "a password of the release", Mail: map[string]map[string]*keptBox{}, UIDL: map[string]map[string]string{}}}
	m.settings()
	var v struct{ Version string }
	m.answer(&v, "version", "--json")
	m.k.Version = v.Version
	m.accounts()
	m.start()
	m.firstLife()
	m.end(os.Interrupt) // and a second life, with log segments of its own
	m.start()
	m.secondLife()
	m.note()
	m.late()
	m.end(os.Kill)
	base := filepath.Join(releases, m.k.Version)
	list, err := json.MarshalIndent(m.k, "", " ")
	check(t, err)
	check(t, os.WriteFile(base+".json", append(list, '\n'), 0o644))
	m.pack(base + ".tar.gz")
}

func (m *maker) settings() {
	ca, err := cert.NewAuthority("release", nil)
	if err != nil {
		m.t.Fatal(err)
	}
	pair, err := ca.WritePair(m.dir, "tls", "localhost")
	if err != nil {
		m.t.Fatal(err)
	}
	text := fmt.Sprintf(`hostname = "mx.one.test"
data = "data"
dns.servers = ["127.0.0.1:1"]
metrics.listen = []
auth.clear_loopback = true
tls.certificates = [{cert = %q, key = %q}]
listen = {smtp = ["127.0.0.1:0"], submission = ["127.0.0.1:0"], submissions = [], pop3 = ["127.0.0.1:0"], pop3s = [], imap = ["127.0.0.1:0"], imaps = []}
`, pair.Certificate, pair.Key)
	check(m.t, os.WriteFile(filepath.Join(m.dir, "posthouse.toml"), []byte(text), 0o600))
}

// do runs a command of the release.
func (m *maker) do(stdin string, args ...string) []byte {
	m.t.Helper()
	cmd := exec.CommandContext(m.t.Context(), *release, append(args, "--config", filepath.Join(m.dir, "posthouse.toml"))...)
	cmd.Stdin = strings.NewReader(stdin)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		m.t.Fatalf("%v: %v %s", args, err, complaint.Bytes())
	}
	return out
}

func (m *maker) answer(to any, args ...string) {
	m.t.Helper()
	if err := json.Unmarshal(m.do("", args...), to); err != nil {
		m.t.Fatalf("%v: %v", args, err)
	}
}

func (m *maker) accounts() {
	m.do("", "domain", "add", "one.test", "--catch-all", "alice@one.test")
	m.do("", "domain", "add", "two.test")
	m.do("", "domain", "add", "also.test", "--alias-of", "one.test")
	for _, a := range [][]string{
		{"alice@one.test", "al@one.test", "--name", "Alice of One", "--login", "alice"}, {"bob@one.test", "--quota", "500MiB"}, {"carol@two.test", "--doors", "imap,pop3"},
	} {
		m.do(m.k.Password+"\n", append([]string{"account", "add", "--password-stdin"}, a...)...)
	}
	m.do("", "account", "set", "bob@one.test", "--quota-messages", "500")
	m.do("", "alias", "add", "all@one.test", "alice@one.test", "bob@one.test", "carol@two.test", "--send-as")
	m.do("", "alias", "add", "away@two.test", "someone@far.test")
}

func (m *maker) start() {
	m.t.Helper()
	m.cmd = exec.CommandContext(m.t.Context(), *release, "serve", "--config", filepath.Join(m.dir, "posthouse.toml"))
	m.cmd.Stderr = &m.errors
	if err := m.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	var s admin.Status
	for end := time.Now().Add(patience); !s.Ready; {
		if time.Now().After(end) {
			m.t.Fatalf("the release does not start: %s", m.errors.Bytes())
		}
		out, err := exec.CommandContext(m.t.Context(), *release, "status", "--json", "--config", filepath.Join(m.dir, "posthouse.toml")).Output()
		if err == nil {
			check(m.t, json.Unmarshal(out, &s))
		}
	}
	m.doors = map[string]string{}
	for _, l := range s.Listeners {
		m.doors[l.Service] = l.Address
	}
}

func (m *maker) end(how os.Signal) {
	m.t.Helper()
	check(m.t, m.cmd.Process.Signal(how))
	if err := m.cmd.Wait(); how == os.Interrupt {
		check(m.t, err)
	}
}

// mail is a message of some length that packs well.
func mail(subject string, lines int) string {
	return "From: <someone@far.test>\r\nSubject: " + subject + "\r\nMessage-ID: <" + subject + "@far.test>\r\n\r\n" + strings.Repeat("a line of the text\r\n", lines)
}

// receive hands one message in at port 25.
func (m *maker) receive(to, text string) {
	m.t.Helper()
	k := newTalk(m.t, m.doors["smtp"])
	defer k.c.Close()
	k.expect("250", "EHLO far.test")
	k.expect("250", "MAIL FROM:<someone@far.test>")
	k.expect("250", "RCPT TO:<"+to+">")
	k.expect("354", "DATA")
	k.expect("250", text+".")
}

func (m *maker) imapAs(account string) *talk {
	k := newTalk(m.t, m.doors["imap"])
	k.imap("LOGIN " + account + ` "` + m.k.Password + `"`)
	return k
}

func (k *talk) append(box, flags, text string) {
	k.t.Helper()
	k.imap(fmt.Sprintf("APPEND %q (%s) \"17-Jul-1996 02:44:25 -0700\" {%d+}\r\n%s", box, flags, len(text), text))
}

// firstLife makes folders and mail, flags, moves and expunges.
func (m *maker) firstLife() {
	for i := range 5 {
		for _, to := range []string{"al@also.test", "bob@one.test", "carol@two.test"} {
			m.receive(to, mail(fmt.Sprintf("first-%d", i), i*20))
		}
	}
	m.receive("nobody-has-this@one.test", mail("catch-all", 3))
	m.receive("all@one.test", mail("to-all", 3))
	m.receive("bob@one.test", mail("large", 20_000)) // a segment of its own
	k := m.imapAs("alice")
	for _, command := range []string{
		"CREATE Projects/2026/Spring", "CREATE Projects/Old", "CREATE \"Zo&AOs-\"", "CREATE Short", "SUBSCRIBE Projects/2026/Spring", "SUBSCRIBE Missing",
		"SELECT INBOX", `UID STORE 1:3 +FLAGS (\Seen $Label1 work)`, `UID STORE 2 +FLAGS (\Flagged \Answered)`, `UID STORE 3 -FLAGS (work)`,
		"UID COPY 1:4 Projects/Old", "UID MOVE 4 Projects/2026/Spring", `UID STORE 5 +FLAGS (\Deleted)`, "EXPUNGE", "RENAME Projects/Old Projects/Older",
	} {
		k.imap(command)
	}
	k.append("Drafts", `\Draft \Seen`, mail("draft", 5))
	k.append("Zo&AOs-", `$Forwarded own-word`, mail("foreign", 5))
	k.append("Short", "", mail("lost", 5))
	k.append("Projects/2026/Spring", "$Junk", mail("large-append", 10_000))
	text := mail("multi", 2)
	k.imap(fmt.Sprintf("APPEND Archive (\\Flagged) {%d+}\r\n%s (\\Answered) {%d+}\r\n%s", len(text), text, len(text), text))
	k.imap("DELETE Short")
	k.imap("LOGOUT")
	p := newTalk(m.t, m.doors["pop3"])
	for _, c := range []string{"USER carol@two.test", "PASS " + m.k.Password, "DELE 2", "QUIT"} {
		p.expect("+OK", c)
	}
}

// secondLife leaves mail in the queue, one entry held, and changes more.
func (m *maker) secondLife() {
	k := newTalk(m.t, m.doors["submission"])
	k.expect("250", "EHLO far.test")
	k.expect("235", "AUTH PLAIN "+base64.StdEncoding.EncodeToString([]byte("\x00bob@one.test\x00"+m.k.Password)))
	for _, to := range [][]string{{"x@far.test", "y@far.test", "alice@one.test"}, {"held@distant.test"}} {
		k.expect("250", "MAIL FROM:<bob@one.test>")
		for _, a := range to {
			k.expect("250", "RCPT TO:<"+a+">")
		}
		k.expect("354", "DATA")
		k.expect("250", "From: <bob@one.test>\r\nTo: <"+to[0]+">\r\nSubject: out\r\n\r\nout\r\n.")
	}
	k.expect("221", "QUIT")
	var queue []admin.QueueEntry
	m.answer(&queue, "queue", "list", "--json")
	for _, e := range queue {
		if e.Domain == "distant.test" {
			m.do("", "queue", "hold", e.ID)
		}
	}
	b := m.imapAs("bob@one.test")
	b.imap("SELECT INBOX")
	b.imap(`UID STORE 1:* +FLAGS (\Seen)`)
	b.imap("UID MOVE 2 Trash")
	b.imap("UNSUBSCRIBE Junk")
	b.imap("LOGOUT")
}

// note writes down what is there.
func (m *maker) note() {
	for to, args := range map[*[]map[string]any][]string{
		&m.k.Domains: {"domain", "list"}, &m.k.Accounts: {"account", "list"}, &m.k.Aliases: {"alias", "list"}, &m.k.Queue: {"queue", "list"},
	} {
		m.answer(to, append(args, "--json")...)
	}
	for _, a := range m.k.Accounts {
		delete(a, "usage") // the deep check counts
		account := a["addresses"].([]any)[0].(string)
		m.k.Mail[account] = watchMail(m.t, m.doors["imap"], account, m.k.Password)
		m.k.UIDL[account] = watchUIDL(m.t, m.doors["pop3"], account, m.k.Password)
	}
	for _, e := range m.k.Queue {
		for _, moving := range []string{"due", "expires", "last", "attempts"} {
			delete(e, moving)
		}
		for _, r := range e["recipients"].([]any) {
			delete(r.(map[string]any), "result")
		}
	}
}

// late delivers much at once, so that the kill that follows finds some of it in the log only.
func (m *maker) late() {
	var all sync.WaitGroup
	for _, account := range []string{"alice@one.test", "bob@one.test", "carol@two.test"} {
		k := newTalk(m.t, m.doors["smtp"])
		k.expect("250", "EHLO far.test")
		for i := range 40 {
			m.k.Logged = append(m.k.Logged, keptLate{account, "INBOX", fmt.Sprintf("<late-%d@far.test>", i)})
		}
		all.Go(func() {
			for i := range 40 {
				k.say("MAIL FROM:<someone@far.test>\r\nRCPT TO:<" + account + ">\r\nDATA")
				for range 3 {
					k.line()
				}
				k.say(mail(fmt.Sprintf("late-%d", i), 1) + ".")
				if answer := k.line(); !strings.HasPrefix(answer, "250") {
					m.t.Errorf("late: %s", answer)
				}
			}
		})
	}
	all.Wait()
}

// pack keeps tables and segments; what else is there is made anew by every start.
func (m *maker) pack(to string) {
	data := filepath.Join(m.dir, "data")
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	check(m.t, err)
	w := tar.NewWriter(z)
	check(m.t, filepath.WalkDir(data, func(path string, d fs.DirEntry, err error) error {
		name, _ := filepath.Rel(data, path)
		if err != nil || !d.Type().IsRegular() || !strings.HasPrefix(name, "seg/") && !slices.Contains([]string{"meta.db"}, name) {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(text))}); err != nil {
			return err
		}
		_, err = io.Copy(w, bytes.NewReader(text))
		return err
	}))
	check(m.t, w.Close())
	check(m.t, z.Close())
	check(m.t, os.WriteFile(to, b.Bytes(), 0o644))
	m.t.Logf("%s: %d octets", to, b.Len())
}
