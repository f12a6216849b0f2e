package imap

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/posthouse-mail/posthouse/imap/internal/syntax"
	"github.com/posthouse-mail/posthouse/store"
)

// search answers SEARCH and UID SEARCH (RFC 9051 section 6.4.4, RFC 4731, RFC 5182). Keys are tried from cheap to dear: the
// row, then the stored structure, then the header, then the text; a message is opened only when the rows do not decide.
func (c *conn) search(ctx context.Context, r *request) error {
	s := searcher{c: c, ctx: ctx, byUID: r.byUID}
	p := searchParser{c: c}
	p.arguments()
	err := c.d.End()
	if err == nil {
		err = p.refused
	}
	if err == nil {
		err = s.run(&p)
	}
	if err != nil {
		if ctx.Err() != nil { // over a large mailbox it takes longer than a shutdown waits
			return bye(goimap.ResponseCodeUnavailable, "the server is going down")
		}
		if p.result.save && !isBad(err) {
			c.box.saved = nil // RFC 5182 section 2.1: what fails with NO leaves an empty result, what is BAD changes nothing
		}
		return err
	}
	s.write(r, p.result)
	return nil
}

// isBad tells whether an error is answered BAD.
func isBad(err error) bool {
	var wrong *syntax.Error
	var a *answer
	return errors.As(err, &wrong) && wrong.Kind == syntax.Bad || errors.As(err, &a) && a.kind == goimap.StatusResponseTypeBad
}

// wanted is what RETURN asks for (RFC 9051 section 6.4.4).
type wanted struct {
	extended              bool // ESEARCH, not SEARCH
	min, max, all, number bool
	save                  bool
}

// onlyEnds tells whether MIN and MAX are all that counts.
func (w wanted) onlyEnds() bool { return (w.min || w.max) && !w.all && !w.number }

// searcher is one SEARCH that is being answered.
type searcher struct {
	c      *conn
	ctx    context.Context
	byUID  bool
	modseq bool // the answer tells the highest mod-sequence (RFC 7162 section 3.1.5)

	look    time.Time     // when to see whether the client is there
	found   []syntax.Span // uids
	highest store.ModSeq  // of what was found
	ends    struct{ first, last store.ModSeq }
}

// run finds the messages.
func (s *searcher) run(p *searchParser) error {
	c := s.c
	if err := c.ready(s.ctx); err != nil {
		return err
	}
	if p.modseq {
		c.enableCondstore()
		s.modseq = true
	}
	if err := p.resolveKeywords(s.ctx); err != nil {
		return err
	}
	key := p.key
	ranges := c.box.view.byUID(key.narrow(c, []syntax.Span{{First: 1, Last: 1<<32 - 1}}))
	if key.always() && !s.modseq {
		s.found = spans(ranges)
		return nil
	}
	if len(ranges) == 0 {
		return nil
	}
	m := candidate{c: c, ctx: s.ctx, heads: key.cost < costBody}
	defer m.close()
	s.look = c.s.now().Add(goneAfter)
	for page, err := range c.s.store.MessagesSince(s.ctx, c.box.id, ranges, key.since()) {
		if err != nil {
			return err
		}
		for i := range page {
			m.next(&page[i])
			if key.matches(&m) && !m.gone {
				s.add(&page[i])
			}
		}
		if m.err != nil {
			return m.err
		}
		if err := s.listening(); err != nil {
			return err
		}
	}
	return nil
}

// goneAfter is how long a search goes on for a client that has closed its end: it may have closed one direction only. Afterwards
// it is asked as often.
const goneAfter = 5 * time.Second

// listening ends a search whose client has gone: until it writes, nothing else would tell.
func (s *searcher) listening() error {
	now := s.c.s.now()
	if now.Before(s.look) {
		return nil
	}
	s.look = now.Add(goneAfter)
	if s.c.w.Gone() {
		return broken{io.EOF}
	}
	return nil
}

func (s *searcher) add(m *store.Message) {
	s.highest = max(s.highest, m.ModSeq)
	s.ends.last = m.ModSeq
	n := len(s.found)
	if n == 0 {
		s.ends.first = m.ModSeq
	}
	if n > 0 && s.found[n-1].Last+1 == m.UID {
		s.found[n-1].Last = m.UID
		return
	}
	s.found = append(s.found, syntax.Span{First: m.UID, Last: m.UID})
}

// write sends the result and keeps it where SAVE asks for it.
func (s *searcher) write(r *request, w wanted) {
	if w.save {
		s.c.box.saved = s.toSave(w)
	}
	b := append(s.c.w.AvailableBuffer(), "* "...)
	switch {
	case !w.extended:
		b = s.appendPlain(b)
	case w.save && !w.min && !w.max && !w.all && !w.number:
		return // RFC 5182 section 2.1: the client asked for nothing to see
	default:
		b = s.appendExtended(b, r.tag, w)
	}
	s.c.w.Write(append(b, "\r\n"...))
}

// toSave is what "$" becomes: with MIN or MAX alone only these (RFC 5182 section 2.4).
func (s *searcher) toSave(w wanted) []syntax.Span {
	if len(s.found) == 0 || !w.onlyEnds() {
		return slices.Clone(s.found)
	}
	first, last := s.found[0].First, s.found[len(s.found)-1].Last
	var out []syntax.Span
	if w.min {
		out = append(out, syntax.Span{First: first, Last: first})
	}
	if w.max {
		out = append(out, syntax.Span{First: last, Last: last})
	}
	return syntax.Merge(out)
}

// numbers yields the result as the client counts: spans of uids or of sequence numbers.
func (s *searcher) numbers() []syntax.Span {
	if s.byUID {
		return s.found
	}
	view := &s.c.box.view
	out := make([]syntax.Span, 0, len(s.found))
	for _, f := range s.found { // a span of found uids without a gap in the view has consecutive numbers
		first := view.seq(f.First)
		if n := len(out); n > 0 && out[n-1].Last+1 == first {
			out[n-1].Last = view.seq(f.Last)
			continue
		}
		out = append(out, syntax.Span{First: first, Last: view.seq(f.Last)})
	}
	return out
}

// appendPlain appends the SEARCH response of RFC 3501 section 7.2.5.
func (s *searcher) appendPlain(b []byte) []byte {
	b = append(b, "SEARCH"...)
	for _, n := range s.numbers() {
		for i := n.First; ; i++ {
			b = append(b, ' ')
			b = syntax.AppendNumber(b, i)
			if i == n.Last {
				break
			}
		}
	}
	if s.modseq && len(s.found) > 0 {
		b = append(b, " (MODSEQ "...)
		b = syntax.AppendNumber64(b, s.highest)
		b = append(b, ')')
	}
	return b
}

// appendExtended appends the ESEARCH response (RFC 9051 section 7.3.4). The tag is always quoted.
func (s *searcher) appendExtended(b []byte, tag string, w wanted) []byte {
	b = append(b, `ESEARCH (TAG `...)
	b = syntax.AppendString(b, tag)
	b = append(b, ')')
	if s.byUID {
		b = append(b, " UID"...)
	}
	numbers := s.numbers()
	if n := len(numbers); n > 0 {
		if w.min {
			b = append(b, " MIN "...)
			b = syntax.AppendNumber(b, numbers[0].First)
		}
		if w.max {
			b = append(b, " MAX "...)
			b = syntax.AppendNumber(b, numbers[n-1].Last)
		}
		if w.all {
			set := syntax.NewSetBuilder(append(b, " ALL "...))
			for _, n := range numbers {
				set.AddSpan(n.First, n.Last)
			}
			b = set.Bytes()
		}
	}
	if w.number {
		b = append(b, " COUNT "...)
		b = syntax.AppendNumber64(b, count(numbers))
	}
	if s.modseq && len(numbers) > 0 {
		b = append(b, " MODSEQ "...)
		b = syntax.AppendNumber64(b, s.told(w))
	}
	return b
}

// told is the mod-sequence of what the answer names (RFC 4731 section 3.2).
func (s *searcher) told(w wanted) store.ModSeq {
	switch {
	case !w.onlyEnds():
		return s.highest
	case w.min && w.max:
		return max(s.ends.first, s.ends.last)
	case w.min:
		return s.ends.first
	}
	return s.ends.last
}
