package daemon

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/posthouse-mail/posthouse/internal/config"
)

// TestWebSocket: the pages are behind a unix socket, over one that a dead house left; who comes through it without a word about whom he
// speaks for is nobody, and not a person at this machine.
func TestWebSocket(t *testing.T) {
	c := settings(t)
	path := filepath.Join(t.TempDir(), "web.sock")
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	c.Listen.HTTP = []config.Address{{HostPort: "unix:" + path}}
	if _, err := New(t.Context(), Options{Config: c}); !errors.Is(err, syscall.EADDRINUSE) {
		t.Fatalf("over the socket of a program that lives: %v", err)
	}
	if err := left.Close(); err != nil {
		t.Fatal(err)
	}
	for group, mode := range map[string]fs.FileMode{"": socketOwn, strconv.Itoa(os.Getegid()): socketGroup} {
		c.Listen.HTTPGroup = group
		d := made(t, c)
		if info, err := os.Lstat(path); err != nil || peersKnown && info.Mode().Perm() != mode {
			t.Errorf("group %q: %v, %v", group, info.Mode(), err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- d.Run(ctx) }()
		client := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", path) }}}
		for forwarded, want := range map[string]int{"": 403, "unix:": 403, "192.0.2.1": 403, "192.0.2.1 https": 401} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://mx.one.test/sign-in", strings.NewReader(url.Values{"name": {"nobody@one.test"}, "password": {"x"}}.Encode()))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			who, proto, _ := strings.Cut(forwarded, " ")
			if who != "" {
				r.Header.Set("X-Forwarded-For", who)
			}
			r.Header.Set("X-Forwarded-Proto", proto)
			res, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(res.Body)
			if res.Body.Close(); err != nil || res.StatusCode != want {
				t.Errorf("group %q, for %q: %d, want %d: %v\n%s", group, forwarded, res.StatusCode, want, err, text)
			}
		}
		client.CloseIdleConnections()
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the socket stays: %v", err)
		}
	}
	c.Listen.HTTPGroup = "no such group"
	if _, err := New(t.Context(), Options{Config: c}); err == nil || !strings.Contains(err.Error(), "listen.http_group") {
		t.Error(err)
	}
}

// TestMembers: of a group's socket only its programs, root and the house itself get further, and who is refused is told to the log.
func TestMembers(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	type who struct {
		uid, gid int
		known    bool
	}
	const stranger = 1 << 30
	come := []who{{stranger, 7, true}, {stranger, stranger, true}, {0, 0, false}, {0, 0, true}, {os.Geteuid(), stranger, true}}
	var refused []int
	m := members{Listener: l, gid: 7, refused: func(uid int) { refused = append(refused, uid) }}
	m.peer = func(net.Conn) (int, int, bool) {
		x := come[0]
		come = come[1:]
		return x.uid, x.gid, x.known
	}
	for range come {
		c, err := net.Dial("unix", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	for range 3 {
		c, err := m.Accept()
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	if !slices.Equal(refused, []int{stranger, 0}) {
		t.Errorf("refused: %v", refused)
	}
	m.Close()
	if _, err := m.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}
