package mailauth

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/internal/mail"
)

// Options of a Checker. The zero value of a time or function means its default.
type Options struct {
	Resolver dns.Resolver
	Hostname string              // our name in Authentication-Results
	Timeout  time.Duration       // for all questions of one kind of check; 20 s (RFC 7208 section 4.6.4)
	Now      func() time.Time    // time.Now
	Choose   func(n int) int     // a number below n, for pct; random
	Trusted  func(d string) bool // sealers whose word about a broken message counts; nil: none
}

// Checker checks messages.
type Checker struct{ o Options }

// New returns a Checker.
func New(o Options) *Checker {
	if o.Timeout == 0 {
		o.Timeout = 20 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Choose == nil {
		o.Choose = rand.IntN
	}
	return &Checker{o}
}

// Session is who sends a message, as the connection knows it.
type Session struct {
	Remote netip.Addr
	Hello  string       // argument of EHLO
	From   mail.Address // MAIL FROM; zero: <>
}

// Report is what was found out about a message.
type Report struct {
	Session Session
	SPF     SPF
	IPRev   IPRev
	DKIM    []DKIM // of up to eight signatures, those of the author's domain first
	ARC     ARC
	DMARC   DMARC
}

// Check is one message on its way: Header, then Write for the body, then Finish; or Discard.
type Check struct {
	checker *Checker
	ctx     context.Context
	cancel  context.CancelFunc
	wait    sync.WaitGroup
	report  Report

	header     *header
	author     mail.Domain
	authorErr  error
	bodies     bodyHashes
	signatures []*dkimSignature
	chain      *arcChain
}

// Begin starts what can be asked before the message comes: SPF and the names of the address. ctx bounds all of the check.
func (c *Checker) Begin(ctx context.Context, s Session) *Check {
	k := &Check{checker: c, report: Report{Session: s}}
	k.ctx, k.cancel = context.WithCancel(ctx)
	k.ask(func(ctx context.Context) { k.report.SPF = checkSPF(ctx, c.o.Resolver, s, c.o.Hostname) })
	k.ask(func(ctx context.Context) { k.report.IPRev = checkIPRev(ctx, c.o.Resolver, s.Remote) })
	return k
}

// ask runs questions beside the message; Finish and Discard wait for them.
func (k *Check) ask(fn func(ctx context.Context)) {
	k.wait.Go(func() {
		ctx, cancel := context.WithTimeout(k.ctx, k.checker.o.Timeout)
		defer cancel()
		fn(ctx)
	})
}

// Header takes the header, whole and as it came, without fields of our own; its octets must stay as they are until Finish.
func (k *Check) Header(raw []byte) {
	r := k.checker.o.Resolver
	k.header = parseHeader(raw)
	k.author, k.authorErr = author(k.header)
	k.signatures = dkimSignatures(k.header, k.author.String(), &k.bodies, k.checker.o.Now())
	k.chain = parseARC(k.header, &k.bodies)
	k.ask(func(ctx context.Context) { lookups(ctx, r, k.signatures) })
	k.ask(func(ctx context.Context) { k.chain.lookups(ctx, r) })
}

// Write takes the next octets of the body.
func (k *Check) Write(p []byte) (int, error) {
	k.bodies.Write(p)
	return len(p), nil
}

// Finish ends the message. Without Header there is nothing but SPF and the names.
func (k *Check) Finish() Report {
	defer k.cancel()
	k.wait.Wait()
	if k.header == nil {
		return k.report
	}
	sums := map[*bodyHash][]byte{}
	for _, b := range k.bodies.all {
		sums[b] = b.sum()
	}
	for _, d := range k.signatures {
		k.report.DKIM = append(k.report.DKIM, d.verify(k.header, sums))
	}
	k.report.ARC = k.chain.verify(k.header, sums)
	if k.authorErr != nil {
		k.report.DMARC.Result, k.report.DMARC.Reason = resultOf(k.authorErr)
		return k.report
	}
	ctx, cancel := context.WithTimeout(k.ctx, k.checker.o.Timeout)
	defer cancel()
	k.report.DMARC = k.checker.checkDMARC(ctx, k.author, k.report.SPF, k.report.DKIM)
	return k.report
}

// Discard gives the check up; after Finish it does nothing.
func (k *Check) Discard() {
	k.cancel()
	k.wait.Wait()
}

// Envelope waits for SPF and the names of the address, which a desk may want before the message.
func (k *Check) Envelope() (SPF, IPRev) {
	k.wait.Wait()
	return k.report.SPF, k.report.IPRev
}

// Vouched tells whether the last sealer of an unbroken chain is trusted, and says that the author was proven when the message came
// to it (RFC 8617 section 7.2.1).
func (c *Checker) Vouched(r Report) bool {
	a := r.ARC
	if a.Result != Pass || len(a.Sealers) == 0 || c.o.Trusted == nil {
		return false
	}
	for i := len(a.Sealers) - 1; i >= 0; i-- {
		if !c.o.Trusted(a.Sealers[i]) {
			return false
		}
		if saysPass(a.Results[i], "dmarc") {
			return true
		}
	}
	return false
}
