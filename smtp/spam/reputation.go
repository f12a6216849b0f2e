package spam

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// The rows of tabKnown: account, kind, whom -> standing.
const (
	ofCount    = '#' // how many rows the account has, u32
	ofAuthor   = 'a' // an author whose domain was proven
	ofUnproven = 'u' // an author who was not, and the network he came from: "address network"
	ofDomain   = 'd' // organization of proven authors
	ofNetwork  = 'n' // of clients
	ofWritten  = 'w' // whom the account wrote to: an address, or "@organization"
	ofSent     = 'i' // hash of the Message-ID of what the account sent

	standingSize = 20
)

// standing is what an account remembers of somebody.
type standing struct {
	arrived uint32 // messages that were filed as good
	good    uint32 // that were learned as Good
	junk    uint32 // as Junk
	wrote   uint32 // messages sent to him
	first   uint16 // days
	last    uint16
}

func readStanding(tx *kv.Tx, a mail.AccountID, kind byte, whom string) standing {
	v := tx.Get(tabKnown, standingKey(a, kind, whom))
	if len(v) != standingSize {
		return standing{}
	}
	return parseStanding(v)
}

func standingKey(a mail.AccountID, kind byte, whom string) []byte {
	return accountKey(a, kind, bounded(whom, 400))
}

func parseStanding(v []byte) standing {
	n := binary.BigEndian.Uint32
	return standing{arrived: n(v), good: n(v[4:]), junk: n(v[8:]), wrote: n(v[12:]), first: binary.BigEndian.Uint16(v[16:]), last: binary.BigEndian.Uint16(v[18:])}
}

func (s standing) append(b []byte) []byte {
	for _, n := range []uint32{s.arrived, s.good, s.junk, s.wrote} {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, s.first), s.last)
}

// remember changes one standing; the row is made when there is none.
func (j *Judge) remember(tx *kv.Tx, a mail.AccountID, kind byte, whom string, change func(*standing)) {
	if whom == "" {
		return
	}
	key := standingKey(a, kind, whom)
	today := day(j.o.Now())
	s := standing{first: today}
	fresh := true
	if v := tx.Get(tabKnown, key); len(v) == standingSize {
		s, fresh = parseStanding(v), false
	}
	change(&s)
	s.last = today
	tx.Put(tabKnown, key, s.append(make([]byte, 0, standingSize)))
	if fresh {
		j.counted(tx, a)
	}
}

// counted counts a new row, and drops those that are worth least when there are too many: a flood of strangers pushes out strangers.
func (j *Judge) counted(tx *kv.Tx, a mail.AccountID) {
	key := accountKey(a, ofCount)
	n := uint32(1)
	if v := tx.Get(tabKnown, key); len(v) == 4 {
		n += binary.BigEndian.Uint32(v)
	}
	if int(n) > j.o.Known {
		n = j.forgetStrangers(tx, a)
	}
	tx.Put(tabKnown, key, binary.BigEndian.AppendUint32(nil, n))
}

func (j *Judge) forgetStrangers(tx *kv.Tx, a mail.AccountID) uint32 {
	type row struct {
		key   []byte
		worth int
	}
	var all []row
	for key, v := range tx.Scan(tabKnown, accountKey(a, ofCount+1), accountKey(a, 0xff)) {
		r := row{key: slices.Clone(key)}
		if len(v) == standingSize {
			s := parseStanding(v)
			r.worth = int(s.last)
			if key[4] == ofSent { // half a year
				r.worth += 180
				all = append(all, r)
				continue
			}
			r.worth += 30*int(min(s.arrived+4*s.junk, 12)) + 1000*int(min(s.good+s.wrote, 3))
		}
		all = append(all, r)
	}
	slices.SortStableFunc(all, func(a, b row) int { return a.worth - b.worth })
	gone := max(0, len(all)-j.o.Known*4/5)
	for _, r := range all[:gone] {
		tx.Delete(tabKnown, r.key)
	}
	return uint32(len(all) - gone)
}

// rating is what an account's history says of a message.
type rating struct {
	author, domain, network, written standing
	house                            standing // the account wrote to somebody of the author's organization
	answered                         bool     // it answers a message that the account sent
	usually                          standing
}

// usual is how many proven messages of a domain make one that is not proven strange.
const usual = 5

// authorRow is under which name the author is remembered.
func (f *Findings) authorRow() (kind byte, whom string) {
	switch {
	case f.author.IsNull():
		return ofUnproven, ""
	case f.proven || f.vouched:
		return ofAuthor, f.author.Key()
	}
	return ofUnproven, f.author.Key() + " " + f.network
}

func readRating(tx *kv.Tx, a mail.AccountID, f *Findings) (r rating) {
	kind, whom := f.authorRow()
	if whom != "" {
		r.author = readStanding(tx, a, kind, whom)
		r.written = readStanding(tx, a, ofWritten, f.author.Key())
		r.house = readStanding(tx, a, ofWritten, "@"+f.authorOrg())
		d := readStanding(tx, a, ofDomain, f.authorOrg())
		if f.proven {
			r.domain = d
		} else {
			r.usually = d
		}
	}
	if f.network != "" {
		r.network = readStanding(tx, a, ofNetwork, f.network)
	}
	for _, m := range f.answers {
		if readStanding(tx, a, ofSent, sentName(m)).wrote > 0 {
			r.answered = true
			break
		}
	}
	return r
}

// sentName is a message-id as it is remembered: nothing of it can be read again.
func sentName(id string) string {
	return string(binary.BigEndian.AppendUint64(nil, hashOf(placeHeader, "sent:", id)))
}

// trust is how far an author is a correspondent of the account.
type trust uint8

const (
	stranger trust = iota
	claimed        // his address is one, and his domain offers no proof at all
	known          // he is one
)

// trust weighs what is known of the author. The user's own word, mail of his that he put into Junk, stands above it.
func (f *Findings) trust(r rating) trust {
	if r.author.junk > r.author.good {
		return stranger
	}
	// The ids of what was sent to a public list are no secret: an answer must also come from where something was sent to.
	friend := r.written.wrote > 0 || r.author.good > 0 || r.answered && r.house.wrote > 0
	if !friend {
		return stranger
	}
	if f.proven || f.vouched {
		return known
	}
	spf, dmarc := f.report.SPF.Result, f.report.DMARC.Result
	if spf == mailauth.Fail || spf == mailauth.SoftFail && r.author.good == 0 && !r.answered || dmarc == mailauth.Fail && f.report.DMARC.Policy != mailauth.PolicyNone || r.usually.arrived >= usual && !r.answered {
		return stranger
	}
	if r.author.good > 0 || r.answered && r.written.wrote > 0 { // from the network that he always comes from; with a name that nobody can guess
		return known
	}
	return claimed
}

// judge adds the signals of an account's history.
func (r rating) judge(f *Findings) []Signal {
	var s []Signal
	add := func(name string, score float64, text string, phishing bool) {
		s = append(s, Signal{Name: name, Score: score, Text: text, Phishing: phishing})
	}
	who := plain(f.author.Unicode(), 100)
	if j := r.author.junk; j > r.author.good {
		add("author_junk", min(5, 3+float64(j)), fmt.Sprintf("you have put %d messages of %s into Junk", j, who), false)
	}
	if r.answered {
		add("answer", -2.5, "it answers a message of yours", false)
	}
	if r.usually.arrived >= usual && !f.proven && !f.vouched && f.list == "" && f.checked && !f.unknown() {
		add("usually_proven", 2, "mail of "+plain(f.authorOrg(), 100)+" is proven as a rule, and this one is not", true)
	}
	if !freeMail(string(f.author.Domain)) {
		if x, n := r.domain.lean(); math.Abs(x) >= 0.1 {
			add(leanName("domain", x), x*pick(x, 1.5, 3), leanText(n, "from "+plain(f.authorOrg(), 100), x), false)
		}
	}
	if x, n := r.network.lean(); math.Abs(x) >= 0.1 {
		add(leanName("network", x), x*pick(x, 0.7, 2), leanText(n, "from the network "+f.network, x), false)
	}
	return s
}

// lean is where somebody's mail tends to: from -1 (good) to 1 (Junk), the surer the more there was. Mail that only arrived counts
// little: nobody may have looked at it.
func (s standing) lean() (x float64, n uint32) {
	good, junk := float64(s.good)+0.25*float64(s.arrived), 2*float64(s.junk)
	n = max(s.arrived, s.good) + s.junk
	if n == 0 {
		return 0, 0
	}
	return (junk - good) / (junk + good + 2), n
}

func leanName(what string, x float64) string {
	if x > 0 {
		return what + "_bad"
	}
	return what + "_good"
}

func leanText(n uint32, from string, x float64) string {
	if x > 0 {
		return fmt.Sprintf("of %d messages %s you have put many into Junk", n, from)
	}
	return fmt.Sprintf("of %d messages %s most were good", n, from)
}

func pick(x, good, junk float64) float64 {
	if x > 0 {
		return junk
	}
	return good
}

// rate notes that a message was learned: step is 1, or -1 to take it back.
func (j *Judge) rate(tx *kv.Tx, a mail.AccountID, f *Findings, c Class, step int) {
	change := func(s *standing) {
		n := &s.good
		if c == Junk {
			n = &s.junk
		}
		if step > 0 {
			*n++
		} else if *n > 0 {
			*n--
		}
	}
	kind, whom := f.authorRow()
	j.remember(tx, a, kind, whom, func(s *standing) {
		change(s)
		if c == Junk && step > 0 { // one may be a mistake; some in a row are the owner's last word, however much was filed before
			s.good /= 2
		}
	})
	if f.proven {
		j.remember(tx, a, ofDomain, f.authorOrg(), change)
	}
	j.remember(tx, a, ofNetwork, f.network, change)
}

// Delivered notes that a message was filed for the account as the verdict said: the author, his domain and network are no strangers
// any more, and a message of a known correspondent teaches the classifier what good mail looks like.
func (j *Judge) Delivered(ctx context.Context, f *Findings, to Recipient, v Verdict) {
	if j.o.Side == nil || to.Account == 0 || v.Class >= Junk || ctx.Err() != nil {
		return
	}
	kept := *f // the closure runs later
	j.o.Side.Later(func(tx *kv.Tx) error {
		f := &kept
		change := func(s *standing) { s.arrived++ }
		kind, whom := f.authorRow()
		j.remember(tx, to.Account, kind, whom, change)
		if f.proven {
			j.remember(tx, to.Account, ofDomain, f.authorOrg(), change)
		}
		j.remember(tx, to.Account, ofNetwork, f.network, change)
		p := j.pupil(tx, to.Account)
		if !v.teaches(p.state) {
			return nil
		}
		if _, ok := readLesson(tx, to.Account, f.digest); ok {
			return nil
		}
		p.teach(f.tokens.list, Good, 1)
		p.note(f.digest, Good|byItself)
		p.age(j.o.Tokens)
		p.keep()
		return nil
	})
}

// byItself marks a lesson that nobody gave: it says nothing of the author's standing.
const byItself Class = 0x80

// teaches: users mark Junk and hardly ever good mail, so that what is certainly good teaches by itself, as long as it does not outnumber
// what the user taught by far.
func (v Verdict) teaches(s state) bool {
	return v.Score < 1 && (v.Known && s.good < max(100, 4*s.junk) || !v.FirstContact && v.proven && s.good < max(30, 2*s.junk))
}

// Wrote notes that the account wrote to the recipients: they are its correspondents from now on. messageID is the message's
// Message-ID, so that answers are known by it; it may be empty. For submission; it never waits.
func (j *Judge) Wrote(ctx context.Context, account mail.AccountID, messageID string, recipients []mail.Address) {
	const most = 100 // who writes to more at once writes to no correspondents
	if j.o.Side == nil || account == 0 || len(recipients) > most || ctx.Err() != nil {
		return
	}
	names := make([]string, 0, len(recipients))
	for _, r := range recipients {
		if r.IsNull() {
			continue
		}
		names = append(names, r.Key())
		if org := organization(string(r.Domain)); !freeMail(org) && !slices.Contains(names, "@"+org) {
			names = append(names, "@"+org)
		}
	}
	sent := ""
	if m := id(strings.TrimSpace(messageID)); m != "" {
		sent = sentName(m)
	}
	j.o.Side.Later(func(tx *kv.Tx) error {
		for _, n := range names {
			j.remember(tx, account, ofWritten, n, func(s *standing) { s.wrote++ })
		}
		j.remember(tx, account, ofSent, sent, func(s *standing) { s.wrote = 1 })
		return nil
	})
}
