package pull

import (
	"context"
	"slices"
	"strings"

	"github.com/posthouse-mail/posthouse/store"
)

// gmailFolder is a folder of Gmail, which is a label: a message may be in several (X-GM-EXT-1). Its text is brought once; the
// other folders get copies, which share it. "All Mail" brings only what has no label of a folder that is brought.
type gmailFolder struct {
	f         *folder
	brought   map[string]bool // labels, lower case
	unclaimed map[uint64]store.UID
}

func newGmail(f *folder) *gmailFolder {
	g := &gmailFolder{f: f, brought: map[string]bool{}}
	for _, o := range f.p.folders {
		if o.report.To == "" || o.use == store.UseAll {
			continue
		}
		g.brought[strings.ToLower(o.raw)] = true
		switch {
		case o.name == store.Inbox:
			g.brought[`\inbox`] = true
		case o.use == store.UseSent:
			g.brought[`\sent`] = true
		case o.use == store.UseDrafts:
			g.brought[`\draft`], g.brought[`\drafts`] = true, true
		}
	}
	return g
}

// virtual labels are no folders that we bring: they are flags.
func virtualLabel(label string) bool {
	return label == `\important` || label == `\starred`
}

// elsewhere reports a message of All Mail that another folder brings.
func (g *gmailFolder) elsewhere(m *listedMessage) bool {
	return g.f.use == store.UseAll && slices.ContainsFunc(m.labels, func(v value) bool { return g.brought[strings.ToLower(v.text)] })
}

// note keeps of a listed message whether it has other labels, and makes a keyword of Important (RFC 8457 section 3).
func (g *gmailFolder) note(m *listedMessage) {
	several := false
	for _, v := range m.labels {
		label := strings.ToLower(v.text)
		several = several || !virtualLabel(label)
		if label == `\important` {
			m.flags = append(m.flags, value{kind: atom, text: "$Important"})
		}
	}
	if several && m.gmail != 0 {
		g.f.multi[m.uid] = m.gmail
	}
}

// copies makes copies of messages that another folder has brought, and takes them out of the list.
func (g *gmailFolder) copies(ctx context.Context, list []listedMessage) ([]listedMessage, error) {
	f := g.f
	var left []listedMessage
	from := map[store.MailboxID][]entry{} // place: of the message that is here
	var done []entry
	for i := range list {
		m := &list[i]
		at, here := f.p.bodies[f.multi[m.uid]]
		if f.multi[m.uid] == 0 || !here || at.mailbox == f.box.ID {
			left = append(left, *m)
			continue
		}
		row, err := f.p.row(ctx, at)
		if err != nil {
			return nil, err
		}
		if row == nil { // moved or expunged here
			left = append(left, *m)
			continue
		}
		_, _, stamp := f.flags(m.flags)
		e := entry{uid: m.uid, stamp: stamp, place: at, seen: true}
		uid, err := g.claim(ctx, row.ID)
		if err != nil {
			return nil, err
		}
		if uid != 0 {
			e.place = place{f.box.ID, uid}
			done = append(done, e)
			continue
		}
		from[at.mailbox] = append(from[at.mailbox], e)
	}
	for box, entries := range from {
		made, err := g.copy(ctx, box, entries)
		if err != nil {
			return nil, err
		}
		done = append(done, made...)
	}
	f.report.Copied += len(done)
	return left, f.ledger.write(ctx, done, f.multi)
}

// copy copies messages of one mailbox, and says where they are now.
func (g *gmailFolder) copy(ctx context.Context, from store.MailboxID, entries []entry) ([]entry, error) {
	ranges := make([]store.UIDRange, len(entries))
	for i, e := range entries {
		ranges[i] = store.UIDRange{First: e.place.uid, Last: e.place.uid}
	}
	copied, err := g.f.p.o.Store.Copy(ctx, from, sortedRanges(ranges), g.f.box.ID)
	if err != nil {
		return nil, err
	}
	out := entries[:0]
	for _, e := range entries {
		if i, ok := slices.BinarySearch(copied.From, e.place.uid); ok {
			e.place = place{g.f.box.ID, copied.To[i]}
			out = append(out, e)
		}
	}
	return out, nil
}

// claim finds a copy that was made just before a run was cut short, and is in no ledger: copies share the id.
func (g *gmailFolder) claim(ctx context.Context, id uint64) (store.UID, error) {
	if g.unclaimed == nil {
		g.unclaimed = map[uint64]store.UID{}
		for page, err := range g.f.p.o.Store.Messages(ctx, g.f.box.ID, everything()) {
			if err != nil {
				return 0, err
			}
			for _, m := range page {
				if !g.f.ledger.isClaimed(place{g.f.box.ID, m.UID}) {
					g.unclaimed[m.ID] = m.UID
				}
			}
		}
	}
	uid := g.unclaimed[id]
	delete(g.unclaimed, id)
	return uid, nil
}
