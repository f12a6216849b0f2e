package handover

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// What the environment says is believed for this process alone, and within bounds.
func TestDescriptors(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		want []descriptor
	}{
		{nil, nil},
		{map[string]string{listenPID: "7", listenCount: "2", listenNames: "smtp:imaps"}, []descriptor{{3, "smtp"}, {4, "imaps"}}},
		{map[string]string{listenPID: "7", listenCount: "2"}, []descriptor{{3, "unknown"}, {4, "unknown"}}},
		{map[string]string{listenPID: "8", listenCount: "2"}, nil},
		{map[string]string{listenPID: "7", listenCount: "many"}, nil},
		{map[string]string{listenPID: "7", listenCount: "1000000000"}, nil},
		{map[string]string{listenPID: "7", listenCount: "-1"}, nil},
		{map[string]string{ownPID: "7", ownSockets: "9:kept-a%20b 12:smtp"}, []descriptor{{9, "kept-a b"}, {12, "smtp"}}},
		{map[string]string{ownPID: "7", ownSockets: "2:stderr x:y 4 -1:z 5:%zz"}, []descriptor{{4, ""}}},
		{map[string]string{ownPID: "8", ownSockets: "9:a"}, nil},
	} {
		if got := descriptors(func(name string) string { return c.env[name] }, 7); !slices.Equal(got, c.want) {
			t.Errorf("%v: %v, want %v", c.env, got, c.want)
		}
	}
}

// leave gives s a listening socket as another process left it.
func leave(t *testing.T, s *Sockets, network, address, name string) (at string) {
	t.Helper()
	l, err := net.Listen(network, address)
	if errors.Is(err, os.ErrPermission) {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatalf("%s %s: %v", network, address, err)
	}
	defer l.Close()
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	n, err := duplicate(l.(Socket))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.add(os.NewFile(uintptr(n), name), name); err != nil {
		t.Fatal(err)
	}
	return l.Addr().String()
}

// A socket is found by the address of the settings; all addresses are both families; none is given twice.
func TestTCP(t *testing.T) {
	s := New()
	_, v4, _ := net.SplitHostPort(leave(t, s, "tcp4", "0.0.0.0:0", "kept-a"))
	at := leave(t, s, "tcp", "127.0.0.1:0", "unit")
	if n := len(s.TCP(at)) + len(s.TCP(at)); n != 1 {
		t.Errorf("%s is given %d times", at, n)
	}
	if n := len(s.TCP("127.0.0.1:" + v4)); n != 0 {
		t.Error("a socket on all addresses is given for one")
	}
	if n := len(s.TCP("127.0.0.1:0")) + len(s.TCP("nobody.invalid:25")) + len(s.TCP("")); n != 0 {
		t.Errorf("%d sockets for no address", n)
	}
	all := s.TCP(":" + v4)
	if len(all) != 1 {
		t.Fatalf("%d sockets for all addresses", len(all))
	}
	c, err := net.Dial("tcp4", "127.0.0.1:"+v4)
	if err != nil {
		t.Fatalf("it does not listen: %v", err)
	}
	c.Close()
	for _, l := range all {
		l.Close()
	}
}

// What a .socket unit names is given by its name, what we stored is not; what nobody wants is closed, and taken out of the store.
func TestNamedAndUnused(t *testing.T) {
	s := New()
	leave(t, s, "tcp", "127.0.0.1:0", "smtp")
	stored := leave(t, s, "tcp", "127.0.0.1:0", ourName+"smtp")
	other := leave(t, s, "tcp", "127.0.0.1:0", "ftp")
	if n := len(s.Named("smtp")); n != 1 {
		t.Errorf("%d sockets named smtp", n)
	}
	var said []string
	addresses, err := s.Unused(func(state string, _ []int) error { said = append(said, state); return nil })
	if err != nil || !slices.Equal(addresses, []string{stored, other}) || !slices.Equal(said, []string{"FDSTOREREMOVE=1\nFDNAME=" + ourName + "smtp"}) {
		t.Errorf("unused: %v, %q, %v", addresses, said, err)
	}
	if c, err := net.Dial("tcp", other); err == nil {
		c.Close()
		t.Error("it listens still")
	}
}

// A unix socket keeps its name for the next process, and loses it when there is none; one whose name is gone is of no use.
func TestUnix(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	first := New()
	l, err := first.ListenUnix(path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	next, err := first.Next()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("unix", path) // nobody accepts; the backlog does
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	env := map[string]string{}
	for _, e := range next.Environ(nil, 7) {
		name, value, _ := strings.Cut(e, "=")
		env[name] = value
	}
	second := New()
	for _, x := range descriptors(func(name string) string { return env[name] }, 7) {
		if err := second.add(os.NewFile(uintptr(x.number), x.name), x.name); err != nil {
			t.Fatal(err)
		}
	}
	l, err = second.ListenUnix(path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	accepted.Close()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the name stays: %v", err)
	}
	third := New()
	leave(t, third, "unix", path, ourName+"x")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if third.unix(path) != nil {
		t.Error("a socket is given that nobody can find")
	}
	if _, err := third.Unused(nil); err != nil {
		t.Error(err)
	}
}

// The socket of a program that lives is left alone, one of a dead one goes, and what is no socket stays.
func TestUnixOfOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if _, err := New().ListenUnix(path, 0o600); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("over one that lives: %v", err)
	}
	l.Close()
	ours, err := New().ListenUnix(path, 0o600)
	if err != nil {
		t.Fatalf("over one that is dead: %v", err)
	}
	ours.Close()
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New().ListenUnix(path, 0o600); err == nil {
		t.Error("over a file")
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "x" {
		t.Errorf("%q %v", text, err)
	}
}

// A nil *Sockets has none and keeps none; its names go.
func TestNone(t *testing.T) {
	var s *Sockets
	path := filepath.Join(t.TempDir(), strconv.Itoa(1))
	l, err := s.ListenUnix(path, 0o600)
	if err != nil || len(s.TCP("127.0.0.1:25"))+len(s.Named("smtp")) != 0 {
		t.Fatal(err)
	}
	s.Keep(l)
	if err := errors.Join(l.Close(), s.Store(nil)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("the name stays")
	}
	if Manager("") != nil {
		t.Error("a manager without a socket")
	}
}
