package pull

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/posthouse-mail/posthouse/internal/message"
	"github.com/posthouse-mail/posthouse/store"
)

// matcher finds messages of the folder that are here without the ledger knowing it: the server has changed its UIDVALIDITY, the
// mail was brought as a Maildir before, or the ledger was lost. Date and size must be the same, and the Message-ID.
type matcher struct {
	f    *folder
	rows []matchRow // by date, size, uid
}

type matchRow struct {
	date  int64
	size  uint32
	uid   store.UID
	taken bool
}

func (r matchRow) compare(o matchRow) int {
	return cmp.Or(cmp.Compare(r.date, o.date), cmp.Compare(r.size, o.size), cmp.Compare(r.uid, o.uid))
}

func everything() []store.UIDRange { return []store.UIDRange{{First: 1, Last: math.MaxUint32}} }

// beginMatch looks whether there is something to match. Once begun, it goes on in the next run until a run gets to the end.
func (f *folder) beginMatch(ctx context.Context) error {
	f.match = nil
	if len(f.ledger.entries) > 0 && f.ledger.fact(factMatching).Stamp == 0 {
		return nil
	}
	m := &matcher{f: f}
	for page, err := range f.p.o.Store.Messages(ctx, f.box.ID, everything()) {
		if err != nil {
			return err
		}
		for _, r := range page {
			if !f.ledger.isClaimed(place{f.box.ID, r.UID}) {
				m.rows = append(m.rows, matchRow{date: r.Received.Unix(), size: r.Size, uid: r.UID})
			}
		}
	}
	if len(m.rows) == 0 {
		return nil
	}
	slices.SortFunc(m.rows, matchRow.compare)
	f.match = m
	return f.ledger.state(ctx, factMatching, store.Imported{Stamp: 1})
}

// candidates are the rows with date and size.
func (m *matcher) candidates(l *listedMessage) []matchRow {
	if l.date.IsZero() || l.size == 0 || l.size > math.MaxUint32 {
		return nil
	}
	least := matchRow{date: l.date.Unix(), size: uint32(l.size)}
	i, _ := slices.BinarySearchFunc(m.rows, least, matchRow.compare)
	j := i
	for j < len(m.rows) && m.rows[j].date == least.date && m.rows[j].size == least.size {
		j++
	}
	return m.rows[i:j]
}

// claim takes the messages out of the list that are here, and writes that down.
func (m *matcher) claim(ctx context.Context, list []listedMessage) ([]listedMessage, error) {
	var maybe []uint32
	for i := range list {
		if slices.ContainsFunc(m.candidates(&list[i]), func(r matchRow) bool { return !r.taken }) {
			maybe = append(maybe, list[i].uid)
		}
	}
	if len(maybe) == 0 {
		return list, nil
	}
	ids, err := m.f.messageIDs(maybe)
	if err != nil {
		return nil, err
	}
	var left []listedMessage
	var found []entry
	flags := newFlagChanges(m.f)
	for i := range list {
		l := &list[i]
		row, err := m.pick(ctx, l, ids)
		if err != nil {
			return nil, err
		}
		if row == nil {
			left = append(left, *l)
			continue
		}
		_, _, now := m.f.flags(l.flags)
		e := entry{uid: l.uid, stamp: now, place: place{m.f.box.ID, row.UID}, seen: true}
		found = append(found, e)
		here := e
		here.stamp = uint32(row.Flags) & now // who changed what cannot be known: flags are added, never taken away
		flags.compare(&here, l)
	}
	m.f.report.Matched += len(found)
	if err := m.f.ledger.write(ctx, found, m.f.multi); err != nil {
		return nil, err
	}
	return left, flags.apply(ctx)
}

// pick is the row here that is the message; nil: none.
func (m *matcher) pick(ctx context.Context, l *listedMessage, ids map[uint32]string) (*store.Message, error) {
	id, asked := ids[l.uid]
	if !asked {
		return nil, nil
	}
	rows := m.candidates(l)
	for i := range rows {
		if rows[i].taken {
			continue
		}
		row, err := m.f.p.row(ctx, place{m.f.box.ID, rows[i].uid})
		if err != nil {
			return nil, err
		}
		if row == nil {
			continue
		}
		here, err := m.f.p.messageID(ctx, row)
		if err != nil {
			return nil, err
		}
		if here == id {
			rows[i].taken = true
			return row, nil
		}
	}
	return nil, nil
}

// messageIDs asks for the Message-IDs of messages.
func (f *folder) messageIDs(uids []uint32) (map[uint32]string, error) {
	ids := map[uint32]string{}
	for part := range slices.Chunk(uids, chunk) {
		_, err := f.p.c.do(fmt.Sprintf("UID FETCH %s (UID BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])", set(part)), func(r *response) error {
			for _, it := range r.items {
				if uid := uint32(r.number("UID")); r.name == "FETCH" && strings.HasPrefix(it.name, "BODY[HEADER.FIELDS") && len(it.text) <= maxHeader && slices.Contains(part, uid) {
					ids[uid] = bareID(message.HeaderValue([]byte(it.text), "Message-ID"))
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return ids, nil
}

func bareID(s string) string { return strings.Trim(strings.TrimSpace(s), "<>") }

// row reads one row of ours; nil when it is gone.
func (p *puller) row(ctx context.Context, at place) (*store.Message, error) {
	for page, err := range p.o.Store.Messages(ctx, at.mailbox, []store.UIDRange{{First: at.uid, Last: at.uid}}) {
		if err != nil {
			return nil, err
		}
		for _, m := range page {
			return &m, nil
		}
	}
	return nil, nil
}

// messageID is the Message-ID of a message of ours.
func (p *puller) messageID(ctx context.Context, m *store.Message) (string, error) {
	b, err := p.o.Store.Open(ctx, *m)
	if err != nil {
		return "", err
	}
	defer b.Close()
	head := make([]byte, min(b.Size(), maxHeader))
	n, err := b.ReadAt(head, 0)
	if n < len(head) {
		return "", err
	}
	return bareID(message.HeaderValue(head, "Message-ID")), nil
}
