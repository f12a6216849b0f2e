package pull

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"net"
	"slices"
	"strings"

	"github.com/posthouse-mail/posthouse/store"
)

// entry is a message of the folder that is here, or was.
type entry struct {
	uid   uint32 // there
	stamp uint32 // its flags there when we last looked, as bits of our mailbox
	place
	seen bool // it is still there
}

// ledger is what the store knows of a folder (store.Imported), for its present UIDVALIDITY.
type ledger struct {
	s        *store.Store
	f        *folder
	source   uint64
	validity uint32
	entries  []entry // by uid
	facts    map[[16]byte]store.Imported
	claimed  map[place]bool // nil: not asked for
}

// sourceOf names a folder of a server for good. The port does not count where it is a usual one: 143 and 993 are one server.
func sourceOf(o *Options, raw string) uint64 {
	host, port, err := net.SplitHostPort(o.Address)
	if err != nil {
		host = o.Address
	}
	if port == "143" || port == "993" {
		port = ""
	}
	sum := sha256.Sum256([]byte(strings.Join([]string{"imap", strings.ToLower(host), port, o.User, raw}, "\x00")))
	return binary.BigEndian.Uint64(sum[:]) &^ 1 // the lowest bit is for what is known of the folder itself
}

// keyOf is the ledger's key of a message: UIDVALIDITY, uid, and Gmail's id where it has several labels.
func keyOf(validity, uid uint32, gmail uint64) (k [16]byte) {
	binary.BigEndian.PutUint32(k[:], validity)
	binary.BigEndian.PutUint32(k[4:], uid)
	binary.BigEndian.PutUint64(k[8:], gmail)
	return k
}

// fact is the key of something that is known of a folder as a whole.
func fact(name string) (k [16]byte) {
	copy(k[:], name)
	return k
}

// loadLedger reads what is known of a folder. Messages of another UIDVALIDITY are not: their uids mean nothing any more.
func loadLedger(ctx context.Context, f *folder, validity uint32) (*ledger, error) {
	o := &f.p.o
	l := &ledger{s: o.Store, f: f, source: sourceOf(o, f.raw), validity: validity, facts: map[[16]byte]store.Imported{}}
	for page, err := range o.Store.Imported(ctx, o.Account, l.source|1) {
		if err != nil {
			return nil, err
		}
		for _, i := range page {
			l.facts[i.Key] = i
		}
	}
	for page, err := range o.Store.Imported(ctx, o.Account, l.source) {
		if err != nil {
			return nil, err
		}
		for _, i := range page {
			if binary.BigEndian.Uint32(i.Key[:]) != validity {
				continue
			}
			uid, at := binary.BigEndian.Uint32(i.Key[4:]), place{i.Mailbox, i.UID}
			l.entries = append(l.entries, entry{uid: uid, stamp: i.Stamp, place: at})
			if g := binary.BigEndian.Uint64(i.Key[8:]); g != 0 {
				f.p.bodies[g] = at
			}
		}
	}
	slices.SortStableFunc(l.entries, func(a, b entry) int { return compare(a.uid, b.uid) })
	l.entries = lastOfEach(l.entries)
	return l, nil
}

func compare(a, b uint32) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// lastOfEach keeps the entry that came last of those with one uid.
func lastOfEach(e []entry) []entry {
	out := e[:0]
	for i := range e {
		if i+1 < len(e) && e[i+1].uid == e[i].uid {
			continue
		}
		out = append(out, e[i])
	}
	return out
}

// find is the entry of a uid; nil: it was not brought.
func (l *ledger) find(uid uint32) *entry {
	i, ok := slices.BinarySearchFunc(l.entries, uid, func(e entry, uid uint32) int { return compare(e.uid, uid) })
	if !ok {
		return nil
	}
	return &l.entries[i]
}

// add notes in memory what the store has written down already.
func (l *ledger) add(e entry) {
	i, ok := slices.BinarySearchFunc(l.entries, e.uid, func(x entry, uid uint32) int { return compare(x.uid, uid) })
	if ok {
		l.entries[i] = e
		return
	}
	l.entries = slices.Insert(l.entries, i, e)
	if l.claimed != nil {
		l.claimed[e.place] = true
	}
}

// write keeps entries in the store and in memory; with a key for messages of several labels.
func (l *ledger) write(ctx context.Context, list []entry, gmail map[uint32]uint64) error {
	if len(list) == 0 {
		return nil
	}
	rows := make([]store.Imported, len(list))
	for i, e := range list {
		rows[i] = store.Imported{Key: keyOf(l.validity, e.uid, gmail[e.uid]), Stamp: e.stamp, Mailbox: e.mailbox, UID: e.place.uid}
	}
	if err := l.s.Restamp(ctx, l.f.p.o.Account, l.source, rows); err != nil {
		return err
	}
	for _, e := range list {
		l.add(e)
	}
	return nil
}

// The facts of a folder.
const (
	factMailbox  = "mailbox"  // Mailbox: where its messages go
	factValidity = "validity" // Stamp: its UIDVALIDITY at the last run
	factModSeq   = "modseq"   // UID and Stamp: high and low half of HIGHESTMODSEQ up to which flags are the same here
	factMatching = "matching" // Stamp 1: what is here without the ledger knowing it is being looked for
	factMissing  = "missing"  // Stamp: messages there that could not be brought
)

func (l *ledger) fact(name string) store.Imported { return l.facts[fact(name)] }

// state keeps a fact; what is so already costs nothing.
func (l *ledger) state(ctx context.Context, name string, i store.Imported) error {
	if i.Key = fact(name); l.facts[i.Key] == i {
		return nil
	}
	l.facts[i.Key] = i
	return l.s.Restamp(ctx, l.f.p.o.Account, l.source|1, []store.Imported{i})
}

func (l *ledger) modSeq() uint64 {
	f := l.fact(factModSeq)
	return uint64(f.UID)<<32 | uint64(f.Stamp)
}

func (l *ledger) setModSeq(ctx context.Context, v uint64) error {
	return l.state(ctx, factModSeq, store.Imported{UID: uint32(v >> 32), Stamp: uint32(v)})
}

// isClaimed reports whether a message here is known to be one of the folder's.
func (l *ledger) isClaimed(at place) bool {
	if l.claimed == nil {
		l.claimed = make(map[place]bool, len(l.entries))
		for _, e := range l.entries {
			l.claimed[e.place] = true
		}
	}
	return l.claimed[at]
}
