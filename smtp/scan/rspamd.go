package scan

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"time"
)

// What of an envelope rspamd is told, and how much it may say.
const (
	maxToldRecipients = 100
	maxAnswer         = 1 << 20
)

// rspamd asks over HTTP, as its protocol describes /checkv2: what the envelope says is in header fields of the request, the message
// is its body.
type rspamd struct {
	o        *Helper
	hostname string
	url      *url.URL
	http     *http.Transport
}

func newRspamd(o *Helper, hostname, network, address string) *rspamd {
	r := &rspamd{o: o, hostname: hostname, url: &url.URL{Scheme: "http", Host: address, Path: "/checkv2"}}
	if network == "unix" {
		r.url.Host = "localhost"
	}
	r.http = &http.Transport{
		DialContext:            func(ctx context.Context, _, _ string) (net.Conn, error) { return o.Dial(ctx, network, address) },
		MaxIdleConnsPerHost:    o.Connections,
		IdleConnTimeout:        30 * time.Second,
		DisableCompression:     true,
		MaxResponseHeaderBytes: 32 << 10,
		ResponseHeaderTimeout:  o.Timeout,
		TLSHandshakeTimeout:    o.Timeout,
	}
	if o.TLS {
		r.url.Scheme = "https"
		r.http.TLSClientConfig = &tls.Config{RootCAs: o.Roots, MinVersion: tls.VersionTLS12}
	}
	return r
}

func (r *rspamd) close() { r.http.CloseIdleConnections() }

func (r *rspamd) scan(ctx context.Context, m *Message) (answer, error) {
	there := false
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { there = true }})
	body := &lent{}
	defer body.giveBack() // the transport may still be sending when the answer is there
	req := (&http.Request{
		Method: http.MethodPost, URL: r.url, Host: r.url.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: r.header(m),
		ContentLength: int64(len(m.Header)) + 2 + m.Size,
		GetBody:       func() (io.ReadCloser, error) { return body.lend(m), nil },
		Body:          body.lend(m),
	}).WithContext(ctx)
	res, err := r.http.RoundTrip(req) // not a Client's: it goes nowhere else whatever the answer is
	if err != nil {
		if !there {
			err = &unreachable{err}
		}
		return answer{}, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case err != nil:
		return answer{}, fmt.Errorf("read the answer: %w", err)
	case len(text) > maxAnswer:
		return answer{}, fmt.Errorf("the answer is larger than %d octets", maxAnswer)
	case res.StatusCode != http.StatusOK:
		return answer{}, fmt.Errorf("HTTP status %d: %s", res.StatusCode, clean(string(text[:min(len(text), 200)]), 200))
	}
	said, err := parseRspamd(text)
	if err != nil {
		return answer{}, err
	}
	return said.answer(r.o), nil
}

// header tells the envelope.
func (r *rspamd) header(m *Message) http.Header {
	h := http.Header{
		"X-Idempotency-Key": {}, // sent to nobody: a message may be shown twice, when a kept connection turns out to be closed
		"User-Agent":        {"posthouse"},
	}
	set := func(name, value string) {
		if value = clean(value, 1000); value != "" {
			h[name] = append(h[name], value)
		}
	}
	if m.Remote.IsValid() {
		set("IP", m.Remote.Addr().Unmap().WithZone("").String())
	}
	set("Helo", m.Hello)
	set("Hostname", m.Name)
	set("From", m.From.String())
	for _, to := range m.To[:min(len(m.To), maxToldRecipients)] {
		set("Rcpt", to.String())
	}
	set("User", m.Account)
	set("Queue-Id", m.ID)
	set("MTA-Name", r.hostname)
	set("TLS-Version", m.TLS)
	set("TLS-Cipher", m.Cipher)
	set("Password", r.o.Password)
	return h
}

var errGivenBack = errors.New("scan: the message is in hand no longer")

// lent is a message that is lent to the transport, and taken back before its owner goes on with it.
type lent struct {
	mu   sync.Mutex
	back bool
}

func (l *lent) giveBack() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.back = true
}

func (l *lent) lend(m *Message) io.ReadCloser { return &lending{lent: l, r: m.text()} }

type lending struct {
	*lent
	r io.Reader
}

func (l *lending) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.back {
		return 0, errGivenBack
	}
	return l.r.Read(p)
}

func (l *lending) Close() error { return nil }

// text is the message as it came.
func (m *Message) text() io.Reader {
	return io.MultiReader(bytes.NewReader(m.Header), strings.NewReader("\r\n"), io.NewSectionReader(m.Body, 0, m.Size))
}
