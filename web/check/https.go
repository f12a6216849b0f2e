package check

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/smtp/tlspolicy"
)

// maxAnswer bounds what is read of a web server's answer: more than an STS policy may have (RFC 8461 section 3.2).
const maxAnswer = 64 << 10

// errNoName: the host's name has no address.
var errNoName = errors.New("there is no such name")

// fetch asks as others do: our resolver, a certificate that is valid for the name, no redirects (RFC 8461 section 3.3).
func (r *run) fetch(ctx context.Context, address string) (status int, body string, err error) {
	u, err := url.Parse(address)
	if err != nil {
		return 0, "", err
	}
	addrs, _, err := r.Resolver.IP(ctx, u.Hostname())
	if errors.Is(err, dns.ErrNotFound) {
		return 0, "", errNoName
	}
	if err != nil {
		return 0, "", err
	}
	t := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: r.Roots, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, _ string) (c net.Conn, err error) {
			for _, a := range addrs {
				if c, err = r.Dial(ctx, network, net.JoinHostPort(a.String(), strconv.Itoa(r.WebPort))); err == nil {
					return c, nil
				}
			}
			return nil, err
		},
	}
	client := &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return 0, "", err
	}
	a, err := client.Do(q)
	if err != nil {
		return 0, "", plainFetch(err)
	}
	defer a.Body.Close()
	text, err := io.ReadAll(io.LimitReader(a.Body, maxAnswer))
	return a.StatusCode, string(text), err
}

// plainFetch is why nothing came, in words.
func plainFetch(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	var name x509.HostnameError
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &name):
		return errors.New("the certificate there is for another name")
	case errors.As(err, &unknown):
		return errors.New("the certificate there is from an authority that nobody knows")
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return errors.New("the certificate there has expired")
	case errors.Is(err, context.DeadlineExceeded):
		return errors.New("nobody answers in time")
	}
	return err
}

func (r *run) mtaSTS(ctx context.Context, d Domain) Result {
	name := "_mta-sts." + d.Name
	advice := publish(d.Wants, at(name, "TXT"))
	text, n, err := r.one(ctx, name, "v=STSv1")
	switch {
	case err != nil:
		return noAnswer(name, err)
	case n > 1:
		return wrong("there are several records at "+name, "leave one")
	}
	status, body, err := r.fetch(ctx, d.Wants.PolicyURL)
	served := err == nil && status == http.StatusOK
	switch {
	case n == 0 && served:
		return warn("the policy is served, and no record says so", advice)
	case n == 0:
		return warn("others are not told to insist on TLS", "let mta-sts."+d.Name+" lead here (CNAME "+r.Site.Hostname+".), and when it has a certificate "+advice)
	case errors.Is(err, errNoName):
		return wrong("the record is there, and there is no name mta-sts."+d.Name, publish(d.Wants, at("mta-sts."+d.Name, "CNAME")))
	case err != nil:
		return wrong("the record is there, and "+d.Wants.PolicyURL+" cannot be had: "+err.Error(), "let mta-sts."+d.Name+" lead to a web server with a certificate for it, that serves the policy; or remove the record")
	case !served:
		return wrong(fmt.Sprintf("the record is there, and %s answers %d", d.Wants.PolicyURL, status), "serve the policy there (posthouse domain records "+d.Name+")")
	}
	p, err := tlspolicy.ParsePolicy(body)
	switch {
	case err != nil:
		return wrong("the policy cannot be read: "+err.Error(), "serve the one that posthouse domain records "+d.Name+" prints")
	case p.Mode != tlspolicy.ModeNone && !p.Lists(r.Site.Hostname):
		return wrong("the policy does not name "+r.Site.Hostname+": others refuse to deliver here", "serve the one that posthouse domain records "+d.Name+" prints, and give the record a new id")
	case p.Mode != tlspolicy.Enforce:
		return warn("the policy says "+p.Mode+": nobody insists on TLS", "when nothing fails in posthouse reports tls, serve one that says mode: enforce, with a new id in the record")
	}
	return ok("%s; the policy is served, and says enforce", text)
}

// programs looks whether the settings of mail programs can be had; path empty: only whether the name leads here.
func (r *run) programs(ctx context.Context, d Domain, label, path string) Result {
	name := label + "." + d.Name
	if x, here := r.leadsHere(ctx, name, d.Wants); !here || path == "" {
		return x
	}
	status, _, err := r.fetch(ctx, "https://"+name+path)
	if err != nil {
		return warn("https://"+name+" cannot be had: "+err.Error(), "the house gets a certificate for it when the name leads here ([acme] in the settings); posthouse check shows it when it is there")
	}
	if status != http.StatusOK {
		return warn(fmt.Sprintf("https://%s%s answers %d", name, path, status), "is it this house that answers there?")
	}
	return ok("programs find their settings at https://%s", name)
}

// clockOff is how far a clock may be off: signatures, tickets and one-time passwords fail by minutes.
const (
	clockOff  = time.Minute
	clockNote = 10 * time.Second
)

// clock compares with the Date of an answer (RFC 9110 section 6.6.1), which has whole seconds.
func (r *run) clock(ctx context.Context) Result {
	if r.ClockURL == "" {
		return unseen("nobody was asked what time it is", "")
	}
	u, err := url.Parse(r.ClockURL)
	if err != nil {
		return unseen("the clock's address cannot be read", "")
	}
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (c net.Conn, err error) {
			_, port, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			addrs, _, err := r.Resolver.IP(ctx, u.Hostname())
			for _, a := range addrs {
				if c, err = r.Dial(ctx, network, net.JoinHostPort(a.String(), port)); err == nil {
					return c, nil
				}
			}
			return nil, err
		},
		// A clock that is off by years makes every certificate invalid; nothing but a date is taken from here.
		TLSClientConfig: &tls.Config{RootCAs: r.Roots, MinVersion: tls.VersionTLS12, InsecureSkipVerify: true}, DisableKeepAlives: true,
	}}
	q, err := http.NewRequestWithContext(ctx, http.MethodHead, r.ClockURL, nil)
	if err != nil {
		return unseen("the clock's address cannot be read", "")
	}
	asked := r.Now()
	a, err := client.Do(q)
	if err != nil {
		return unseen("nobody says what time it is: "+u.Hostname()+" does not answer", "is there a way out of this machine?")
	}
	a.Body.Close()
	date, err := http.ParseTime(a.Header.Get("Date"))
	if err != nil {
		return unseen(u.Hostname()+" does not say what time it is", "")
	}
	now := r.Now()
	off := time.Duration(0)
	switch {
	case asked.After(date.Add(time.Second)):
		off = asked.Sub(date.Add(time.Second))
	case now.Before(date):
		off = now.Sub(date)
	}
	text := fmt.Sprintf("the clock differs from %s's by %s", u.Hostname(), off.Abs().Round(time.Second))
	const advice = "let the machine set its clock: timedatectl set-ntp true"
	switch {
	case off.Abs() >= clockOff:
		return wrong(text, advice)
	case off.Abs() >= clockNote:
		return warn(text, advice)
	}
	return ok("the clock is right (%s)", strings.TrimSuffix(u.Hostname(), "."))
}
