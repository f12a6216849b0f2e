package web

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// one is a listener that has one connection to give.
type one struct {
	conns chan net.Conn
	done  chan struct{}
}

func (l *one) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}
func (l *one) Close() error   { return nil }
func (l *one) Addr() net.Addr { return &net.TCPAddr{} }

// TestBounded: a form that comes too slowly ends after its time; a page that takes long to make, behind a form that came, does not.
func TestBounded(t *testing.T) {
	for _, c := range []struct {
		name, body string
		takes      time.Duration
	}{
		{"slow", "1234", bodyWait},
		{"in time", "12345678", 5 * time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &http.Server{ReadTimeout: 10 * time.Minute, WriteTimeout: 10 * time.Minute, Handler: bounded(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if _, err := io.ReadAll(r.Body); err != nil {
						return
					}
					select {
					case <-r.Context().Done():
						t.Error("given up behind a form that came whole")
					case <-time.After(5 * time.Minute):
					}
				}))}
				l := &one{make(chan net.Conn), make(chan struct{})}
				served := make(chan error, 1)
				go func() { served <- s.Serve(l) }()
				ours, theirs := net.Pipe()
				l.conns <- theirs
				began := time.Now()
				if _, err := io.WriteString(ours, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\nConnection: close\r\n\r\n"+c.body); err != nil {
					t.Fatal(err)
				}
				if _, err := bufio.NewReader(ours).ReadString('\n'); err != nil && c.takes > bodyWait {
					t.Error(err)
				}
				if took := time.Since(began); took != c.takes {
					t.Errorf("it took %v, want %v", took, c.takes)
				}
				ours.Close()
				close(l.done)
				s.Close()
				<-served
			})
		})
	}
}
