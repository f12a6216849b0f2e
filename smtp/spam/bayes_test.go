package spam

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// dump is everything in the tables.
func dump(t testing.TB, j *Judge, tables ...kv.Table) map[string]string {
	t.Helper()
	flush(t, j)
	all := map[string]string{}
	err := j.o.Side.View(t.Context(), func(tx *kv.Tx) error {
		for _, table := range tables {
			for k, v := range tx.Scan(table, nil, nil) {
				all[string(table)+string(k)] = string(v)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func learn(t testing.TB, j *Judge, raw []byte, c Class) bool {
	t.Helper()
	changed, err := j.Learn(t.Context(), alice.Account, bytes.NewReader(raw), c)
	if err != nil {
		t.Fatal(err)
	}
	return changed
}

func TestLearnOnceAndBack(t *testing.T) {
	j := judge(t, Options{})
	for i := range 5 {
		learn(t, j, letter("bob@example.net", fmt.Sprintf("Dinner %d", i), "shall we meet at the station tomorrow"), Good)
	}
	before := dump(t, j, tabBayes)
	m := letter("eve@example.com", "Cheap pills", "buy the best pills without prescription at https://pills.example.com/now")
	if !learn(t, j, m, Junk) || learn(t, j, m, Junk) {
		t.Error("a message is learned once")
	}
	asJunk := dump(t, j, tabBayes)
	if !learn(t, j, m, Good) || !learn(t, j, m, Junk) {
		t.Error("a message can change its class")
	}
	if got := dump(t, j, tabBayes); !equal(got, asJunk) {
		t.Error("Junk, Good, Junk is not the same as Junk")
	}
	// As it stands in a mailbox, behind the fields that the house puts in front.
	stored := append([]byte("Return-Path: <eve@example.com>\r\nX-Spam-Status: Yes\r\nAuthentication-Results: mx.example.org; spf=none\r\nReceived: from x ([192.0.2.1])\r\n\tby mx.example.org (posthouse) with ESMTP id 1;\r\n\tSun, 22 Nov 2026 12:00:00 +0000\r\n"), m...)
	changed, err := j.Learn(t.Context(), alice.Account, bytes.NewReader(stored), Junk)
	if err != nil || changed {
		t.Errorf("the stored message is another one: %v", err)
	}
	if changed, err := j.Unlearn(t.Context(), alice.Account, bytes.NewReader(m)); err != nil || !changed {
		t.Errorf("unlearn: %v, %v", changed, err)
	}
	if got := dump(t, j, tabBayes); !equal(got, before) {
		t.Error("unlearning leaves something behind")
	}
	if changed, err := j.Unlearn(t.Context(), alice.Account, bytes.NewReader(m)); err != nil || changed {
		t.Errorf("unlearned twice: %v, %v", changed, err)
	}
	if _, err := j.Learn(t.Context(), alice.Account, bytes.NewReader(m), Refuse); err != ErrClass {
		t.Errorf("class refuse: %v", err)
	}
}

func equal(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return true
}

// TestTeachModel holds the packed rows against a plain map.
func TestTeachModel(t *testing.T) {
	s := side(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	plain := map[uint64]*count{}
	pool := make([]uint64, 400)
	for i := range pool {
		pool[i] = finished(rnd.Uint64())
		plain[pool[i]] = &count{}
	}
	type taught struct {
		hashes []uint64
		class  Class
	}
	var history []taught
	var st state
	for range 300 {
		step, l := 1, taught{class: []Class{Good, Junk}[rnd.IntN(2)]}
		if len(history) > 0 && rnd.IntN(3) == 0 {
			i := rnd.IntN(len(history))
			step, l = -1, history[i]
			history = slices.Delete(history, i, i+1)
		} else {
			for range 1 + rnd.IntN(60) {
				l.hashes = append(l.hashes, pool[rnd.IntN(len(pool))])
			}
			slices.Sort(l.hashes)
			l.hashes = slices.Compact(l.hashes)
			history = append(history, l)
		}
		for _, h := range l.hashes {
			if l.class == Junk {
				plain[h].junk += uint16(step)
			} else {
				plain[h].good += uint16(step)
			}
		}
		if err := s.Update(t.Context(), func(tx *kv.Tx) error {
			p := &pupil{state: readState(tx, 1), tx: tx, account: 1, today: 100}
			p.teach(l.hashes, l.class, step)
			p.keep()
			st = p.state
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(pool)
	s.View(t.Context(), func(tx *kv.Tx) error {
		tokens := 0
		for i, c := range readCounts(tx, 1, pool) {
			if c != *plain[pool[i]] {
				t.Errorf("token %x is %v, want %v", pool[i], c, *plain[pool[i]])
			}
			if c != (count{}) {
				tokens++
			}
		}
		if int(st.tokens) != tokens || int(st.good+st.junk) != len(history) {
			t.Errorf("state %+v, want %d tokens of %d messages", st, tokens, len(history))
		}
		return nil
	})
}

func TestAging(t *testing.T) {
	j := judge(t, Options{Tokens: 500})
	learn(t, j, letter("bob@example.net", "Often", "constantly repeated sentence"), Good)
	for i := range 60 {
		var words []string
		for w := range 30 {
			words = append(words, fmt.Sprintf("word%s%s", letters(i), letters(w)))
		}
		learn(t, j, letter("bob@example.net", letters(i), "constantly repeated sentence "+strings.Join(words, " ")), Good)
	}
	tr, err := j.Training(t.Context(), alice.Account)
	if err != nil || tr.Tokens > 500 || tr.Good != 61 {
		t.Errorf("%+v, %v", tr, err)
	}
	e, err := j.Explain(t.Context(), alice, bytes.NewReader(letter("bob@example.net", "x", "constantly repeated sentence")))
	if err != nil || e.Training.Tokens != tr.Tokens {
		t.Errorf("%+v, %v", e, err)
	}
	j.o.Side.View(t.Context(), func(tx *kv.Tx) error {
		h := []uint64{hashBytes(placeBody, nil, []byte("constantly"))}
		if c := readCounts(tx, alice.Account, h)[0]; c.good != 61 {
			t.Errorf("a word of every message has aged away: %v", c)
		}
		return nil
	})
}

func letters(n int) string {
	b := []byte{'a', 'a', 'a', 'a'}
	for i := 3; n > 0; i-- {
		b[i] += byte(n % 26)
		n /= 26
	}
	return string(b)
}

func TestClassify(t *testing.T) {
	if c := chiSquare(0, 10); c != 1 {
		t.Errorf("chi-square of nothing: %v", c)
	}
	for _, n := range []int{10, 300} { // the mean is a little to the right of the middle
		if c := chiSquare(float64(n), n); c < 0.4 || c > 0.5 {
			t.Errorf("chi-square at its mean (%d): %v", n, c)
		}
	}
	if a, b := chiSquare(1400, 300), chiSquareFar(700, 300); math.Abs(a-b) > 1e-9 || a > 1e-50 {
		t.Errorf("far out: %v %v", a, b)
	}
	s := state{good: 50, junk: 50}
	if c, used := s.classify(make([]count, 20)); c != 0.5 || len(used) != 0 {
		t.Errorf("unknown words say %v", c)
	}
	if c, _ := s.classify([]count{{junk: 40}, {junk: 10, good: 1}, {junk: 5}}); c < 0.95 {
		t.Errorf("words of junk say %v", c)
	}
	if c, _ := s.classify([]count{{good: 40}, {good: 10, junk: 1}, {good: 5}}); c > 0.05 {
		t.Errorf("words of good mail say %v", c)
	}
	if c, _ := (state{good: 2, junk: 90}).classify([]count{{junk: 40}}); c != 0.5 {
		t.Errorf("without good mail taught: %v", c)
	}
	if p := (state{good: 100, junk: 10}).chance(count{good: 10, junk: 1}); math.Abs(p-0.5) > 0.01 {
		t.Errorf("as frequent in both: %v", p)
	}
}

func TestTokens(t *testing.T) {
	for text, want := range map[string]string{
		"Hello, World hello":       "hello|hello world|world|world hello",
		"Don't buy it":             "buy|dont|dont buy",
		"Größe und Straße":         "größe|größe und|straße|und|und straße",
		"p\u200bi\u00adlls":        "pills",
		"会议记录":                     "会议|议记|记录",
		"call 0301234567 or 5":     "call|number:#|number:##########",
		strings.Repeat("x", 100):   "long:word",
		"a b c d":                  "",
		"price $500 \xff\xfe bad!": "bad|money:###|price|price bad",
	} {
		k := tokens{explain: true, seen: new(seenSet)}
		k.words(placeBody, []byte(text))
		var got []string
		for _, s := range k.texts {
			got = append(got, s)
		}
		slices.Sort(got)
		if strings.Join(got, "|") != want {
			t.Errorf("%q: %s", text, strings.Join(got, "|"))
		}
	}
	k := tokens{seen: new(seenSet)}
	for i := range 20_000 {
		k.words(placeBody, fmt.Appendf(nil, "word%s ", letters(i)))
	}
	if k.finish(); len(k.list) > maxTokens || !slices.IsSorted(k.list) {
		t.Errorf("%d tokens", len(k.list))
	}
}

// TestTeachesByItself: mail of correspondents is learned without a word, and a user's own word undoes it.
func TestTeachesByItself(t *testing.T) {
	j := judge(t, Options{})
	j.Wrote(t.Context(), alice.Account, "", []mail.Address{addr(t, "bob@example.net")})
	flush(t, j)
	m := letter("Bob <bob@example.net>", "Concert", "the concert was wonderful")
	deliver := func() Verdict {
		f := look(context.Background(), j, Facts{Remote: client, Hello: "mail.example.net", From: addr(t, "bob@example.net")}, proven("example.net"), m)
		v := j.Verdict(t.Context(), f, alice)
		j.Delivered(t.Context(), f, alice, v)
		flush(t, j)
		return v
	}
	if v := deliver(); !v.Known || v.FirstContact || v.Class != Good {
		t.Errorf("%+v", v)
	}
	deliver()
	if tr, _ := j.Training(t.Context(), alice.Account); tr.Good != 1 || tr.Junk != 0 {
		t.Errorf("taught %+v", tr)
	}
	if !learn(t, j, m, Junk) {
		t.Error("the user's word does not count")
	}
	if tr, _ := j.Training(t.Context(), alice.Account); tr.Good != 0 || tr.Junk != 1 {
		t.Errorf("taught %+v", tr)
	}
}
