package store_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/vfs/vfstest"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

// The model test turns bytes into operations, does each to the store and to plain maps, and compares answers and contents.

func TestModel(t *testing.T) {
	seeds := uint64(12)
	if testing.Short() {
		seeds = 4
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 7))
			script := make([]byte, 2500)
			for i := range script {
				script[i] = byte(r.Uint32())
			}
			runModel(t, script, kv.Options{Pace: 1})
		})
	}
}

func FuzzModel(f *testing.F) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 4 {
		script := make([]byte, 300)
		for i := range script {
			script[i] = byte(r.Uint32())
		}
		f.Add(script)
	}
	f.Add([]byte{0, 0, 0, 0, 10, 0, 11, 2, 0, 0, 1, 1})
	f.Fuzz(func(t *testing.T, script []byte) {
		// in memory, so that it is quick; closed or killed, and opened again, between the steps
		runModel(t, script[:min(len(script), 1000)], kv.Options{Pace: 1, Memory: true, FS: vfstest.New(), Tables: new(kv.MemoryTables), SegmentSize: 16 << 10})
	})
}

// model is what the store should hold.
type model struct {
	t      *testing.T
	h      *storetest.House
	script []byte
	acct   [2]*modelAccount
	serial int
	valid  map[uint32]bool
	old    []memory
	texts  map[uint64]string // of messages that are gone, by id
}

type modelAccount struct {
	id    mail.AccountID
	boxes map[string]*modelBox
	subs  map[string]bool
	quota store.Quota

	gone    []modelGone
	limited bool // it had a limit of octets once, which its bin holds too
}

type modelBox struct {
	id   store.MailboxID
	msgs []modelMessage
	next store.UID
	high store.ModSeq
}

type modelMessage struct {
	uid   store.UID
	flags store.Flags
	words map[string]bool
	text  string
	id    uint64
	seq   store.ModSeq
}

// memory is what a client knew of a mailbox at a ModSeq.
type memory struct {
	id    store.MailboxID
	since store.ModSeq
	rows  map[store.UID]store.Message
}

func runModel(t *testing.T, script []byte, o kv.Options) {
	m := &model{t: t, script: script, valid: map[uint32]bool{}, texts: map[uint64]string{}}
	m.h = storetest.Start(t, storetest.Options{KV: o})
	for i := range m.acct {
		a := &modelAccount{id: mail.AccountID(i + 1), boxes: map[string]*modelBox{}, subs: map[string]bool{}}
		storetest.Account(t, m.h.Store, m.h.DB, a.id)
		for _, name := range []string{"INBOX", "Drafts", "Sent", "Junk", "Trash", "Archive"} {
			a.boxes[name] = m.newBox(a, name)
			a.subs[name] = true
		}
		m.acct[i] = a
	}
	ops := []func(){
		m.deliver, m.deliver, m.append, m.append, m.flags, m.flags, m.flags, m.expunge, m.copy, m.move, m.create, m.rename,
		m.delete, m.subscribe, m.remember, m.changes, m.compare, m.setQuota, m.undelete,
	}
	for len(m.script) > 0 && !t.Failed() {
		if op := m.n(len(ops) + 1); op < len(ops) {
			ops[op]()
			continue
		}
		switch n := m.n(8); {
		case n == 0 && (!o.Memory || o.Tables != nil):
			m.h.Reopen()
		case n == 3 && o.Tables != nil:
			m.h.Kill()
		case n == 1 || n == 2:
			m.h.Compact()
		}
	}
	m.compare()
}

// n is the next number of the script, below limit.
func (m *model) n(limit int) int {
	if len(m.script) == 0 {
		return 0
	}
	b := m.script[0]
	m.script = m.script[1:]
	return int(b) % limit
}

func (m *model) account() *modelAccount { return m.acct[m.n(4)/3] }

func (m *model) name() string {
	names := []string{"INBOX", "INBOX", "a", "a/b", "a/b/c", "b", "INBOX/x", "Trash", "c/d", "Drafts"}
	return names[m.n(len(names))]
}

// box is a mailbox that is there.
func (m *model) box() (*modelAccount, *modelBox) {
	a := m.account()
	if b := a.boxes[m.name()]; b != nil {
		return a, b
	}
	return a, a.boxes["INBOX"]
}

func (m *model) newBox(a *modelAccount, name string) *modelBox {
	m.t.Helper()
	got, err := m.h.Store.Mailbox(m.t.Context(), a.id, name)
	if err != nil {
		m.t.Fatalf("mailbox %q: %v", name, err)
	}
	st := m.state(got.ID)
	if m.valid[st.UIDValidity] {
		m.t.Fatalf("mailbox %q: UIDVALIDITY %d was given before", name, st.UIDValidity)
	}
	m.valid[st.UIDValidity] = true
	return &modelBox{id: got.ID, next: 1}
}

func (m *model) state(id store.MailboxID) store.State {
	m.t.Helper()
	st, err := m.h.Store.State(m.t.Context(), id)
	if err != nil {
		m.t.Fatalf("state of mailbox %d: %v", id, err)
	}
	return st
}

func (m *model) text() string {
	m.serial++
	return fmt.Sprintf("Subject: %d\r\nMessage-ID: <%d@test>\r\n\r\n%s\r\n", m.serial, m.serial/3, strings.Repeat("x", m.n(200)))
}

func (m *model) words() []string { return []string{"red", "Green", "$Later"}[:m.n(4)] }

func (m *model) someFlags() store.Flags { return store.Flags(m.n(256)) }

// ranges is one or two ranges of uids around those that are there.
func (m *model) ranges(b *modelBox) []store.UIDRange {
	var out []store.UIDRange
	first := store.UID(0)
	for range 1 + m.n(2) {
		first += 1 + store.UID(m.n(int(b.next)+1))
		last := first + store.UID(m.n(4))
		if m.n(12) == 0 {
			last = 0xffffffff
		}
		out = append(out, store.UIDRange{First: first, Last: last})
		if last == 0xffffffff {
			break
		}
		first = last
	}
	return out
}

func within(rr []store.UIDRange, u store.UID) bool {
	return slices.ContainsFunc(rr, func(r store.UIDRange) bool { return r.Contains(u) })
}

// want compares the class of an error.
func (m *model) want(what string, err, want error) bool {
	m.t.Helper()
	if want == nil && err != nil || want != nil && !errors.Is(err, want) {
		m.t.Fatalf("%s: %v; want %v", what, err, want)
	}
	return err == nil
}

func (a *modelAccount) used() (q store.Quota) {
	for _, b := range a.boxes {
		for _, x := range b.msgs {
			q.Messages++
			q.Bytes += uint64(len(x.text))
		}
	}
	return q
}

// room is ErrOverQuota when the messages do not fit.
func (a *modelAccount) room(texts ...string) error {
	q := a.used()
	for _, t := range texts {
		q.Messages++
		q.Bytes += uint64(len(t))
	}
	if a.quota.Bytes != 0 && q.Bytes > a.quota.Bytes || a.quota.Messages != 0 && q.Messages > a.quota.Messages {
		return store.ErrOverQuota
	}
	return nil
}

func (b *modelBox) add(x modelMessage) store.UID {
	x.uid = b.next
	b.next++
	b.msgs = append(b.msgs, x)
	return x.uid
}

func (m *model) deliver() {
	a, name := m.account(), m.name()
	text, flags, words := m.text(), m.someFlags(), m.words()
	lsn, err := m.h.Store.Deliver(m.t.Context(), storetest.Arrival(m.t, m.h.Store, text),
		[]store.Delivery{{Account: a.id, Mailbox: name, Flags: flags, Keywords: words}})
	m.want("deliver", err, nil)
	b := a.boxes[name]
	if b == nil {
		b = a.boxes["INBOX"]
	}
	b.add(modelMessage{flags: flags, words: set(words), text: text, id: uint64(lsn)})
}

func set(words []string) map[string]bool {
	out := map[string]bool{}
	for _, w := range words {
		out[w] = true
	}
	return out
}

func (m *model) append() {
	a, b := m.box()
	var msgs []store.AppendMessage
	var add []modelMessage
	var texts []string
	for range 1 + m.n(3) {
		x := modelMessage{text: m.text(), flags: m.someFlags()}
		words := m.words()
		x.words = set(words)
		msgs = append(msgs, store.AppendMessage{Arrival: storetest.Arrival(m.t, m.h.Store, x.text), Flags: x.flags, Keywords: words})
		add = append(add, x)
		texts = append(texts, x.text)
	}
	_, uids, err := m.h.Store.Append(m.t.Context(), b.id, msgs)
	if !m.want("append", err, a.room(texts...)) {
		return
	}
	for i, x := range add {
		if got := b.add(x); uids[i] != got {
			m.t.Fatalf("append: uid %d; want %d", uids[i], got)
		}
	}
}

func (m *model) flags() {
	_, b := m.box()
	rr := m.ranges(b)
	c := store.FlagsChange{Op: store.FlagsOp(m.n(3)), Flags: m.someFlags(), Keywords: m.words()}
	before := m.state(b.id)
	if m.n(3) == 0 {
		since := before.HighestModSeq - min(uint64(m.n(20)), before.HighestModSeq)
		c.UnchangedSince = &since
		m.learnSeqs(b)
	}
	rows, modified, err := m.h.Store.SetFlags(m.t.Context(), b.id, rr, c)
	m.want("flags", err, nil)
	for i := range b.msgs {
		x := &b.msgs[i]
		if !within(rr, x.uid) {
			continue
		}
		if c.UnchangedSince != nil && x.seq > *c.UnchangedSince {
			if len(modified) == 0 || modified[0] != x.uid {
				m.t.Fatalf("flags: modified %v; want %d", modified, x.uid)
			}
			modified = modified[1:]
			continue
		}
		x.words = maps.Clone(x.words)
		switch c.Op {
		case store.FlagsReplace:
			x.flags, x.words = c.Flags, set(c.Keywords)
		case store.FlagsAdd:
			x.flags |= c.Flags
			maps.Copy(x.words, set(c.Keywords))
		case store.FlagsRemove:
			x.flags &^= c.Flags
			for _, w := range c.Keywords {
				delete(x.words, w)
			}
		}
		if len(rows) == 0 || rows[0].UID != x.uid || rows[0].Flags&0xff != x.flags {
			m.t.Fatalf("flags: rows %v; want uid %d with %#x", rows, x.uid, x.flags)
		}
		rows = rows[1:]
	}
	if len(rows)+len(modified) > 0 {
		m.t.Fatalf("flags: rows %v, modified %v too many", rows, modified)
	}
}

// learnSeqs takes the ModSeqs of the rows over, which the model does not predict.
func (m *model) learnSeqs(b *modelBox) {
	rows := m.rows(b.id)
	if len(rows) != len(b.msgs) {
		m.t.Fatalf("mailbox %d has %d messages; want %d", b.id, len(rows), len(b.msgs))
	}
	for i, r := range rows {
		b.msgs[i].seq = r.ModSeq
	}
}

func (m *model) rows(id store.MailboxID) []store.Message {
	m.t.Helper()
	m.state(id) // settles
	var out []store.Message
	for rows, err := range m.h.Store.Messages(m.t.Context(), id, []store.UIDRange{{First: 1, Last: 0xffffffff}}) {
		if err != nil {
			m.t.Fatalf("messages of mailbox %d: %v", id, err)
		}
		out = append(out, rows...)
	}
	return out
}

func (m *model) expunge() {
	a, b := m.box()
	rr, only := m.ranges(b), m.n(2) == 0
	m.state(b.id) // what is delivered and not applied would be missed
	uids, seq, err := m.h.Store.Expunge(m.t.Context(), b.id, rr, only)
	m.want("expunge", err, nil)
	var want []store.UID
	var lost []modelMessage
	b.msgs = slices.DeleteFunc(b.msgs, func(x modelMessage) bool {
		if !within(rr, x.uid) || only && x.flags&store.Deleted == 0 {
			return false
		}
		want = append(want, x.uid)
		lost = append(lost, x)
		return true
	})
	m.lose(a, b, lost)
	if !slices.Equal(uids, want) || (seq == 0) != (len(want) == 0) {
		m.t.Fatalf("expunge(%v, %v) = %v, %d; want %v", rr, only, uids, seq, want)
	}
}

func (m *model) copy() { m.transfer(false) }
func (m *model) move() { m.transfer(true) }

func (m *model) transfer(move bool) {
	a, from := m.box()
	to, dst := m.box()
	rr := m.ranges(from)
	m.state(from.id)
	m.state(dst.id)
	var texts []string
	var picked, kept []modelMessage
	for _, x := range from.msgs {
		if within(rr, x.uid) {
			picked = append(picked, x)
			texts = append(texts, x.text)
		} else {
			kept = append(kept, x)
		}
	}
	var want error
	if len(picked) > 0 && (!move || a != to) {
		want = to.room(texts...)
	}
	var got store.Copied
	var err error
	if move {
		got, _, err = m.h.Store.Move(m.t.Context(), from.id, rr, dst.id)
	} else {
		got, err = m.h.Store.Copy(m.t.Context(), from.id, rr, dst.id)
	}
	if !m.want(fmt.Sprintf("transfer (move %v)", move), err, want) {
		return
	}
	if move {
		from.msgs = kept
	}
	if len(got.From) != len(picked) {
		m.t.Fatalf("transfer: %v; want %d messages", got, len(picked))
	}
	for i, x := range picked {
		if u := dst.add(x); got.From[i] != x.uid || got.To[i] != u {
			m.t.Fatalf("transfer: %d became %d; want %d became %d", got.From[i], got.To[i], x.uid, u)
		}
	}
}

func (m *model) create() {
	a, name := m.account(), m.name()
	_, err := m.h.Store.CreateMailbox(m.t.Context(), a.id, name, 0)
	if a.boxes[name] != nil {
		m.want("create", err, store.ErrExists)
		return
	}
	m.want("create", err, nil)
	m.grow(a, name)
}

// grow adds a name and its parents to the model.
func (m *model) grow(a *modelAccount, name string) {
	for i, c := range name + "/" {
		if p := name[:min(i, len(name))]; c == '/' && a.boxes[p] == nil {
			a.boxes[p] = m.newBox(a, p)
		}
	}
}

func (m *model) rename() {
	a, from, to := m.account(), m.name(), m.name()
	err := m.h.Store.RenameMailbox(m.t.Context(), a.id, from, to)
	switch {
	case from != "INBOX" && strings.HasPrefix(to, from+"/"):
		m.want("rename into itself", err, store.ErrBadName)
		return
	case a.boxes[to] != nil:
		m.want("rename", err, store.ErrExists)
		return
	case a.boxes[from] == nil:
		m.want("rename", err, store.ErrNoMailbox)
		return
	case from == "INBOX":
		m.want("rename INBOX", err, nil)
		m.grow(a, to)
		for _, x := range a.boxes[from].msgs {
			a.boxes[to].add(x)
		}
		a.boxes[from].msgs = nil
		return
	}
	family := func(name string) bool { return name == from || strings.HasPrefix(name, from+"/") }
	for name := range a.boxes {
		if family(name) && a.boxes[to+name[len(from):]] != nil {
			m.want("rename over a child", err, store.ErrExists)
			return
		}
	}
	m.want("rename", err, nil)
	boxes, subs := map[string]*modelBox{}, map[string]bool{}
	for name, b := range a.boxes {
		if family(name) {
			name = to + name[len(from):]
		}
		boxes[name] = b
	}
	for name := range a.subs {
		if family(name) {
			name = to + name[len(from):]
		}
		subs[name] = true
	}
	a.boxes, a.subs = boxes, subs
	m.grow(a, to)
}

func (m *model) delete() {
	a, name := m.account(), m.name()
	if m.n(2) == 0 {
		return // else the mailboxes never grow
	}
	err := m.h.Store.DeleteMailbox(m.t.Context(), a.id, name)
	switch {
	case name == "INBOX":
		m.want("delete", err, store.ErrReserved)
	case a.boxes[name] == nil:
		m.want("delete", err, store.ErrNoMailbox)
	default:
		m.want("delete", err, nil)
		_, err := m.h.Store.State(m.t.Context(), a.boxes[name].id)
		m.want("state of a deleted mailbox", err, store.ErrNoMailbox)
		m.lose(a, a.boxes[name], a.boxes[name].msgs)
		delete(a.boxes, name)
	}
}

func (m *model) subscribe() {
	a, name, on := m.account(), m.name(), m.n(2) == 0
	m.want("subscribe", m.h.Store.Subscribe(m.t.Context(), a.id, name, on), nil)
	delete(a.subs, name)
	if on {
		a.subs[name] = true
	}
}

func (m *model) setQuota() {
	a := m.account()
	a.quota = []store.Quota{{}, {Messages: 30}, {Bytes: 5000}, {Bytes: 1 << 40, Messages: 60}}[m.n(4)]
	a.limited = a.limited || a.quota.Bytes != 0
	err := m.h.DB.Update(m.t.Context(), func(tx *kv.Tx) error { return m.h.Store.SetQuota(tx, a.id, a.quota) })
	m.want("set quota", err, nil)
}

// remember keeps what a client would know now.
func (m *model) remember() {
	_, b := m.box()
	k := memory{id: b.id, since: m.state(b.id).HighestModSeq, rows: map[store.UID]store.Message{}}
	for _, r := range m.rows(b.id) {
		k.rows[r.UID] = r
	}
	m.old = append(m.old, k)
}

// changes brings an old knowledge up to date and compares it with what is there.
func (m *model) changes() {
	if len(m.old) == 0 {
		return
	}
	k := m.old[m.n(len(m.old))]
	c, err := m.h.Store.Changes(m.t.Context(), k.id, k.since)
	if errors.Is(err, store.ErrNoMailbox) {
		return
	}
	m.want("changes", err, nil)
	known := maps.Clone(k.rows)
	for _, r := range c.Vanished {
		for u := range known {
			if r.Contains(u) {
				delete(known, u)
			}
		}
	}
	for _, r := range c.Messages {
		if r.ModSeq <= k.since {
			m.t.Fatalf("changes since %d: uid %d has modseq %d", k.since, r.UID, r.ModSeq)
		}
		known[r.UID] = r
	}
	is := map[store.UID]store.Message{}
	for _, r := range m.rows(k.id) {
		is[r.UID] = r
	}
	for u, r := range known { // its place may be an old one
		if now, ok := is[u]; ok && storetest.Text(m.t, m.h.Store, r) != storetest.Text(m.t, m.h.Store, now) {
			m.t.Fatalf("mailbox %d uid %d: a row that was read before the body moved leads to another text", k.id, u)
		}
		r.Place = is[u].Place
		known[u] = r
	}
	if !maps.Equal(known, is) {
		m.t.Fatalf("mailbox %d, changes since %d: known %v; is %v", k.id, k.since, known, is)
	}
}

// compare compares everything.
func (m *model) compare() {
	for _, a := range m.acct {
		boxes, err := m.h.Store.Mailboxes(m.t.Context(), a.id)
		m.want("mailboxes", err, nil)
		names := map[string]bool{}
		for _, b := range boxes {
			names[b.Name] = true
			if b.Subscribed != a.subs[b.Name] || (b.ID != 0) != (a.boxes[b.Name] != nil) {
				m.t.Fatalf("account %d lists %+v; model has it %v, subscribed %v", a.id, b, a.boxes[b.Name] != nil, a.subs[b.Name])
			}
			if b.ID != 0 {
				m.compareBox(b.ID, a.boxes[b.Name])
			}
		}
		m.kept(a)
		for name := range a.boxes {
			if !names[name] {
				m.t.Fatalf("account %d: mailbox %q is missing", a.id, name)
			}
		}
		u, err := m.h.Store.Usage(m.t.Context(), a.id)
		if m.want("usage", err, nil); u.Quota != a.used() || u.Limit != a.quota {
			m.t.Fatalf("account %d: usage %+v; want %+v of %+v", a.id, u, a.used(), a.quota)
		}
	}
}

func (m *model) compareBox(id store.MailboxID, b *modelBox) {
	st := m.state(id)
	rows := m.rows(id)
	words, err := m.h.Store.Keywords(context.Background(), id)
	m.want("keywords", err, nil)
	if id != b.id || len(rows) != len(b.msgs) || int(st.Exists) != len(rows) || st.UIDNext != b.next || st.HighestModSeq < b.high {
		m.t.Fatalf("mailbox %d: %d rows, state %+v; want mailbox %d with %d, next %d", id, len(rows), st, b.id, len(b.msgs), b.next)
	}
	b.high = st.HighestModSeq
	firstUnseen := store.UID(0)
	for i, r := range rows {
		x := &b.msgs[i]
		has := map[string]bool{}
		for k, w := range words {
			if r.Flags&(1<<(8+k)) != 0 {
				has[w] = true
			}
		}
		if r.UID != x.uid || r.Flags&0xff != x.flags || !maps.Equal(has, x.words) {
			m.t.Fatalf("mailbox %d: row %+v with %v; want %+v", id, r, has, *x)
		}
		if x.id == 0 {
			x.id = r.ID // an append's, seen for the first time
		}
		if r.ID != x.id || storetest.Text(m.t, m.h.Store, r) != x.text {
			m.t.Fatalf("mailbox %d uid %d: id %x or text differ; want %+v", id, r.UID, r.ID, *x)
		}
		if firstUnseen == 0 && r.Flags&store.Seen == 0 {
			firstUnseen = r.UID
		}
	}
	if st.FirstUnseen != firstUnseen {
		m.t.Fatalf("mailbox %d: first unseen %d; want %d", id, st.FirstUnseen, firstUnseen)
	}
}
