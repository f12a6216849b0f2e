package spam

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/posthouse-mail/posthouse/internal/message"
)

// content reads the parts of a message: text as words and links, files by name and first octets.
type content struct {
	src    io.ReaderAt // the kept beginning
	kept   int64
	tokens *tokens
	links  []link
	files  []file
	*scratch
	visible
	text   int // octets of decoded text so far
	parts  int
	late   bool // a text begins behind what is kept
	plain  int  // octets of text/plain
	html   int  // text parts in HTML
	images int  // parts
}

// link is a place that a text points to.
type link struct {
	host  string // canonical: lower case, A-labels; an address literal for hosts that are numbers
	shown string // host that the text of the link names; empty: none
	text  string // bounded
	user  bool   // user@ in front of the host, to deceive
	form  bool   // a form is sent there
}

// file is an attachment.
type file struct {
	name string // lower case, bounded
	kind string // "type/subtype"
	head []byte // decoded; nil when it begins behind what is kept
}

// headOctets are read of each attachment: enough for the names in a small archive.
const headOctets = 4096

func (c *content) read(root *message.Part) {
	root.Walk(func(p *message.Part) bool {
		if c.parts++; c.parts > maxParts {
			return false
		}
		c.part(p)
		return true
	})
}

func (c *content) part(p *message.Part) {
	if p.IsMultipart() || p.IsMessage() {
		return
	}
	name := fileName(p)
	isText := p.Type == "TEXT" && (p.Subtype == "PLAIN" || p.Subtype == "HTML")
	if isText && p.Disposition != "ATTACHMENT" {
		c.readText(p)
		return
	}
	if p.Type == "IMAGE" {
		c.images++
	}
	f := file{name: strings.ToLower(bounded(name, 200)), kind: strings.ToLower(bounded(p.Type+"/"+p.Subtype, 100))}
	if p.Body < c.kept {
		if r, ok := message.ContentReader(c.src, p); ok {
			head := make([]byte, headOctets)
			n, _ := io.ReadFull(r, head)
			f.head = head[:n]
		}
	}
	c.tokens.add(placeFile, "type:", f.kind)
	c.tokens.add(placeFile, "ending:", ending(f.name))
	c.files = append(c.files, f)
}

// fileName is the name under which a client would save a part.
func fileName(p *message.Part) string {
	for _, q := range p.DispositionParams {
		if strings.TrimSuffix(q.Name, "*") == "filename" {
			v := q.Value
			if i := strings.LastIndex(v, "''"); strings.HasSuffix(q.Name, "*") && i >= 0 {
				v = v[i+2:]
			}
			return message.DecodeWords(v)
		}
	}
	return message.DecodeWords(p.Param("name"))
}

func (c *content) readText(p *message.Part) {
	if p.Body >= c.kept {
		c.late = c.late || p.Size() > 0
		return
	}
	room := maxText - c.text
	if room <= 0 {
		return
	}
	c.scratch.part = readUpTo(c.scratch.part[:0], message.TextReader(c.src, p), room)
	c.text += len(c.scratch.part)
	c.tokens.stats.wallet = c.tokens.stats.wallet || hasWallet(c.scratch.part)
	if p.Subtype == "HTML" {
		c.html++
		c.readHTML(c.scratch.part)
		return
	}
	c.plain += len(bytes.TrimSpace(c.scratch.part))
	c.tokens.words(placeBody, c.scratch.part)
	c.plainLinks(c.scratch.part)
}

func readUpTo(b []byte, r io.Reader, n int) []byte {
	for len(b) < n {
		if cap(b) == len(b) {
			b = append(b, make([]byte, 8192)...)[:len(b)]
		}
		k, err := r.Read(b[len(b):min(cap(b), n)])
		b = b[:len(b)+k]
		if err != nil {
			break
		}
	}
	return b
}

// plainLinks finds what a client would make a link of.
func (c *content) plainLinks(text []byte) {
	for len(c.links) < maxLinks {
		i := bytes.Index(text, []byte("://"))
		if i < 0 {
			return
		}
		end := i + 3
		for end < len(text) && text[end] > ' ' && bytes.IndexByte([]byte("<>\"'"), text[end]) < 0 {
			end++
		}
		switch scheme := bytes.ToLower(text[max(0, i-5):i]); {
		case bytes.HasSuffix(scheme, []byte("https")):
			c.addLink(string(text[i-5:end]), "")
		case bytes.HasSuffix(scheme, []byte("http")):
			c.addLink(string(text[i-4:end]), "")
		}
		text = text[end:]
	}
}

// judgeText adds the signs of what a body looks like.
func (f *Findings) judgeText(c *content) {
	st := &f.tokens.stats
	if st.hidden >= 3 {
		f.sign("hidden_characters", min(2.5, 1+float64(st.hidden)/20), fmt.Sprintf("words are broken up by %d characters that nobody sees", st.hidden))
	}
	if st.mixed >= 1 {
		f.sign("mixed_letters", min(2.5, 1+float64(st.mixed)/4), fmt.Sprintf("%d words mix letters of several scripts that look alike, such as %s", st.mixed, plain(st.sample, 40)))
	}
	if c.hidden >= 40 {
		f.sign("hidden_text", min(2, 0.5+float64(c.hidden)/400), "it has text that is made invisible")
	}
	if f.tokens.stats.wallet {
		f.sign("wallet", 2, "it names a wallet of bitcoin to pay into")
	}
	if c.late {
		f.sign("text_late", 1, "its text comes after more than 128 KB of something else")
	}
	if c.html > 0 && c.pictures > 0 && c.shown < 60 && c.plain < 60 {
		f.sign("picture_only", 1.2, "it is a picture, with hardly a word")
	}
	if c.form {
		f.phish("form_in_mail", 1.5, "it has a form to be filled in inside of the mail")
	}
	if c.script {
		f.sign("script_in_mail", 1, "its HTML has a script")
	}
	if c.parts > maxParts {
		f.sign("parts_many", 1, "it has more than 200 parts")
	}
}

// hasWallet tells whether a text has an address of bitcoin (BIP 173; the older form in base 58), which is followed by no letter.
func hasWallet(text []byte) bool {
	for from := 0; from < len(text); {
		i := from
		for i < len(text) && !(text[i] == 'b' || text[i] == '1' || text[i] == '3') {
			i++
		}
		if i == len(text) {
			return false
		}
		end := i
		for end < len(text) && (text[end] >= '0' && text[end] <= '9' || text[end]|0x20 >= 'a' && text[end]|0x20 <= 'z') {
			end++
		}
		word := text[i:max(end, i+1)]
		from = i + len(word)
		if i > 0 && text[i-1] > ' ' && text[i-1] != ':' && text[i-1] != '>' && text[i-1] != '"' && text[i-1] != '(' {
			continue
		}
		if bytes.HasPrefix(word, []byte("bc1")) && len(word) >= 42 && len(word) <= 62 || text[i] != 'b' && base58(word) {
			return true
		}
	}
	return false
}

// base58: of the length of an address, with letters of both cases and figures, as a number or a name never has them.
func base58(word []byte) bool {
	if len(word) < 26 || len(word) > 35 || bytes.ContainsAny(word, "0OIl") {
		return false
	}
	upper, lower, figures := 0, 0, 0
	for _, c := range word {
		switch {
		case c >= 'A' && c <= 'Z':
			upper++
		case c >= 'a' && c <= 'z':
			lower++
		default:
			figures++
		}
	}
	return upper >= 4 && lower >= 4 && figures >= 2
}
