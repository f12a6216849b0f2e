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
	"strings"
	"syscall"
	"time"

	"github.com/posthouse-mail/posthouse/smtp/remote"
)

const (
	answerWait = 15 * time.Second // for the whole attempt
	maxAnswer  = 16 << 10         // octets of an answer that are read
)

// errPrivate: the name leads to an address that is nobody else's business.
var errPrivate = errors.New("hook: the address is in a private network or on this host, and the webhook may not go there: add it anew and allow that (posthouse webhook add --private)")

// client is for one kind of webhooks. What is refused is looked at when the connection is made, with the address that it goes to: a name
// that leads somewhere else a moment later leads to the same refusal.
func (b *Book) client(private bool) *http.Client {
	guard := func(address string) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		if private {
			return nil
		}
		if why, _ := remote.Forbidden(at.Addr(), false, false); why != "" {
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

// answered is what an answer means: nil, or why it is none. The words beside the status are the other side's, and go nowhere.
func answered(r *http.Response) error {
	_, _ = io.CopyN(io.Discard, r.Body, maxAnswer) // so that the connection can be used again; what it says is its own business
	status := strings.TrimSpace(fmt.Sprintf("%d %s", r.StatusCode, http.StatusText(r.StatusCode)))
	switch {
	case r.StatusCode/100 == 2:
		return nil
	case r.StatusCode/100 == 3:
		return fmt.Errorf("the answer is %s: redirects are not followed; add the webhook with the address that it leads to", status)
	}
	return fmt.Errorf("the answer is %s", status)
}
