package imap

import (
	"slices"

	"github.com/posthouse-mail/posthouse/imap/internal/syntax"
	"github.com/posthouse-mail/posthouse/store"
)

// searchOp is how the parts of a key go together.
type searchOp uint8

const (
	opTest searchOp = iota // test decides
	opAnd                  // all kids hold; none: always true
	opOr
	opNot
	opSet     // the message is in set
	opKeyword // becomes opTest before the search begins
)

// searchCost is what has to be read before a key can be tried.
type searchCost uint8

const (
	costRow    searchCost = iota
	costRoot              // the stored structure, with the envelope
	costHeader            // the header
	costBody              // the text
)

// searchKey is one key with those inside of it.
type searchKey struct {
	op   searchOp
	cost searchCost // the dearest in it
	kids []searchKey
	test func(*candidate) bool

	set  syntax.Set    // of opSet
	uids bool          // its numbers are uids
	in   []syntax.Span // set, resolved: numbers stay numbers, since their uids may be many more spans
	text string        // of opKeyword
	from store.ModSeq  // of MODSEQ: what is older cannot match
	not  bool
}

// rowKey is a key that the row decides.
func rowKey(test func(*candidate) bool) searchKey { return searchKey{test: test} }

// plan puts cheap keys before dear ones.
func (k *searchKey) plan() {
	for i := range k.kids {
		k.kids[i].plan()
		k.cost = max(k.cost, k.kids[i].cost)
	}
	if k.op == opAnd || k.op == opOr {
		slices.SortStableFunc(k.kids, func(a, b searchKey) int { return int(a.cost) - int(b.cost) })
	}
}

// any visits all keys until visit returns true.
func (k *searchKey) any(visit func(*searchKey) bool) bool {
	if visit(k) {
		return true
	}
	for i := range k.kids {
		if k.kids[i].any(visit) {
			return true
		}
	}
	return false
}

// narrow resolves the sets, and returns the uids of within that the sets that must hold leave: only those rows are read.
func (k *searchKey) narrow(c *conn, within []syntax.Span) []syntax.Span {
	switch k.op {
	case opSet:
		k.in = k.resolve(c)
		if k.byNumber() && len(within) > 0 {
			return intersect(within, syntax.Merge(spans(c.box.view.bySeq(k.in))))
		}
		return intersect(within, k.in)
	case opAnd:
		for i := range k.kids {
			within = k.kids[i].narrow(c, within)
		}
	default:
		for i := range k.kids {
			k.kids[i].narrow(c, nil)
		}
	}
	return within
}

// byNumber tells whether in is of sequence numbers, not of uids.
func (k *searchKey) byNumber() bool { return !k.uids && !k.set.Saved }

// resolve turns a set into spans. Numbers that no message has match nothing.
func (k *searchKey) resolve(c *conn) []syntax.Span {
	view := &c.box.view
	switch {
	case k.set.Saved:
		return c.box.saved
	case k.uids:
		return k.set.Spans(view.last())
	}
	return intersect(k.set.Spans(view.total), []syntax.Span{{First: 1, Last: view.total}})
}

// intersect returns what two sorted, disjoint lists share.
func intersect(a, b []syntax.Span) []syntax.Span {
	var out []syntax.Span
	for len(a) > 0 && len(b) > 0 {
		if first, last := max(a[0].First, b[0].First), min(a[0].Last, b[0].Last); first <= last {
			out = append(out, syntax.Span{First: first, Last: last})
		}
		if a[0].Last < b[0].Last {
			a = a[1:]
		} else {
			b = b[1:]
		}
	}
	return out
}

// since is the ModSeq up to which nothing matches: only later rows are read.
func (k *searchKey) since() store.ModSeq {
	since := store.ModSeq(0)
	if k.from > 0 {
		since = k.from - 1
	}
	if k.op == opAnd {
		for i := range k.kids {
			since = max(since, k.kids[i].since())
		}
	}
	return since
}

// always tells whether the sets decide alone, so that no row has to be read.
func (k *searchKey) always() bool {
	if k.op == opSet {
		return true
	}
	for i := range k.kids {
		if !k.kids[i].always() {
			return false
		}
	}
	return k.op == opAnd
}

// matches tries the key. An AND of keys stops at the first that fails, an OR at the first that holds.
func (k *searchKey) matches(m *candidate) bool {
	switch k.op {
	case opTest:
		return k.test(m)
	case opSet:
		n := m.row.UID
		if k.byNumber() {
			n = m.c.box.view.seq(n)
		}
		return contains(k.in, n)
	case opNot:
		return !k.kids[0].matches(m)
	case opOr:
		return k.kids[0].matches(m) || k.kids[1].matches(m)
	}
	for i := range k.kids {
		if !k.kids[i].matches(m) {
			return false
		}
	}
	return true
}
