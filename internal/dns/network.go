package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	miekg "github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/posthouse-mail/posthouse/internal/metrics"
)

// udpSize is what fits through every path without fragments (RFC 9715).
const udpSize = 1232

var errMismatch = errors.New("reply does not belong to the question")

// network asks servers over UDP, then TCP when the reply was cut (RFC 7766 section 5).
type network struct {
	servers []netip.AddrPort
	timeout time.Duration
	rounds  int
	trustAD bool
	good    atomic.Uint32 // index of the server that answered last
	asked   *prometheus.CounterVec
}

func newNetwork(o Options) *network {
	return &network{servers: o.Servers, timeout: o.Timeout, rounds: o.Rounds, trustAD: o.TrustAD, asked: queryCounter(o.Metrics)}
}

func queryCounter(m *metrics.Set) *prometheus.CounterVec {
	return m.Counters("dns_queries_total", "Questions sent to DNS servers, by result.", "result")
}

func (n *network) exchange(ctx context.Context, q question) (*miekg.Msg, bool, error) {
	var failed error
	first := int(n.good.Load())
	for try := range n.rounds * len(n.servers) {
		at := (first + try) % len(n.servers)
		reply, err := n.askServer(ctx, n.servers[at], q)
		if err == nil {
			n.good.Store(uint32(at))
			n.asked.WithLabelValues("answered").Inc()
			return reply, n.trustAD, nil
		}
		n.asked.WithLabelValues("failed").Inc()
		failed = fmt.Errorf("server %v: %w", n.servers[at], err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, false, failed
}

// askServer puts q to one server. A server that does not know EDNS says FORMERR
// or NOTIMP and is asked again without it (RFC 6891 section 7).
func (n *network) askServer(ctx context.Context, server netip.AddrPort, q question) (*miekg.Msg, error) {
	reply, err := n.attempt(ctx, server, n.compose(q, true))
	if err == nil && (reply.Rcode == miekg.RcodeFormatError || reply.Rcode == miekg.RcodeNotImplemented) {
		reply, err = n.attempt(ctx, server, n.compose(q, false))
	}
	if err != nil {
		return nil, err
	}
	if reply.Rcode != miekg.RcodeSuccess && reply.Rcode != miekg.RcodeNameError {
		return nil, errors.New(miekg.RcodeToString[reply.Rcode])
	}
	if isReferral(reply) {
		return nil, errors.New("it refers to other servers: name one that looks names up itself")
	}
	return reply, nil
}

// isReferral tells an answer that only names other servers from one that there is nothing (RFC 2308 section 2.2: that one has an
// SOA, or no authority at all).
func isReferral(reply *miekg.Msg) bool {
	if reply.Authoritative || reply.Rcode != miekg.RcodeSuccess || len(reply.Answer) > 0 {
		return false
	}
	refers := false
	for _, rr := range reply.Ns {
		switch rr.(type) {
		case *miekg.SOA:
			return false
		case *miekg.NS:
			refers = true
		}
	}
	return refers
}

func (n *network) compose(q question, edns bool) *miekg.Msg {
	m := new(miekg.Msg)
	m.SetQuestion(q.name, q.kind)
	m.AuthenticatedData = n.trustAD // asks for the bit in the reply (RFC 6840 section 5.7)
	if edns {
		m.SetEdns0(udpSize, false)
	}
	return m
}

func (n *network) attempt(ctx context.Context, server netip.AddrPort, m *miekg.Msg) (*miekg.Msg, error) {
	reply, err := n.over(ctx, "udp", server, m)
	if err == nil && reply.Truncated {
		return n.over(ctx, "tcp", server, m)
	}
	return reply, err
}

func (n *network) over(ctx context.Context, transport string, server netip.AddrPort, m *miekg.Msg) (*miekg.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, n.timeout)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, transport, server.String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	deadline, _ := ctx.Deadline()
	conn.SetDeadline(deadline)

	c := &miekg.Conn{Conn: conn, UDPSize: udpSize}
	if err := c.WriteMsg(m); err != nil {
		return nil, err
	}
	for {
		reply, err := c.ReadMsg()
		if err == nil && belongs(m, reply) {
			return reply, nil
		}
		if transport == "tcp" && err == nil {
			return nil, errMismatch
		}
		// On UDP anybody can send: what does not fit is passed over until the time is up (RFC 5452 section 9.1).
		var network net.Error
		if err != nil && (transport == "tcp" || errors.As(err, &network)) {
			return nil, err
		}
	}
}

func belongs(m, reply *miekg.Msg) bool {
	if reply.Id != m.Id || !reply.Response || reply.Opcode != m.Opcode {
		return false
	}
	if len(reply.Question) == 0 { // some servers leave it out of errors
		return reply.Rcode != miekg.RcodeSuccess && reply.Rcode != miekg.RcodeNameError
	}
	asked, got := m.Question[0], reply.Question[0]
	return len(reply.Question) == 1 && asked.Qtype == got.Qtype && asked.Qclass == got.Qclass && strings.EqualFold(asked.Name, got.Name)
}
