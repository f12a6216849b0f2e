// Package junkmail makes good mail and junk for tests and benchmarks: seeded, in
// several languages, signed and with the DNS records of a whole small world.
//
// Start at New. Worlds for training and for testing have no sender, template,
// name or place in common, so that what is found in one was not learned by heart.
package junkmail

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/smtp/mailauth"
)

// Options of a World.
type Options struct {
	Seed uint64
	Test bool         // the other half of everything
	To   string       // who gets the mail
	Now  time.Time    // of the mail
	Net  netip.Prefix // where clients are; 198.18.0.0/15
}

// World is a set of senders and their records. Not for concurrent use.
type World struct {
	o       Options
	rnd     *rand.Rand
	groups  map[group][]*sender
	records []string
	made    int
}

// Mail is one message and how it comes.
type Mail struct {
	Kind   string
	Junk   bool
	Friend bool // of somebody whom the recipient wrote to (Friends)
	Raw    []byte
	Remote netip.Addr
	Hello  string
	From   string // MAIL FROM
	Author string
}

// kind is a sort of mail.
type kind struct {
	name     string
	share    int
	from     group
	subjects []string
	body     []string
	length   int // sentences
	html     bool
	links    int
	attach   string // "pdf", "bad" or ""
	bulk     bool   // List-Unsubscribe
	junk     bool
	reply    bool // Reply-To elsewhere
	feign    bool // the name of a brand
	own      bool // the name of the recipient's house
}

// New makes a world.
func New(o Options) *World {
	if !o.Net.IsValid() {
		o.Net = netip.MustParsePrefix("198.18.0.0/15")
	}
	w := &World{o: o, rnd: rand.New(rand.NewPCG(o.Seed, map[bool]uint64{false: 1, true: 2}[o.Test])), groups: map[group][]*sender{}}
	w.settle()
	return w
}

// Records are the DNS records of the world, in zone form.
func (w *World) Records() []string { return w.records }

// ListTexts are the settings of the world's two block lists.
func ListTexts() []string {
	return []string{"test_bl address bl.lists.example 127.0.0.2=4.5", "test_dbl domain dbl.lists.example 127.0.1.2=4.5"}
}

// Friends are the addresses that the recipient has written to.
func (w *World) Friends() []string {
	var list []string
	for _, s := range w.groups[people] {
		if s.friend {
			list = append(list, s.address)
		}
	}
	return list
}

// Good makes the next good message.
func (w *World) Good() Mail { return w.mail(w.choose(goodKinds())) }

// Junk makes the next junk message.
func (w *World) Junk() Mail { return w.mail(w.choose(junkKinds())) }

func (w *World) choose(kinds []kind) kind {
	sum := 0
	for _, k := range kinds {
		sum += k.share
	}
	n := w.rnd.IntN(sum)
	for _, k := range kinds {
		if n -= k.share; n < 0 {
			return k
		}
	}
	return kinds[0]
}

// half is the part of a list that this world may use.
func (w *World) half(all []string) []string {
	var mine []string
	for i, s := range all {
		if i%2 == map[bool]int{false: 0, true: 1}[w.o.Test] {
			mine = append(mine, s)
		}
	}
	return mine
}

func (w *World) pick(all []string) string { return all[w.rnd.IntN(len(all))] }

func (w *World) chance(percent int) bool { return w.rnd.IntN(100) < percent }

// fill puts words of this world into a template.
func (w *World) fill(s string) string {
	for {
		before, rest, ok := strings.Cut(s, "{")
		slot, after, closed := strings.Cut(rest, "}")
		if !ok || !closed {
			return s
		}
		word := fmt.Sprint(1 + w.rnd.IntN(99))
		switch slot {
		case "name":
			word = w.pick(w.half(firstNames())) + " " + w.pick(w.half(lastNames()))
		case "city":
			word = w.pick(w.half(cities()))
		case "company":
			word = w.pick(w.half(companies()))
		case "product":
			word = w.pick(w.half(products()))
		case "day":
			word = w.pick(days())
		case "amount":
			word = fmt.Sprintf("%s%d.%02d", w.pick([]string{"$", "€", "£"}), 5+w.rnd.IntN(2000), w.rnd.IntN(100))
		case "number":
			word = fmt.Sprint(10 + w.rnd.IntN(100000))
		}
		s = before + word + after
	}
}

// text is a body: sentences of the kind, each once, in a new order.
func (w *World) text(k kind) string {
	mine := w.half(k.body)
	w.rnd.Shuffle(len(mine), func(i, j int) { mine[i], mine[j] = mine[j], mine[i] })
	n := min(len(mine), max(1, k.length-1+w.rnd.IntN(3)))
	var b strings.Builder
	for i, s := range mine[:n] {
		if i > 0 {
			b.WriteString([]string{" ", "\r\n", "\r\n\r\n"}[w.rnd.IntN(3)])
		}
		b.WriteString(w.fill(s))
	}
	return b.String()
}

func (w *World) mail(k kind) Mail {
	w.made++
	s := w.sender(k)
	m := Mail{Kind: k.name, Junk: k.junk, Friend: s.friend, Remote: s.remote, Hello: s.hello, From: s.bounce, Author: s.address}
	name := s.name
	switch {
	case k.feign && w.chance(70):
		name = w.pick([]string{"PayPal", "Netflix", "Microsoft account team", "Amazon", "DHL Express", "Sparkasse", "DocuSign", "Bank of the North", "Customer Service", "Postal Office"})
	case k.own:
		_, domain, _ := strings.Cut(w.o.To, "@")
		name = w.pick([]string{domain + " support", "IT Help Desk", "Mail Administrator", domain + " mail server", "HR Department"})
	}
	var h bytes.Buffer
	field := func(name, value string) { fmt.Fprintf(&h, "%s: %s\r\n", name, value) }
	if s.via != "" {
		field("Received", fmt.Sprintf("from %s by %s; %s", s.via, s.hello, w.o.Now.Add(-time.Minute).Format(time.RFC1123Z)))
	}
	field("From", mimeName(name)+" <"+s.address+">")
	w.addressed(k, field)
	if k.reply && w.chance(70) {
		field("Reply-To", fmt.Sprintf("<%s%d@freepost.example>", strings.ToLower(w.pick(w.half(lastNames()))), w.rnd.IntN(1000)))
	}
	subject := w.fill(w.pick(w.half(k.subjects)))
	field("Subject", mimeWord(subject))
	if !s.sloppy || w.chance(80) {
		field("Date", w.o.Now.Add(-time.Duration(w.rnd.IntN(600))*time.Second).Format(time.RFC1123Z))
	}
	if !s.sloppy || w.chance(70) {
		_, domain, _ := strings.Cut(s.address, "@")
		field("Message-ID", fmt.Sprintf("<%x.%d@%s>", w.rnd.Uint64(), w.made, domain))
	}
	if strings.HasPrefix(subject, "Re:") && !k.junk {
		field("In-Reply-To", fmt.Sprintf("<%x@mail.example>", w.rnd.Uint64()))
	}
	if k.bulk {
		field("List-Unsubscribe", "<https://"+s.site+"/out?u="+fmt.Sprint(w.rnd.IntN(1e6))+">")
	}
	if s.list != "" {
		field("List-Id", "<"+s.list+">")
	}
	if s.mailer != "" {
		field("X-Mailer", s.mailer)
	}
	field("MIME-Version", "1.0")
	body := w.body(k, s, &h)
	m.Raw = w.signed(s, h.Bytes(), body)
	return m
}

func (w *World) addressed(k kind, field func(name, value string)) {
	switch {
	case k.from == lists:
		field("To", "everybody@lists.example")
	case k.junk && w.chance(25):
		field("To", w.pick([]string{"undisclosed-recipients:;", "friend@freepost.example", "<info@freepost.example>"}))
	default:
		field("To", w.o.To)
	}
}

// signed puts signatures in front: a list's footer broke the author's.
func (w *World) signed(s *sender, head, body []byte) []byte {
	if s.key.Private == nil {
		return slicesConcat(head, []byte("\r\n"), body)
	}
	signer := mailauth.NewSigner(head, w.o.Now, s.key)
	signer.Write(body)
	fields, err := signer.Sign()
	if err != nil {
		panic(err) // keys are made here
	}
	return slicesConcat(fields, head, []byte("\r\n"), body)
}

func slicesConcat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// body writes the last header fields and the body.
func (w *World) body(k kind, s *sender, h *bytes.Buffer) []byte {
	text := w.text(k)
	var b bytes.Buffer
	switch {
	case k.attach != "":
		fmt.Fprintf(h, "Content-Type: multipart/mixed; boundary=b%d\r\n", w.made)
		fmt.Fprintf(&b, "--b%d\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n%s\r\n", w.made, text)
		if k.attach == "bad" || w.chance(60) {
			name, kindOf, content := w.attachment(k)
			fmt.Fprintf(&b, "--b%d\r\nContent-Type: %s\r\nContent-Disposition: attachment; filename=\"%s\"\r\nContent-Transfer-Encoding: base64\r\n\r\n", w.made, kindOf, name)
			for line := base64.StdEncoding.EncodeToString(content); line != ""; {
				n := min(76, len(line))
				b.WriteString(line[:n] + "\r\n")
				line = line[n:]
			}
		}
		fmt.Fprintf(&b, "--b%d--\r\n", w.made)
	case k.html && w.chance(85):
		fmt.Fprintf(h, "Content-Type: multipart/alternative; boundary=a%d\r\n", w.made)
		fmt.Fprintf(&b, "--a%d\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n%s\r\n", w.made, text)
		fmt.Fprintf(&b, "--a%d\r\nContent-Type: text/html; charset=utf-8\r\n\r\n%s\r\n--a%d--\r\n", w.made, w.html(k, s, text), w.made)
	default:
		h.WriteString("Content-Type: text/plain; charset=utf-8\r\n")
		b.WriteString(text + "\r\n")
		for range k.links {
			fmt.Fprintf(&b, "https://%s/%s\r\n", s.site, w.path())
		}
		if s.list != "" {
			fmt.Fprintf(&b, "_______________\r\nList %s\r\nhttps://%s/members\r\n", s.list, s.site)
		}
	}
	return b.Bytes()
}

func (w *World) path() string {
	return w.pick([]string{"read", "view", "track", "go", "account", "offer", "items"}) + "/" + fmt.Sprint(w.rnd.IntN(1e6))
}

func (w *World) html(k kind, s *sender, text string) string {
	var b strings.Builder
	b.WriteString("<html><head><style>body{font:14px sans-serif}</style></head><body>\r\n")
	if w.chance(60) {
		fmt.Fprintf(&b, "<img src=\"https://%s/head.png\" width=600>\r\n", s.site)
	}
	for line := range strings.SplitSeq(text, "\r\n") {
		fmt.Fprintf(&b, "<p>%s</p>\r\n", line)
	}
	for range k.links {
		href, shown := "https://"+s.site+"/"+w.path(), w.pick([]string{"Read on", "Open", "Details", "Click here", "View"})
		if k.feign && w.chance(35) {
			shown = "https://www.paypal.com/signin"
		}
		if k.junk && k.from != snowshoes && w.chance(15) {
			href = fmt.Sprintf("http://198.18.%d.%d/%s", w.rnd.IntN(256), w.rnd.IntN(256), w.path())
		}
		fmt.Fprintf(&b, "<p><a href=\"%s\">%s</a></p>\r\n", href, shown)
	}
	if k.junk && w.chance(15) {
		fmt.Fprintf(&b, "<div style=\"display:none\">%s</div>\r\n", w.text(goodKinds()[0]))
	}
	b.WriteString("</body></html>")
	return b.String()
}

func (w *World) attachment(k kind) (name, kind string, content []byte) {
	content = make([]byte, 1500+w.rnd.IntN(3000))
	for i := range content {
		content[i] = byte(w.rnd.UintN(256))
	}
	if k.attach == "pdf" {
		return fmt.Sprintf("document-%d.pdf", w.rnd.IntN(1000)), "application/pdf", append([]byte("%PDF-1.7\n"), content...)
	}
	switch n := w.rnd.IntN(100); {
	case n < 25:
		return "invoice.pdf.exe", "application/octet-stream", append([]byte("MZ"), content...)
	case n < 50:
		zip := append([]byte("PK\x03\x04\x14\x00\x01\x00\x08\x00"), make([]byte, 16)...)
		zip = append(zip, 7, 0, 0, 0)
		return "documents.zip", "application/zip", append(append(zip, "doc.exe"...), content...)
	case n < 70:
		return "order.docm", "application/vnd.ms-word.document.macroEnabled.12", append([]byte("PK\x03\x04"), content...)
	case n < 90:
		return "payment.html", "text/html", []byte("<html><script>location='https://example.net'</script></html>")
	}
	return "order.pdf", "application/pdf", append([]byte("%PDF-1.7\n"), content...)
}

// mimeName is a display name as it stands in From.
func mimeName(s string) string {
	if e := mimeWord(s); e != s {
		return e
	}
	return `"` + s + `"`
}

func mimeWord(s string) string {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return "=?utf-8?B?" + base64.StdEncoding.EncodeToString([]byte(s)) + "?="
		}
	}
	return s
}

// Long makes a good message of about n octets, in text and HTML.
func (w *World) Long(n int) []byte {
	k := goodKinds()[6]
	s := w.sender(k)
	var h, b bytes.Buffer
	fmt.Fprintf(&h, "From: %s <%s>\r\nTo: %s\r\nSubject: %s\r\nDate: %s\r\nMessage-ID: <%d@%s>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=long\r\n",
		mimeName(s.name), s.address, w.o.To, mimeWord(w.fill(w.pick(k.subjects))), w.o.Now.Format(time.RFC1123Z), w.made, s.site)
	b.WriteString("--long\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n")
	for b.Len() < n/3 {
		b.WriteString(w.text(k) + "\r\n")
	}
	b.WriteString("\r\n--long\r\nContent-Type: text/html; charset=utf-8\r\n\r\n")
	for h.Len()+b.Len() < n {
		b.WriteString(w.html(k, s, w.text(k)))
	}
	b.WriteString("\r\n--long--\r\n")
	return w.signed(s, h.Bytes(), b.Bytes())
}
