// Package house runs the real binary with settings, domain and accounts for load programs.
package house

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/posthouse-mail/posthouse/internal/bench/load"
	"github.com/posthouse-mail/posthouse/internal/cert"
)

// Accounts u1..u50@bench.test with this password exist in every house of the benchmarks.
const (
	Users    = 50
	Domain   = "bench.test"
	Password = "benchpass"
)

// House is one data folder with its ports.
type House struct {
	Binary    string
	Dir       string
	Base      int    // ports: Base+25, +465, +587, +110, +143, +993, +90 (metrics)
	Limits    string // lines of [limits]; "" for many of everything from one address
	Extra     string // more settings, whole sections
	ProxyFrom string // network whose connections begin with a PROXY header; "" for none
	DNS       string // address and port of the DNS server; "" for one that refuses at once
	Web       bool   // the pages are open, at Base+80
	Folder    string // the data folder; "" for one in Dir
	cmd       *exec.Cmd
	exit      chan error // what the process ended with, once
	log       *os.File
}

func (h *House) addr(port int) string { return fmt.Sprintf("127.0.0.1:%d", h.Base+port) }

// Metrics is the address of /metrics and /readyz.
func (h *House) Metrics() string { return h.addr(90) }

// Settings is the path of the settings file.
func (h *House) Settings() string { return filepath.Join(h.Dir, "posthouse.toml") }

// Data is the data folder.
func (h *House) Data() string { return cmp.Or(h.Folder, filepath.Join(h.Dir, "data")) }

// HTTP is where the pages are.
func (h *House) HTTP() string { return "http://" + h.addr(80) }

// Setup writes settings and certificate and makes domain and accounts.
func (h *House) Setup() error {
	if err := h.Write(); err != nil {
		return err
	}
	if _, err := h.Command("", "domain", "add", Domain); err != nil {
		return err
	}
	for n := 1; n <= Users; n++ {
		if err := h.AddAccount(fmt.Sprintf("u%d@%s", n, Domain)); err != nil {
			return err
		}
	}
	return nil
}

// Write writes settings and certificate.
func (h *House) Write() error {
	if err := os.MkdirAll(h.Dir, 0o755); err != nil {
		return err
	}
	authority, err := cert.NewAuthority("bench", time.Now)
	if err != nil {
		return err
	}
	pair, err := authority.WritePair(h.Dir, "mx", "localhost", "mx."+Domain)
	if err != nil {
		return err
	}
	limits := h.Limits
	if limits == "" {
		limits = "connections = 8000\nconnections_per_address = 8000\nsmtp_connections = 2000\n"
	}
	text := fmt.Sprintf("hostname = \"mx.%s\"\ndata = %q\n[listen]\nsmtp = [%q]\nsubmission = [%q]\nsubmissions = [%q]\npop3 = [%q]\npop3s = []\nimap = [%q]\nimaps = [%q]\n%s"+
		"[[tls.certificates]]\ncert = %q\nkey = %q\n[dns]\nservers = [%q]\n[limits]\n%s"+
		"[quota]\nbytes = \"0B\"\n[sending]\nmessages_per_hour = 0\nmessages_per_day = 0\nrecipients_per_hour = 0\nrecipients_per_day = 0\nnew_recipients_per_day = 0\nsuspend_at = 0\n"+
		"program_recipients_per_hour = 0\nprogram_recipients_per_day = 0\nforwards_per_hour = 0\nforwards_per_day = 0\nall_forwards_per_day = 0\n[auth]\nclear_loopback = true\n[log]\nlevel = \"warn\"\n[metrics]\nlisten = [%q]\n",
		Domain, h.Data(), h.addr(25), h.addr(587), h.addr(465), h.addr(110), h.addr(143), h.addr(993), h.listen(), pair.Certificate, pair.Key, cmp.Or(h.DNS, "127.0.0.1:1"), limits, h.addr(90))
	return os.WriteFile(h.Settings(), []byte(text+h.Extra), 0o600)
}

// listen is what else stands among the listeners.
func (h *House) listen() string {
	text := ""
	if h.ProxyFrom != "" {
		text += fmt.Sprintf("proxy_from = [%q]\n", h.ProxyFrom)
	}
	if h.Web {
		text += fmt.Sprintf("http = [%q]\n", h.addr(80))
	}
	return text
}

// AddAccount makes an account with Password.
func (h *House) AddAccount(address string) error {
	_, err := h.Command(Password+"\n", "account", "add", address, "--password-stdin")
	return err
}

// Command runs a subcommand on the data folder and returns what it printed.
func (h *House) Command(stdin string, args ...string) ([]byte, error) {
	cmd := exec.Command(h.Binary, append(args, "--config", h.Settings())...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("posthouse %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(append(out.Bytes(), complaint.Bytes()...)))
	}
	return out.Bytes(), nil
}

// Check runs `posthouse check store --deep` on a house that is not running.
func (h *House) Check() error {
	_, err := h.Command("", "check", "store", "--deep")
	return err
}

// Start runs the server and waits until it takes connections.
func (h *House) Start() error {
	if err := h.Spawn(); err != nil {
		return err
	}
	if err := h.wait(); err != nil {
		return errors.Join(err, h.Kill())
	}
	return nil
}

// Spawn runs the server and does not wait. Its log goes to a file beside the data folder.
func (h *House) Spawn() error {
	log, err := os.OpenFile(filepath.Join(h.Dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	h.log = log
	h.cmd = exec.Command(h.Binary, "serve", "--config", h.Settings())
	h.cmd.Stdout, h.cmd.Stderr = log, log
	if err := h.cmd.Start(); err != nil {
		return err
	}
	h.exit = make(chan error, 1)
	go func() { h.exit <- h.cmd.Wait() }()
	return nil
}

func (h *House) wait() error {
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		c, err := net.Dial("tcp", h.addr(143))
		if err == nil {
			c.SetDeadline(time.Now().Add(30 * time.Second))
			_, err = c.Read(make([]byte, 1))
			c.Close()
		}
		if err == nil {
			return nil
		}
		if time.Now().After(end) || len(h.exit) > 0 {
			return fmt.Errorf("the house does not answer: %w (see %s)", err, h.log.Name())
		}
	}
}

// PID is the running server's.
func (h *House) PID() int { return h.cmd.Process.Pid }

// Kill ends the server as a power cut of the process would: SIGKILL.
func (h *House) Kill() error {
	defer h.log.Close()
	if err := h.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	var exit *exec.ExitError
	if err := <-h.exit; err != nil && !errors.As(err, &exit) {
		return err
	}
	return nil
}

// Stop ends the server in order.
func (h *House) Stop() error {
	defer h.log.Close()
	if err := h.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return <-h.exit
}

// Target is the house as load's programs see it.
func (h *House) Target() *load.Target {
	return &load.Target{
		Name: "posthouse", User: "u%d@" + Domain, Password: Password, Users: Users, PIDs: []int{h.PID()}, DataDirs: []string{h.Data()},
		SMTP: load.Server{Addr: h.addr(25)}, Submission: load.Server{Addr: h.addr(587)},
		POP3: load.Server{Addr: h.addr(110)}, IMAP: load.Server{Addr: h.addr(143)},
	}
}

// IMAPS is the address of IMAP over TLS.
func (h *House) IMAPS() string { return h.addr(993) }

// Submissions is the address of submission over TLS.
func (h *House) Submissions() string { return h.addr(465) }
