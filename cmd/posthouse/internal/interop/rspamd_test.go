//go:build interop

package interop

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/cert"
)

// gtube is the text that every junk filter takes for junk.
const gtube = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"

// openFolder is a temporary folder that programs can read and write as themselves.
func openFolder(t *testing.T, name string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "interop-"+name+"-")
	if err != nil {
		t.Fatal(err)
	}
	os.Chmod(dir, 0o777)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// rspamd is Debian's, without what needs the world outside.
type rspamd struct {
	addr, password string
	cmd            *exec.Cmd
}

func startRspamd(t *testing.T, names string) *rspamd {
	t.Helper()
	dir := openFolder(t, "rspamd")
	r := &rspamd{addr: fmt.Sprint("127.0.0.1:", freePort(t)), password: filepath.Join(t.TempDir(), "password")}
	for name, text := range map[string]string{
		"worker-normal.inc":     "bind_socket = \"" + r.addr + "\";\ncount = 1;\n",
		"worker-controller.inc": "enabled = false;\n",
		"worker-proxy.inc":      "enabled = false;\n",
		"options.inc":           "dns { nameserver = [\"" + names + "\"]; }\ndisable_hyperscan = true;\n",
		"logging.inc":           "type = \"console\";\nlevel = \"warning\";\n",
		"fuzzy_check.conf":      "enabled = false;\n",
		"rbl.conf":              "enabled = false;\n",
		"asn.conf":              "enabled = false;\n",
	} {
		os.Chmod(write(t, dir, "local.d/"+name, text), 0o644)
	}
	os.Chmod(dir+"/local.d", 0o755)
	for _, sub := range []string{"db", "run", "log"} {
		os.Mkdir(filepath.Join(dir, sub), 0o777)
		os.Chmod(filepath.Join(dir, sub), 0o777)
	}
	log := &buffer{}
	r.cmd = exec.Command("rspamd", "-f", "-u", "_rspamd", "-g", "_rspamd", "--var=LOCAL_CONFDIR="+dir, "--var=DBDIR="+dir+"/db", "--var=RUNDIR="+dir+"/run", "--var=LOGDIR="+dir+"/log")
	r.cmd.Stdout, r.cmd.Stderr, r.cmd.Dir = log, log, dir
	if err := r.cmd.Start(); err != nil {
		t.Fatalf("rspamd: apt-get install the packages that .ci/run lists: %v", err)
	}
	t.Cleanup(func() {
		r.stop()
		if t.Failed() {
			t.Logf("rspamd said:\n%s", log)
		}
	})
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if res, err := http.Get("http://" + r.addr + "/ping"); err == nil {
			res.Body.Close()
			return r
		}
		if time.Now().After(end) {
			t.Fatal("rspamd does not answer")
		}
	}
}

func (r *rspamd) stop() {
	if r.cmd.ProcessState == nil {
		r.cmd.Process.Signal(syscall.SIGTERM)
		r.cmd.Wait()
	}
}

// offer hands a message to a mail server and returns what it said at the end of it.
func offer(t *testing.T, addr, from, to, text string) string {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(40 * time.Second))
	io.WriteString(conn, "EHLO interop.test\r\nMAIL FROM:<"+from+">\r\nRCPT TO:<"+to+">\r\nDATA\r\n")
	buf, got := make([]byte, 4096), ""
	for !strings.Contains(got, "\r\n354 ") {
		n, err := conn.Read(buf)
		if got += string(buf[:n]); err != nil || strings.Contains(got, "\r\n5") || strings.Contains(got, "\r\n4") {
			t.Fatalf("%s does not take mail: %v\n%s", addr, err, got)
		}
	}
	io.WriteString(conn, strings.ReplaceAll(text, "\r\n.", "\r\n..")+".\r\nQUIT\r\n")
	rest, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	_, got, _ = strings.Cut(got+string(rest), "\r\n354 ")
	lines := strings.Split(got, "\r\n")
	return lines[1]
}

// TestRspamd: Debian's rspamd looks at mail from outside; what it refuses is refused, and without it happens what the settings say.
func TestRspamd(t *testing.T) {
	names := signedNames(t, map[string]string{"plain.test": "@ IN MX 10 mx\n@ IN A 127.0.0.1\nmx IN A 127.0.0.1\n@ IN TXT \"v=spf1 ip4:127.0.0.0/8 -all\"\n"})
	r := startRspamd(t, names)
	authority, err := cert.NewAuthority("interop", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	scanner := "[junk]\nenabled = false\n[[scanners]]\nkind = \"rspamd\"\naddress = \"" + r.addr + "\"\non_failure = "
	h := plan{data: filepath.Join(t.TempDir(), "data"), domain: "alpha.test", accounts: []string{alice, bob}, remotePort: "1", names: names, authority: authority, settings: scanner + "\"tempfail\"\n"}.serve(t)

	h.deliver(t, "zoe@plain.test", bob, "good by rspamd")
	h.awaitMail(t, bob, "INBOX", "good by rspamd", 1)
	if said := offer(t, h.addr(1025), "zoe@plain.test", bob, "From: zoe@plain.test\r\nSubject: gtube\r\n\r\n"+gtube+"\r\n"); said != "550 5.7.1 Gtube pattern" {
		t.Errorf("GTUBE is answered %q", said)
	}
	for name, want := range map[string]string{`posthouse_scan_answers_total{answer="pass",helper="rspamd"}`: "1", `posthouse_scan_answers_total{answer="refuse",helper="rspamd"}`: "1", `posthouse_scan_up{helper="rspamd"}`: "1"} {
		if got := h.metric(t, name); got != want {
			t.Errorf("%s is %q", name, got)
		}
	}
	settings := filepath.Join(h.data, "posthouse.toml")
	if story := run(t, h.data, "", binary, "trace", "good.by.rspamd@interop.test", "--config", settings); !strings.Contains(story, "rspamd: ") || !strings.Contains(story, " of 15.0: ") {
		t.Errorf("the story does not tell of it:\n%s", story)
	}

	r.stop()
	if said := offer(t, h.addr(1025), "zoe@plain.test", bob, message("zoe@plain.test", bob, "rspamd is down")); !strings.HasPrefix(said, "451 4.7.1 ") {
		t.Errorf("without rspamd it is answered %q", said)
	}
	if got := h.metric(t, `posthouse_scan_up{helper="rspamd"}`); got != "0" {
		t.Errorf("scan_up is %q", got)
	}
	h.awaitLog(t, "helper gave no answer", "rspamd")
	text, err := os.ReadFile(settings)
	if err != nil {
		t.Fatal(err)
	}
	for failure, box := range map[string]string{"junk": "Junk", "accept": "INBOX"} {
		write(t, h.data, "posthouse.toml", strings.Replace(string(text), scanner+"\"tempfail\"", scanner+"\""+failure+"\"", 1))
		run(t, h.data, "", binary, "reload", "--config", settings)
		h.deliver(t, "zoe@plain.test", bob, "without rspamd "+failure)
		h.awaitMail(t, bob, box, "without rspamd "+failure, 1)
	}
}
