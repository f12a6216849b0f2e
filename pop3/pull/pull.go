// Package pull brings the mail of a POP3 mailbox on another server into an INBOX
// of ours, with its unique-ids, so that POP3 clients that come over download
// nothing again.
//
// Start at Run; List and Headers of Unique give the unique-ids to imap/pull.
// client.go speaks the protocol. What was brought is in the store's ledger, in
// the same transaction as the message: a run that is cut short is run again.
package pull

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/message"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// Security is how the connection is made safe.
type Security uint8

const (
	Implicit Security = iota // TLS from the first octet
	StartTLS                 // TLS after STLS, or nothing
	Clear                    // none
)

// Options of a Run.
type Options struct {
	Store   *store.Store
	Account mail.AccountID
	Logger  *slog.Logger

	Address  string // host:port
	Security Security
	TLS      *tls.Config
	User     string
	Password string
	Token    string // OAuth; instead of a password

	Mailbox  string         // here; INBOX
	Delete   bool           // what is durable here is deleted there
	Progress func(Progress) // told now and then

	Dial     func(ctx context.Context, network, address string) (net.Conn, error) // nil: the network's
	Timeout  time.Duration                                                        // the server may be silent for so long; 5 min
	Patience time.Duration                                                        // how long to try again without getting on; 30 min
}

// Progress is how far a Run is.
type Progress struct {
	Messages int // there
	Done     int // of them looked at
	Pulled   int
	Bytes    int64
	Note     string // what it waits for
}

// Report is what a Run came to.
type Report struct {
	There    int      `json:"there"`
	Pulled   int      `json:"pulled"`
	Deleted  int      `json:"deleted"`
	Bytes    int64    `json:"bytes"`
	Skipped  []Skip   `json:"skipped,omitempty"` // the first thousand
	Skips    int      `json:"skips"`
	Warnings []string `json:"warnings,omitempty"`
}

// Skip is a message that was not brought, and why.
type Skip struct {
	ID     string `json:"id"`
	Reason string `json:"reason"`
}

const (
	maxSkips    = 1000
	maxWarnings = 100
	firstWait   = time.Second
	longestWait = 5 * time.Minute
	batchCount  = 200
	batchBytes  = 8 << 20
	ahead       = 4 // RETRs that are on their way at once where the server can do that (RFC 2449 section 6.6)
	brokenIn    = 3 // times that the connection may break in a message until it is left out
)

// puller is one Run.
type puller struct {
	o        Options
	source   uint64
	report   Report
	shown    Progress
	box      store.Mailbox
	brought  map[[16]byte]bool
	marks    map[[16]byte]uint32 // of what was brought by a run before: markOf
	failures map[[16]byte]int
	skipped  map[[16]byte]bool
	deleted  map[[16]byte]bool
	keep     map[[16]byte]bool // not to be deleted there
	met      bool              // it has let us in once
	gotOn    bool
}

// Run brings what is there and not yet here.
func Run(ctx context.Context, o Options) (Report, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Minute
	}
	if o.Patience == 0 {
		o.Patience = 30 * time.Minute
	}
	if o.Mailbox == "" {
		o.Mailbox = store.Inbox
	}
	p := &puller{o: o, source: sourceOf(&o), brought: map[[16]byte]bool{}, marks: map[[16]byte]uint32{}, failures: map[[16]byte]int{}, skipped: map[[16]byte]bool{}, deleted: map[[16]byte]bool{}, keep: map[[16]byte]bool{}}
	if err := p.load(ctx); err != nil {
		return p.report, err
	}
	err := p.run(ctx)
	return p.report, err
}

// sourceOf names a mailbox of a server for good.
func sourceOf(o *Options) uint64 {
	host, port, err := net.SplitHostPort(o.Address)
	if err != nil {
		host = o.Address
	}
	if port == "110" || port == "995" {
		port = ""
	}
	sum := sha256.Sum256([]byte(strings.Join([]string{"pop3", strings.ToLower(host), port, o.User}, "\x00")))
	return binary.BigEndian.Uint64(sum[:])
}

// load finds the mailbox, and reads what was brought before.
func (p *puller) load(ctx context.Context) (err error) {
	p.box, err = p.o.Store.Mailbox(ctx, p.o.Account, p.o.Mailbox)
	if errors.Is(err, store.ErrNoMailbox) {
		p.box, err = p.o.Store.CreateMailbox(ctx, p.o.Account, p.o.Mailbox, 0)
	}
	if err != nil {
		return err
	}
	for page, err := range p.o.Store.Imported(ctx, p.o.Account, p.source) {
		if err != nil {
			return err
		}
		for _, i := range page {
			p.brought[i.Key] = i.Stamp != stampGone
			if p.o.Delete && i.Stamp != stampGone {
				p.marks[i.Key] = i.Stamp
			}
		}
	}
	return nil
}

// stampGone marks what was brought and is deleted there: should the server give the same unique-id again, it is another message.
const stampGone = 1

// markOf tells two messages with one unique-id apart: a hash of the Message-ID, else of the header without what servers add.
func markOf(header []byte) uint32 {
	header, _, _ = bytes.Cut(header, []byte("\r\n\r\n"))
	header = append(bytes.TrimRight(header, "\r\n"), "\r\n"...)
	h := fnv.New32a()
	if id := message.HeaderValue(header, "Message-ID"); id != "" {
		h.Write([]byte(id))
		return max(h.Sum32(), stampGone+1)
	}
	for f := range message.Fields(header) {
		if !f.Is("X-UIDL") && !f.Is("X-UID") && !f.Is("Status") && !f.Is("X-Status") && !f.Is("Content-Length") {
			h.Write(f.Raw)
		}
	}
	return max(h.Sum32(), stampGone+1)
}

// verify makes sure of what was brought by a run before that the message there is still that one: a server may have given its
// unique-id to another one since. Else it would be deleted there, and is not here.
func (p *puller) verify(c *client, list []listed) error {
	for _, l := range list {
		mark, before := p.marks[l.key]
		if !before || !p.brought[l.key] {
			continue
		}
		header, err := c.top(l.number)
		if _, refused := errors.AsType[*refusal](err); refused {
			p.warn("the server has no TOP for " + l.id + ", so that nobody can know whether it was brought: it is not deleted there")
			p.keep[l.key] = true
			continue
		}
		if err != nil {
			return err
		}
		if markOf(header) != mark {
			p.brought[l.key] = false
		}
		delete(p.marks, l.key)
	}
	return nil
}

// run connects as often as it takes.
func (p *puller) run(ctx context.Context) error {
	wait, waited := firstWait, time.Duration(0)
	for {
		p.gotOn = false
		err := p.session(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if permanent(err) || !p.met && unreachable(err) {
			return err
		}
		if p.gotOn {
			wait, waited = firstWait, 0
		}
		if waited >= p.o.Patience {
			return fmt.Errorf("given up after %s without getting on: %w", waited.Round(time.Second), err)
		}
		p.o.Logger.InfoContext(ctx, logx.PullWaits, "account", uint32(p.o.Account), "server", p.o.Address, "wait", wait, "error", err)
		p.shown.Note = "waiting " + wait.Round(time.Second).String() + ": " + err.Error()
		p.tell()
		t := time.NewTimer(wait/2 + rand.N(wait))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return context.Cause(ctx)
		}
		waited += wait
		wait = min(2*wait, longestWait)
		p.shown.Note = ""
	}
}

// unreachable reports an address where nothing answers as it should: before the first login it is rather wrong than down.
func unreachable(err error) bool {
	op, isOp := errors.AsType[*net.OpError](err)
	record, _ := errors.AsType[tls.RecordHeaderError](err)
	return isOp && op.Op == "dial" || record.Msg != ""
}

// permanent reports errors that waiting does not heal.
func permanent(err error) bool {
	if no, ok := errors.AsType[*refusal](err); ok {
		return no.Permanent()
	}
	var wrong *tls.CertificateVerificationError
	var dns *net.DNSError
	switch {
	case errors.As(err, &wrong):
		return true
	case errors.As(err, &dns):
		return dns.IsNotFound
	}
	for _, ours := range []error{store.ErrOverQuota, store.ErrNoAccount, store.ErrNoMailbox, store.ErrLimit, store.ErrDamaged, kv.ErrFull, kv.ErrClosed, errUnfit} {
		if errors.Is(err, ours) {
			return true
		}
	}
	return false
}

// errUnfit: the server cannot do what is needed.
var errUnfit = errors.New("pop3")

func (p *puller) tell() {
	if p.o.Progress != nil {
		p.o.Progress(p.shown)
	}
}

func (p *puller) warn(text string) {
	if len(p.report.Warnings) < maxWarnings {
		p.report.Warnings = append(p.report.Warnings, text)
	}
}

// keyOf is the ledger's key of a message. Some servers give copies of a message one unique-id (RFC 1939 section 7): the second
// has a key of its own.
func keyOf(id string, copy int) [16]byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d\x00%s", copy, id))
	return [16]byte(sum[:])
}

// session is one connection: it lists, brings what is not here, and deletes what is.
func (p *puller) session(ctx context.Context) error {
	c, err := dial(ctx, &p.o)
	if err != nil {
		return err
	}
	defer c.close()
	p.met = true
	list, err := c.list()
	if err != nil {
		return err
	}
	p.shown.Messages, p.shown.Done, p.report.There = len(list), 0, len(list)
	p.tell()
	if p.o.Delete {
		if err := p.verify(c, list); err != nil {
			return err
		}
	}
	var missing []listed
	for _, l := range list {
		switch {
		case p.brought[l.key]:
			p.shown.Done++
		case p.skipped[l.key]:
		case p.failures[l.key] >= brokenIn:
			p.skip(l, "the connection breaks each time in the middle of it")
		default:
			missing = append(missing, l)
		}
	}
	if err := p.retrieve(ctx, c, missing); err != nil {
		return err
	}
	if p.o.Delete {
		if err := p.delete(ctx, c, list); err != nil {
			return err
		}
	}
	if err := c.quit(); err != nil {
		return err
	}
	return p.settle(ctx, list)
}

func (p *puller) skip(l listed, reason string) {
	p.skipped[l.key] = true
	p.report.Skips++
	if len(p.report.Skipped) < maxSkips {
		p.report.Skipped = append(p.report.Skipped, Skip{ID: l.id, Reason: reason})
	}
}

// batch is messages that have come and are not in the mailbox yet.
type batch struct {
	p     *puller
	keys  [][16]byte
	msgs  []store.ImportMessage
	bytes int64
}

// retrieve brings messages, with as many RETRs on their way as the server takes.
func (p *puller) retrieve(ctx context.Context, c *client, missing []listed) error {
	b := &batch{p: p}
	err := p.receive(ctx, c, missing, b)
	if ctx.Err() != nil {
		for _, m := range b.msgs {
			m.Arrival.Discard()
		}
		return err
	}
	return errors.Join(b.flush(ctx), err) // what came before the connection broke has come
}

func (p *puller) receive(ctx context.Context, c *client, missing []listed, b *batch) error {
	depth := 1
	if c.capable("PIPELINING") {
		depth = ahead
	}
	sent := 0
	for i, l := range missing {
		for ; sent < len(missing) && sent < i+depth; sent++ {
			if err := c.send(fmt.Sprintf("RETR %d", missing[sent].number)); err != nil {
				return err
			}
		}
		a, mark, err := p.message(ctx, c, l)
		if err != nil {
			return err
		}
		if a == nil {
			continue
		}
		if err := b.add(ctx, l, a, mark); err != nil {
			return err
		}
	}
	return nil
}

// message takes the answer to one RETR; nil: it was skipped. With it comes its mark.
func (p *puller) message(ctx context.Context, c *client, l listed) (*store.Arrival, uint32, error) {
	if _, err := c.answer("RETR"); err != nil {
		if no, ok := errors.AsType[*refusal](err); ok {
			p.skip(l, no.Error())
			return nil, 0, nil
		}
		return nil, 0, err
	}
	w, err := p.o.Store.NewMessage(ctx, l.size)
	if err != nil {
		return nil, 0, err
	}
	var head bytes.Buffer
	writeErr, err := c.text(io.MultiWriter(w, &limited{&head, maxHeader}))
	switch {
	case err != nil:
		w.Discard()
		p.failures[l.key]++
		return nil, 0, err
	case errors.Is(writeErr, store.ErrTooBig):
		w.Discard()
		p.skip(l, "it is larger than 4 GiB")
		return nil, 0, nil
	case writeErr != nil:
		w.Discard()
		return nil, 0, writeErr
	}
	a, err := w.Finish()
	return a, markOf(head.Bytes()), err
}

func (b *batch) add(ctx context.Context, l listed, a *store.Arrival, mark uint32) error {
	m := store.ImportMessage{}
	m.Arrival, m.Received = a, received(a)
	m.Origin = store.Origin{Source: b.p.source, Key: l.key, Stamp: mark}
	if l.copy == 0 && l.isUIDL && validUIDL(l.id) {
		m.UIDL = l.id
	}
	b.keys, b.msgs = append(b.keys, l.key), append(b.msgs, m)
	if b.bytes += a.Size(); len(b.msgs) >= batchCount || b.bytes >= batchBytes {
		return b.flush(ctx)
	}
	return nil
}

// flush brings the batch into the mailbox: durable, with its ledger.
func (b *batch) flush(ctx context.Context) error {
	if len(b.msgs) == 0 {
		return nil
	}
	p, n, size := b.p, len(b.msgs), b.bytes
	_, err := p.o.Store.Import(ctx, p.box.ID, b.msgs)
	keys := b.keys
	b.keys, b.msgs, b.bytes = nil, nil, 0
	if err != nil {
		return err
	}
	for _, k := range keys {
		p.brought[k] = true
	}
	p.gotOn = true
	p.report.Pulled += n
	p.report.Bytes += size
	p.shown.Pulled, p.shown.Bytes = p.report.Pulled, p.report.Bytes
	p.shown.Done += n
	p.tell()
	return nil
}

// delete marks there what is here. It holds after QUIT alone (RFC 1939 section 6).
func (p *puller) delete(ctx context.Context, c *client, list []listed) error {
	clear(p.deleted)
	for _, l := range list {
		if !p.brought[l.key] || p.keep[l.key] {
			continue
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if _, err := c.do(fmt.Sprintf("DELE %d", l.number)); err != nil {
			no, ok := errors.AsType[*refusal](err)
			if !ok {
				return err
			}
			p.warn(no.Error())
			continue
		}
		p.deleted[l.key] = true
	}
	return nil
}

// settle notes what is gone there after a session that came to its end: a unique-id that comes again is another message.
func (p *puller) settle(ctx context.Context, list []listed) error {
	p.report.Deleted += len(p.deleted)
	there := make(map[[16]byte]bool, len(list))
	for _, l := range list {
		there[l.key] = !p.deleted[l.key]
	}
	var gone []store.Imported
	for k, here := range p.brought {
		if here && !there[k] {
			gone = append(gone, store.Imported{Key: k, Stamp: stampGone, Mailbox: p.box.ID})
			p.brought[k] = false
		}
	}
	if len(gone) == 0 {
		return nil
	}
	return p.o.Store.Restamp(ctx, p.o.Account, p.source, gone)
}

// received is when the message came there: what the topmost Received field says is not known here without its text, so its Date.
func received(a *store.Arrival) time.Time { return a.Summary().Date }

// validUIDL: RFC 1939 section 7, 1 to 70 characters from 0x21 to 0x7E.
func validUIDL(id string) bool {
	return id != "" && len(id) <= 70 && strings.IndexFunc(id, func(r rune) bool { return r < 0x21 || r > 0x7e }) < 0
}

// Unique gives the unique-ids of a mailbox to who brings it over IMAP.
type Unique struct {
	Options Options
	Each    func(id string, size int64) // called by List
}

// List calls Each for all messages, in the server's order.
func (u *Unique) List(ctx context.Context) error {
	return u.with(ctx, func(_ *client, list []listed) error {
		for _, l := range list {
			u.Each(l.id, l.size)
		}
		return nil
	})
}

// Headers gives the header of each message, in order (TOP, RFC 1939 section 7).
func (u *Unique) Headers(ctx context.Context, yield func(i int, header []byte)) error {
	return u.with(ctx, func(c *client, list []listed) error {
		for i, l := range list {
			header, err := c.top(l.number)
			if err != nil {
				return err
			}
			yield(i, header)
		}
		return nil
	})
}

func (u *Unique) with(ctx context.Context, fn func(*client, []listed) error) error {
	o := u.Options
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Minute
	}
	c, err := dial(ctx, &o)
	if err != nil {
		return err
	}
	defer c.close()
	list, err := c.list()
	if err == nil {
		err = fn(c, list)
	}
	if err != nil {
		return err
	}
	return c.quit()
}
