package dns

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	miekg "github.com/miekg/dns"
	"golang.org/x/sync/singleflight"
)

const (
	defaultTimeout = 3 * time.Second
	defaultRounds  = 2
	defaultCache   = 2048
	resolvConf     = "/etc/resolv.conf"
	maxAliases     = 10               // CNAMEs followed for one question
	maxTotal       = 20 * time.Second // one question, all servers and rounds
	maxRecords     = 64               // of one answer; who publishes more is after something else than mail
)

// Client is the Resolver that asks servers.
type Client struct {
	cache  *cache
	flight singleflight.Group
	ask    asker
	now    func() time.Time

	ctx     context.Context // of the questions in flight, which may outlive the one who asked first
	cancel  context.CancelFunc
	waiting sync.WaitGroup
	closing sync.Mutex // guards waiting against Close
}

// asker puts one question to the outside and returns a reply that belongs to it.
type asker interface {
	exchange(ctx context.Context, q question) (reply *miekg.Msg, trusted bool, err error)
}

var _ Resolver = (*Client)(nil)

// New returns a Client; with no servers given it reads /etc/resolv.conf.
func New(o Options) (*Client, error) {
	if len(o.Servers) == 0 {
		servers, err := systemServers(resolvConf)
		if err != nil {
			return nil, err
		}
		o.Servers = servers
	}
	o.Timeout = cmp.Or(o.Timeout, defaultTimeout)
	o.Rounds = cmp.Or(o.Rounds, defaultRounds)
	return newClient(newNetwork(o), o), nil
}

func newClient(ask asker, o Options) *Client {
	if o.Now == nil {
		o.Now = time.Now
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Client{cache: newCache(cmp.Or(o.CacheSize, defaultCache)), ask: ask, now: o.Now, ctx: ctx, cancel: cancel}
}

// Close ends the questions in flight and waits for them.
func (c *Client) Close() error {
	c.closing.Lock()
	c.cancel()
	c.closing.Unlock()
	c.waiting.Wait()
	return nil
}

// OnThisMachine reports whether every server is: the way to it is safe, and what it says of signatures can be believed. Without
// servers those of /etc/resolv.conf are meant.
func OnThisMachine(servers []netip.AddrPort) bool {
	if len(servers) == 0 {
		var err error
		if servers, err = systemServers(resolvConf); err != nil {
			return false
		}
	}
	return !slices.ContainsFunc(servers, func(s netip.AddrPort) bool { return !s.Addr().Unmap().IsLoopback() })
}

// systemServers reads the name servers of the machine; without the file it is
// the one on loopback, as resolv.conf(5) has it.
func systemServers(path string) ([]netip.AddrPort, error) {
	var servers []netip.AddrPort
	config, err := miekg.ClientConfigFromFile(path)
	if err == nil {
		for _, s := range config.Servers {
			if addr, err := netip.ParseAddr(s); err == nil {
				servers = append(servers, netip.AddrPortFrom(addr, 53))
			}
		}
		if len(config.Servers) > 0 && len(servers) == 0 {
			return nil, fmt.Errorf("dns: no usable nameserver line in %s: name a server in the settings", path)
		}
	}
	if len(servers) == 0 {
		servers = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:53")}
	}
	return servers, nil
}

// MX lists the mail exchangers of a domain, lowest preference first.
func (c *Client) MX(ctx context.Context, domain string) ([]MX, bool, error) {
	a := c.lookup(ctx, domain, miekg.TypeMX)
	if a.err != nil {
		return nil, false, a.err
	}
	var out []MX
	for _, rr := range a.records {
		if mx, ok := rr.(*miekg.MX); ok && len(out) < maxRecords {
			out = append(out, MX{Preference: mx.Preference, Host: plainName(mx.Mx)})
		}
	}
	slices.SortStableFunc(out, func(a, b MX) int { return cmp.Compare(a.Preference, b.Preference) })
	return out, a.secure, nil
}

// IP lists the addresses of a host, IPv4 first. One family that fails does not hide the other.
func (c *Client) IP(ctx context.Context, host string) ([]netip.Addr, bool, error) {
	var a4, a6 answer
	var wait sync.WaitGroup
	wait.Go(func() { a4 = c.lookup(ctx, host, miekg.TypeA) })
	a6 = c.lookup(ctx, host, miekg.TypeAAAA)
	wait.Wait()

	var out []netip.Addr
	secure := true
	for _, a := range []answer{a4, a6} {
		if a.err == nil {
			secure = secure && a.secure
		}
		for n, rr := range a.records {
			if addr, ok := addressOf(rr); ok && n < maxRecords {
				out = append(out, addr)
			}
		}
	}
	if len(out) > 0 {
		return out, secure, nil
	}
	if a4.err != nil && !errors.Is(a4.err, ErrNotFound) {
		return nil, false, a4.err
	}
	if a6.err != nil {
		return nil, false, a6.err
	}
	return nil, false, a4.err
}

// A and AAAA list the addresses of a host in one family, where an answer about the other one must not stand in for it (RFC 7208 section 5).
func (c *Client) A(ctx context.Context, host string) ([]netip.Addr, bool, error) {
	return c.family(ctx, host, miekg.TypeA)
}

func (c *Client) AAAA(ctx context.Context, host string) ([]netip.Addr, bool, error) {
	return c.family(ctx, host, miekg.TypeAAAA)
}

func (c *Client) family(ctx context.Context, host string, kind uint16) ([]netip.Addr, bool, error) {
	a := c.lookup(ctx, host, kind)
	var out []netip.Addr
	for n, rr := range a.records {
		if addr, ok := addressOf(rr); ok && n < maxRecords {
			out = append(out, addr)
		}
	}
	if a.err == nil && len(out) == 0 {
		a.err = ErrNotFound
	}
	return out, a.secure && a.err == nil, a.err
}

func addressOf(rr miekg.RR) (netip.Addr, bool) {
	switch rr := rr.(type) {
	case *miekg.A:
		addr, ok := netip.AddrFromSlice(rr.A)
		return addr.Unmap(), ok
	case *miekg.AAAA:
		// A mapped address in an AAAA record would go round every rule about IPv4 (RFC 4291 section 2.5.5.2).
		addr, ok := netip.AddrFromSlice(rr.AAAA)
		return addr, ok && !addr.Is4In6()
	}
	return netip.Addr{}, false
}

// TXT lists the text records of a name, the strings of each joined (RFC 7208 section 3.3).
func (c *Client) TXT(ctx context.Context, name string) ([]string, bool, error) {
	a := c.lookup(ctx, name, miekg.TypeTXT)
	if a.err != nil {
		return nil, false, a.err
	}
	var out []string
	for _, rr := range a.records {
		if txt, ok := rr.(*miekg.TXT); ok {
			out = append(out, unescape(strings.Join(txt.Txt, "")))
		}
	}
	return out, a.secure, nil
}

// TLSA lists the DANE records of a service, such as "_25._tcp.mx.example.org".
func (c *Client) TLSA(ctx context.Context, name string) ([]TLSA, bool, error) {
	a := c.lookup(ctx, name, miekg.TypeTLSA)
	if a.err != nil {
		return nil, a.secure, a.err
	}
	var out []TLSA
	for _, rr := range a.records {
		t, ok := rr.(*miekg.TLSA)
		if !ok || len(out) == maxRecords {
			continue
		}
		data, err := hex.DecodeString(t.Certificate)
		if err != nil {
			continue
		}
		out = append(out, TLSA{Usage: t.Usage, Selector: t.Selector, Matching: t.MatchingType, Data: data})
	}
	return out, a.secure, nil
}

// PTR lists the names of an address. Names that no host can have are left
// out: they come from a stranger and end in logs and headers.
func (c *Client) PTR(ctx context.Context, addr netip.Addr) ([]string, bool, error) {
	name, err := miekg.ReverseAddr(addr.Unmap().WithZone("").String())
	if err != nil {
		return nil, false, fmt.Errorf("%w: %v is no address", ErrNotFound, addr)
	}
	a := c.lookup(ctx, name, miekg.TypePTR)
	if a.err != nil {
		return nil, false, a.err
	}
	var out []string
	for _, rr := range a.records {
		if ptr, ok := rr.(*miekg.PTR); ok && isHostName(ptr.Ptr) && len(out) < maxRecords {
			out = append(out, plainName(ptr.Ptr))
		}
	}
	if len(out) == 0 {
		return nil, false, fmt.Errorf("%w: PTR %s", ErrNotFound, name)
	}
	return out, a.secure, nil
}

// lookup answers from the cache, or asks once for all who want the same.
func (c *Client) lookup(ctx context.Context, name string, kind uint16) answer {
	if _, ok := miekg.IsDomainName(name); !ok || name == "" || strings.Contains(name, `\`) {
		return answer{err: fmt.Errorf("%w: %q is no domain name", ErrNotFound, name)}
	}
	q := question{name: onWire(name), kind: kind}
	if a, ok := c.cache.find(q, c.now()); ok {
		return a
	}
	done := c.flight.DoChan(fmt.Sprintf("%d %s", q.kind, q.name), func() (any, error) {
		if !c.enter() {
			return answer{err: fmt.Errorf("dns: resolver is closed: %w", context.Canceled)}, nil
		}
		defer c.waiting.Done()
		ctx, cancel := context.WithTimeout(c.ctx, maxTotal)
		defer cancel()
		a := c.follow(ctx, q)
		c.cache.keep(q, a, c.now())
		return a, nil
	})
	select {
	case r := <-done:
		return r.Val.(answer)
	case <-ctx.Done():
		return answer{err: fmt.Errorf("dns: %s %s: %w", miekg.TypeToString[kind], name, context.Cause(ctx))}
	}
}

func (c *Client) enter() bool {
	c.closing.Lock()
	defer c.closing.Unlock()
	if c.ctx.Err() != nil {
		return false
	}
	c.waiting.Add(1)
	return true
}

// follow asks for q and goes along CNAMEs, those that the reply carries and
// those that it only begins (RFC 1034 section 5.2.2).
func (c *Client) follow(ctx context.Context, q question) answer {
	secure, ttl := true, maxTTL
	target := q.name
	for aliases := 0; aliases <= maxAliases; {
		reply, trusted, err := c.ask.exchange(ctx, question{target, q.kind})
		if err != nil {
			return answer{err: fmt.Errorf("dns: %s %s: %w", miekg.TypeToString[q.kind], q.name, err), ttl: failureTTL}
		}
		secure = secure && trusted && reply.AuthenticatedData
		asked := target
		for aliases <= maxAliases {
			next, life, ok := aliasOf(reply, target)
			if !ok {
				break
			}
			target, ttl = next, min(ttl, life)
			aliases++
		}
		records, life := recordsOf(reply, target, q.kind)
		if len(records) > 0 {
			return answer{records: records, secure: secure, ttl: min(ttl, life), size: reply.Len()}
		}
		if target == asked || reply.Rcode == miekg.RcodeNameError {
			err := fmt.Errorf("%w: %s %s", ErrNotFound, miekg.TypeToString[q.kind], q.name)
			return answer{err: err, secure: secure, ttl: min(ttl, negativeTTL(reply))}
		}
	}
	return answer{err: fmt.Errorf("dns: %s %s: more than %d aliases", miekg.TypeToString[q.kind], q.name, maxAliases), ttl: failureTTL}
}

func aliasOf(reply *miekg.Msg, name string) (target string, ttl time.Duration, ok bool) {
	for _, rr := range reply.Answer {
		if cname, is := rr.(*miekg.CNAME); is && strings.EqualFold(cname.Hdr.Name, name) {
			return onWire(cname.Target), seconds(cname.Hdr.Ttl), true
		}
	}
	return "", 0, false
}

func recordsOf(reply *miekg.Msg, name string, kind uint16) (records []miekg.RR, ttl time.Duration) {
	ttl = maxTTL
	for _, rr := range reply.Answer {
		if h := rr.Header(); h.Rrtype == kind && h.Class == miekg.ClassINET && strings.EqualFold(h.Name, name) {
			records = append(records, rr)
			ttl = min(ttl, seconds(h.Ttl))
		}
	}
	return records, ttl
}

// negativeTTL is how long an absence may be kept: RFC 2308 section 5; without an SOA not at all.
func negativeTTL(reply *miekg.Msg) time.Duration {
	for _, rr := range reply.Ns {
		if soa, ok := rr.(*miekg.SOA); ok {
			return min(seconds(soa.Hdr.Ttl), seconds(soa.Minttl), maxNegativeTTL)
		}
	}
	return 0
}

// seconds reads a TTL; one with the top bit set counts as zero (RFC 2181 section 8).
func seconds(ttl uint32) time.Duration {
	if ttl > 1<<31-1 {
		return 0
	}
	return time.Duration(ttl) * time.Second
}

func plainName(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// isHostName takes letters, digits, hyphens and the underscores that some networks put into names.
func isHostName(name string) bool {
	name = strings.TrimSuffix(name, ".")
	if name == "" || len(name) > 253 {
		return false
	}
	for _, b := range []byte(name) {
		switch {
		case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z', b >= '0' && b <= '9', b == '-', b == '_', b == '.':
		default:
			return false
		}
	}
	return true
}

// unescape turns the presentation form of the wire library (\" \\ \DDD) back into octets.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		if i+3 < len(s) && isDigits(s[i+1:i+4]) {
			b.WriteByte((s[i+1]-'0')*100 + (s[i+2]-'0')*10 + s[i+3] - '0')
			i += 3
			continue
		}
		i++
		b.WriteByte(s[i])
	}
	return b.String()
}

func isDigits(s string) bool { return strings.Trim(s, "0123456789") == "" }
