package store

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"time"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

const (
	pruneStep   = 4000      // messages that one commit gives up
	sweepEvery  = time.Hour // between looks at what has been kept for long enough
	sweepBytes  = 64 << 20  // octets newly in bins after which all of them are looked at
	keptPortion = 10        // the bins of all accounts may hold one part in so many of the disk
)

// SetKeep changes how long expunged mail is kept; 0: not at all.
func (s *Store) SetKeep(d time.Duration) {
	s.keepTime.Store(int64(d))
	s.wakePurge()
}

// watchBin has the bins looked at soon when one of them, or all of them, may hold too much by now.
func (s *Store) watchBin(tx *kv.Tx, bin *box, rows []row) {
	var n int64
	for _, r := range rows {
		n += int64(r.size())
	}
	full := false
	if h, err := loadHolding(tx, bin.st.account); err == nil {
		full = h.limit.Bytes != 0 && bin.st.bytes > h.limit.Bytes
	}
	tx.OnCommit(func() {
		if s.keptSince.Add(n) >= sweepBytes || full {
			s.wakePurge()
		}
	})
}

// binState is a bin in numbers.
type binState struct {
	account mail.AccountID
	id      MailboxID
	bytes   uint64
	limit   uint64
	first   ModSeq // of its first message: when that was expunged, in the store's order
}

// bins looks at the bins of all accounts that hold something.
func (s *Store) bins(ctx context.Context) (all []binState, total uint64, err error) {
	err = s.db.View(ctx, func(tx *kv.Tx) error {
		for k, v := range tx.Scan(tabHoldings, nil, nil) {
			h, err := decodeHolding(v)
			if err != nil || h.bin == 0 {
				continue // told by Check
			}
			st, err := loadState(tx, h.bin)
			if err != nil || st.exists == 0 {
				continue
			}
			all = append(all, binState{account: accountOf(k), id: h.bin, bytes: st.bytes, limit: h.limit.Bytes, first: firstOf(tx, h.bin)})
			total += st.bytes
		}
		return nil
	})
	return all, total, err
}

// firstOf is the ModSeq of the first message of a bin; its messages stand in the order of their ModSeqs.
func firstOf(tx *kv.Tx, bin MailboxID) ModSeq {
	for p := range pages(tx, bin, allUIDs()) {
		return p.row(0).modSeq()
	}
	return math.MaxUint64
}

// Prune gives up what was kept for long enough (age.go), and what is too much: an account's bin holds at most its quota, all of them
// at most a tenth of the disk. The oldest goes first. Run does it every hour, and soon after large expunges.
func (s *Store) Prune(ctx context.Context) error {
	s.pruning.Lock()
	defer s.pruning.Unlock()
	s.keptSince.Store(0)
	all, total, err := s.bins(ctx)
	if err != nil || len(all) == 0 {
		return err
	}
	old := ModSeq(math.MaxUint64)
	if s.keepTime.Load() > 0 {
		if old, err = s.oldEnough(ctx); err != nil {
			return err
		}
	}
	for i := range all {
		b := &all[i]
		freed, err := s.giveUp(ctx, b, cut{old: old, until: math.MaxUint64, limit: b.limit})
		if err != nil {
			return err
		}
		total -= min(freed, total)
	}
	size, err := s.db.DiskSize()
	if err != nil || total <= uint64(size)/keptPortion {
		return err
	}
	_, err = s.giveUpOldest(ctx, all, total-uint64(size)/keptPortion)
	return err
}

// GiveUp frees at least n octets of kept mail, if there are so many, the oldest of all accounts first, and returns how many.
// The disk has them back when their segments are compacted.
func (s *Store) GiveUp(ctx context.Context, n uint64) (freed uint64, err error) {
	s.pruning.Lock()
	defer s.pruning.Unlock()
	all, _, err := s.bins(ctx)
	if err != nil {
		return 0, err
	}
	return s.giveUpOldest(ctx, all, n)
}

// giveUpOldest finds the moment up to which all bins hold so much, so that each is cut once.
func (s *Store) giveUpOldest(ctx context.Context, all []binState, need uint64) (freed uint64, err error) {
	if need == 0 || len(all) == 0 {
		return 0, nil
	}
	var until ModSeq
	err = s.db.View(ctx, func(tx *kv.Tx) error {
		until = counter(tx, countModSeq)
		for low := ModSeq(0); low < until; { // what was expunged up to until is enough, up to low it may not be
			middle := low + (until-low)/2
			if keptUntil(tx, all, middle, need) {
				until = middle
			} else {
				low = middle + 1
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	// First all from before, then of what went at that moment as much as it takes.
	for _, c := range []cut{{old: until - min(until, 1)}, {until: until}} {
		for i := range all {
			if c.until != 0 && freed >= need {
				return freed, nil
			}
			c.need = need - min(freed, need)
			n, err := s.giveUp(ctx, &all[i], c)
			freed += n
			if err != nil {
				return freed, err
			}
		}
	}
	return freed, nil
}

// keptUntil asks whether the bins hold need octets that were expunged up to seq.
func keptUntil(tx *kv.Tx, all []binState, seq ModSeq, need uint64) bool {
	var n uint64
	for _, b := range all {
	scan:
		for p := range pages(tx, b.id, allUIDs()) {
			for i := range p.len() {
				r := p.row(i)
				if r.modSeq() > seq {
					break scan
				}
				n += uint64(r.size())
			}
			if n >= need {
				return true
			}
		}
	}
	return n >= need
}

// cut says how much of a bin goes, from its beginning: what was expunged up to old, and of what was expunged up to until enough
// octets for need, and so many that limit (if there is one) is kept.
type cut struct {
	old, until  ModSeq
	need, limit uint64
}

// giveUp takes the cut off a bin, in commits of bounded size.
func (s *Store) giveUp(ctx context.Context, b *binState, c cut) (freed uint64, err error) {
	var messages int
	for more := b.first <= c.old || b.first <= c.until && (c.need > 0 || c.limit != 0 && b.bytes > c.limit); more; {
		var gone removal
		var step uint64
		err := s.db.Update(ctx, func(tx *kv.Tx) (err error) {
			m := s.begin(tx)
			gone, step, more = removal{}, 0, false
			bin, err := m.anyBox(b.id)
			if errors.Is(err, ErrNoMailbox) {
				return nil // its account was removed
			}
			if err != nil {
				return err
			}
			b.first, b.bytes = math.MaxUint64, bin.st.bytes
			gone, more = bin.cut(c)
			step = b.bytes - bin.st.bytes
			m.trimKept(bin)
			if err := m.end(); err != nil {
				return err
			}
			b.first, b.bytes = firstOf(tx, b.id), bin.st.bytes
			return nil
		})
		if err != nil {
			return freed, err
		}
		freed, messages = freed+step, messages+gone.len()
		c.need -= min(c.need, step)
	}
	if messages > 0 {
		s.log.InfoContext(ctx, logx.StoreGivenUp, "account", uint32(b.account), "messages", messages, "bytes", freed)
	}
	return freed, nil
}

// cut removes the first messages of a bin and reports whether more may have to go. What is above the limit is what is now:
// something may have been taken back since somebody looked.
func (b *box) cut(c cut) (gone removal, more bool) {
	if c.limit != 0 && b.st.bytes > c.limit {
		c.need = max(c.need, b.st.bytes-c.limit)
	}
	var last UID
	var bytes uint64
	n := 0
scan:
	for p := range pages(b.m.tx, b.id, allUIDs()) {
		for i := range p.len() {
			r := p.row(i)
			if r.modSeq() > c.old && (r.modSeq() > c.until || bytes >= c.need) {
				break scan
			}
			if n == pruneStep {
				more = true
				break scan
			}
			last, bytes, n = r.uid(), bytes+uint64(r.size()), n+1
		}
	}
	if n == 0 {
		return removal{}, false
	}
	gone = b.gather([]UIDRange{{1, last}}, 2*pruneStep, func(row) bool { return true })
	b.remove(&gone)
	return gone, more
}

func accountOf(k []byte) mail.AccountID { return mail.AccountID(binary.BigEndian.Uint32(k)) }
