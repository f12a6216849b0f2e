package check

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/posthouse-mail/posthouse/internal/dns"
)

// Mail programs, by how they find their settings.
const (
	Thunderbird = "thunderbird"
	Outlook     = "outlook"
	Mac         = "mac"
	IPhone      = "iphone"
	Android     = "android"
	Other       = "other"
)

// ProgramNames are those that Client knows.
func ProgramNames() []string { return []string{Thunderbird, Outlook, Mac, IPhone, Android, Other} }

// Door is a port that mail programs connect to.
type Door struct {
	Protocol string // "IMAP", "POP3", "SMTP"
	Port     int
	TLS      bool // from the first octet; else STARTTLS
}

// Who can mend what a Step has found.
const (
	You      = "you"
	Operator = "the operator of this server"
)

// Step is one thing that a mail program does until it works.
type Step struct {
	Step   string `json:"step"` // "settings", "receive", "send", "account", "password"
	State  State  `json:"state"`
	Found  string `json:"found"`
	Advice string `json:"advice,omitempty"`
	Mends  string `json:"mends,omitempty"` // who can
}

// ClientOptions of a Client: of Options it needs Site, Resolver, Dial, Roots, Local, ports and deadlines.
type ClientOptions struct {
	Options
	Program string
	Address string
	Domain  Domain // of the address; one of the house's
	Doors   []Door // the best of each protocol first
	Plain   int    // port of the pages in clear, 80
}

// Client does what a mail program does for an address, from here: it looks for the settings, connects, and asks what is offered.
// It speaks to addresses of this house only, wherever names lead.
func Client(ctx context.Context, o ClientOptions) []Step {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{}).DialContext
	}
	o.WebPort, o.Plain = cmp.Or(o.WebPort, 443), cmp.Or(o.Plain, 80)
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(o.Whole, defaultWhole))
	defer cancel()
	c := &client{run: &run{Options: o.Options, places: &places{}}, o: o}
	var todo []func(context.Context) Step
	if found := c.finds(); found != nil {
		todo = append(todo, found)
	}
	for _, sends := range []bool{false, true} {
		if !slices.ContainsFunc(o.Doors, func(d Door) bool { return (d.Protocol == "SMTP") == sends }) {
			todo = append(todo, func(context.Context) Step { return closed(sends) })
		}
	}
	for _, d := range c.doors() {
		todo = append(todo, func(ctx context.Context) Step { return c.door(ctx, d) })
	}
	steps := make([]Step, len(todo))
	var all sync.WaitGroup
	for i, do := range todo {
		all.Go(func() {
			each, cancel := context.WithTimeout(ctx, cmp.Or(o.Each, defaultEach))
			defer cancel()
			steps[i] = do(each)
			steps[i].Found, steps[i].Advice = printable(steps[i].Found), printable(steps[i].Advice)
		})
	}
	all.Wait()
	return steps
}

// client is one Client.
type client struct {
	*run
	o ClientOptions
}

// doors are those that the program takes: the best to receive and the best to send; others may choose of all.
func (c *client) doors() (all []Door) {
	if c.o.Program == Other {
		return c.o.Doors
	}
	for _, sends := range []bool{false, true} {
		if i := slices.IndexFunc(c.o.Doors, func(d Door) bool { return (d.Protocol == "SMTP") == sends }); i >= 0 {
			all = append(all, c.o.Doors[i])
		}
	}
	return all
}

// closed is a step that this server has no door for.
func closed(sends bool) Step {
	s := Step{Step: "receive", State: Wrong, Found: "this server has no port for programs that receive mail", Advice: "open one in the settings (listen.imaps)", Mends: Operator}
	if sends {
		s.Step, s.Found, s.Advice = "send", "this server has no port for programs that send mail", "open one in the settings (listen.submissions)"
	}
	return s
}

func (c *client) own(ctx context.Context) ([]netip.Addr, error) {
	addrs, err := c.hostAddresses(ctx)
	return slices.Concat(addrs, c.Local, c.Site.Addresses), err
}

var errElsewhere = errors.New("leads elsewhere")

// reach is where a name leads, as far as that is this house.
func (c *client) reach(ctx context.Context, name string) ([]netip.Addr, error) {
	addrs, _, err := c.Resolver.IP(ctx, name)
	switch {
	case errors.Is(err, dns.ErrNotFound):
		return nil, errNoName
	case err != nil:
		return nil, errors.New("DNS does not answer for it")
	}
	own, err := c.own(ctx)
	if err != nil && !errors.Is(err, dns.ErrNotFound) {
		return nil, errors.New("DNS does not answer for " + c.Site.Hostname)
	}
	here := slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool { return !slices.Contains(own, a) })
	if len(here) == 0 {
		return nil, fmt.Errorf("it %w: to %s, which is not this server", errElsewhere, joined(addrs))
	}
	return here, nil
}

// page asks a page of this house by a name, as a program does; body nil: GET.
func (c *client) page(ctx context.Context, address, body string) (text string, err error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", err
	}
	addrs, err := c.reach(ctx, u.Hostname())
	if err != nil {
		return "", err
	}
	port := c.WebPort
	if u.Scheme == "http" {
		port = c.o.Plain
	}
	web := &http.Client{
		Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: c.Roots, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true,
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) { return c.dial(ctx, addrs, port) },
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	method := http.MethodGet
	if body != "" {
		method = http.MethodPost
	}
	q, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	if body != "" {
		q.Header.Set("Content-Type", "text/xml; charset=utf-8")
	}
	a, err := web.Do(q)
	if err != nil {
		return "", plainFetch(err)
	}
	defer a.Body.Close()
	got, err := io.ReadAll(io.LimitReader(a.Body, maxAnswer))
	if a.StatusCode != http.StatusOK {
		return "", fmt.Errorf("it answers %d", a.StatusCode)
	}
	return string(got), err
}

// dial connects to the first of some addresses that answers.
func (c *client) dial(ctx context.Context, addrs []netip.Addr, port int) (conn net.Conn, err error) {
	for _, a := range addrs {
		if conn, err = c.Dial(ctx, "tcp", net.JoinHostPort(a.String(), strconv.Itoa(port))); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// finds is how the program finds the settings by itself; nil: it does not look for them.
func (c *client) finds() func(context.Context) Step {
	switch c.o.Program {
	case Thunderbird, Android:
		return c.autoconfig
	case Outlook:
		return c.autodiscover
	case Mac, IPhone:
		return c.profile
	}
	return c.records
}

// settings is a Step of that name.
func settings(s State, found, advice string) Step {
	x := Step{Step: "settings", State: s, Found: found, Advice: advice}
	if s != OK {
		x.Mends = Operator
	}
	return x
}

// anyOf takes the first place that has what says; why is what was wrong with each.
func (c *client) anyOf(ctx context.Context, body, says string, places ...string) (where string, why []string) {
	for _, p := range places {
		text, err := c.page(ctx, p, body)
		u, _ := url.Parse(p) // ours
		switch {
		case errors.Is(err, errNoName) || errors.Is(err, errElsewhere): // whatever is asked there
			if reason := u.Host + ": " + err.Error(); !slices.Contains(why, reason) {
				why = append(why, reason)
			}
		case err != nil:
			why = append(why, u.Scheme+"://"+u.Host+": "+err.Error())
		case !strings.Contains(text, says):
			why = append(why, u.Scheme+"://"+u.Host+": it answers something else than this server's settings")
		default:
			return u.Scheme + "://" + u.Host + u.Path, nil
		}
	}
	return "", why
}

const byHand = "until then the settings are typed (the page /clients/ shows them)"

// autoconfig looks where Thunderbird does, and in its order.
func (c *client) autoconfig(ctx context.Context) Step {
	q := "?emailaddress=" + url.QueryEscape(c.o.Address)
	name := "autoconfig." + c.o.Domain.Name
	where, why := c.anyOf(ctx, "", "<hostname>"+c.Site.Hostname+"</hostname>",
		"https://"+name+"/mail/config-v1.1.xml"+q, "https://"+c.o.Domain.Name+"/.well-known/autoconfig/mail/config-v1.1.xml"+q,
		"http://"+name+"/mail/config-v1.1.xml"+q, "http://"+c.o.Domain.Name+"/.well-known/autoconfig/mail/config-v1.1.xml"+q)
	if where == "" {
		return settings(Warning, "the program does not find the settings by itself ("+strings.Join(why, "; ")+")",
			cmpOr(publish(c.o.Domain.Wants, at(name, "CNAME")), "let "+name+" lead to "+c.Site.Hostname)+"; "+byHand)
	}
	return settings(OK, "the program finds the settings by itself, at "+where, "")
}

// autodiscover asks as Outlook does (MS-OXDSCLI).
func (c *client) autodiscover(ctx context.Context) Step {
	name := "autodiscover." + c.o.Domain.Name
	body := `<?xml version="1.0" encoding="utf-8"?><Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006"><Request><EMailAddress>` +
		xmlText(c.o.Address) + `</EMailAddress><AcceptableResponseSchema>http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a</AcceptableResponseSchema></Request></Autodiscover>`
	where, why := c.anyOf(ctx, body, "<Server>"+c.Site.Hostname+"</Server>",
		"https://"+c.o.Domain.Name+"/autodiscover/autodiscover.xml", "https://"+name+"/autodiscover/autodiscover.xml")
	if where == "" {
		return settings(Warning, "Outlook does not find the settings by itself ("+strings.Join(why, "; ")+")",
			cmpOr(publish(c.o.Domain.Wants, at(name, "CNAME")), "let "+name+" lead to "+c.Site.Hostname)+"; "+byHand)
	}
	return settings(OK, "Outlook finds the settings by itself, at "+where, "")
}

func xmlText(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)
}

// profile fetches what Apple's programs install.
func (c *client) profile(ctx context.Context) Step {
	where, why := c.anyOf(ctx, "", "com.apple.mail.managed", "https://"+c.Site.Hostname+"/email.mobileconfig?email="+url.QueryEscape(c.o.Address))
	if where == "" {
		return settings(Warning, "the profile cannot be had ("+strings.Join(why, "; ")+")", "the pages of this server need a valid certificate for "+c.Site.Hostname+" (posthouse check); "+byHand)
	}
	return settings(OK, "the profile can be installed from "+where, "")
}

// records looks for SRV records (RFC 6186), which is what programs have in common that ask nobody's own pages.
func (c *client) records(ctx context.Context) Step {
	x := c.srv(ctx, c.o.Domain)
	switch x.State {
	case OK:
		return settings(OK, "programs that look for records in the DNS find the settings", "")
	case Unseen:
		return settings(Unseen, x.Found, x.Advice)
	}
	return settings(Warning, "programs that look for records in the DNS do not find all settings: "+x.Found, x.Advice+"; "+byHand)
}

// door connects as the program does, up to what would be the password.
func (c *client) door(ctx context.Context, d Door) Step {
	x := Step{Step: "receive"}
	if d.Protocol == "SMTP" {
		x.Step = "send"
	}
	where := fmt.Sprintf("%s at %s, port %d", d.Protocol, c.Site.Hostname, d.Port)
	bad := func(s State, found, advice string) Step {
		x.State, x.Found, x.Advice, x.Mends = s, where+": "+found, advice, Operator
		return x
	}
	addrs, err := c.hostAddresses(ctx)
	switch {
	case errors.Is(err, dns.ErrNotFound) || err == nil && len(addrs) == 0:
		return bad(Wrong, "the name "+c.Site.Hostname+" leads nowhere", "give it an address record (posthouse domain records "+c.o.Domain.Name+")")
	case err != nil:
		return bad(Unseen, "DNS does not answer for "+c.Site.Hostname, "try again in some minutes")
	}
	conn, err := c.dial(ctx, addrs, d.Port)
	if err != nil {
		inside, local := c.dial(ctx, []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}, d.Port)
		if local == nil {
			_ = inside.Close()
			return bad(Unseen, "it is open on the machine itself, and could not be reached by its name from there ("+plainTalk(err)+")", "where other devices cannot connect either, a firewall or the router holds the port back")
		}
		return bad(Wrong, plainTalk(err), "does the house run (posthouse status)? Is the port open in its settings and in the firewall?")
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	leaf, offered, err := c.greeted(ctx, conn, d)
	var sure *certificateError
	switch {
	case errors.As(err, &sure):
		return bad(Wrong, "programs do not trust the certificate: "+sure.Error(), "posthouse check says what it needs (the certificate of "+c.Site.Hostname+")")
	case err != nil:
		return bad(Wrong, plainTalk(err), "is it this house that answers there (posthouse status)?")
	case len(offered) == 0:
		return bad(Wrong, "no way to sign in is offered", "posthouse log says why")
	}
	if left := leaf.NotAfter.Sub(c.Now()); left < 7*24*time.Hour {
		return bad(Warning, fmt.Sprintf("works, but its certificate ends in %d hours", int(left.Hours())), "posthouse check says why it is not renewed")
	}
	x.State, x.Found = OK, fmt.Sprintf("%s: works, with %s; its certificate is valid for %s until %s", where, way(d), c.Site.Hostname, leaf.NotAfter.UTC().Format(time.DateOnly))
	return x
}

func way(d Door) string {
	if d.TLS {
		return "SSL/TLS"
	}
	return "STARTTLS"
}

// certificateError is what a program would say of a certificate.
type certificateError struct{ error }

// verified does TLS as programs do.
func (c *client) verified(ctx context.Context, conn net.Conn) (*tls.Conn, error) {
	t := tls.Client(conn, &tls.Config{ServerName: c.Site.Hostname, RootCAs: c.Roots, MinVersion: tls.VersionTLS12})
	err := t.HandshakeContext(ctx)
	var bad *tls.CertificateVerificationError
	if errors.As(err, &bad) {
		return nil, &certificateError{plainFetch(bad.Err)}
	}
	return t, err
}

// greeted speaks until the password, and tells what mechanisms are offered.
func (c *client) greeted(ctx context.Context, conn net.Conn, d Door) (leaf *x509.Certificate, offered []string, err error) {
	if d.TLS {
		t, err := c.verified(ctx, conn)
		if err != nil {
			return nil, nil, err
		}
		conn = t
	}
	s := newDoorTalk(conn, d.Protocol)
	if err := s.greeting(); err != nil {
		return nil, nil, err
	}
	if !d.TLS {
		if err := s.startTLS(c.Site.Hostname); err != nil {
			return nil, nil, err
		}
		t, err := c.verified(ctx, conn)
		if err != nil {
			return nil, nil, err
		}
		conn, s = t, newDoorTalk(t, d.Protocol)
	}
	offered, err = s.mechanisms(c.Site.Hostname)
	if err != nil {
		return nil, nil, err
	}
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0], offered, s.bye()
}
