package remote

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/smtp/queue"
)

// refusals gathers what the hosts said that did not take the message into their hands: the next one's turn.
type refusals struct {
	last  queue.Result
	tried int
	down  int // how many did not answer at all
	firm  int // how many cannot be what the message requires: status 5
	slow  bool
}

func (r *refusals) add(x queue.Result) {
	if x.Host == queue.HostSlow {
		r.slow = true
	}
	if x.Host == queue.HostDown {
		r.down++
	}
	if strings.HasPrefix(x.Status, "5.") {
		r.firm++
	}
	r.tried++
	if x.Code != 0 || r.last.Code == 0 { // what a host said tells more than another's silence
		r.last = x
	}
}

// result is what all of it comes to: later, and the hosts are judged together.
func (r *refusals) result() queue.Result {
	x := r.last
	switch {
	case r.slow:
		x.Host = queue.HostSlow
	case r.down == r.tried:
		x.Host = queue.HostDown
	default:
		x.Host = queue.HostWell
	}
	switch {
	case r.firm > 0 && r.firm == r.tried:
		x.Verdict = queue.Never
	case strings.HasPrefix(x.Status, "5."):
		x.Status = "4" + x.Status[1:]
	}
	return x
}

const slowest = 8 << 10 // octets a second that a host must take

// Deliver tries the hosts of the way in their order until one of them has dealt with the message. A refusal at the
// greeting or EHLO and a connection that is lost before the end of the message are the next one's turn; after the
// final dot nobody else is asked, since the message may have been taken (RFC 5321 section 4.5.4.2, RFC 1047).
func (c *Carrier) Deliver(ctx context.Context, r queue.Route, a queue.Attempt) queue.Outcome {
	w, ok := r.Way.(*way)
	n := len(a.Envelope.Recipients)
	if !ok {
		return queue.Fail(n, failure(queue.Later, "4.3.0", "internal error: the route is not one of this carrier"))
	}
	// Each step has its own time (RFC 5321 section 4.5.3.2), but a host may come near to it with each of a hundred recipients.
	bound := c.o.Attempt + time.Duration(a.Content.Size()/slowest)*time.Second
	parent := ctx
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	var t tour
	left := c.o.MaxAddresses
groups:
	for _, group := range w.groups {
		found, self := c.candidates(ctx, w, group, &t.refusals)
		if self {
			if t.tried == 0 {
				return queue.Fail(n, c.loop(string(w.domain)))
			}
			break
		}
		for _, to := range found {
			if t.nameless && to.addr.Addr().Is6() {
				continue
			}
			if left--; left < 0 || ctx.Err() != nil {
				break
			}
			results, no := c.try(ctx, w, to, a)
			if no == nil && !c.again(ctx, &t, to, results) {
				c.count.attempt(results)
				return queue.Outcome{Results: results}
			}
			if no == nil {
				continue
			}
			if no.Verdict == queue.Never { // it is this house
				if t.tried == 0 {
					return queue.Fail(n, *no)
				}
				break groups // as with self: better hosts are left
			}
			if to.addr.Addr().Is6() && c.nameless(*no) {
				c.distrust(ctx, to.addr)
				t.nameless = true
			}
			t.add(*no)
		}
	}
	if t.said != nil && t.tried == 0 { // there was no other way: what the host said over IPv6 counts
		c.count.attempt(t.said)
		return queue.Outcome{Results: t.said}
	}
	if t.tried == 0 {
		t.add(failure(queue.Later, "4.4.1", "the attempt was broken off before a host was reached"))
	}
	t.slow = t.slow || ctx.Err() != nil && parent.Err() == nil
	return queue.Fail(n, t.result())
}

// tour is what an attempt has met so far.
type tour struct {
	refusals
	nameless bool           // a host did not like our IPv6 address: only IPv4 from here on
	said     []queue.Result // its answers
}

// again: the host refused every recipient over IPv6 for the name of our address, so that nobody has the message: IPv4's turn.
func (c *Carrier) again(ctx context.Context, t *tour, to candidate, results []queue.Result) bool {
	if !to.addr.Addr().Is6() || own6(to.addr.Addr()) {
		return false
	}
	for _, r := range results {
		if !c.nameless(r) {
			return false
		}
	}
	c.log.InfoContext(ctx, logx.RemoteNameless, "host", to.host, "address", to.addr.Addr(), "reply", results[0].Text)
	c.distrust(ctx, to.addr)
	t.nameless, t.said = true, results
	return true
}

// candidate is a host at one of its addresses.
type candidate struct {
	host string
	addr netip.AddrPort
}

// candidates resolves a group of equals, in the order of this attempt. self: one of them is this house by its address, so
// that the group and all behind it are out (RFC 5321 section 5.1).
func (c *Carrier) candidates(ctx context.Context, w *way, group []string, refused *refusals) (found []candidate, self bool) {
	port := c.o.Port
	if w.smart != nil {
		port = w.smart.Port
	}
	// A stranger's name servers may let us wait for each of many names; those that were found by then are tried.
	ctx, cancel := context.WithTimeout(ctx, c.o.Connect)
	defer cancel()
	for _, host := range c.mix(group) {
		addrs, err := c.addresses(ctx, w, host)
		if errors.Is(err, errSelf) {
			return nil, true
		}
		if err != nil {
			r, _ := errors.AsType[queue.Result](err)
			if r.Host = queue.HostDown; strings.HasPrefix(r.Status, "5.") {
				r.Host = queue.HostWell // there is no host that could be down
			}
			refused.add(r)
			continue
		}
		for _, a := range addrs {
			found = append(found, candidate{host, netip.AddrPortFrom(a, uint16(port))})
		}
	}
	return found, false
}

// try makes the attempt over one address. The second result is set when it is the next one's turn; it is Never when the
// host turned out to be this one.
func (c *Carrier) try(ctx context.Context, w *way, to candidate, a queue.Attempt) ([]queue.Result, *queue.Result) {
	d, err := c.demand(ctx, w, to, a)
	if no, ok := errors.AsType[queue.Result](err); ok {
		return nil, &no
	}
	k, err := c.connection(ctx, w, to, d)
	if err != nil {
		no, ok := errors.AsType[queue.Result](err)
		if !ok {
			no = failure(queue.Later, "4.4.1", "%s: %v", to.where(), err)
			no.Host = queue.HostDown
		}
		return nil, &no
	}
	results, no := c.send(ctx, k, a)
	if no != nil && k.reused { // the host closed it while it waited: that says nothing about the host
		if k, err = c.open(ctx, w, to, d, k.key); err == nil {
			return c.send(ctx, k, a)
		}
	}
	return results, no
}

func (t candidate) where() string { return t.host + " [" + t.addr.Addr().String() + "]" }
