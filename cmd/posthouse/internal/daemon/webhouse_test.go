package daemon

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/cert"
	"github.com/posthouse-mail/posthouse/internal/serve"
)

// TestVisitors: requests come through the accept loop of all doors, over HTTP/1.1 and HTTP/2, and a shutdown waits for a request that
// runs, but for no connection that only stands open.
func TestVisitors(t *testing.T) {
	ca, err := cert.NewAuthority("test", nil)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.Leaf("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	begun, finish := make(chan struct{}), make(chan struct{})
	v := newVisitors(slog.New(slog.DiscardHandler), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(begun)
			<-finish
		}
		_, _ = io.WriteString(w, r.Proto+" "+hostOf(r.RemoteAddr))
	}))
	served := make(chan error, 1)
	go func() { served <- v.serve() }()
	group := serve.New(serve.Options{})
	open := func(c *tls.Config) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		group.Go(serve.Service{Name: "https", Listener: l, TLS: c, Handler: v.handle})
		return l.Addr().String()
	}
	clear := open(nil)
	secured := open(&tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2", "http/1.1"}})

	one := &http.Client{Transport: &http.Transport{}}
	two := &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: ca.Pool()}}}
	get := func(c *http.Client, url string) string {
		t.Helper()
		res, err := c.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for range 2 {
		if got := get(one, "http://"+clear+"/"); got != "HTTP/1.1 127.0.0.1" {
			t.Error(got)
		}
		if got := get(two, "https://"+secured+"/"); got != "HTTP/2.0 127.0.0.1" {
			t.Error(got)
		}
	}
	silent, err := net.Dial("tcp", clear)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	slow := make(chan string, 1)
	go func() {
		res, err := two.Get("https://" + secured + "/slow")
		if err != nil {
			slow <- err.Error()
			return
		}
		defer res.Body.Close()
		text, _ := io.ReadAll(res.Body)
		slow <- string(text)
	}()
	<-begun
	down := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		down <- group.Shutdown(ctx)
	}()
	// What stands open is closed, though a request still runs.
	if _, err := silent.Read(make([]byte, 1)); err == nil {
		t.Error("a silent connection got an answer")
	}
	close(finish)
	if got := <-slow; got != "HTTP/2.0 127.0.0.1" {
		t.Errorf("the request that ran: %s", got)
	}
	if err := <-down; err != nil {
		t.Error(err)
	}
	v.stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// TestVisitorsFresh: who has just connected when the house ends is heard, on a connection that was taken before and on those of that moment.
func TestVisitorsFresh(t *testing.T) {
	v := newVisitors(slog.New(slog.DiscardHandler), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "heard") }))
	taken, change := make(chan struct{}, 100), v.server.ConnState
	v.server.ConnState = func(c net.Conn, s http.ConnState) {
		if change(c, s); s == http.StateNew {
			taken <- struct{}{}
		}
	}
	served := make(chan error, 1)
	go func() { served <- v.serve() }()
	ending, end := context.WithCancel(t.Context())
	defer end()
	var handlers sync.WaitGroup
	for range 20 {
		ours, theirs := net.Pipe()
		handlers.Go(func() { v.handle(ending, &serve.Conn{Conn: theirs}) })
		if ending.Err() == nil {
			<-taken
			end()
		}
		if _, err := io.WriteString(ours, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if text, err := io.ReadAll(ours); err != nil || !strings.HasSuffix(string(text), "\r\n\r\nheard") { // the connection ends with its answer
			t.Errorf("%q %v", text, err)
		}
		ours.Close()
	}
	handlers.Wait()
	v.stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func hostOf(address string) string {
	host, _, _ := net.SplitHostPort(address)
	return host
}
