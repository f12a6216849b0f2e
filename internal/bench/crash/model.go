package main

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
)

const (
	inbox = "INBOX"            // not in the model: mail from elsewhere comes in; the ledger knows it
	kind  = "Taken"            // mail moved out of INBOX
	bin   = "Recently Deleted" // expunged mail, which can come back; compared without UIDs
)

// note is what a mailbox must keep of a message.
type note struct {
	id    string
	flags string
}

// box is a mailbox as it was seen, or as it must be.
type box struct {
	validity uint32 // 0: made just now, not known yet
	next     uint32
	modseq   uint64
	messages map[uint32]note
	listed   bool // subscribed to

	perhaps map[string]bool // of bin: messages of deleted mailboxes, which come into it in the background
	drafts  map[string]bool // of bin: of expunged drafts with one Message-ID only the last is kept
}

func (b *box) clone() *box {
	c := *b
	c.messages, c.perhaps, c.drafts = maps.Clone(b.messages), maps.Clone(b.perhaps), maps.Clone(b.drafts)
	return &c
}

// add puts a message behind the others.
func (b *box) add(n note) {
	if b != nil {
		b.messages[b.next] = n
		b.next++
	}
}

// uids lists the messages in order.
func (b *box) uids() []uint32 { return slices.Sorted(maps.Keys(b.messages)) }

func cloneAll(boxes map[string]*box) map[string]*box {
	c := map[string]*box{}
	for name, b := range boxes {
		c[name] = b.clone()
	}
	return c
}

// life is what was ever seen under one UIDVALIDITY.
type life struct {
	ids    map[uint32]string
	next   uint32
	modseq uint64
}

// reader is the only IMAP client of its account, so that it knows at any moment what must be there: either boxes, or,
// when the answer to the last change did not come, boxes or after.
type reader struct {
	user    string
	rng     *rand.Rand
	boxes   map[string]*box // nil: nothing seen yet
	after   map[string]*box // nil: no change is open
	last    string          // the open change
	lives   map[uint32]*life
	binNext uint32          // the highest UID seen in bin, and one
	moved   map[string]bool // messages that were moved from INBOX to Taken
	next    int             // for ids and names
	done    map[string]int
	wrong   error
}

func newReader(user string, rng *rand.Rand) *reader {
	return &reader{user: user, rng: rng, lives: map[uint32]*life{}, moved: map[string]bool{}, done: map[string]int{}}
}

// verify reads the account after a restart and compares.
func (r *reader) verify(addr string) error {
	seen, err := observe(addr, r.user)
	if err != nil {
		return err
	}
	for name, b := range seen {
		if err := r.remember(name, b); err != nil {
			return err
		}
	}
	for id := range r.moved {
		if !holds(seen[kind], id) || holds(seen[inbox], id) {
			return fmt.Errorf("%s was moved from INBOX to %s and is not there, or still here", id, kind)
		}
	}
	if r.boxes != nil {
		without := differ(r.boxes, seen)
		if without != "" && r.after != nil {
			if with := differ(r.after, seen); with != "" {
				return fmt.Errorf("after %q, which was not answered: without it %s; with it %s", r.last, without, with)
			}
			without = ""
		}
		if without != "" {
			return fmt.Errorf("%s (last, answered: %q)", without, r.last)
		}
	}
	for _, known := range []*box{r.boxes[bin], r.after[bin]} {
		if b := seen[bin]; b != nil && known != nil {
			b.perhaps, b.drafts = known.perhaps, known.drafts
		}
	}
	r.boxes, r.after = seen, nil
	return nil
}

// remember compares a mailbox with all that was ever seen under its UIDVALIDITY.
func (r *reader) remember(name string, b *box) error {
	l := r.life(b.validity)
	if b.next < l.next || b.modseq < l.modseq {
		return fmt.Errorf("%s went back: UIDNEXT %d to %d, HIGHESTMODSEQ %d to %d", name, l.next, b.next, l.modseq, b.modseq)
	}
	l.next, l.modseq = b.next, b.modseq
	for uid, m := range b.messages {
		if was, ok := l.ids[uid]; ok && was != m.id {
			return fmt.Errorf("%s: UID %d was %s, is %s", name, uid, was, m.id)
		}
		l.ids[uid] = m.id
	}
	return nil
}

func (r *reader) life(validity uint32) *life {
	l := r.lives[validity]
	if l == nil {
		l = &life{ids: map[uint32]string{}}
		r.lives[validity] = l
	}
	return l
}

func holds(b *box, id string) bool {
	if b == nil {
		return false
	}
	for _, m := range b.messages {
		if m.id == id {
			return true
		}
	}
	return false
}

// differ says where what was seen is not what must be, "" when nowhere. INBOX and Taken are the ledger's.
func differ(must, seen map[string]*box) string {
	var d []string
	for _, name := range slices.Sorted(maps.Keys(must)) {
		switch b := seen[name]; {
		case b == nil:
			d = append(d, name+" is gone")
		case name == bin:
			d = append(d, differBin(must[name], b)...)
		case must[name].listed != b.listed && name != kind:
			d = append(d, fmt.Sprintf("%s is subscribed to: %v", name, b.listed))
		case must[name].validity != 0 && must[name].validity != b.validity:
			d = append(d, fmt.Sprintf("%s has UIDVALIDITY %d, not %d", name, b.validity, must[name].validity))
		case name != inbox && name != kind:
			d = append(d, differBox(name, must[name], b)...)
		}
	}
	for name := range seen {
		if must[name] == nil && name != kind {
			d = append(d, name+" is there")
		}
	}
	return strings.Join(d[:min(len(d), 6)], "; ")
}

// differBin compares the expunged messages.
func differBin(must, seen *box) (d []string) {
	count := map[string]int{}
	for _, m := range seen.messages {
		count[m.id]++
	}
	for _, m := range must.messages {
		count[m.id]--
	}
	for id, n := range count {
		if n < 0 && !must.drafts[id] || n > 0 && !must.perhaps[id] {
			d = append(d, fmt.Sprintf("%s has %s %+d times too often", bin, id, n))
		}
	}
	return d
}

func differBox(name string, must, seen *box) (d []string) {
	for _, uid := range must.uids() {
		if m, ok := seen.messages[uid]; !ok || m != must.messages[uid] {
			d = append(d, fmt.Sprintf("%s UID %d is %v, not %v", name, uid, m, must.messages[uid]))
		}
	}
	for _, uid := range seen.uids() {
		if _, ok := must.messages[uid]; !ok {
			d = append(d, fmt.Sprintf("%s UID %d is there: %v", name, uid, seen.messages[uid]))
		}
	}
	return d
}
