package spam

import (
	"slices"
	"unicode"
	"unicode/utf8"
)

// What a classifier counts: words, pairs of words, and what the header and the links say, each under the place where it stood.
const (
	maxTokens = 1500 // of one message
	maxPairs  = 300  // of them pairs of words
	minWord   = 3    // letters
	maxWord   = 24
)

// place is where a token stood; the same word counts for itself in each.
type place byte

const (
	placeBody    place = 'b'
	placePair    place = 'p'
	placeSubject place = 's'
	placeFrom    place = 'f'
	placeHeader  place = 'h'
	placeLink    place = 'u'
	placeFile    place = 'a'
	placeOrigin  place = 'o'
)

// tokens is a set of hashes, bounded; texts are kept for Explain only.
type tokens struct {
	explain bool
	list    []uint64 // sorted by finish
	texts   map[uint64]string
	pairs   int
	seen    *seenSet // nil when nothing more is added

	stats textStats
}

// textStats are what the words of a body look like as a whole.
type textStats struct {
	words  int
	hidden int // characters without width inside of words
	mixed  int // words of letters of several scripts that look alike
	sample string
	wallet bool // an address of bitcoin
}

// seenSet is a hash set of fixed size with open addressing; zero is no member.
type seenSet [4096]uint64

// put tells whether h is new.
func (s *seenSet) put(h uint64) bool {
	for i := h >> 20 & 4095; ; i = (i + 1) & 4095 {
		switch s[i] {
		case h:
			return false
		case 0:
			s[i] = h
			return true
		}
	}
}

const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
)

func hashOf(p place, parts ...string) uint64 {
	h := (uint64(fnvOffset) ^ uint64(p)) * fnvPrime
	for _, s := range parts {
		for i := range len(s) {
			h = (h ^ uint64(s[i])) * fnvPrime
		}
	}
	return finished(h)
}

// finished spreads FNV's bits: the first octets choose the row. Tokens are known by 48 bits.
func finished(h uint64) uint64 {
	h ^= h >> 32
	h *= 0x9fb21c651e98df25
	h ^= h >> 29
	return h&^0xffff | 1 // never zero
}

// add counts a token that is no word, such as "list:" and a name. An empty value is none.
func (t *tokens) add(p place, kind, value string) {
	if value == "" || len(value) > 300 {
		return
	}
	t.insert(hashOf(p, kind, value), func() string { return kind + value })
}

func (t *tokens) insert(h uint64, text func() string) {
	if t.seen == nil || len(t.list) >= maxTokens || !t.seen.put(h) {
		return
	}
	if t.list == nil {
		t.list = make([]uint64, 0, 512)
	}
	t.list = append(t.list, h)
	if t.explain {
		if t.texts == nil {
			t.texts = map[uint64]string{}
		}
		t.texts[h] = plain(text(), 80)
	}
}

// finish sorts the set, as the tables are sorted.
func (t *tokens) finish() { slices.Sort(t.list) }

// words counts the words of UTF-8 text, and in a body also pairs of them.
func (t *tokens) words(p place, text []byte) {
	w := wordReader{t: t, place: p}
	for i := 0; i < len(text); {
		c := text[i]
		if c < utf8.RuneSelf {
			i++
			switch kind := asciiKind[c]; kind {
			case 0:
				w.end()
			case '\'':
				if w.n > 0 {
					w.quote = true
				}
			default:
				w.put(kind, true)
			}
			continue
		}
		r, n := utf8.DecodeRune(text[i:])
		i += n
		w.rune(r)
	}
	w.end()
}

// asciiKind maps letters and digits to their lower case, the apostrophe and currency to themselves, all else to 0.
var asciiKind = func() (k [128]byte) {
	for c := byte('0'); c <= '9'; c++ {
		k[c] = c
	}
	for c := byte('a'); c <= 'z'; c++ {
		k[c], k[c-32] = c, c
	}
	k['\''], k['$'] = '\'', '$'
	return k
}()

// wordReader gathers one word after the other.
type wordReader struct {
	t      *tokens
	place  place
	buf    [maxWord * 4]byte
	n      int // octets in buf
	letter int // characters of the word
	digits int
	long   bool // longer than a word
	quote  bool
	latin  bool
	other  bool // Cyrillic or Greek letters that look like Latin ones
	last   rune // of a script without spaces
	prev   [maxWord * 4]byte
	prevN  int
}

func (w *wordReader) put(c byte, latin bool) {
	if w.letter >= maxWord {
		w.long = true
		return
	}
	if w.quote { // inside of a word only
		w.quote = false
	}
	w.buf[w.n] = c
	w.n++
	w.letter++
	if c >= '0' && c <= '9' {
		w.digits++
	} else if c != '$' {
		w.latin = w.latin || latin
	}
}

func (w *wordReader) rune(r rune) {
	switch {
	case r == utf8.RuneError:
		w.end()
	case withoutWidth(r):
		if w.n > 0 {
			w.t.stats.hidden++
		}
	case withoutSpaces(r): // each character with the one before it
		w.end()
		if w.last != 0 {
			w.t.insert(hashOf(w.place, string([]rune{w.last, r})), func() string { return string([]rune{w.last, r}) })
			w.t.stats.words++
		}
		w.last = r
		return
	case unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.Is(unicode.Mn, r):
		r = unicode.ToLower(r)
		if w.letter >= maxWord {
			w.long = true
			return
		}
		w.n += utf8.EncodeRune(w.buf[w.n:], r)
		w.letter++
		w.other = w.other || unicode.In(r, unicode.Cyrillic, unicode.Greek)
		w.latin = w.latin || unicode.Is(unicode.Latin, r)
	case r == '’':
		if w.n > 0 {
			w.quote = true
		}
	case r == '€' || r == '£' || r == '¥':
		w.put('$', false)
	default:
		w.end()
	}
	w.last = 0
}

// end counts the word that is complete.
func (w *wordReader) end() {
	if w.n == 0 {
		return
	}
	t, word := w.t, w.buf[:w.n]
	t.stats.words++
	if w.latin && w.other {
		if t.stats.mixed++; t.stats.sample == "" {
			t.stats.sample = string(word)
		}
	}
	switch {
	case w.long: // keys, codes, nonsense: that there are such, not which
		t.add(w.place, "long:", "word")
	case w.digits == w.letter: // figures change in every message, their length does not
		t.add(w.place, "number:", "##########"[:min(w.letter, 10)])
	case w.digits == w.letter-1 && word[0] == '$':
		t.add(w.place, "money:", "##########"[:min(w.digits, 10)])
	case w.letter >= minWord:
		t.insert(hashBytes(w.place, nil, word), func() string { return string(word) })
		w.pair(word)
	}
	if w.letter < minWord {
		w.prevN = 0
	}
	w.n, w.letter, w.digits, w.long, w.quote, w.latin, w.other = 0, 0, 0, false, false, false, false
}

// pair counts a word of a body or subject with the one before it.
func (w *wordReader) pair(word []byte) {
	if w.place == placeBody {
		if w.prevN > 0 && w.t.pairs < maxPairs {
			w.t.pairs++
			w.t.insert(hashBytes(placePair, w.prev[:w.prevN], word), func() string { return string(w.prev[:w.prevN]) + " " + string(word) })
		}
		w.prevN = copy(w.prev[:], word)
	}
}

func hashBytes(p place, first, second []byte) uint64 {
	h := (uint64(fnvOffset) ^ uint64(p)) * fnvPrime
	for _, c := range first {
		h = (h ^ uint64(c)) * fnvPrime
	}
	if len(first) > 0 {
		h = (h ^ ' ') * fnvPrime
	}
	for _, c := range second {
		h = (h ^ uint64(c)) * fnvPrime
	}
	return finished(h)
}

// withoutWidth: characters that nobody sees, put into words so that filters do not read them.
func withoutWidth(r rune) bool {
	switch r {
	case 0x00AD, 0x034F, 0x200B, 0x200C, 0x200D, 0x2060, 0x2061, 0x2062, 0x2063, 0x2064, 0xFEFF, 0x180E:
		return true
	}
	return false
}

// withoutSpaces: scripts that put no space between words.
func withoutSpaces(r rune) bool {
	return r >= 0x0E00 && r <= 0x0EFF || r >= 0x1000 && r <= 0x109F || r >= 0x1780 && r <= 0x17FF ||
		r >= 0x3040 && r <= 0x30FF || r >= 0x3400 && r <= 0x9FFF || r >= 0x20000 && r <= 0x3FFFF
}
