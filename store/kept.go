package store

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// kept is one row of table x: a run of uids of a bin that came from one mailbox.
type kept struct {
	first, last UID
	mailbox     MailboxID
	name        string // the mailbox's, at that time
	lost        []lostKeyword
	drafts      []draft
}

// lostKeyword is a keyword that the bin has no bit for, with the messages that carry it.
type lostKeyword struct {
	name string
	runs []UIDRange
}

// draft is a draft in the bin and the hash of its Message-ID.
type draft struct {
	uid  UID
	hash uint64
}

const keptVersion = 1

func (o *kept) encode() []byte {
	b := make([]byte, 1, 32+len(o.name))
	b[0] = keptVersion
	b = binary.BigEndian.AppendUint32(b, o.last)
	b = binary.BigEndian.AppendUint32(b, uint32(o.mailbox))
	b = binary.AppendUvarint(b, uint64(len(o.name)))
	b = append(b, o.name...)
	b = binary.AppendUvarint(b, uint64(len(o.lost)))
	for _, l := range o.lost {
		b = append(append(b, byte(len(l.name))), l.name...)
		runs := appendRuns(nil, l.runs)
		b = binary.AppendUvarint(b, uint64(len(runs)))
		b = append(b, runs...)
	}
	b = binary.AppendUvarint(b, uint64(len(o.drafts)))
	for _, d := range o.drafts {
		b = binary.BigEndian.AppendUint32(b, d.uid)
		b = binary.BigEndian.AppendUint64(b, d.hash)
	}
	return b
}

// fields takes a value apart; what is missing makes it bad.
type fields struct {
	b   []byte
	bad bool
}

func (f *fields) take(n uint64) []byte {
	if n > uint64(len(f.b)) {
		f.bad, f.b = true, nil
		return make([]byte, min(n, 8))
	}
	v := f.b[:n]
	f.b = f.b[n:]
	return v
}

func (f *fields) uvarint() uint64 {
	v, n := binary.Uvarint(f.b)
	if n <= 0 {
		f.bad, f.b = true, nil
		return 0
	}
	f.b = f.b[n:]
	return v
}

func (f *fields) text() string { return string(f.take(f.uvarint())) }

func decodeKept(k, v []byte) (kept, error) {
	if len(k) != 8 || len(v) == 0 || v[0] != keptVersion {
		return kept{}, fmt.Errorf("row of kept mail: %w", ErrDamaged)
	}
	f := &fields{b: v[1:]}
	o := kept{first: binary.BigEndian.Uint32(k[4:]), last: binary.BigEndian.Uint32(f.take(4))}
	o.mailbox = MailboxID(binary.BigEndian.Uint32(f.take(4)))
	o.name = f.text()
	for n := f.uvarint(); n > 0 && !f.bad; n-- {
		l := lostKeyword{name: string(f.take(uint64(f.take(1)[0])))}
		runs, err := parseRuns(f.take(f.uvarint()))
		l.runs, f.bad = runs, f.bad || err != nil
		o.lost = append(o.lost, l)
	}
	for n := f.uvarint(); n > 0 && !f.bad; n-- {
		o.drafts = append(o.drafts, draft{binary.BigEndian.Uint32(f.take(4)), binary.BigEndian.Uint64(f.take(8))})
	}
	if f.bad || len(f.b) > 0 || o.last < o.first {
		return kept{}, fmt.Errorf("row of kept mail: %w", ErrDamaged)
	}
	return o, nil
}

// lose notes a keyword of message u that the bin has no bit for.
func (o *kept) lose(name string, u UID) {
	i := slices.IndexFunc(o.lost, func(l lostKeyword) bool { return l.name == name })
	if i < 0 {
		o.lost = append(o.lost, lostKeyword{name: name})
		i = len(o.lost) - 1
	}
	o.lost[i].runs = addUID(o.lost[i].runs, u)
}

// lostOf is the keywords that message u has beside its flags.
func (o *kept) lostOf(u UID) []string {
	var out []string
	for _, l := range o.lost {
		if overlap(l.runs, []UIDRange{{u, u}}) != 0 {
			out = append(out, l.name)
		}
	}
	return out
}

// putKept writes a run; one that goes on where the last one ended is made part of it, so that a person who deletes message by message
// costs no row each.
func (m *mutation) putKept(bin MailboxID, o kept) {
	for k, v := range m.tx.ScanBack(tabKept, key32(uint32(bin)), key32x2(uint32(bin), o.first)) {
		p, err := decodeKept(k, v)
		plain := len(o.lost)+len(o.drafts)+len(p.lost)+len(p.drafts) == 0
		if err == nil && plain && p.last+1 == o.first && p.mailbox == o.mailbox && p.name == o.name {
			o.first = p.first
		}
		break
	}
	m.tx.Put(tabKept, key32x2(uint32(bin), o.first), o.encode())
}

// keptRuns reads where the messages of a bin came from.
func keptRuns(tx *kv.Tx, bin MailboxID) ([]kept, error) {
	var out []kept
	for k, v := range tx.Scan(tabKept, key32(uint32(bin)), after(uint32(bin))) {
		o, err := decodeKept(k, v)
		if err != nil {
			return nil, err
		}
		out = append(out, o)
	}
	return out, nil
}

// keptOf finds the run of a uid; nil: none.
func keptOf(runs []kept, u UID) *kept {
	i, ok := slices.BinarySearchFunc(runs, u, func(o kept, u UID) int {
		switch {
		case o.last < u:
			return -1
		case o.first > u:
			return 1
		}
		return 0
	})
	if !ok {
		return nil
	}
	return &runs[i]
}

// keptFinder finds the runs of single uids, best in ascending order: a bin may have a run for each message, and who takes one back must
// not have all of them read in the committer.
type keptFinder struct {
	tx   *kv.Tx
	bin  MailboxID
	last *kept
}

// find is the run of a uid; nil: none.
func (f *keptFinder) find(u UID) (*kept, error) {
	if f.last != nil && f.last.first <= u && u <= f.last.last {
		return f.last, nil
	}
	for k, v := range f.tx.ScanBack(tabKept, key32(uint32(f.bin)), key32x2(uint32(f.bin), u+1)) {
		o, err := decodeKept(k, v)
		if err != nil {
			return nil, err
		}
		if o.last >= u {
			f.last = &o
			return f.last, nil
		}
		break
	}
	return nil, nil
}

const trimAtOnce = 20_000

// trimKept forgets the runs whose messages are all gone: those below the first uid that is left. When they are very many, some wait
// for the next time.
func (m *mutation) trimKept(bin *box) {
	first := bin.st.uidNext
	bin.flush()
	for p := range pages(m.tx, bin.id, allUIDs()) {
		first = p.row(0).uid()
		break
	}
	var keys [][]byte
	for k, v := range m.tx.Scan(tabKept, key32(uint32(bin.id)), key32x2(uint32(bin.id), first)) {
		if o, err := decodeKept(k, v); err == nil && o.last >= first || len(keys) == trimAtOnce {
			break
		}
		keys = append(keys, slices.Clone(k))
	}
	for _, k := range keys {
		m.tx.Delete(tabKept, k)
	}
}

// nameHints remember under which name a mailbox was last found, because table n is ordered by name. A hint is looked at in the
// table before it counts.
type nameHints struct {
	mu    sync.Mutex
	names map[MailboxID]string // guarded by mu
}

const maxNameHints = 4096

type namedUse struct {
	name string
	use  SpecialUse
}

// find is the name of a mailbox; ErrNoMailbox when it has none.
func (h *nameHints) find(tx *kv.Tx, account mail.AccountID, id MailboxID) (namedUse, error) {
	h.mu.Lock()
	hint, ok := h.names[id]
	h.mu.Unlock()
	if ok {
		if n, err := findName(tx, account, hint); err == nil && n.id == id {
			return namedUse{hint, n.use}, nil
		}
	}
	for k, v := range tx.Scan(tabNames, key32(uint32(account)), after(uint32(account))) {
		n, err := decodeName(v)
		if err != nil || n.id != id {
			continue
		}
		name := string(k[4:])
		h.mu.Lock()
		if h.names == nil || len(h.names) >= maxNameHints {
			h.names = map[MailboxID]string{}
		}
		h.names[id] = name
		h.mu.Unlock()
		return namedUse{name, n.use}, nil
	}
	return namedUse{}, ErrNoMailbox
}

// keywordMap translates the flags of one mailbox's messages into those of another.
type keywordMap struct {
	there, here *keywords
	to          [64]Flags
	used        Flags // bits of there that the rows carry
	missing     Flags // those that here has no room for
	err         error // why
}

// newKeywordMap makes the bits known that rows carry, as long as there is room.
func newKeywordMap(there, here *keywords, rows []row) *keywordMap {
	k := &keywordMap{there: there, here: here}
	for _, r := range rows {
		k.used |= r.flags()
	}
	k.used &^= systemFlags // a bit without a name means nothing, and is lost
	for bit := firstKeyword; bit < firstKeyword+len(there.names); bit++ {
		if k.used&(1<<bit) == 0 {
			continue
		}
		f, err := here.learn(there.names[bit-firstKeyword])
		if err != nil {
			k.missing |= 1 << bit
			k.err = err
		}
		k.to[bit] = f
	}
	return k
}

const systemFlags = Flags(1)<<firstKeyword - 1

func (k *keywordMap) apply(f Flags) Flags {
	out := f & systemFlags
	for bit := firstKeyword; f>>bit != 0; bit++ {
		if f&(1<<bit) != 0 {
			out |= k.to[bit]
		}
	}
	return out
}

// lost is the keywords of f that have no bit.
func (k *keywordMap) lost(f Flags) []string {
	if f &= k.missing; f == 0 {
		return nil
	}
	return k.there.spell(f)
}

// spell names the keywords in f.
func (k *keywords) spell(f Flags) []string {
	var out []string
	for i, name := range k.names {
		if f&(1<<(firstKeyword+i)) != 0 {
			out = append(out, name)
		}
	}
	return out
}
