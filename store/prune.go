package store

import (
	"context"
	"encoding/binary"
	"math"
	"slices"
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
	oldest  int64 // when its first message was expunged; MaxInt64: it is empty
}

// bins looks at the bins of all accounts.
func (s *Store) bins(ctx context.Context) (all []binState, total uint64, err error) {
	err = s.db.View(ctx, func(tx *kv.Tx) error {
		for k, v := range tx.Scan(tabHoldings, nil, nil) {
			h, err := decodeHolding(v)
			if err != nil || h.bin == 0 {
				continue // told by Check
			}
			st, err := loadState(tx, h.bin)
			if err != nil {
				continue
			}
			all = append(all, binState{account: accountOf(k), id: h.bin, bytes: st.bytes, limit: h.limit.Bytes, oldest: oldestOf(tx, h.bin)})
			total += st.bytes
		}
		return nil
	})
	return all, total, err
}

// oldestOf is when the first message of a bin was expunged.
func oldestOf(tx *kv.Tx, bin MailboxID) int64 {
	for p := range pages(tx, bin, allUIDs()) {
		return p.row(0).saved()
	}
	return math.MaxInt64
}

// Prune gives up what was kept for long enough, and what is too much: an account's bin holds at most its quota, all of them at
// most a tenth of the disk. The oldest goes first. Run does it every hour, and soon after large expunges.
func (s *Store) Prune(ctx context.Context) error {
	s.pruning.Lock()
	defer s.pruning.Unlock()
	s.keptSince.Store(0)
	all, total, err := s.bins(ctx)
	if err != nil {
		return err
	}
	keep := time.Duration(s.keepTime.Load())
	before := s.now().Add(-keep).Unix()
	if keep <= 0 {
		before = math.MaxInt64
	}
	for i := range all {
		b := &all[i]
		c := cut{before: before, until: math.MaxInt64}
		if b.limit != 0 && b.bytes > b.limit {
			c.need = b.bytes - b.limit
		}
		freed, err := s.giveUp(ctx, b, c)
		if err != nil {
			return err
		}
		total -= freed
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

func (s *Store) giveUpOldest(ctx context.Context, all []binState, need uint64) (freed uint64, err error) {
	for freed < need && len(all) > 0 {
		slices.SortFunc(all, func(a, b binState) int { return int(min(max(a.oldest-b.oldest, -1), 1)) })
		c := cut{need: need - freed, until: math.MaxInt64 - 1}
		if len(all) > 1 {
			c.until = min(c.until, all[1].oldest)
		}
		n, err := s.giveUp(ctx, &all[0], c)
		freed += n
		if err != nil {
			return freed, err
		}
		if n == 0 {
			all = all[1:]
		}
	}
	return freed, nil
}

// cut says how much of a bin goes, from its beginning: what was expunged before a time, and octets up to need; nothing that was
// expunged after until.
type cut struct {
	before, until int64
	need          uint64
}

// giveUp takes the cut off a bin, in commits of bounded size.
func (s *Store) giveUp(ctx context.Context, b *binState, c cut) (freed uint64, err error) {
	var messages int
	for more := b.oldest <= c.until && (b.oldest < c.before || c.need > 0); more; {
		var gone removal
		var step uint64
		err := s.db.Update(ctx, func(tx *kv.Tx) (err error) {
			m := s.begin(tx)
			bin, err := m.anyBox(b.id)
			if err != nil {
				return err
			}
			was := bin.st.bytes
			gone, more = bin.cut(c)
			step = was - bin.st.bytes
			b.oldest = oldestOf(tx, b.id)
			m.trimKept(bin)
			return m.end()
		})
		if err != nil {
			return freed, err
		}
		freed, messages = freed+step, messages+gone.len()
		c.need -= min(c.need, step)
		b.bytes -= min(b.bytes, step)
	}
	if messages > 0 {
		s.log.InfoContext(ctx, logx.StoreGivenUp, "account", uint32(b.account), "messages", messages, "bytes", freed)
	}
	return freed, nil
}

// cut removes the first messages of a bin and reports whether more may have to go.
func (b *box) cut(c cut) (gone removal, more bool) {
	var last UID
	var bytes uint64
	n := 0
scan:
	for p := range pages(b.m.tx, b.id, allUIDs()) {
		for i := range p.len() {
			r := p.row(i)
			if r.saved() > c.until || r.saved() >= c.before && bytes >= c.need {
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
