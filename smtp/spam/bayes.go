package spam

import (
	"encoding/binary"
	"math"
	"slices"
	"sort"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// The rows of tabBayes. A token is known by 48 bits of its hash: the first octet chooses the row, the others stand in it, sorted. So an
// account has at most 256 rows of tokens, which are read in one walk, and a lesson writes few pages.
const (
	rowState  = 's' // account, 's' -> state
	rowTokens = 't' // account, 't', first octet -> tokens of tokenSize octets
	rowLesson = 'm' // account, 'm', digest -> class u8, tokenizer u8, day u16

	tokenSize  = 11   // hash [5], junk u16, good u16, day u16
	tokenizer  = 1    // raise it when the same message gives other tokens than before
	maxLessons = 5000 // messages of an account of which is known what they taught
	lessonSize = 4
)

// state is what an account's classifier was taught.
type state struct {
	good, junk uint32 // messages
	tokens     uint32
	lessons    uint32 // rows
}

func accountKey(a mail.AccountID, kind byte, rest ...string) []byte {
	k := binary.BigEndian.AppendUint32(make([]byte, 0, 32), uint32(a))
	k = append(k, kind)
	for _, s := range rest {
		k = append(k, s...)
	}
	return k
}

func readState(tx *kv.Tx, a mail.AccountID) state {
	v := tx.Get(tabBayes, accountKey(a, rowState))
	if len(v) != 16 {
		return state{}
	}
	n := binary.BigEndian.Uint32
	return state{good: n(v), junk: n(v[4:]), tokens: n(v[8:]), lessons: n(v[12:])}
}

// pupil is the classifier of one account while it is taught, in one transaction.
type pupil struct {
	state
	tx      *kv.Tx
	account mail.AccountID
	today   uint16
}

func (j *Judge) pupil(tx *kv.Tx, a mail.AccountID) *pupil {
	return &pupil{state: readState(tx, a), tx: tx, account: a, today: day(j.o.Now())}
}

// keep writes the state down.
func (p *pupil) keep() {
	v := make([]byte, 0, 16)
	for _, n := range []uint32{p.good, p.junk, p.tokens, p.lessons} {
		v = binary.BigEndian.AppendUint32(v, n)
	}
	p.tx.Put(tabBayes, p.key(rowState), v)
}

func (p *pupil) key(kind byte, rest ...string) []byte { return accountKey(p.account, kind, rest...) }

// day counts days since 1970; it is enough for 179 years.
func day(t time.Time) uint16 { return uint16(t.Unix() / 86400) }

// count is how often a token was in junk and in good mail.
type count struct{ junk, good uint16 }

// readCounts reads the counts of sorted hashes in one walk over the account's rows.
func readCounts(tx *kv.Tx, a mail.AccountID, hashes []uint64) []count {
	counts := make([]count, len(hashes))
	at := 0
	for key, row := range tx.Scan(tabBayes, accountKey(a, rowTokens), accountKey(a, rowTokens+1)) {
		if len(key) != 6 || len(row)%tokenSize != 0 {
			continue
		}
		first := key[5]
		for at < len(hashes) && byte(hashes[at]>>56) < first {
			at++
		}
		for ; at < len(hashes) && byte(hashes[at]>>56) == first; at++ {
			if i, ok := findToken(row, hashes[at]); ok {
				counts[at] = count{junk: binary.BigEndian.Uint16(row[i+5:]), good: binary.BigEndian.Uint16(row[i+7:])}
			}
		}
		if at == len(hashes) {
			break
		}
	}
	return counts
}

// tail is the part of a hash that stands in a row.
func tail(h uint64) uint64 { return h >> 16 & (1<<40 - 1) }

func tailAt(row []byte, i int) uint64 {
	b := row[i : i+5]
	return uint64(b[0])<<32 | uint64(b[1])<<24 | uint64(b[2])<<16 | uint64(b[3])<<8 | uint64(b[4])
}

// findToken is where a token stands in its row, or where it would.
func findToken(row []byte, h uint64) (offset int, ok bool) {
	want := tail(h)
	lo, hi := 0, len(row)/tokenSize
	for lo < hi {
		mid := (lo + hi) / 2
		switch got := tailAt(row, mid*tokenSize); {
		case got < want:
			lo = mid + 1
		case got > want:
			hi = mid
		default:
			return mid * tokenSize, true
		}
	}
	return lo * tokenSize, false
}

// teach adds (step 1) or takes away (step -1) one message of a class.
func (p *pupil) teach(hashes []uint64, c Class, step int) {
	for len(hashes) > 0 {
		first := byte(hashes[0] >> 56)
		n := 1
		for n < len(hashes) && byte(hashes[n]>>56) == first {
			n++
		}
		key := p.key(rowTokens, string([]byte{first}))
		old := p.tx.Get(tabBayes, key)
		if len(old)%tokenSize != 0 {
			p.tokens -= min(p.tokens, uint32(len(old)/tokenSize))
			old = nil
		}
		row := teachRow(slices.Clone(old), hashes[:n], c, step, p.today)
		p.tokens = uint32(max(0, int64(p.tokens)+int64(len(row)-len(old))/tokenSize))
		if len(row) > 0 {
			p.tx.Put(tabBayes, key, row)
		} else if len(old) > 0 {
			p.tx.Delete(tabBayes, key)
		}
		hashes = hashes[n:]
	}
	n := &p.good
	if c == Junk {
		n = &p.junk
	}
	if step > 0 {
		*n++
	} else if *n > 0 {
		*n--
	}
}

func teachRow(row []byte, hashes []uint64, c Class, step int, today uint16) []byte {
	at := 7
	if c == Junk {
		at = 5
	}
	for _, h := range hashes {
		i, ok := findToken(row, h)
		switch {
		case !ok && step > 0:
			var e [tokenSize]byte
			t := tail(h)
			e[0], e[1], e[2], e[3], e[4] = byte(t>>32), byte(t>>24), byte(t>>16), byte(t>>8), byte(t)
			binary.BigEndian.PutUint16(e[at:], 1)
			binary.BigEndian.PutUint16(e[9:], today)
			row = slices.Insert(row, i, e[:]...)
		case ok:
			e := row[i : i+tokenSize]
			n := binary.BigEndian.Uint16(e[at:])
			if step > 0 && n < math.MaxUint16 {
				n++
				binary.BigEndian.PutUint16(e[9:], today)
			} else if step < 0 && n > 0 {
				n--
			}
			binary.BigEndian.PutUint16(e[at:], n)
			if binary.BigEndian.Uint16(e[5:]) == 0 && binary.BigEndian.Uint16(e[7:]) == 0 {
				row = slices.Delete(row, i, i+tokenSize)
			}
		}
	}
	return row
}

// worth is what a token is kept for: it was seen lately, or often.
func worth(e []byte) int {
	n := int(binary.BigEndian.Uint16(e[5:])) + int(binary.BigEndian.Uint16(e[7:]))
	return int(binary.BigEndian.Uint16(e[9:])) + 30*min(n-1, 24)
}

// age drops the tokens that are worth least until there is room for some messages more.
func (p *pupil) age(limit int) {
	if int(p.tokens) <= limit {
		return
	}
	var all []int
	rows := map[byte][]byte{}
	for key, row := range p.tx.Scan(tabBayes, p.key(rowTokens), p.key(rowTokens+1)) {
		if len(key) != 6 || len(row)%tokenSize != 0 {
			continue
		}
		rows[key[5]] = slices.Clone(row)
		for e := range slices.Chunk(row, tokenSize) {
			all = append(all, worth(e))
		}
	}
	sort.Ints(all)
	gone := max(0, len(all)-limit*4/5)
	line := math.MinInt
	if gone > 0 {
		line = all[gone-1]
	}
	left := 0
	for first, row := range rows {
		kept := row[:0]
		for e := range slices.Chunk(row, tokenSize) {
			if w := worth(e); w <= line && gone > 0 {
				gone--
				continue
			}
			kept = append(kept, e...)
		}
		left += len(kept) / tokenSize
		if len(kept) == 0 {
			p.tx.Delete(tabBayes, p.key(rowTokens, string([]byte{first})))
			continue
		}
		p.tx.Put(tabBayes, p.key(rowTokens, string([]byte{first})), kept)
	}
	p.tokens = uint32(left)
}

// lesson is what a message taught.
type lesson struct {
	class     Class
	tokenizer byte
}

func readLesson(tx *kv.Tx, a mail.AccountID, d [digestSize]byte) (lesson, bool) {
	v := tx.Get(tabBayes, accountKey(a, rowLesson, string(d[:])))
	if len(v) != lessonSize {
		return lesson{}, false
	}
	return lesson{class: Class(v[0]), tokenizer: v[1]}, true
}

// note writes down what a message taught.
func (p *pupil) note(d [digestSize]byte, c Class) {
	p.tx.Put(tabBayes, p.key(rowLesson, string(d[:])), binary.BigEndian.AppendUint16([]byte{byte(c), tokenizer}, p.today))
	if p.lessons++; p.lessons > maxLessons {
		p.forgetLessons()
	}
}

// forgetLessons drops the oldest fifth: what they taught stays, and can no longer be taken back.
func (p *pupil) forgetLessons() {
	type row struct {
		key []byte
		day uint16
	}
	var all []row
	for key, v := range p.tx.Scan(tabBayes, p.key(rowLesson), p.key(rowLesson+1)) {
		r := row{key: slices.Clone(key)}
		if len(v) == lessonSize {
			r.day = binary.BigEndian.Uint16(v[2:])
		}
		all = append(all, r)
	}
	slices.SortStableFunc(all, func(a, b row) int { return int(a.day) - int(b.day) })
	n := max(0, len(all)-maxLessons*4/5)
	for _, r := range all[:n] {
		p.tx.Delete(tabBayes, r.key)
	}
	p.lessons = uint32(len(all) - n)
}

// How the counts of tokens become one chance (Robinson: unknown words weigh little; Fisher: all together).
const (
	strength    = 0.6 // of the belief that a word means nothing until it was seen
	decisive    = 0.1 // how far from even a token has to be to count
	maxDecisive = 150
	leastTaught = 3  // messages of each class before it says anything
	sureTaught  = 20 // of each class, before its word counts in full
)

// chance of junk, by one token.
func (s state) chance(c count) float64 {
	good, junk := float64(max(s.good, 1)), float64(max(s.junk, 1))
	b, g := float64(c.junk)/junk, float64(c.good)/good
	if b+g == 0 {
		return 0.5
	}
	n := float64(c.junk) + float64(c.good)
	return (strength*0.5 + n*b/(b+g)) / (strength + n)
}

// classify is the chance of junk by all tokens, and which of them counted, most decisive first.
func (s state) classify(counts []count) (chance float64, used []int) {
	if s.good < leastTaught || s.junk < leastTaught {
		return 0.5, nil
	}
	far := make([]float64, len(counts))
	for i, c := range counts {
		if c.junk == 0 && c.good == 0 {
			continue
		}
		if p := s.chance(c); math.Abs(p-0.5) >= decisive {
			far[i] = p
			used = append(used, i)
		}
	}
	slices.SortFunc(used, func(a, b int) int {
		x, y := math.Abs(far[a]-0.5), math.Abs(far[b]-0.5)
		switch {
		case x > y:
			return -1
		case x < y:
			return 1
		}
		return a - b
	})
	used = used[:min(len(used), maxDecisive)]
	if len(used) == 0 {
		return 0.5, nil
	}
	var junk, good float64 // sums of logarithms
	for _, i := range used {
		junk += math.Log(far[i])
		good += math.Log(1 - far[i])
	}
	n := 2 * len(used)
	h, g := chiSquare(-2*junk, n), chiSquare(-2*good, n)
	return (1 + h - g) / 2, used
}

// chiSquare is the chance that chi-squared with n (even) degrees of freedom is at least x.
func chiSquare(x float64, n int) float64 {
	m := x / 2
	term := math.Exp(-m)
	if term == 0 { // far out: the sum is in the logarithm's hands
		return chiSquareFar(m, n)
	}
	sum := term
	for i := 1; i < n/2; i++ {
		term *= m / float64(i)
		sum += term
	}
	return min(sum, 1)
}

func chiSquareFar(m float64, n int) float64 {
	top := math.Inf(-1)
	logs := make([]float64, n/2)
	l := -m
	for i := range logs {
		if i > 0 {
			l += math.Log(m / float64(i))
		}
		logs[i] = l
		top = max(top, l)
	}
	var sum float64
	for _, l := range logs {
		sum += math.Exp(l - top)
	}
	return min(1, math.Exp(top)*sum)
}

// score makes points of a chance: certain junk 7, certainly good -3.5, less while little was taught.
func (s state) score(chance float64) float64 {
	sure := min(1, float64(min(s.good, s.junk))/sureTaught)
	x := (chance - 0.5) * 2
	if x >= 0 {
		return sure * (5*x*x + 2*math.Pow(x, 16)) // what is nearly certain stands out
	}
	return -3.5 * sure * x * x
}
