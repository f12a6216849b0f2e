package admin_test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/posthouse-mail/posthouse/store/storetest"
	"github.com/posthouse-mail/posthouse/web/admin"
)

// oldServer is a POP3 server with three messages; until go is closed it answers no RETR.
func oldServer(t *testing.T) (address string, release chan struct{}) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	release = make(chan struct{})
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serveOld(c, release)
		}
	}()
	return l.Addr().String(), release
}

func serveOld(c net.Conn, release chan struct{}) {
	defer c.Close()
	fmt.Fprint(c, "+OK\r\n")
	for in := bufio.NewScanner(c); in.Scan(); {
		switch word, _, _ := strings.Cut(in.Text(), " "); word {
		case "LIST":
			fmt.Fprint(c, "+OK\r\n1 10\r\n2 10\r\n3 10\r\n.\r\n")
		case "UIDL":
			fmt.Fprint(c, "+OK\r\n1 a\r\n2 b\r\n3 c\r\n.\r\n")
		case "RETR":
			<-release
			fmt.Fprint(c, "+OK\r\nSubject: x\r\n\r\n.\r\n")
		case "CAPA":
			fmt.Fprint(c, "-ERR\r\n")
		default:
			fmt.Fprint(c, "+OK\r\n")
		}
	}
}

// follow waits for the end of a pull.
func follow(t *testing.T, h *admin.House, s admin.PullStatus) admin.PullStatus {
	t.Helper()
	for s.State == admin.PullRunning {
		next, err := h.WatchPull(t.Context(), s.ID, s.Revision)
		if err != nil {
			t.Fatal(err)
		}
		s = next
	}
	return s
}

// pulling is a house with alice.
func pulling(t *testing.T) *house {
	t.Helper()
	h := newHouse(t)
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := h.AddDomain(t.Context(), admin.Domain{Name: "alpha.test"}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.AddAccount(t.Context(), admin.NewAccount{Addresses: []string{"alice@alpha.test"}, Password: "secret"}); err != nil {
		t.Fatal(err)
	}
	return h
}

func TestPull(t *testing.T) {
	w := pulling(t)
	address, release := oldServer(t)
	order := admin.Pull{Account: "alice@alpha.test", From: "pop3://u@" + address, TLS: "none", Password: "p"}
	s, err := w.StartPull(t.Context(), order)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.StartPull(t.Context(), order); classOf(err) != admin.Conflict {
		t.Errorf("a second one for the same account: %v", err)
	}
	close(release)
	s = follow(t, w.House, s)
	if s.State != admin.PullDone || s.POP3 == nil || s.POP3.Pulled != 3 || s.Progress.Done != 3 || s.Error != "" {
		t.Errorf("%+v", s)
	}
	if strings.Contains(fmt.Sprintf("%+v", s), "Password") {
		t.Error("the status holds the password")
	}
	if rows := storetest.Rows(t, w.store, 1, "INBOX"); len(rows) != 3 {
		t.Errorf("%d messages, want 3", len(rows))
	}
	if s, err = w.StartPull(t.Context(), order); err != nil {
		t.Fatal(err)
	}
	if s = follow(t, w.House, s); s.POP3.Pulled != 0 || s.State != admin.PullDone {
		t.Errorf("again: %+v", s)
	}
	if list, err := w.Pulls(t.Context()); err != nil || len(list) != 2 {
		t.Errorf("%d pulls, %v", len(list), err)
	}
}

// TestPullEnds: when it is stopped, and when the house is.
func TestPullEnds(t *testing.T) {
	w := pulling(t)
	address, release := oldServer(t)
	defer close(release)
	order := admin.Pull{Account: "alice@alpha.test", From: "pop3://u@" + address, TLS: "none", Password: "p"}
	s, err := w.StartPull(t.Context(), order)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.StopPull(t.Context(), s.ID); err != nil {
		t.Fatal(err)
	}
	if s = follow(t, w.House, s); s.State != admin.PullStopped {
		t.Errorf("%+v", s)
	}
	if s, err = w.StartPull(t.Context(), order); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if s = follow(t, w.House, s); s.State != admin.PullStopped || !strings.Contains(s.Error, "the house stops") {
		t.Errorf("%+v", s)
	}
	if _, err := w.StartPull(t.Context(), order); classOf(err) != admin.Unavailable {
		t.Errorf("after Close: %v", err)
	}
	if err := w.StopPull(t.Context(), "nothing"); classOf(err) != admin.Missing {
		t.Errorf("stop of nothing: %v", err)
	}
	if _, err := w.WatchPull(t.Context(), "nothing", 0); classOf(err) != admin.Missing {
		t.Errorf("watch of nothing: %v", err)
	}
}

func TestWrongPulls(t *testing.T) {
	w := pulling(t)
	for _, c := range []struct {
		in   admin.Pull
		want string
	}{
		{admin.Pull{From: "imaps://u@h", Account: "nobody@alpha.test"}, "no such account"},
		{admin.Pull{From: "h"}, "no address of a server"},
		{admin.Pull{From: "smtp://u@h"}, "write it as imaps"},
		{admin.Pull{From: "imaps://h"}, "who is it there"},
		{admin.Pull{From: "imaps://u:secret@h"}, "--password-file"},
		{admin.Pull{From: "imaps://u@h/INBOX"}, "no address of a server"},
		{admin.Pull{From: "imaps://u@h", Password: "-"}, "password is empty"},
		{admin.Pull{From: "imaps://u@h", TLS: "maybe"}, "implicit, starttls or none"},
		{admin.Pull{From: "imaps://u@h", CA: "x"}, "holds no certificate"},
		{admin.Pull{From: "pop3s://u@h", Mirror: true}, "are for IMAP"},
		{admin.Pull{From: "imaps://u@h", Delete: true}, "are for POP3"},
		{admin.Pull{From: "imaps://u@h", UIDLFrom: "imaps://h"}, "come by POP3"},
	} {
		switch {
		case c.in.Password == "":
			c.in.Password = "p"
		case c.in.Password == "-":
			c.in.Password = ""
		}
		if c.in.Account == "" {
			c.in.Account = "alice@alpha.test"
		}
		_, err := w.StartPull(t.Context(), c.in)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%+v: %v, want %q", c.in, err, c.want)
		}
	}
}

func classOf(err error) admin.Class {
	e, _ := errors.AsType[*admin.Error](err)
	if e == nil {
		return ""
	}
	return e.Class
}
