package web

import (
	"cmp"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/web/page"
)

// secureHeaders is what every answer carries. No script, style, picture or frame of another site, nothing inline, and no other site
// may put a page of ours into a frame.
func secureHeaders(h http.Header, secure bool) {
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), microphone=(), geolocation=(), publickey-credentials-get=(self), publickey-credentials-create=(self)")
	if secure {
		h.Set("Strict-Transport-Security", "max-age=31536000") // RFC 6797; subdomains are not ours to decide for
	}
}

// arrival is what the connection says: who is at its other end, behind proxies that are believed, and whether TLS protects it.
func (s *Server) arrival(r *http.Request) *page.Visit {
	v := &page.Visit{Site: s.o.Hostname, Secure: r.TLS != nil}
	if a, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		v.Remote = a.Addr().Unmap()
	}
	// A unix socket has no address: whoever may open it is the proxy in front of us.
	if !s.proxy(v.Remote) && v.Remote.IsValid() {
		for _, field := range []string{"X-Forwarded-For", "Forwarded", "Via", "X-Real-Ip"} {
			v.Behind = v.Behind || r.Header.Get(field) != ""
		}
		return v
	}
	v.Secure = v.Secure || strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https")
	// The last proxy wrote the last entry; each one that is believed vouches for the one before it. A proxy that does not say whom it
	// speaks for must not make everybody a visitor from its own address, which is loopback more often than not.
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		a, err := netip.ParseAddr(strings.TrimSpace(hop))
		if v.Behind = err != nil; v.Behind {
			break
		}
		v.Remote = a.Unmap()
		if !s.proxy(v.Remote) {
			break
		}
	}
	return v
}

func (s *Server) proxy(a netip.Addr) bool {
	return a.IsValid() && slices.ContainsFunc(s.o.Proxies, func(p netip.Prefix) bool { return p.Contains(a) })
}

// hostOnly is the name of a Host field without its port; empty when it is none.
func hostOnly(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if host == "" || strings.ContainsFunc(host, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '-')
	}) {
		return ""
	}
	return host
}

// overTLS is where the pages of a Host field are over TLS; empty: it is none.
func (s *Server) overTLS(host string) string {
	name := hostOnly(host)
	if _, port, err := net.SplitHostPort(host); err != nil || port == "80" || name == "" || s.o.TLSPort == 0 || s.o.TLSPort == 443 {
		return name
	}
	return name + ":" + strconv.Itoa(s.o.TLSPort)
}

// bodyWait is how long the octets of a form may take: who sends one each minute keeps a connection no longer than that.
const bodyWait = 30 * time.Second

// bounded gives the body of a request its time, and a handler that works longer the server's again when the body is there.
func bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			c := http.NewResponseController(w)
			if err := c.SetReadDeadline(time.Now().Add(bodyWait)); err == nil {
				r.Body = &body{r.Body, c}
			}
		}
		next.ServeHTTP(w, r)
	})
}

type body struct {
	io.ReadCloser
	control *http.ResponseController
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		_ = b.control.SetReadDeadline(time.Time{}) // the next request has a time of its own
	}
	return n, err
}

// counted counts answers by whom they are for and by their class: "2xx". A panic is the end of its request alone; http.Server would tell nobody.
func (s *Server) counted(answers *prometheus.CounterVec, panics prometheus.Counter, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &counting{ResponseWriter: w}
		defer func() {
			p := recover()
			if p != nil && p != http.ErrAbortHandler {
				panics.Inc()
				s.log.ErrorContext(r.Context(), logx.ConnPanic, "path", r.URL.Path, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
				if c.status == 0 {
					http.Error(c, "This page could not be made; the reason is in the log.", http.StatusInternalServerError)
					p = nil
				}
			}
			kind := "pages"
			if strings.HasPrefix(r.URL.Path, apiPath) {
				kind = "api"
			}
			answers.WithLabelValues(kind, strconv.Itoa(cmp.Or(c.status, http.StatusOK)/100)+"xx").Inc()
			if p != nil {
				panic(http.ErrAbortHandler) // half an answer: the connection ends, so that nobody takes it for a whole one
			}
		}()
		next.ServeHTTP(c, r)
	})
}

// counting notes the status of an answer; 0: none has begun.
type counting struct {
	http.ResponseWriter
	status int
}

func (c *counting) WriteHeader(status int) {
	c.status = status
	c.ResponseWriter.WriteHeader(status)
}

func (c *counting) Write(p []byte) (int, error) {
	c.status = cmp.Or(c.status, http.StatusOK)
	return c.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (c *counting) Unwrap() http.ResponseWriter { return c.ResponseWriter }
