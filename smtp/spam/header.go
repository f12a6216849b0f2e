package spam

import (
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/message"
)

// header is what the header of a message says.
type header struct {
	author    mail.Address
	name      string // display name of From
	authors   int    // addresses in From, over all fields of that name
	subject   string
	replyTo   mail.Address
	list      string // List-Id
	messageID string
	answers   []string // message-ids of In-Reply-To and References, at most maxAnswers
	to        []string // addresses of To and Cc, lower case, at most maxTo
	date      string
	has       map[string]int // how often each field of counted is there
	fields    int
}

const (
	maxAnswers = 20
	maxTo      = 50
)

// readHeader takes what is needed out of the header, and its words as tokens.
func (f *Findings) readHeader(raw []byte) {
	f.has = make(map[string]int, 16)
	for field := range message.Fields(raw) {
		if f.fields++; f.fields > maxFields {
			break
		}
		if len(field.Name) == 0 || len(field.Name) > 40 || ours(field) {
			continue
		}
		name := strings.ToLower(string(field.Name))
		f.has[name]++
		f.readField(name, field)
	}
}

func (f *Findings) readField(name string, field message.Field) {
	switch name {
	case "from":
		f.readFrom(field)
	case "subject":
		if f.has[name] == 1 {
			f.subject = bounded(field.Text(), 1000)
			f.tokens.words(placeSubject, []byte(f.subject))
			f.tokens.words(placeBody, []byte(f.subject))
		}
	case "reply-to":
		if a := message.ParseAddresses(bounded(field.Unfolded(), 2000)); len(a) > 0 {
			f.replyTo = address(a[0])
			f.tokens.add(placeHeader, "reply-to:", string(f.replyTo.Domain))
		}
	case "to", "cc":
		f.readTo(field)
	case "message-id":
		f.messageID = id(field.Unfolded())
		if _, host, ok := strings.Cut(f.messageID, "@"); ok {
			f.tokens.add(placeHeader, "mid:", organization(hostOf(host)))
		}
	case "in-reply-to", "references":
		for text := bounded(field.Unfolded(), 4000); len(f.answers) < maxAnswers; {
			_, rest, ok := strings.Cut(text, "<")
			one, after, closed := strings.Cut(rest, ">")
			if !ok || !closed {
				break
			}
			f.answers, text = append(f.answers, id(one)), after
		}
	case "list-id":
		v := field.Unfolded()
		if i := strings.LastIndexByte(v, '<'); i >= 0 {
			v = strings.TrimRight(v[i+1:], "> ")
		}
		f.list = strings.ToLower(plain(v, 200))
		f.tokens.add(placeHeader, "list:", f.list)
	case "date":
		f.date = field.Unfolded()
	case "x-mailer", "user-agent", "x-originating-client":
		f.tokens.words(placeHeader, []byte(bounded(field.Unfolded(), 100)))
	case "content-type", "precedence", "auto-submitted", "x-priority", "importance", "list-unsubscribe-post":
		f.tokens.add(placeHeader, name+":", firstWord(field.Unfolded()))
	default:
		if !strings.HasPrefix(name, "x-") || len(name) < 24 {
			f.tokens.add(placeHeader, "has:", name)
		}
	}
}

func (f *Findings) readFrom(field message.Field) {
	const longest = 4000 // a longer one is not cut: its beginning may name somebody else than the whole
	v := field.Unfolded()
	if len(v) > longest {
		return
	}
	for _, a := range message.ParseAddresses(v) {
		if a.Host == "" {
			continue
		}
		if f.authors++; f.authors > 1 {
			continue
		}
		f.author = address(a)
		f.name = bounded(message.DecodeWords(a.Name), 300)
		f.tokens.words(placeFrom, []byte(f.name))
		f.tokens.add(placeFrom, "addr:", f.author.Key())
		f.tokens.add(placeFrom, "domain:", organization(string(f.author.Domain)))
	}
}

func (f *Findings) readTo(field message.Field) {
	for _, a := range message.ParseAddresses(bounded(field.Unfolded(), 8000)) {
		if a.Host == "" || len(f.to) >= maxTo {
			continue
		}
		f.to = append(f.to, address(a).Key())
	}
}

// address makes an address of a header one of ours; zero when it is none.
func address(a message.Address) mail.Address {
	if len(a.Mailbox) > mail.MaxLocal || len(a.Host) > mail.MaxDomain {
		return mail.Address{}
	}
	d, err := mail.ParseDomain(a.Host)
	if err != nil {
		return mail.Address{}
	}
	return mail.Address{Local: a.Mailbox, Domain: d}
}

// id is a message-id without what stands around it.
func id(v string) string {
	if i := strings.IndexByte(v, '<'); i >= 0 {
		v = v[i+1:]
	}
	v, _, _ = strings.Cut(v, ">")
	return bounded(strings.TrimSpace(v), 250)
}

func firstWord(v string) string {
	if i := strings.IndexAny(v, "; \t"); i >= 0 {
		v = v[:i]
	}
	return strings.ToLower(bounded(v, 60))
}

// bounded is the beginning of a text, never cut inside a character.
func bounded(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// plain is words of a stranger as they may stand in a list, a log or a header: on one line, printable, bounded.
func plain(s string, n int) string {
	s = strings.Map(func(c rune) rune {
		switch {
		case c == utf8.RuneError || unicode.IsControl(c):
			return ' '
		case !unicode.IsGraphic(c): // direction marks and other characters without a form
			return -1
		}
		return c
	}, bounded(s, 4*n))
	return bounded(strings.Join(strings.Fields(s), " "), n)
}

// judgeHeader adds the signs of a header that no mail program writes.
func (f *Findings) judgeHeader(j *Judge, sum *message.Summary) {
	if f.author.IsNull() {
		f.sign("from_missing", 2.5, "From names no author")
	}
	if f.has["from"] > 1 || f.authors > 1 && f.has["sender"] == 0 {
		f.sign("from_many", 2, "From names several authors")
	}
	for _, name := range []string{"subject", "to", "message-id", "date"} {
		if f.has[name] > 1 {
			f.sign("fields_doubled", 1, "a field that may stand once stands more often: "+name)
			break
		}
	}
	if f.messageID == "" && f.has["message-id"] == 0 {
		f.sign("message_id_missing", 0.7, "there is no Message-ID, which every mail program writes")
	}
	if strings.TrimSpace(f.subject) == "" {
		f.sign("subject_missing", 0.5, "there is no subject")
	}
	if len(f.to) == 0 && f.list == "" {
		f.sign("to_missing", 0.8, "To and Cc name nobody")
	}
	f.judgeNames(j)
	if f.replies() && !f.replyTo.IsNull() && f.list == "" && organization(string(f.replyTo.Domain)) != organization(string(f.author.Domain)) {
		f.sign("reply_elsewhere", 0.8, "answers would go to another domain than the author's: "+plain(f.replyTo.Unicode(), 100))
		if freeMail(string(f.replyTo.Domain)) && !freeMail(string(f.author.Domain)) {
			f.sign("reply_to_freemail", 1, "answers would go to a free mailbox that anybody can open")
		}
	}
	if sum.HasNUL {
		f.sign("nul_octets", 1, "it has NUL octets")
	}
	if f.fields > maxFields {
		f.sign("fields_many", 1.5, "it has more than 1,000 header fields")
	}
	if letters, upper := letterCase(f.subject); letters >= 12 && upper*10 >= letters*8 {
		f.sign("subject_shouts", 0.7, "the subject is written in capitals")
	}
	if s := strings.ToLower(f.subject); len(f.answers) == 0 && (strings.HasPrefix(s, "re:") || strings.HasPrefix(s, "aw:")) && f.list == "" {
		f.sign("answer_feigned", 0.8, "the subject pretends to answer, but no message is named that it answers")
	}
}

// replies: Reply-To stands there and says something else than From.
func (f *Findings) replies() bool { return f.has["reply-to"] > 0 && f.replyTo.Key() != f.author.Key() }

// judgeDate: clocks are wrong by hours, mail programs of junk by years.
func (f *Findings) judgeDate(now, date time.Time) {
	switch {
	case f.has["date"] == 0:
		f.sign("date_missing", 0.8, "there is no Date")
	case date.IsZero():
		f.sign("date_wrong", 0.8, "the Date cannot be read")
	case date.After(now.Add(12 * time.Hour)):
		f.sign("date_future", 1.2, "the Date lies in the future")
	case date.Before(now.Add(-10 * 24 * time.Hour)):
		f.sign("date_old", 0.5, "the Date lies more than ten days back")
	}
}

// letterCase counts the letters of a text that have a case, and the upper ones.
func letterCase(s string) (letters, upper int) {
	for _, c := range s {
		switch {
		case unicode.IsUpper(c):
			letters++
			upper++
		case unicode.IsLower(c):
			letters++
		}
	}
	return letters, upper
}
