package spam

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// Verdict is what one account thinks of a message. Signals are sorted, those that count most first.
type Verdict struct {
	Class        Class
	Score        float64 // to a tenth; the sum of the signals
	Signals      []Signal
	Phishing     bool // pretends to be somebody else: keyword $Phishing
	FirstContact bool // nothing of this author was ever kept here, and nobody here wrote to him
	Known        bool // a correspondent of the account, proven as far as his domain allows it: never Junk

	proven bool
	chance float64 // by the classifier
	used   []Token // filled for Explain
	state  state
	lesson string
}

// phishingLine is how much must speak for somebody who pretends, and how much in all, before a message is called phishing.
const phishingLine = 2

// memories is what the tables say of one message and one account, read at one moment.
type memories struct {
	state  state
	counts []count
	rating rating
	letIn  bool
	lesson string
}

func (j *Judge) recall(ctx context.Context, f *Findings, to Recipient) (m memories) {
	if j.o.Side == nil || to.Account == 0 {
		return m
	}
	err := j.o.Side.View(ctx, func(tx *kv.Tx) error {
		m = memories{state: readState(tx, to.Account), rating: readRating(tx, to.Account, f), letIn: j.readLetIn(tx, to.Account, f)}
		if m.state.good >= leastTaught && m.state.junk >= leastTaught {
			m.counts = readCounts(tx, to.Account, f.tokens.list)
		}
		if l, ok := readLesson(tx, to.Account, f.digest); ok {
			m.lesson = (l.class &^ byItself).String()
		}
		return nil
	})
	if err != nil {
		j.o.Logger.WarnContext(ctx, logx.SpamFailed, "account", to.Account, "error", err)
		return memories{}
	}
	return m
}

// Verdict is what the account of a recipient thinks of the message.
func (j *Judge) Verdict(ctx context.Context, f *Findings, to Recipient) Verdict {
	m := j.recall(ctx, f, to)
	v := Verdict{Signals: slices.Clone(f.signals), proven: f.proven || f.vouched, state: m.state, lesson: m.lesson}
	v.Signals = append(v.Signals, f.judgeHouse(j, to)...)
	v.Signals = append(v.Signals, f.addressed(to)...)
	v.Signals = append(v.Signals, m.rating.judge(f)...)
	v.classify(f, m)
	t := f.trust(m.rating)
	v.FirstContact = m.rating.author.arrived+m.rating.author.good+m.rating.written.wrote == 0 && !m.rating.answered && !m.letIn
	v.conclude(j, f, t, m.letIn)
	j.verdicts.WithLabelValues(v.Class.String()).Inc()
	return v
}

// classify adds what the words say.
func (v *Verdict) classify(f *Findings, m memories) {
	v.chance = 0.5
	if m.counts == nil {
		return
	}
	chance, used := m.state.classify(m.counts)
	v.chance = chance
	switch s := m.state.score(chance); {
	case s >= 0.1:
		v.Signals = append(v.Signals, Signal{Name: "words_junk", Score: s, Text: fmt.Sprintf("its words are those of what you put into Junk (%.0f in 100)", math.Round(chance*100))})
	case s <= -0.1:
		v.Signals = append(v.Signals, Signal{Name: "words_good", Score: s, Text: fmt.Sprintf("its words are those of your good mail (Junk %.0f in 100)", math.Round(chance*100))})
	}
	if f.tokens.explain {
		for _, i := range used {
			c := m.counts[i]
			v.used = append(v.used, Token{Text: f.tokens.texts[f.tokens.list[i]], Good: int(c.good), Junk: int(c.junk), Chance: m.state.chance(c)})
		}
	}
}

// addressed looks whether the recipient was meant; mail of lists and of hidden copies often does not name him.
func (f *Findings) addressed(to Recipient) []Signal {
	if to.Address.IsNull() || f.list != "" || len(f.to) == 0 || len(f.to) >= maxTo || f.has["list-unsubscribe"] > 0 {
		return nil
	}
	if slices.Contains(f.to, to.Address.Key()) {
		return nil
	}
	for _, t := range f.to { // a subaddress, an alias or another name of the domain
		if _, domain, _ := strings.Cut(t, "@"); organization(domain) == organization(string(to.Address.Domain)) {
			return nil
		}
	}
	return []Signal{{Name: "to_others", Score: 0.5, Text: "To and Cc do not name you"}}
}

// conclude sums up, keeps the mail of correspondents out of Junk, and finds the class.
func (v *Verdict) conclude(j *Judge, f *Findings, t trust, letIn bool) {
	round := func(x float64) float64 { return math.Round(x*10) / 10 }
	danger, pretence := 0.0, 0.0
	for i := range v.Signals {
		s := &v.Signals[i]
		s.Score = round(s.Score)
		v.Score += s.Score
		if s.Phishing {
			pretence += s.Score
		}
		if s.Score > 0 && (s.Phishing || strings.HasPrefix(s.Name, "file_") || j.lists.named(s.Name)) {
			danger += s.Score
		}
	}
	less := func(name, text string, least float64) {
		score := round(min(-least, j.o.Lines.Doubtful-0.1-v.Score))
		v.Signals = append(v.Signals, Signal{Name: name, Score: score, Text: text})
		v.Score += score
	}
	switch {
	case t == known:
		v.Known = true
		less("correspondent", plain(f.author.Unicode(), 100)+" is a correspondent of yours", 2)
	case t == claimed && danger < 3:
		v.Known = true
		less("correspondent_claimed", "you have written to "+plain(f.author.Unicode(), 100)+", whose domain offers no way to prove him", 1)
	case letIn:
		less("let_in", "you have let in "+plain(f.author.Unicode(), 100), 0)
	}
	v.Score = round(v.Score)
	switch l := j.o.Lines; {
	case v.Score >= l.Refuse:
		v.Class = Refuse
	case v.Score >= l.Junk:
		v.Class = Junk
	case v.Score >= l.Doubtful:
		v.Class = Doubtful
	}
	v.Phishing = !v.Known && !letIn && pretence >= phishingLine && v.Score >= j.o.Lines.Doubtful
	slices.SortStableFunc(v.Signals, func(a, b Signal) int {
		return cmp.Or(cmp.Compare(math.Abs(b.Score), math.Abs(a.Score)), strings.Compare(a.Name, b.Name))
	})
}
