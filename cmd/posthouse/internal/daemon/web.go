package daemon

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/serve"
	"github.com/posthouse-mail/posthouse/web/api"
)

// web is the listeners that speak HTTP: the operator's socket, and metrics and health.
type web struct {
	d       *Daemon
	servers []webServer
	running sync.WaitGroup
}

type webServer struct {
	listener net.Listener
	server   *http.Server
}

// openWeb binds the HTTP listeners.
func (d *Daemon) openWeb(ctx context.Context) error {
	d.web = &web{d: d}
	socket, err := api.Listen(d.o.Config.Data, d.sockets)
	if err != nil {
		return fmt.Errorf("operator's socket: %w", err)
	}
	d.opened(quiet(socket))
	d.web.add(socket, d.table())
	if path := d.o.Config.Submission.Socket; path != "" {
		l, err := api.ListenMailbox(path, openConns, d.sockets)
		if err != nil {
			return fmt.Errorf("submission.socket: %w", err)
		}
		d.opened(quiet(l))
		d.web.addOpen(l, api.NewMailbox(api.Options{Logger: d.part(logx.PartWeb), Submit: d.submit}))
	}
	m := d.o.Config.Metrics
	token, err := secretOf(m.TokenFile)
	if err != nil {
		return fmt.Errorf("metrics.token_file: %w", err)
	}
	for _, a := range m.Listen {
		listeners, err := d.listen(ctx, a.HostPort)
		if err != nil {
			return fmt.Errorf("metrics.listen: %w", err)
		}
		for _, l := range listeners {
			d.opened(quiet(l))
			if m.Cert != "" {
				pair, err := tls.LoadX509KeyPair(m.Cert, m.Key)
				if err != nil {
					return fmt.Errorf("metrics.cert: %w", err)
				}
				l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}})
			}
			d.web.addOpen(netutil.LimitListener(l, openConns), d.observed(token))
		}
	}
	return nil
}

// quiet closes a listener that may be closed already.
func quiet(l net.Listener) func() error {
	return func() error {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	}
}

func (w *web) add(l net.Listener, h http.Handler) {
	w.servers = append(w.servers, webServer{l, &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    1 << 16,
		ConnContext:       api.ConnContext,
	}})
}

// Bounds of the listeners that others than the operator reach.
const (
	openConns = 64
	openWait  = 10 * time.Minute // for a request and its answer; a message may be large
)

// addOpen is add for those.
func (w *web) addOpen(l net.Listener, h http.Handler) {
	w.add(l, h)
	s := w.servers[len(w.servers)-1].server
	s.ReadTimeout, s.WriteTimeout = openWait, openWait
}

// start accepts; the listeners are bound already.
func (w *web) start() {
	for _, s := range w.servers {
		w.running.Go(func() {
			if err := s.server.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
				w.d.log.Error(logx.HouseWebError, "listener", s.listener.Addr().String(), "error", err)
			}
		})
	}
}

// stop lets requests in flight finish until ctx ends.
func (w *web) stop(ctx context.Context) error {
	var errs []error
	for _, s := range w.servers {
		if err := s.server.Shutdown(ctx); err != nil {
			errs = append(errs, s.server.Close())
		}
	}
	w.running.Wait()
	return errors.Join(errs...)
}

// observed is /metrics, /healthz and /readyz.
func (d *Daemon) observed(token string) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", withToken(token, promhttp.HandlerFor(d.metrics.Registry(), promhttp.HandlerOpts{
		MaxRequestsInFlight: 4, Timeout: 30 * time.Second,
	})))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "alive") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := d.readiness(r.Context()); err != nil {
			answer(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		answer(w, http.StatusOK, "ready")
	})
	return mux
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n") // the asker is gone: nobody to tell
}

// readiness says why no mail can be taken now; nil when it can.
func (d *Daemon) readiness(ctx context.Context) error {
	if !d.ready.Load() {
		return errors.New("the doors are not open")
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := d.probe.check(ctx, d.keepers, d.o.Now()); err != nil {
		return fmt.Errorf("the log cannot be written: %w", err)
	}
	return nil
}

// withToken asks for the bearer token, when there is one. The hashes are compared, so that time tells nothing of its length either.
func withToken(token string, next http.Handler) http.Handler {
	if token == "" {
		return next
	}
	want := sha256.Sum256([]byte(token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got := sha256.Sum256([]byte(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")))
		if subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			w.Header().Set("WWW-Authenticate", `Bearer realm="posthouse"`)
			answer(w, http.StatusUnauthorized, "a bearer token is needed")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// secretOf is the first line of a file; no name, no secret.
func secretOf(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	line = strings.TrimRight(line, "\r")
	if line == "" {
		return "", fmt.Errorf("%s: the first line is empty", path)
	}
	return line, nil
}

// listen binds a TCP address.
func listen(ctx context.Context, address string) (net.Listener, error) {
	c := serve.ListenConfig()
	l, err := c.Listen(ctx, "tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%w: another program has the port", err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("%w: this machine does not have the address", err)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("%w: ports below 1024 need the capability CAP_NET_BIND_SERVICE, which the systemd unit gives", err)
	}
	return l, err
}
