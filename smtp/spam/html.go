package spam

import (
	"bytes"
	"html"
	"strings"
)

// visible is what a reader sees of HTML.
type visible struct {
	shown    int // octets of text in all parts
	hidden   int // octets of text that is made invisible
	pictures int
	form     bool
	script   bool
}

// maxHidden is how deep elements that are made invisible are followed.
const maxHidden = 16

// htmlReader walks HTML once, from tag to tag; it knows no tree and cannot fail.
type htmlReader struct {
	c       *content
	anchor  string // href of the link that is open
	from    int    // where its text began in out
	open    bool
	skip    string // element whose text is none: script, style, title
	unseen  string // element that hides its text, and how often it is open inside of itself
	nesting int
}

// readHTML takes the words and links of an HTML part.
func (c *content) readHTML(text []byte) {
	c.out = c.out[:0]
	h := htmlReader{c: c}
	for len(text) > 0 {
		i := bytes.IndexByte(text, '<')
		if i < 0 {
			h.text(text)
			break
		}
		h.text(text[:i])
		text = text[i:]
		n := tagEnd(text)
		if n == 0 { // a lone "<"
			h.text(text[:1])
			text = text[1:]
			continue
		}
		h.tag(text[:n])
		text = text[n:]
	}
	h.endAnchor()
	c.shown += len(bytes.TrimSpace(c.out))
	c.tokens.words(placeBody, c.out)
}

// tagEnd is the length of the tag or comment that text begins with; 0: it is none.
func tagEnd(text []byte) int {
	if bytes.HasPrefix(text, []byte("<!--")) {
		if i := bytes.Index(text[4:], []byte("-->")); i >= 0 {
			return i + 7
		}
		return len(text)
	}
	if len(text) < 2 || !(text[1] == '/' || text[1] == '!' || text[1] == '?' || text[1]|0x20 >= 'a' && text[1]|0x20 <= 'z') {
		return 0
	}
	var quote byte
	for i := 1; i < len(text); i++ {
		switch b := text[i]; {
		case quote != 0:
			if b == quote || i > 8192 { // a quote that never ends hides no more than this
				quote = 0
			}
		case b == '>':
			return i + 1
		case (b == '"' || b == '\'') && text[i-1] == '=':
			quote = b
		}
	}
	return len(text)
}

func (h *htmlReader) text(b []byte) {
	if len(b) == 0 || h.skip != "" {
		return
	}
	if h.nesting > 0 {
		h.c.hidden += len(bytes.TrimSpace(b))
		return
	}
	if bytes.IndexByte(b, '&') >= 0 {
		h.c.out = append(h.c.out, html.UnescapeString(string(b))...)
		return
	}
	h.c.out = append(h.c.out, b...)
}

func (h *htmlReader) tag(b []byte) {
	closing := b[1] == '/'
	at := 1
	if closing {
		at = 2
	}
	end := at
	for end < len(b) && (b[end]|0x20 >= 'a' && b[end]|0x20 <= 'z' || b[end] >= '0' && b[end] <= '9') {
		end++
	}
	if end-at > 12 || end == at {
		return
	}
	var lower [12]byte
	for i, c := range b[at:end] {
		lower[i] = c
		if c >= 'A' && c <= 'Z' {
			lower[i] = c | 0x20
		}
	}
	name := string(lower[:end-at])
	if h.skip != "" {
		if closing && name == h.skip {
			h.skip = ""
		}
		return
	}
	if block(name) {
		h.c.out = append(h.c.out, ' ')
	}
	if closing {
		h.close(name)
		return
	}
	h.start(name, b[end:])
}

// block elements end a word.
func block(name string) bool {
	switch name {
	case "p", "br", "div", "td", "th", "tr", "li", "h1", "h2", "h3", "h4", "h5", "h6", "table", "a", "img", "ul", "hr":
		return true
	}
	return false
}

func (h *htmlReader) close(name string) {
	if name == "a" {
		h.endAnchor()
	}
	if h.nesting > 0 && name == h.unseen {
		h.nesting--
	}
}

func (h *htmlReader) start(name string, rest []byte) {
	switch name {
	case "script":
		h.c.script = true
		h.skip = name
	case "style", "title", "noscript":
		h.skip = name
	case "img":
		h.c.pictures++
		h.c.addSource(attribute(rest, "src"))
	case "form":
		h.c.form = true
		if l := len(h.c.links); l < maxLinks {
			h.c.addLink(attribute(rest, "action"), "")
			if len(h.c.links) > l {
				h.c.links[l].form = true
			}
		}
	case "a", "area":
		h.endAnchor()
		h.anchor, h.from, h.open = attribute(rest, "href"), len(h.c.out), true
	}
	switch {
	case h.nesting > 0 && name == h.unseen:
		if !bytes.HasSuffix(rest, []byte("/>")) && h.nesting < maxHidden {
			h.nesting++
		}
	case h.nesting == 0 && !void(name) && bytes.Contains(rest, []byte("style")) && invisible(attribute(rest, "style")):
		h.unseen, h.nesting = name, 1
	}
}

// void elements have no end tag.
func void(name string) bool {
	switch name {
	case "img", "br", "hr", "input", "meta", "link", "area", "base", "body", "html":
		return true
	}
	return false
}

// invisible tells whether a style hides the text it is for.
func invisible(style string) bool {
	s := strings.ToLower(strings.Join(strings.Fields(style), ""))
	return strings.Contains(s, "display:none") || strings.Contains(s, "visibility:hidden") || strings.Contains(s, "font-size:0") ||
		strings.Contains(s, "opacity:0;") || strings.HasSuffix(s, "opacity:0")
}

func (h *htmlReader) endAnchor() {
	if !h.open {
		return
	}
	h.open = false
	if len(h.c.links) < maxLinks {
		h.c.addLink(h.anchor, bounded(strings.TrimSpace(string(h.c.out[h.from:])), 200))
	}
}

// attribute is the value of an attribute, unescaped and bounded; "" when there is none.
func attribute(b []byte, name string) string {
	for from := 0; ; {
		i := indexFold(b[from:], name)
		if i < 0 {
			return ""
		}
		i += from
		from = i + len(name)
		v := bytes.TrimLeft(b[from:], " \t\r\n")
		if i == 0 || b[i-1] > ' ' && b[i-1] != '"' && b[i-1] != '\'' && b[i-1] != '/' || len(v) == 0 || v[0] != '=' {
			continue
		}
		v = bytes.TrimLeft(v[1:], " \t\r\n")
		if len(v) == 0 {
			return ""
		}
		if q := v[0]; q == '"' || q == '\'' {
			v = v[1:]
			if end := bytes.IndexByte(v, q); end >= 0 {
				v = v[:end]
			}
		} else if end := bytes.IndexAny(v, " \t\r\n>"); end >= 0 {
			v = v[:end]
		}
		return html.UnescapeString(string(v[:min(len(v), 2000)]))
	}
}

// indexFold is bytes.Index for a lower-case ASCII name in any case.
func indexFold(b []byte, name string) int {
	for i := 0; i+len(name) <= len(b); i++ {
		if b[i]|0x20 == name[0] && strings.EqualFold(string(b[i:i+len(name)]), name) {
			return i
		}
	}
	return -1
}
