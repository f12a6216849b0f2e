package main

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/posthouse-mail/posthouse/internal/cert"
	"github.com/posthouse-mail/posthouse/web/api"
)

// asProgram makes the test's own binary the program: a restart needs a process that can become another.
const asProgram = "POSTHOUSE_TEST_PROGRAM"

// keptHouse is a house in a process of its own, whose sockets outlive it.
type keptHouse struct {
	t       *testing.T
	dir     string
	file    string
	ip      string
	trust   *tls.Config
	cmd     *exec.Cmd
	log     *lockedBuffer
	manager *manager // nil: there is none
}

const keptPassword = "secret of a test"

func newKeptHouse(t *testing.T) *keptHouse {
	t.Helper()
	ca, err := cert.NewAuthority("test", nil)
	if err != nil {
		t.Fatal(err)
	}
	h := &keptHouse{t: t, dir: t.TempDir(), log: &lockedBuffer{}}
	if _, err := ca.WritePair(h.dir, "tls", "localhost"); err != nil {
		t.Fatal(err)
	}
	h.trust = &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost", MinVersion: tls.VersionTLS12}
	pid := os.Getpid()
	h.ip = fmt.Sprintf("127.%d.%d.1", 64+pid>>8%128, pid%256) // nobody else's, so that its ports are free
	h.file = filepath.Join(h.dir, "posthouse.toml")
	text := fmt.Sprintf(`hostname = "mx.one.test"
data = "data"
dns.servers = ["127.0.0.1:1"]
metrics.listen = ["%[1]s:10090"]
tls.certificates = [{cert = "tls.pem", key = "tls.key"}]
listen = {smtp = ["%[1]s:10025"], submission = [], submissions = [], pop3 = [], pop3s = [], imap = [], imaps = ["%[1]s:10993"]}
junk.enabled = false
checks.dmarc = "off"
`, h.ip)
	if err := os.WriteFile(h.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, argv := range [][]string{{"domain", "add", "one.test"}, {"account", "add", "you@one.test", "--password-stdin"}} {
		if r := runLine(t, keptPassword+"\n", append(argv, "--config", h.file)...); r.code != 0 {
			t.Fatal(r.errors)
		}
	}
	return h
}

// start runs the house, with what the manager keeps for it, and waits until it is ready.
func (h *keptHouse) start() {
	h.t.Helper()
	self, err := os.Executable()
	if err != nil {
		h.t.Fatal(err)
	}
	// As a service manager does it: the process knows its own number before it is the program.
	h.cmd = exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$0" serve --config "$1"`, self, h.file)
	h.cmd.Env = append(os.Environ(), asProgram+"=1")
	if h.manager != nil {
		env, files := h.manager.hands()
		h.cmd.Env, h.cmd.ExtraFiles = append(h.cmd.Env, env...), files
	}
	h.cmd.Stdout, h.cmd.Stderr = h.log, h.log
	err = h.cmd.Start()
	for _, f := range h.cmd.ExtraFiles {
		f.Close()
	}
	if err != nil {
		h.t.Fatal(err)
	}
	h.ready("")
}

// ready waits until a house answers that was not started at the time given, and gives its own.
func (h *keptHouse) ready(before string) (started string) {
	h.t.Helper()
	until(h.t, h.log, func() bool {
		c, err := api.Dial(h.t.Context(), filepath.Join(h.dir, "data"))
		if err != nil {
			return false
		}
		s, err := c.Status(h.t.Context())
		started = s.Started.String()
		return err == nil && s.Ready && started != before
	})
	return started
}

func (h *keptHouse) end(s os.Signal) {
	h.t.Helper()
	if err := h.cmd.Process.Signal(s); err != nil {
		h.t.Fatal(err)
	}
	err := h.cmd.Wait()
	if err != nil && s != os.Kill {
		h.t.Errorf("the house ended with %v\n%s", err, h.log.Bytes())
	}
}

// TestRestart: mail comes at a steady rate and people log in while the house begins anew in each of the ways that there are. Nobody is
// refused, nobody cut off without a word, and everything that was taken is there.
func TestRestart(t *testing.T) {
	h := newKeptHouse(t)
	h.start()
	w := h.visit()
	first := h.ready("")
	w.more(20)

	r := runLine(t, "", "restart", "--config", h.file)
	if r.code != 0 || !strings.HasPrefix(r.out, "restarted in ") || !strings.Contains(r.out, fmt.Sprint("process ", h.cmd.Process.Pid)) {
		t.Fatalf("%+v\n%s", r, h.log.Bytes())
	}
	t.Log(strings.TrimSpace(r.out))
	second := h.ready(first)
	w.more(20)
	if err := h.cmd.Process.Signal(syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	third := h.ready(second)

	text, err := os.ReadFile(h.file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(h.file, append(text, "colour = 1\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := runLine(t, "", "restart", "--data", filepath.Join(h.dir, "data")); r.code == 0 || !strings.Contains(r.errors, "runs on as it is") || !strings.Contains(r.errors, "colour") {
		t.Errorf("with wrong settings: %+v", r)
	}
	if now := h.ready(""); now != third {
		t.Errorf("the house was started at %s, and at %s before", now, third)
	}
	if err := os.WriteFile(h.file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	w.more(20)
	w.leave(true)
	h.end(syscall.SIGTERM)
	w.allThere()
}

// TestServiceManagerKeepsSockets: systemd's store of descriptors keeps them over a restart, and when the house is killed.
func TestServiceManagerKeepsSockets(t *testing.T) {
	h := newKeptHouse(t)
	h.manager = newManager(t)
	h.start()
	h.stores(4) // two doors, metrics, the operator's socket
	w := h.visit()
	w.more(20)
	h.end(syscall.SIGTERM)
	h.start()
	w.more(20)
	h.end(os.Kill)
	h.start()
	w.more(20)
	if n := strings.Count(string(h.log.Bytes()), "socket not wanted"); n != 0 {
		t.Errorf("%d sockets were not wanted:\n%s", n, h.log.Bytes())
	}
	w.leave(false)
	// A door that the settings do not have any more is closed, with the manager too.
	h.end(syscall.SIGTERM)
	text, err := os.ReadFile(h.file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(h.file, []byte(strings.Replace(string(text), "metrics.listen = [\""+h.ip+":10090\"]", "metrics.listen = []", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	h.start()
	h.stores(3)
	if c, err := net.Dial("tcp", h.ip+":10090"); err == nil {
		c.Close()
		t.Error("a door that is gone from the settings is open")
	}
	h.end(syscall.SIGTERM)
	h.manager.release()
	w.allThere()
}

// manager is what systemd does for Type=notify and FileDescriptorStoreMax=.
type manager struct {
	t    *testing.T
	path string

	mu     sync.Mutex // guards the rest
	names  []string
	stored []*os.File
}

func newManager(t *testing.T) *manager {
	t.Helper()
	dir, err := os.MkdirTemp("", "notify-")
	if err != nil {
		t.Fatal(err)
	}
	m := &manager{t: t, path: filepath.Join(dir, "notify")}
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: m.path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.listen(c)
	}()
	t.Cleanup(func() {
		c.Close()
		<-done
		m.release()
		os.RemoveAll(dir)
	})
	return m
}

// release is what a service manager does when the service is stopped.
func (m *manager) release() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range m.stored {
		f.Close()
	}
	m.names, m.stored = nil, nil
}

// listen stores what comes; the same socket is stored once, as systemd does it.
func (m *manager) listen(c *net.UnixConn) {
	text, rights := make([]byte, 4096), make([]byte, 4096)
	for {
		n, k, _, _, err := c.ReadMsgUnix(text, rights)
		if err != nil {
			return
		}
		state, name, _ := strings.Cut(string(text[:n]), "\nFDNAME=")
		m.mu.Lock()
		switch state {
		case "FDSTORE=1":
			for _, f := range descriptorsOf(rights[:k]) {
				if slices.Contains(m.names, name) {
					f.Close()
					continue
				}
				m.names, m.stored = append(m.names, name), append(m.stored, f)
			}
		case "FDSTOREREMOVE=1":
			if i := slices.Index(m.names, name); i >= 0 {
				m.stored[i].Close()
				m.names, m.stored = slices.Delete(m.names, i, i+1), slices.Delete(m.stored, i, i+1)
			}
		}
		m.mu.Unlock()
	}
}

func descriptorsOf(rights []byte) (all []*os.File) {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return nil
	}
	for _, x := range messages {
		fds, err := unix.ParseUnixRights(&x)
		if err != nil {
			return all
		}
		for _, fd := range fds {
			all = append(all, os.NewFile(uintptr(fd), "stored"))
		}
	}
	return all
}

// stores waits until so many sockets are stored.
func (h *keptHouse) stores(n int) {
	h.t.Helper()
	until(h.t, h.log, func() bool {
		h.manager.mu.Lock()
		defer h.manager.mu.Unlock()
		return len(h.manager.names) == n
	})
}

// hands is what a process is started with: the environment, and duplicates of the descriptors, because those that are stored may be
// closed at any moment. They are the caller's.
func (m *manager) hands() (env []string, files []*os.File) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range m.stored {
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			m.t.Error(err)
			continue
		}
		files = append(files, os.NewFile(uintptr(fd), f.Name()))
	}
	return []string{"NOTIFY_SOCKET=" + m.path, "LISTEN_FDS=" + strconv.Itoa(len(m.names)), "LISTEN_FDNAMES=" + strings.Join(m.names, ":")}, files
}

// visitors send and log in until they are told to leave.
type restartVisitors struct {
	h       *keptHouse
	quit    chan struct{}
	running sync.WaitGroup

	mu      sync.Mutex // guards the rest
	taken   []string   // subjects that got their 250
	refused int        // connections
	cut     []string   // connections that ended without a word
	told    int        // to come again
	logins  int
	longest time.Duration // from connecting to the greeting
}

func (h *keptHouse) visit() *restartVisitors {
	w := &restartVisitors{h: h, quit: make(chan struct{})}
	for i := range 4 {
		w.running.Go(func() { w.steadily(func(n int) error { return w.send(fmt.Sprintf("message %d of %d", n, i)) }) })
	}
	for range 2 {
		w.running.Go(func() { w.steadily(func(int) error { return w.login() }) })
	}
	return w
}

// more waits until so many messages more have been taken, and somebody has logged in.
func (w *restartVisitors) more(n int) {
	w.h.t.Helper()
	count := func() (int, int) {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.taken), w.logins
	}
	taken, logins := count()
	until(w.h.t, w.h.log, func() bool {
		now, in := count()
		return now >= taken+n && in > logins
	})
}

// Ways in which a visit ends that are no fault of the visitor.
var errTold = errors.New("told to come again")

func (w *restartVisitors) steadily(visit func(n int) error) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-w.quit:
			return
		case <-tick.C:
		}
		err := visit(n)
		w.mu.Lock()
		switch {
		case err == nil:
		case errors.Is(err, errTold):
			w.told++
		case errors.Is(err, syscall.ECONNREFUSED):
			w.refused++
		default:
			w.cut = append(w.cut, err.Error())
		}
		w.mu.Unlock()
	}
}

// line is a conversation line by line.
type restartLine struct {
	net.Conn
	r *bufio.Reader
}

// say sends a line, when there is one, and wants an answer that begins so.
func (l restartLine) say(line, want string) (answer string, err error) {
	if line != "" {
		if _, err := io.WriteString(l, line+"\r\n"); err != nil && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
			return "", err // else the farewell may still be there to read
		}
	}
	bye := false
	for {
		answer, err = l.r.ReadString('\n')
		bye = bye || strings.HasPrefix(answer, "* BYE")
		switch {
		case strings.HasPrefix(answer, "421 "), bye && err != nil: // LOGOUT is answered by a BYE too
			return answer, errTold
		case err != nil:
			return answer, fmt.Errorf("after %q: %w", line, err)
		case strings.HasPrefix(answer, want):
			return answer, nil
		case strings.HasPrefix(answer, "* "), len(answer) > 3 && answer[3] == '-':
		default:
			return answer, fmt.Errorf("after %q: %q", line, answer)
		}
	}
}

// dial connects and hears the greeting.
func (w *restartVisitors) dial(port, greeting string, secured bool) (restartLine, error) {
	began := time.Now()
	c, err := net.DialTimeout("tcp", net.JoinHostPort(w.h.ip, port), 30*time.Second)
	if err != nil {
		return restartLine{}, err
	}
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return restartLine{}, errors.Join(err, c.Close())
	}
	if secured {
		c = tls.Client(c, w.h.trust)
	}
	l := restartLine{c, bufio.NewReader(c)}
	if _, err = l.say("", greeting); err != nil {
		return l, errors.Join(err, c.Close())
	}
	w.mu.Lock()
	w.longest = max(w.longest, time.Since(began))
	w.mu.Unlock()
	return l, nil
}

func (w *restartVisitors) send(subject string) error {
	l, err := w.dial("10025", "220 ", false)
	if err != nil {
		return err
	}
	defer l.Close()
	for _, x := range [][2]string{{"EHLO friend.test", "250 "}, {"MAIL FROM:<friend@friend.test>", "250 "}, {"RCPT TO:<you@one.test>", "250 "}, {"DATA", "354 "}, {"Subject: " + subject + "\r\n\r\nx\r\n.", "250 "}} {
		if _, err := l.say(x[0], x[1]); err != nil {
			return err
		}
	}
	w.mu.Lock()
	w.taken = append(w.taken, subject)
	w.mu.Unlock()
	_, err = l.say("QUIT", "221 ")
	return err
}

func (w *restartVisitors) login() error {
	l, err := w.dial("10993", "* OK", true)
	if err != nil {
		return err
	}
	defer l.Close()
	if _, err := l.say(`a LOGIN you@one.test "`+keptPassword+`"`, "a OK"); err != nil {
		return err
	}
	if _, err := l.say("b SELECT INBOX", "b OK"); err != nil {
		return err
	}
	w.mu.Lock()
	w.logins++
	w.mu.Unlock()
	_, err = l.say("z LOGOUT", "z OK")
	return err
}

// leave ends the visits and looks at how they went; polite: nobody may have been cut off.
func (w *restartVisitors) leave(polite bool) {
	t := w.h.t
	t.Helper()
	close(w.quit)
	w.running.Wait()
	t.Logf("%d messages taken, %d logins, %d told to come again, %d cut off, the longest wait for a greeting %s", len(w.taken), w.logins, w.told, len(w.cut), w.longest.Round(time.Millisecond))
	if w.refused > 0 || polite && len(w.cut) > 0 {
		t.Errorf("%d connections were refused, cut off: %q\n%s", w.refused, w.cut, w.h.log.Bytes())
	}
}

// allThere opens the store and looks for everything that was taken.
func (w *restartVisitors) allThere() {
	t := w.h.t
	t.Helper()
	folder := filepath.Join(t.TempDir(), "out")
	if r := runLine(t, "", "export", "mbox", folder, "--account", "you@one.test", "--config", w.h.file); r.code != 0 {
		t.Fatal(r.errors)
	}
	files, err := filepath.Glob(filepath.Join(folder, "*"))
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	for _, s := range w.taken {
		if !strings.Contains(all.String(), "Subject: "+s+"\n") {
			t.Errorf("%s is lost", s)
		}
	}
}
