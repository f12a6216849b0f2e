package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/config"
	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/serve"
	rooms "github.com/posthouse-mail/posthouse/web"
	"github.com/posthouse-mail/posthouse/web/accountui"
	"github.com/posthouse-mail/posthouse/web/adminui"
	"github.com/posthouse-mail/posthouse/web/api"
	"github.com/posthouse-mail/posthouse/web/autoconfig"
	"github.com/posthouse-mail/posthouse/web/clients"
	"github.com/posthouse-mail/posthouse/web/mtasts"
	"github.com/posthouse-mail/posthouse/web/page"
)

// pages makes the web house of the settings.
func (d *Daemon) pages(c *config.Config) http.Handler {
	var server *rooms.Server // the account's room asks it for sessions
	all := append(autoconfig.Rooms(autoconfig.Options{
		Logger: d.part(logx.PartWeb), Now: d.o.Now, Programs: programs(c), Local: d.keepers.directory.IsLocal, Signer: d.signer(),
	}), mtasts.Room(d.part(logx.PartWeb), mtasts.When(d.stands, mtasts.Of(d.house))), page.Room{Path: api.LeavePath, For: page.Anyone, Handler: api.Leave(d.house.Unsubscribe)})
	server = rooms.New(rooms.Options{
		Logger: d.part(logx.PartWeb), Metrics: d.metrics, Now: d.o.Now, Hostname: c.Hostname, Directory: d.keepers.directory, Side: d.keepers.side,
		Proxies: c.Web.Proxies, AdminFrom: c.Web.AdminFrom, Redirect: c.Web.Redirect && len(c.Listen.HTTPS) > 0, TLSPort: firstPort(c.Listen.HTTPS), Idle: c.Web.SignIn.Duration, Provider: d.provider(c),
		Rooms: append(all,
			d.apiRoom(c),
			d.adminRoom(func() *rooms.Server { return server }),
			accountui.New(accountui.Options{
				Logger: d.part(logx.PartWeb), House: d.house, Directory: d.keepers.directory, Programs: programs(c),
				Sessions: accountui.Sessions{
					List: func(ctx context.Context, account mail.AccountID) ([]accountui.Session, error) {
						return signIns(server.Sessions(ctx, account))
					},
					End:       func(ctx context.Context, a mail.AccountID, name string) error { return server.EndSession(ctx, a, name) },
					EndOthers: func(ctx context.Context, a mail.AccountID, but string) error { return server.EndSessions(ctx, a, but) },
					Renew:     func(w http.ResponseWriter, r *http.Request, id auth.Identity) error { return server.Renew(w, r, id) },
				},
			}),
			clients.New(clients.Options{
				Logger: d.part(logx.PartWeb), Now: d.o.Now, Programs: programs(c), Local: d.keepers.directory.IsLocal, Check: d.house.CheckClient,
			})),
	})
	return server
}

// adminRoom is the operators' room; server is asked for sessions when it is there.
func (d *Daemon) adminRoom(server func() *rooms.Server) page.Room {
	return adminui.New(adminui.Options{
		Logger: d.part(logx.PartWeb), Now: d.o.Now, House: d.house,
		Sessions: adminui.Sessions{
			List: func(ctx context.Context, account mail.AccountID) (all []adminui.Session, err error) {
				list, err := server().Sessions(ctx, account)
				for _, s := range list {
					all = append(all, adminui.Session{Name: s.Name, Agent: s.Agent, Remote: s.Remote.String(), Created: s.Created, Seen: s.Seen})
				}
				return all, err
			},
			End: func(ctx context.Context, a mail.AccountID, name string) error {
				return server().EndSession(ctx, a, name)
			},
			EndOthers: func(ctx context.Context, a mail.AccountID, but string) error {
				return server().EndSessions(ctx, a, but)
			},
		},
	})
}

// signIns is the sessions as the account's room shows them.
func signIns(all []rooms.Session, err error) ([]accountui.Session, error) {
	var out []accountui.Session
	for _, s := range all {
		out = append(out, accountui.Session{Name: s.Name, Agent: s.Agent, Remote: s.Remote.String(), Created: s.Created, Seen: s.Seen})
	}
	return out, err
}

// programs is what mail programs are told to connect to: the first port of each door.
func programs(c *config.Config) page.Programs {
	l := c.Listen
	return page.Programs{
		Host: c.Hostname, IMAPS: firstPort(l.IMAPS), IMAP: firstPort(l.IMAP), POP3S: firstPort(l.POP3S), POP3: firstPort(l.POP3),
		Submissions: firstPort(l.Submissions), Submission: firstPort(l.Submission),
	}
}

// stands tells whether other hosts would take the certificate that port 25 shows.
func (d *Daemon) stands() bool { return d.certs != nil && d.certs.Stands(d.o.Config.Hostname) }

// signer is what profiles are signed with; nil: the house has no certificate.
func (d *Daemon) signer() func() *tls.Certificate {
	if d.certs == nil {
		return nil
	}
	return func() *tls.Certificate { return d.certs.Chain(d.o.Config.Hostname) }
}

// Bounds of a request at the web house.
const (
	pageHeader = 10 * time.Second
	pageWait   = 10 * time.Minute // for a request and its answer: an import may be large
	pageIdle   = 2 * time.Minute
	pageFields = 32 << 10 // octets of a request's header
)

// visitors brings connections that the Group accepted to an http.Server: it counts and bounds them like those of every door, and has
// read their PROXY header.
type visitors struct {
	server *http.Server
	conns  chan net.Conn
	done   chan struct{}
	calm   func() // the connections that wait for a request are closed, and the others when they have their answer
	quiet  func() // lets requests that run be finished, and nothing else
	ending sync.WaitGroup

	mu   sync.Mutex
	open map[net.Conn]*visitor // by what http.Server knows
}

type visitor struct {
	conn   *serve.Conn
	asked  bool // guarded by visitors.mu: a request came
	closed chan struct{}
}

// newVisitors starts an http.Server for h; Close ends it.
func newVisitors(log *slog.Logger, h http.Handler) *visitors {
	v := &visitors{conns: make(chan net.Conn), done: make(chan struct{}), open: make(map[net.Conn]*visitor)}
	v.server = &http.Server{
		ReadHeaderTimeout: pageHeader, ReadTimeout: pageWait, WriteTimeout: pageWait, IdleTimeout: pageIdle, MaxHeaderBytes: pageFields,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if c, ok := r.Context().Value(visitorKey{}).(*serve.Conn); ok {
				r.RemoteAddr = ""
				if c.Remote.IsValid() { // a unix socket has nobody's address
					r.RemoteAddr = c.Remote.String()
				}
			}
			h.ServeHTTP(w, r)
		}),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			v.mu.Lock()
			defer v.mu.Unlock()
			if x := v.open[c]; x != nil {
				return context.WithValue(ctx, visitorKey{}, x.conn)
			}
			return ctx
		},
		ConnState: func(c net.Conn, s http.ConnState) {
			switch s {
			case http.StateClosed, http.StateHijacked:
				v.gone(c)
			case http.StateActive:
				v.asked(c)
			}
		},
	}
	v.calm = sync.OnceFunc(func() { v.server.SetKeepAlivesEnabled(false) })
	v.quiet = sync.OnceFunc(func() {
		v.ending.Go(func() { _ = v.server.Shutdown(context.Background()) }) // the Group closes what takes too long
	})
	return v
}

type visitorKey struct{}

// serve is the http.Server's life; stop ends it, when handle has no connection any more.
func (v *visitors) serve() error {
	if err := v.server.Serve(v); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

func (v *visitors) stop() {
	v.quiet()
	_ = v.Close()
	v.ending.Wait()
}

// handle is the serve.Handler: it returns when the connection is closed.
func (v *visitors) handle(ctx context.Context, c *serve.Conn) {
	x := &visitor{conn: c, closed: make(chan struct{})}
	raw := net.Conn(c)
	if secured, ok := c.Conn.(*tls.Conn); ok {
		raw = secured // HTTP/2 is spoken only where the server sees TLS itself
	}
	v.mu.Lock()
	v.open[raw] = x
	v.mu.Unlock()
	fresh := time.NewTimer(freshWait)
	defer fresh.Stop()
	select {
	case v.conns <- raw: // also when the house ends: the server accepts until stop
	case <-v.done:
		v.gone(raw)
		return
	}
	select {
	case <-x.closed:
		return
	case <-ctx.Done():
		v.calm()
	}
	select {
	case <-x.closed:
	case <-fresh.C:
		v.mu.Lock()
		silent := !x.asked
		v.mu.Unlock()
		if silent {
			_ = raw.Close() // http.Server would wait some seconds for its first request
		}
		<-x.closed
	}
}

// freshWait is how long a connection has for its first request when the house ends: who has just connected is about to ask, and a
// request that is on its way would be lost. Browsers also open connections that they do not use; those are older.
const freshWait = 700 * time.Millisecond

func (v *visitors) asked(c net.Conn) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if x := v.open[c]; x != nil {
		x.asked = true
	}
}

func (v *visitors) gone(c net.Conn) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if x := v.open[c]; x != nil {
		close(x.closed)
		delete(v.open, c)
	}
}

// Accept is a connection from handle.
func (v *visitors) Accept() (net.Conn, error) {
	select {
	case c := <-v.conns:
		return c, nil
	case <-v.done:
		return nil, net.ErrClosed
	}
}

// Close ends Accept.
func (v *visitors) Close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	select {
	case <-v.done:
	default:
		close(v.done)
	}
	return nil
}

// Addr is nobody's: the Group listens.
func (v *visitors) Addr() net.Addr { return &net.TCPAddr{} }
