package hook

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"syscall"
	"time"
)

const (
	answerWait = 15 * time.Second // for the whole attempt
	maxAnswer  = 16 << 10         // octets of an answer that are read
)

// errPrivate: the name leads to an address that is nobody else's business.
var errPrivate = errors.New("hook: the address is in a private network or on this host; a webhook that is to reach it is added with --private")

// inner are networks that are not of the internet (the registries of RFC 6890), besides those that netip knows.
func inner() []netip.Prefix {
	var out []netip.Prefix
	for _, s := range []string{
		"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
		"64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16", "fec0::/10",
	} {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// public tells whether an address is one of the internet.
func public(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if !a.IsValid() || !a.IsGlobalUnicast() || a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsMulticast() {
		return false
	}
	if nat64 := netip.MustParsePrefix("64:ff9b::/96"); nat64.Contains(a) { // RFC 6052: an address of IPv4 as a network without it sees it
		b := a.As16()
		return public(netip.AddrFrom4([4]byte(b[12:])))
	}
	return !slices.ContainsFunc(inner(), func(p netip.Prefix) bool { return p.Contains(a) })
}

// client is for one kind of webhooks. What is refused is looked at when the connection is made, with the address that it goes to: a name
// that leads somewhere else a moment later leads to the same refusal.
func (b *Book) client(private bool) *http.Client {
	guard := func(address string) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		if !private && !public(at.Addr()) {
			return errPrivate
		}
		return nil
	}
	d := &net.Dialer{Timeout: answerWait, Control: func(_, address string, _ syscall.RawConn) error { return guard(address) }}
	dial := d.DialContext
	if own := b.o.Dial; own != nil {
		dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := own(ctx, network, address)
			if err != nil {
				return nil, err
			}
			if err := guard(c.RemoteAddr().String()); err != nil {
				return nil, errors.Join(err, c.Close())
			}
			return c, nil
		}
	}
	return &http.Client{
		Timeout: answerWait,
		Transport: &http.Transport{
			Proxy: nil, DialContext: dial, TLSHandshakeTimeout: answerWait, ResponseHeaderTimeout: answerWait, IdleConnTimeout: 30 * time.Second,
			MaxResponseHeaderBytes: maxAnswer, MaxConnsPerHost: perHook, MaxIdleConns: atOnce, DisableCompression: true, ForceAttemptHTTP2: true,
			TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // a redirect would lead around the guard, and the body somewhere else
	}
}

// answered is what an answer means: nil, or why it is none.
func answered(r *http.Response) error {
	_, _ = io.CopyN(io.Discard, r.Body, maxAnswer) // so that the connection can be used again; what it says is its own business
	switch {
	case r.StatusCode/100 == 2:
		return nil
	case r.StatusCode/100 == 3:
		return fmt.Errorf("the answer is %s: redirects are not followed; add the webhook with the address that it leads to", r.Status)
	}
	return fmt.Errorf("the answer is %s", r.Status)
}
