package spam

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
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
	lesson string
}

func (j *Judge) recall(ctx context.Context, f *Findings, to Recipient) (m memories) {
	if j.o.Side == nil || to.Account == 0 {
		return m
	}
	err := j.o.Side.View(ctx, func(tx *kv.Tx) error {
		m = memories{state: readState(tx, to.Account), rating: readRating(tx, to.Account, f)}
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
	v.FirstContact = m.stranger()
	if v.FirstContact && to.Account != 0 {
		v.Signals = append(v.Signals, f.firstContact()...)
	}
	v.conclude(j, f, m, to)
	j.verdicts.WithLabelValues(v.Class.String()).Inc()
	return v
}

// firstContact: nobody knows the author; that counts a little, and more when nothing proves who he is.
func (f *Findings) firstContact() []Signal {
	score := 0.2
	if !f.proven && !f.vouched && f.checked && !f.unknown() {
		score = 0.6
	}
	return []Signal{{Name: "first_contact", Score: score, Text: "you have had no mail of this author before"}}
}

// stranger: nothing of the author was ever kept.
func (m memories) stranger() bool {
	return m.rating.author.arrived+m.rating.author.good+m.rating.written.wrote == 0 && !m.rating.answered
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

func round(x float64) float64 { return math.Round(x*10) / 10 }

// moved are the lines of an account that has one of its own for Junk: the others move along.
func (l Lines) moved(junk float64) Lines {
	if junk == 0 {
		return l
	}
	by := junk - l.Junk
	return Lines{Doubtful: min(l.Doubtful+by, junk), Junk: junk, Refuse: max(l.Refuse+by, junk)}
}

func (l Lines) class(score float64) Class {
	switch {
	case score >= l.Refuse:
		return Refuse
	case score >= l.Junk:
		return Junk
	case score >= l.Doubtful:
		return Doubtful
	}
	return Good
}

// believable: the author is proven, or his domain offers no proof and nothing speaks against him. Whose mail is proven as a rule offers one.
func (f *Findings) believable(r rating) bool {
	if f.proven || f.vouched {
		return true
	}
	if r.usually.arrived >= usual && !r.answered {
		return false
	}
	spf, dmarc := f.report.SPF.Result, f.report.DMARC.Result
	return spf != mailauth.Fail && spf != mailauth.SoftFail && dmarc != mailauth.Fail
}

// conclude sums up, keeps the mail of correspondents out of Junk, and finds the class.
func (v *Verdict) conclude(j *Judge, f *Findings, m memories, to Recipient) {
	t := f.trust(m.rating)
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
	lines := j.o.Lines.moved(to.Line)
	add := func(name, text string, score float64) {
		score = round(score)
		v.Signals = append(v.Signals, Signal{Name: name, Score: score, Text: text})
		v.Score += score
	}
	author := plain(f.author.Unicode(), 100)
	good, junk := lines.Doubtful-0.1-v.Score, lines.Junk-v.Score // what is missing to be good, and to be Junk
	letIn := to.LetIn != "" && (to.Sent || f.believable(m.rating))
	switch {
	case to.KeptOut != "":
		add("kept_out", "you have shut out "+plain(to.KeptOut, 100), max(junk, 0))
	case letIn:
		add("let_in", "you have let in "+plain(to.LetIn, 100), min(good, 0))
	case t == known:
		v.Known = true
		add("correspondent", author+" is a correspondent of yours", min(good, -2))
	case t == claimed && danger < 3:
		v.Known = true
		add("correspondent_claimed", "you have written to "+author+", whose domain offers no way to prove him", min(good, -1))
	}
	if to.LetIn != "" && !letIn {
		add("let_in_unproven", "you have let in "+plain(to.LetIn, 100)+", but this is not proven to be from there", 0)
	}
	v.Score = round(v.Score)
	v.Class = lines.class(v.Score)
	v.Phishing = !v.Known && !letIn && pretence >= phishingLine && v.Score >= lines.Doubtful
	slices.SortStableFunc(v.Signals, func(a, b Signal) int {
		return cmp.Or(cmp.Compare(math.Abs(b.Score), math.Abs(a.Score)), strings.Compare(a.Name, b.Name))
	})
}
