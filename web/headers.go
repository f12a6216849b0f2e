package web

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

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
	// The last proxy wrote the last entry; each one that is believed vouches for the one before it.
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		a, err := netip.ParseAddr(strings.TrimSpace(hop))
		if err != nil {
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

// counted counts answers by their class: "2xx".
func (s *Server) counted(answers *prometheus.CounterVec, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &counting{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(c, r)
		answers.WithLabelValues(strconv.Itoa(c.status/100) + "xx").Inc()
	})
}

// counting notes the status of an answer.
type counting struct {
	http.ResponseWriter
	status int
}

func (c *counting) WriteHeader(status int) {
	c.status = status
	c.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (c *counting) Unwrap() http.ResponseWriter { return c.ResponseWriter }
