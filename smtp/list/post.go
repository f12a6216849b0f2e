package list

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
	"github.com/posthouse-mail/posthouse/smtp/queue"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/story"
)

// post sends a message to the members. One record has the text once, a copy in the queue for each member and the note that it was
// posted, so that an attempt which is made again, after a crash too, posts nothing twice.
func (l *Lists) post(ctx context.Context, a queue.Attempt, list auth.List, d *draft) queue.Result {
	d.checked(l.o.Hostname)
	if a.Envelope.From.IsNull() || d.auto {
		l.log.InfoContext(ctx, logx.ListRefused, "id", a.ID, "list", list.Address.String(), "reason", "automatic mail")
		return done("not posted: the list takes no automatic mail") // and no answer to it (RFC 3834 section 2)
	}
	var err error
	if d.forged, err = l.disproven(ctx, d.dmarc, a.Envelope, d.domains()...); err != nil {
		return later("the directory cannot be read at the moment")
	}
	no, err := l.refuses(ctx, list, d)
	switch {
	case err != nil:
		return later("the directory cannot be read at the moment")
	case no.Verdict == 0 && list.MaxSize > 0 && a.Content.Size() > list.MaxSize+ownWords:
		no = tooLarge(list)
	}
	if no.Verdict != 0 {
		l.log.InfoContext(ctx, logx.ListRefused, "id", a.ID, "list", list.Address.String(), "reason", no.Text)
		return no
	}
	all, err := l.o.Directory.Members(ctx, list.ID)
	if err != nil {
		return later("the members of the list cannot be read at the moment")
	}
	budget := l.o.Limits.List(list.Address)
	if err := budget.Take(ctx); err != nil { // it waits, and the list goes on with what comes next
		return queue.Result{Verdict: queue.Later, Code: 452, Status: "4.7.1", Text: "too much: " + err.Error()}
	}
	n, err := l.publish(ctx, a, list, d, all)
	if err != nil {
		budget.Return(ctx)
	}
	switch {
	case errors.Is(err, errSeen):
		return done("not posted: the list has had this message already")
	case err != nil:
		l.log.ErrorContext(ctx, logx.ListFailed, "id", a.ID, "list", list.Address.String(), "error", err)
		return later("the message cannot be posted at the moment")
	}
	l.log.InfoContext(ctx, logx.ListPosted, "id", a.ID, "list", list.Address.String(), "members", n, "size", a.Content.Size())
	return done("posted to %d members of the list", n)
}

// ownWords is what the desks' own fields may add to a message beyond what its sender sent.
const ownWords = 8 << 10

var errSeen = errors.New("list: posted already")

// The two kinds of copies: with a link of its own for each member outside, where leaving works over HTTPS; and the others.
const (
	plain  = "plain"
	linked = "linked"
)

// publish makes the copies and returns how many.
func (l *Lists) publish(ctx context.Context, a queue.Attempt, list auth.List, d *draft, all []auth.Member) (int, error) {
	kinds := map[string][]auth.Member{}
	for _, m := range all {
		if m.State != auth.MemberActive {
			continue
		}
		kind := plain
		if l.o.URL != "" {
			ours, err := l.o.Directory.IsLocal(ctx, m.Address.Domain)
			if err != nil {
				return 0, err
			}
			if !ours {
				kind = linked
			}
		}
		kinds[kind] = append(kinds[kind], m)
	}
	sent, seen := 0, 0
	for _, kind := range []string{plain, linked} {
		members := kinds[kind]
		if len(members) == 0 {
			continue
		}
		p := &posting{l: l, attempt: a, list: list, draft: d, members: members, linked: kind == linked, name: d.seenAs(a.ID, kind)}
		err := p.send(ctx)
		if errors.Is(err, errSeen) {
			seen++
			continue
		}
		if err != nil {
			return 0, err
		}
		sent += len(members)
	}
	if sent == 0 && seen > 0 {
		return 0, errSeen
	}
	return sent, nil
}

// seenAs names a message for the list's memory.
func (d *draft) seenAs(id, kind string) [16]byte {
	name := d.messageID
	if name == "" {
		name = "queue " + id
	}
	sum := sha256.Sum256([]byte(kind + "\x00" + name))
	return [16]byte(sum[:16])
}

// posting is one message on its way to members.
type posting struct {
	l       *Lists
	attempt queue.Attempt
	list    auth.List
	draft   *draft
	members []auth.Member
	linked  bool
	name    [16]byte

	id     string
	header []byte // as the copies have it, without what stands in front
}

// send writes the message anew and puts all copies into the queue.
func (p *posting) send(ctx context.Context) error {
	l := p.l
	if !l.begin(p) {
		return errors.New("the same message is being posted at the moment")
	}
	defer l.end(p)
	if err := l.o.DB.SettleAll(ctx); err != nil { // the note of a post a moment ago is in the tables then
		return err
	}
	if seen, err := l.o.Directory.Seen(ctx, p.list.ID, p.name); err != nil || seen {
		return errors.Join(err, map[bool]error{true: errSeen}[seen])
	}
	p.id = l.o.Queue.NewID()
	p.header = p.compose(false)
	munge, err := p.mustMunge(ctx)
	if err != nil {
		return err
	}
	if munge {
		p.header = p.compose(true)
	}
	arrival, signer, err := p.write(ctx)
	if err != nil {
		return err
	}
	copies, err := p.copies(signer)
	if err != nil {
		arrival.Discard()
		return err
	}
	size := arrival.Size()
	seen := kv.Part{Kind: PartKind, Data: seenPart(p.list.ID, p.name, l.o.Now())}
	if _, err = l.o.Store.Deliver(ctx, arrival, nil, l.o.Queue.Parts(p.id, copies), seen); err != nil {
		return err
	}
	l.tellStory(p, copies, size)
	return nil
}

// posted is a message of one list on its way into the log.
type posted struct {
	list auth.ListID
	name [16]byte
}

// begin is false while the same message is posted already: its copies come out of the queue side by side.
func (l *Lists) begin(p *posting) bool {
	key := posted{p.list.ID, p.name}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.posting[key] {
		return false
	}
	l.posting[key] = true
	return true
}

func (l *Lists) end(p *posting) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.posting, posted{p.list.ID, p.name})
}

func (l *Lists) tellStory(p *posting, copies []mail.Envelope, size int64) {
	m := story.Message{ID: p.id, Direction: story.Out, From: l.o.Directory.At(p.list, auth.ListBounces, "").String(), MessageID: p.draft.messageID,
		Subject: p.draft.subject, Size: size, Recipients: len(copies)}
	for _, c := range copies[:min(len(copies), 100)] {
		m.To = append(m.To, c.Recipients[0].Address.String())
	}
	if len(p.draft.authors) > 0 {
		m.Author = p.draft.authors[0].String()
	}
	l.o.Story.Begin(m, story.Event{Step: story.Expanded, Who: p.list.Address.String(), Text: "posted to the list, from message " + p.attempt.ID})
}

// write stores the message as all copies have it, signed and sealed for the list's domain.
func (p *posting) write(ctx context.Context) (arrival *store.Arrival, signer *mailauth.Signer, err error) {
	l, now := p.l, p.l.o.Now()
	keys := l.keys(ctx, p.list.Address.Domain)
	w, err := l.o.Store.NewMessage(ctx, p.attempt.Content.Size())
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			w.Discard()
		}
	}()
	out := []io.Writer{w}
	var sealer *mailauth.Sealer
	if len(keys) > 0 {
		signer = mailauth.NewSigner(p.header, now, keys...)
		out = append(out, signer)
		if p.draft.results != "" {
			sealer = mailauth.NewSealer(p.header, now, keys[0])
			out = append(out, sealer)
		}
	}
	if _, err = w.Write(append(p.header[:len(p.header):len(p.header)], "\r\n"...)); err != nil {
		return nil, nil, err
	}
	if _, err = io.Copy(io.MultiWriter(out...), p.body()); err != nil {
		return nil, nil, err
	}
	front := []byte("Return-Path: <" + l.o.Directory.At(p.list, auth.ListBounces, "").String() + ">\r\n")
	if signer != nil && !p.linked { // a linked copy has a signature of its own
		fields, err := signer.Sign()
		if err != nil {
			return nil, nil, err
		}
		front = append(front, fields...)
	}
	if sealer != nil {
		chain := mailauth.None
		if mailauth.Said(p.draft.results, "arc") == mailauth.Pass {
			chain = mailauth.Pass
		}
		set, err := sealer.Seal(l.o.Hostname, p.draft.results, chain)
		if err != nil {
			return nil, nil, err
		}
		front = append(front, set...)
	}
	if err = w.Prepend(front); err != nil {
		return nil, nil, err
	}
	arrival, err = w.Finish()
	return arrival, signer, err
}

func (p *posting) body() *io.SectionReader {
	c := p.attempt.Content
	return io.NewSectionReader(c, min(p.draft.body, c.Size()), max(c.Size()-p.draft.body, 0))
}

// copies are the envelopes: each member has a sender of his own, so that a report tells whose mail came back (VERP).
func (p *posting) copies(signer *mailauth.Signer) ([]mail.Envelope, error) {
	l, e := p.l, p.attempt.Envelope
	all := make([]mail.Envelope, 0, len(p.members))
	for _, m := range p.members {
		c := mail.Envelope{Body: e.Body, UTF8: e.UTF8, RequireTLS: e.RequireTLS, Return: mail.ReturnHeaders}
		c.From = l.o.Directory.At(p.list, auth.ListBounces, l.tokens.make(forBounces, p.list.ID, m.Address.Key()))
		c.Recipients = []mail.Recipient{{Address: m.Address, Notify: mail.NotifyFailure}}
		if p.linked {
			fields := p.leaving(m.Address)
			if signer != nil {
				signature, err := signer.Again(append([]byte(fields), p.header...))
				if err != nil {
					return nil, err
				}
				fields = string(signature) + fields
			}
			c.Front = fields
		}
		all = append(all, c)
	}
	return all, nil
}

// mustMunge tells whether copies would be refused because the author's domain asks for it (DMARC) and no signature of its own
// holds any more. The author is left as he is wherever that works, because answers and addressbooks depend on him.
func (p *posting) mustMunge(ctx context.Context) (bool, error) {
	l, d := p.l, p.draft
	if l.o.Checks == nil || len(d.authors) == 0 {
		return false, nil
	}
	author, own := d.authors[0].Domain, p.list.Address.Domain
	if claimed, err := l.claimed(ctx, d.dmarc, p.attempt.Envelope, d.domains(), aligned(p.list)); err != nil || claimed {
		return claimed, err // or our signature would prove a stranger's words to be our people's
	}
	if author == own && len(l.keys(ctx, own)) > 0 {
		return false, nil // our signature is the author's
	}
	k := l.o.Checks.Begin(ctx, mailauth.Session{Hello: l.o.Hostname})
	defer k.Discard()
	header := p.header
	if p.linked {
		header = append([]byte(p.leaving(p.members[0].Address)), header...)
	}
	k.Header(header)
	if _, err := io.Copy(k, p.body()); err != nil {
		return false, err
	}
	r := k.Finish().DMARC
	switch {
	case r.Result == mailauth.TempError && p.attempt.Attempts < maxUnsure:
		return false, fmt.Errorf("what %s asks for cannot be found out now: %s", author, r.Reason)
	case r.Result == mailauth.TempError:
		return true, nil
	}
	return r.Result != mailauth.Pass && (r.Policy == mailauth.PolicyReject || r.Policy == mailauth.PolicyQuarantine), nil
}

// maxUnsure is how often a message waits for DNS before its author is rewritten to be safe.
const maxUnsure = 5

// seenPart is the note that a message was posted.
func seenPart(id auth.ListID, name [16]byte, at time.Time) []byte {
	b := binary.BigEndian.AppendUint32([]byte{1}, uint32(id))
	b = append(b, name[:]...)
	return binary.BigEndian.AppendUint64(b, uint64(at.Unix()))
}

// Register names the owner of the lists' parts; before db.Start, in every program that opens the tables.
func Register(db *kv.DB, d *auth.Directory) {
	db.Outline(d.Outline())
	db.Register(PartKind, kv.Kind{Apply: func(tx *kv.Tx, _ kv.Entry, data []byte) error {
		if len(data) != 29 || data[0] != 1 {
			return fmt.Errorf("list: part of %d octets cannot be read", len(data))
		}
		d.NoteSeen(tx, auth.ListID(binary.BigEndian.Uint32(data[1:])), [16]byte(data[5:21]), time.Unix(int64(binary.BigEndian.Uint64(data[21:])), 0))
		return nil
	}})
}
