package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	miekg "github.com/miekg/dns"
)

// Zone is a set of records that answers with authority for every name there
// is; what it does not have is NXDOMAIN. It may be changed while it serves.
type Zone struct {
	mu      sync.RWMutex
	records map[string][]miekg.RR // by lower-case name with final dot
	rcodes  map[string]int        // names that answer with an error
	secure  bool
	asked   map[question]int
}

// NewZone reads records in zone file form (RFC 1035 section 5.1), one a line:
// "example.org. 60 IN MX 10 mx.example.org."; a TTL or class may be left out (60, IN).
func NewZone(lines ...string) (*Zone, error) {
	z := &Zone{records: make(map[string][]miekg.RR), rcodes: make(map[string]int), asked: make(map[question]int)}
	return z, z.Add(lines...)
}

// Add puts more records into the zone.
func (z *Zone) Add(lines ...string) error {
	z.mu.Lock()
	defer z.mu.Unlock()
	for _, line := range lines {
		parser := miekg.NewZoneParser(strings.NewReader("$TTL 60\n"+line), ".", "")
		for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
			name := onWire(rr.Header().Name)
			rr.Header().Name = name
			z.records[name] = append(z.records[name], rr)
		}
		if err := parser.Err(); err != nil {
			return fmt.Errorf("dns: record %q: %w", line, err)
		}
	}
	return nil
}

// onWire is the form in which a name comes back from the wire, in lower case, so that names which are written differently (a space,
// or its escape) are the same.
func onWire(name string) string {
	name = miekg.Fqdn(name)
	var b [256]byte
	if _, err := miekg.PackDomainName(name, b[:], 0, nil, false); err == nil {
		if back, _, err := miekg.UnpackDomainName(b[:], 0); err == nil {
			name = back
		}
	}
	return strings.ToLower(name)
}

// AddReverse puts the PTR record of an address into the zone.
func (z *Zone) AddReverse(addr netip.Addr, host string) error {
	name, err := miekg.ReverseAddr(addr.String())
	if err != nil {
		return fmt.Errorf("dns: reverse name of %v: %w", addr, err)
	}
	return z.Add(name + " PTR " + miekg.Fqdn(host))
}

// AddText puts a TXT record into the zone, cut into the strings that it takes (RFC 1035 section 3.3.14).
func (z *Zone) AddText(name, text string) error {
	var b strings.Builder
	b.WriteString(miekg.Fqdn(name) + " TXT")
	for first := true; first || text != ""; first = false {
		n := min(len(text), 255)
		b.WriteString(` "` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text[:n]) + `"`)
		text = text[n:]
	}
	return z.Add(b.String())
}

// Remove takes everything out that stands at name.
func (z *Zone) Remove(name string) {
	name = onWire(name)
	z.mu.Lock()
	defer z.mu.Unlock()
	delete(z.records, name)
	delete(z.rcodes, name)
}

// Fail makes questions about name answer SERVFAIL.
func (z *Zone) Fail(name string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.rcodes[onWire(name)] = miekg.RcodeServerFailure
}

// Secure makes every answer carry the AD bit, as a validating resolver's would.
func (z *Zone) Secure(on bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.secure = on
}

// Asked counts the questions about name and type ("MX") that reached the zone.
func (z *Zone) Asked(name, kind string) int {
	z.mu.RLock()
	defer z.mu.RUnlock()
	return z.asked[question{onWire(name), miekg.StringToType[kind]}]
}

// Client is a Resolver over the zone without a network; its AD bit is trusted.
func (z *Zone) Client(o Options) *Client { return newClient(z, o) }

func (z *Zone) exchange(_ context.Context, q question) (*miekg.Msg, bool, error) {
	m := new(miekg.Msg)
	m.SetQuestion(q.name, q.kind)
	reply := z.answer(m)
	if reply.Rcode != miekg.RcodeSuccess && reply.Rcode != miekg.RcodeNameError {
		return nil, false, errors.New(miekg.RcodeToString[reply.Rcode])
	}
	return reply, true, nil
}

// answer makes the reply to m, CNAMEs followed inside the zone.
func (z *Zone) answer(m *miekg.Msg) *miekg.Msg {
	reply := new(miekg.Msg)
	if len(m.Question) != 1 || m.Opcode != miekg.OpcodeQuery {
		return reply.SetRcode(m, miekg.RcodeFormatError)
	}
	reply.SetReply(m)
	reply.Authoritative, reply.RecursionAvailable = true, true
	asked := m.Question[0]
	name := onWire(asked.Name)

	z.mu.Lock()
	defer z.mu.Unlock()
	z.asked[question{name, asked.Qtype}]++
	reply.AuthenticatedData = z.secure
	for range maxAliases {
		if rcode, ok := z.rcodes[name]; ok {
			reply.Rcode = rcode
			return reply
		}
		next := ""
		for _, rr := range z.records[name] {
			switch cname, is := rr.(*miekg.CNAME); {
			case rr.Header().Rrtype == asked.Qtype:
				reply.Answer = append(reply.Answer, rr)
			case is:
				reply.Answer = append(reply.Answer, rr)
				next = onWire(cname.Target)
			}
		}
		if next == "" {
			break
		}
		name = next
	}
	if len(z.records[name]) == 0 && !z.hasBelow(name) {
		reply.Rcode = miekg.RcodeNameError
	}
	if len(reply.Answer) == 0 {
		reply.Ns = z.authority(name)
	}
	return reply
}

// authority is the SOA record over a name, where the zone has one: an absence may be kept as long as it says (RFC 2308 section 3).
func (z *Zone) authority(name string) []miekg.RR {
	for end := false; !end; {
		for _, rr := range z.records[name] {
			if rr.Header().Rrtype == miekg.TypeSOA {
				return []miekg.RR{rr}
			}
		}
		var next int
		next, end = miekg.NextLabel(name, 0)
		name = name[next:]
	}
	return nil
}

// hasBelow tells an empty non-terminal, which exists (RFC 4592 section 2.2.2).
func (z *Zone) hasBelow(name string) bool {
	for n := range z.records {
		if strings.HasSuffix(n, "."+name) {
			return true
		}
	}
	return false
}

// Server answers for a Zone over UDP and TCP on one port.
type Server struct {
	udp, tcp *miekg.Server
	addr     netip.AddrPort
	running  sync.WaitGroup
}

// Serve starts a server for z; port 0 takes a free one.
func Serve(addr netip.AddrPort, z *Zone) (*Server, error) {
	listener, packets, err := listenBoth(addr)
	if err != nil {
		return nil, err
	}
	handler := miekg.HandlerFunc(func(w miekg.ResponseWriter, m *miekg.Msg) {
		reply := z.answer(m)
		if _, overUDP := w.LocalAddr().(*net.UDPAddr); overUDP {
			size := miekg.MinMsgSize
			if edns := m.IsEdns0(); edns != nil {
				size = max(size, int(edns.UDPSize()))
			}
			reply.Truncate(size)
		}
		w.WriteMsg(reply) // the asker is gone: nobody to tell
	})
	s := &Server{addr: listener.Addr().(*net.TCPAddr).AddrPort()}
	s.tcp = &miekg.Server{Listener: listener, Handler: handler, ReadTimeout: 5 * time.Second, MaxTCPQueries: 16}
	s.udp = &miekg.Server{PacketConn: packets, Handler: handler}
	for _, server := range []*miekg.Server{s.tcp, s.udp} {
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		s.running.Go(func() { server.ActivateAndServe() })
		<-started
	}
	return s, nil
}

// listenBoth takes the same port for TCP and UDP. A port that the system chose for
// one may be taken for the other, so it is tried a few times.
func listenBoth(addr netip.AddrPort) (net.Listener, net.PacketConn, error) {
	var failed error
	for range 20 {
		listener, err := net.Listen("tcp", addr.String())
		if err != nil {
			return nil, nil, fmt.Errorf("dns: %w", err)
		}
		packets, err := net.ListenPacket("udp", listener.Addr().String())
		if err == nil {
			return listener, packets, nil
		}
		listener.Close()
		failed = fmt.Errorf("dns: %w", err)
		if addr.Port() != 0 {
			break
		}
	}
	return nil, nil, failed
}

// Addr is where the server listens.
func (s *Server) Addr() netip.AddrPort { return s.addr }

// Close stops the server and waits for its goroutines.
func (s *Server) Close() error {
	err := errors.Join(s.tcp.Shutdown(), s.udp.Shutdown())
	s.running.Wait()
	return err
}
