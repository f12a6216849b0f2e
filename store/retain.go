package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// BinName is what the bin of an account is called where people see it. Another mailbox may have the name; it goes before.
const BinName = "Recently Deleted"

// NotBinName is the name of a mailbox that comes from elsewhere: one that is called as the bin would hide it.
func NotBinName(name string) string {
	top, below, deep := strings.Cut(name, "/")
	if top != BinName {
		return name
	}
	if top += " (old)"; deep {
		top += "/" + below
	}
	return top
}

// Gone is a message that was expunged and can still come back.
type Gone struct {
	Message            // UID, ModSeq and Flags are those it has in the bin; Saved is when it was expunged
	Ref      uint64    // names it in its account, in the order of expunging
	Was      MailboxID // the mailbox it was in
	Name     string    // of the mailbox, at that time
	Keywords []string
	Expunged time.Time
}

// Restored is what came back into one mailbox.
type Restored struct {
	Mailbox string
	Copied
}

// Bin is the mailbox with what the account has expunged, made if there is none yet. It can be read as every mailbox, and
// messages can be copied and moved out of it; all else is ErrReadOnly. ErrNoMailbox: expunged mail is not kept, or the name is that
// of another mailbox (or of the parent of one).
func (s *Store) Bin(ctx context.Context, id mail.AccountID) (Mailbox, error) {
	if s.keepTime.Load() <= 0 {
		return Mailbox{}, ErrNoMailbox
	}
	out := Mailbox{Account: id, Name: BinName}
	err := s.db.View(ctx, func(tx *kv.Tx) error {
		h, err := loadHolding(tx, id)
		if err != nil {
			return err
		}
		if nameTaken(tx, id, BinName) {
			return ErrNoMailbox
		}
		out.ID, out.Subscribed = h.bin, tx.Get(tabSubs, nameKey(id, BinName)) != nil
		return nil
	})
	if err != nil {
		return Mailbox{}, err
	}
	if err := s.settleBin(ctx, id); err != nil || out.ID != 0 {
		return out, err
	}
	err = s.db.Update(ctx, func(tx *kv.Tx) error {
		m := s.begin(tx)
		bin, err := m.bin(id)
		if err != nil {
			return err
		}
		out.ID = bin.id
		return m.end()
	})
	return out, err
}

// nameTaken reports whether a mailbox has the name, or stands below it.
func nameTaken(tx *kv.Tx, id mail.AccountID, name string) bool {
	if tx.Get(tabNames, nameKey(id, name)) != nil {
		return true
	}
	for range tx.Scan(tabNames, nameKey(id, name+"/"), nameKey(id, name+"0")) { // '0' follows '/'
		return true
	}
	return false
}

// Gone yields what the account has expunged and the store still keeps, oldest first, in pages (the slice is reused).
func (s *Store) Gone(ctx context.Context, id mail.AccountID) iter.Seq2[[]Gone, error] {
	return func(yield func([]Gone, error) bool) {
		bin, runs, names, err := s.openBin(ctx, id)
		if err != nil || bin == 0 {
			if err != nil {
				yield(nil, err)
			}
			return
		}
		var page []Gone
		for rows, err := range s.Messages(ctx, bin, allUIDs()) {
			page = page[:0]
			for _, m := range rows {
				g := Gone{Message: m, Ref: uint64(m.UID), Expunged: m.Saved, Keywords: names.spell(m.Flags)}
				if o := keptOf(runs, m.UID); o != nil {
					g.Was, g.Name = o.mailbox, o.name
					g.Keywords = append(g.Keywords, o.lostOf(m.UID)...)
				}
				page = append(page, g)
			}
			if !yield(page, err) {
				return
			}
		}
	}
}

// openBin reads what Gone needs beside the rows; bin 0: the account never expunged anything.
func (s *Store) openBin(ctx context.Context, id mail.AccountID) (bin MailboxID, runs []kept, names *keywords, err error) {
	if err := s.settleBin(ctx, id); err != nil {
		return 0, nil, nil, err
	}
	err = s.db.View(ctx, func(tx *kv.Tx) error {
		h, err := loadHolding(tx, id)
		if err != nil || h.bin == 0 {
			return err
		}
		bin, names = h.bin, loadKeywords(tx, h.bin)
		runs, err = keptRuns(tx, bin)
		return err
	})
	return bin, runs, names, err
}

// Undelete puts the messages back, all or none: into the mailbox named to, or, when to is empty, each into the one it was in. A mailbox
// that is gone is made again. They get new uids; ids, dates, flags (without Deleted) and keywords stay. ErrNoMessage when one
// of them is not kept any more, ErrOverQuota, ErrLimit above 200,000.
func (s *Store) Undelete(ctx context.Context, id mail.AccountID, refs []uint64, to string) ([]Restored, error) {
	if to != "" {
		name, err := CheckName(to)
		if err != nil {
			return nil, err
		}
		to = name
	}
	ranges := make([]UIDRange, 0, len(refs))
	for _, r := range refs {
		if r == 0 || r > 0xffffffff {
			return nil, ErrNoMessage
		}
		ranges = append(ranges, UIDRange{UID(r), UID(r)})
	}
	u := undelete{account: id, to: to, ranges: normal(ranges, 0xffffffff)}
	if err := s.settleBin(ctx, id); err != nil {
		return nil, err
	}
	err := s.db.Update(ctx, func(tx *kv.Tx) error { return u.run(s.begin(tx)) })
	if err != nil {
		return nil, err
	}
	return u.out, nil
}

// undelete is one commit; run may be called again.
type undelete struct {
	account mail.AccountID
	to      string
	ranges  []UIDRange
	out     []Restored
}

// group is what goes into one mailbox.
type group struct {
	dst  *box
	name string
	raw  []byte
}

func (u *undelete) run(m *mutation) error {
	u.out = nil
	a, err := m.account(u.account)
	if err != nil {
		return err
	}
	if a.holding.bin == 0 {
		return ErrNoMessage
	}
	bin, err := m.anyBox(a.holding.bin)
	if err != nil {
		return err
	}
	gone := bin.gather(u.ranges, 2*maxCopy, func(row) bool { return true })
	if len(gone.rest) > 0 || gone.len() > maxCopy {
		return fmt.Errorf("%w: one undelete takes at most %d messages", ErrLimit, maxCopy)
	}
	if uint64(gone.len()) != countUIDs(u.ranges) {
		return ErrNoMessage
	}
	more := Quota{Messages: uint64(gone.len())}
	for i := range gone.len() {
		more.Bytes += uint64(gone.row(i).size())
	}
	if err := m.fits(u.account, more); err != nil {
		return err
	}
	groups, err := u.sort(m, a, bin.id, &gone)
	if err != nil {
		return err
	}
	for _, g := range groups {
		t := transfer{m: m, from: bin.id, bin: true, dst: g.dst, raw: g.raw}
		if err := t.check(); err != nil {
			return err
		}
		u.out = append(u.out, Restored{g.name, t.add()})
	}
	bin.remove(&gone)
	m.trimKept(bin)
	return m.end()
}

// sort finds for each message the mailbox it goes to.
func (u *undelete) sort(m *mutation, a *account, bin MailboxID, gone *removal) ([]*group, error) {
	from := keptFinder{tx: m.tx, bin: bin}
	var groups []*group
	last := kept{}
	var g *group
	for i := range gone.len() {
		r := gone.row(i)
		o, err := from.find(r.uid())
		if err != nil {
			return nil, err
		}
		if o == nil {
			o = &kept{name: Inbox}
		}
		if g == nil || u.to == "" && (o.mailbox != last.mailbox || o.name != last.name) {
			dst, name, err := u.place(m, a, o)
			if err != nil {
				return nil, err
			}
			at := slices.IndexFunc(groups, func(g *group) bool { return g.dst == dst })
			if at < 0 {
				at = len(groups)
				groups = append(groups, &group{dst: dst, name: name})
			}
			g, last = groups[at], *o
		}
		g.raw = append(g.raw, r...)
	}
	return groups, nil
}

// place opens the mailbox for a message: by its id, because it may have been renamed; by its name, because it may have been made again;
// else it is made.
func (u *undelete) place(m *mutation, a *account, o *kept) (*box, string, error) {
	name := u.to
	if name == "" {
		if name = o.name; name == "" {
			name = Inbox
		}
		n, err := m.s.names.find(m.tx, u.account, o.mailbox)
		if err == nil && n.use&UseOutbox == 0 {
			b, err := m.box(o.mailbox)
			return b, n.name, err
		}
		if err == nil {
			name = n.name
		}
	}
	n, err := findName(m.tx, u.account, name)
	if n.use&UseOutbox != 0 || errors.Is(err, ErrNoMailbox) && name == OutboxName { // it was taken back: there it would look as if it waited
		b, err := m.useBox(u.account, UseDrafts)
		return b, usualName(UseDrafts), err
	}
	if errors.Is(err, ErrNoMailbox) {
		n.id, err = m.createWithParents(a, name, 0)
	}
	if err != nil {
		return nil, "", err
	}
	b, err := m.box(n.id)
	return b, name, err
}
