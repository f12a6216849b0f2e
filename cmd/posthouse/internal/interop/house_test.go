//go:build interop

package interop

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	binary   = "../../../../bin/posthouse"
	password = "posthouse"
	alice    = "alice@alpha.test"
	bob      = "bob@alpha.test"
	carol    = "carol@beta.test"
)

// house is a running demo: the real binary with data and ports of its own.
type house struct {
	data   string
	offset int
	ca     string
	log    *buffer
	cmd    *exec.Cmd
}

// ports of the demo before the offset, and one for who watches it.
var ports = []int{1025, 1465, 1587, 2525, 1110, 1995, 1143, 1993, 1090, 1091}

func (h *house) port(base int) string { return fmt.Sprint(base + h.offset) }
func (h *house) addr(base int) string { return "127.0.0.1:" + h.port(base) }

// buffer collects what a process prints while it runs.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// freeOffset finds an offset at which every port of the demo is free.
func freeOffset(t *testing.T) int {
	t.Helper()
	for try := range 200 {
		offset := 10000 + (os.Getpid()*37+try*61)%20000
		if allFree(offset) {
			return offset
		}
	}
	t.Fatal("no free range of ports")
	return 0
}

func allFree(offset int) bool {
	for _, p := range ports {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p+offset))
		if err != nil {
			return false
		}
		l.Close()
	}
	return true
}

// demo starts the demo house and waits until it is ready; the cleanup ends it with SIGTERM and wants a clean exit.
func demo(t *testing.T) *house {
	t.Helper()
	h := &house{data: t.TempDir(), offset: freeOffset(t), log: &buffer{}}
	h.ca = filepath.Join(h.data, "demo-ca.pem")
	h.cmd = exec.Command(binary, "demo", "--data", h.data, "--port-offset", fmt.Sprint(h.offset))
	h.cmd.Stdout, h.cmd.Stderr = h.log, h.log
	if err := h.cmd.Start(); err != nil {
		t.Fatalf("start the demo (make build first): %v", err)
	}
	t.Cleanup(func() { h.stop(t) })
	h.await(t)
	return h
}

func (h *house) await(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		res, err := http.Get("http://" + h.addr(1090) + "/readyz")
		if err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return
			}
		}
		time.Sleep(50 * time.Millisecond) // another process: there is nothing else to wait on
	}
	t.Fatalf("the demo is not ready after 30 s; it printed:\n%s", h.log)
}

func (h *house) stop(t *testing.T) {
	h.cmd.Process.Signal(syscall.SIGTERM)
	done := make(chan error, 1)
	go func() { done <- h.cmd.Wait() }()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("the demo ended with %v", err)
		}
	case <-time.After(45 * time.Second):
		h.cmd.Process.Kill()
		t.Error("the demo did not end after SIGTERM")
	}
	if t.Failed() {
		text := h.log.String()
		t.Logf("the demo printed:\n%s", text[max(0, len(text)-6000):])
	}
}

// tls trusts the demo's authority.
func (h *house) tls(t *testing.T) *tls.Config {
	t.Helper()
	pem, err := os.ReadFile(h.ca)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		t.Fatal("no certificate in demo-ca.pem")
	}
	return &tls.Config{RootCAs: pool, ServerName: "localhost"}
}

// run runs a program with a home of its own and returns what it printed; it must succeed.
func run(t *testing.T, home, stdin, name string, args ...string) string {
	t.Helper()
	out, err := try(t, home, stdin, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

// try is run for programs that may fail.
func try(t *testing.T, home, stdin, name string, args ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is not installed: apt-get install the packages that .ci/run lists", name)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.WaitDelay = 5 * time.Second
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Env = append(os.Environ(), "HOME="+home, "LC_ALL=C.UTF-8", "TERM=xterm", "EMAIL="+alice)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	return out.String(), err
}

// write puts a configuration file of mode 0600 into a folder.
func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// message is a small mail with a subject that can be found again.
func message(from, to, subject string) string {
	return "From: <" + from + ">\r\nTo: <" + to + ">\r\nSubject: " + subject + "\r\nDate: " + time.Now().Format(time.RFC1123Z) +
		"\r\nMessage-ID: <" + strings.ReplaceAll(subject, " ", ".") + "@interop.test>\r\n\r\nA line.\r\n.a dot first\r\n" + strings.Repeat("long enough to fill a frame or two. ", 40) + "\r\n"
}

// deliver hands a message to port 25 with nothing but the standard library.
func (h *house) deliver(t *testing.T, from, to, subject string) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", h.addr(1025), 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	io.WriteString(conn, "EHLO interop.test\r\nMAIL FROM:<"+from+">\r\nRCPT TO:<"+to+">\r\nDATA\r\n"+
		strings.ReplaceAll(message(from, to, subject), "\r\n.", "\r\n..")+".\r\nQUIT\r\n")
	answer, err := io.ReadAll(conn)
	if err != nil || strings.Count(string(answer), "\r\n250 ") != 4 {
		t.Fatalf("delivery of %q: %v\n%s", subject, err, answer)
	}
}

// makeMaildir makes an empty Maildir.
func makeMaildir(t *testing.T, dir string) {
	t.Helper()
	for _, sub := range []string{"cur", "new", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
}

// maildir counts the messages of a Maildir that have every one of the words.
func maildir(t *testing.T, dir string, words ...string) int {
	t.Helper()
	n := 0
	for _, sub := range []string{"new", "cur"} {
		files, err := filepath.Glob(filepath.Join(dir, sub, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			if containsAll(string(text), words) {
				n++
			}
		}
	}
	return n
}

func containsAll(text string, words []string) bool {
	for _, w := range words {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}
