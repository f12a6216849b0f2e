package message

import (
	"sort"
	"strings"
)

// contentType reads a Content-Type field. What cannot be understood leaves the default (RFC 2045 section 5.2).
func (s *Scanner) contentType(p *Part, v string) {
	token, rest := cutToken(v)
	typ, sub, slash := strings.Cut(strings.ToUpper(token), "/")
	typ, sub = strings.TrimSpace(typ), strings.TrimSpace(sub)
	switch {
	case !isToken(typ):
		return
	case !slash || !isToken(sub):
		// RFC 7103 section 8 asks to save what can be saved; only these have an evident meaning.
		switch typ {
		case "MULTIPART":
			sub = "MIXED"
		case "TEXT":
			sub = "PLAIN"
		case "APPLICATION":
			sub = "OCTET-STREAM"
		default:
			return
		}
	}
	p.Type, p.Subtype = typ, sub
	p.Params = s.params(rest)
}

// encodingToken is a Content-Transfer-Encoding as a token in upper case.
func encodingToken(v string) string {
	token, _ := cutToken(v)
	if i := strings.IndexAny(token, " \t,"); i >= 0 {
		token = token[:i]
	}
	token = strings.Trim(token, `"`)
	if !isToken(token) {
		return ""
	}
	return strings.ToUpper(token)
}

// isToken: RFC 2045 section 5.1.
func isToken(s string) bool {
	if s == "" || len(s) > 255 {
		return false
	}
	for i := range len(s) {
		if !isTokenByte(s[i]) {
			return false
		}
	}
	return true
}

func isTokenByte(c byte) bool {
	return c > ' ' && c < 0x7f && strings.IndexByte(`()<>@,;:\"/[]?=`, c) < 0
}

// cutToken splits a value before its first semicolon, comments and white space around the token dropped.
func cutToken(v string) (token, rest string) {
	i := strings.IndexAny(v, ";(")
	if i < 0 {
		return strings.TrimSpace(v), ""
	}
	if v[i] == ';' {
		return strings.TrimSpace(v[:i]), v[i+1:]
	}
	var b strings.Builder
	for i = 0; i < len(v) && v[i] != ';'; {
		if v[i] == '(' {
			i = skipComment(v, i)
			continue
		}
		b.WriteByte(v[i])
		i++
	}
	return strings.TrimSpace(b.String()), v[min(i+1, len(v)):]
}

// skipComment returns the index behind the comment that begins at i (RFC 5322 section 3.2.2); an open one ends with the value.
func skipComment(s string, i int) int {
	depth := 0
	for ; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(s)
}

// stripComments drops the comments of a structured value.
func stripComments(s string) string {
	if strings.IndexByte(s, '(') < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		if s[i] == '(' {
			i = skipComment(s, i)
			continue
		}
		b.WriteByte(s[i])
		i++
	}
	return b.String()
}

// params reads a parameter list, tolerant of missing quotes and of what stands between (RFC 2045 section 5.1, RFC 2231).
func (s *Scanner) params(v string) []Param {
	var list []Param
	pieces := false
	for i := 0; i < len(v); {
		switch c := v[i]; c {
		case ' ', '\t', ';', ',':
			i++
			continue
		case '(':
			i = skipComment(v, i)
			continue
		}
		start := i
		for i < len(v) && v[i] != '=' && v[i] != ';' {
			i++
		}
		name := strings.ToLower(strings.TrimSpace(stripComments(v[start:i])))
		if i == len(v) || v[i] == ';' {
			continue // no value
		}
		var value string
		value, i = paramText(v, i+1)
		if !printableName(name) || !s.weigh(32) {
			continue
		}
		pieces = pieces || strings.IndexByte(name, '*') >= 0
		list = append(list, Param{name, value})
	}
	if pieces {
		return joinPieces(list)
	}
	return list
}

func printableName(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f || s[i] == '"' {
			return false
		}
	}
	return s != "" && len(s) <= 255
}

// paramText reads a value at i: quoted, or up to the next semicolon.
func paramText(v string, i int) (string, int) {
	for i < len(v) && (v[i] == ' ' || v[i] == '\t') {
		i++
	}
	if i < len(v) && v[i] == '"' {
		return quotedText(v, i)
	}
	start := i
	for i < len(v) && v[i] != ';' && v[i] != '(' {
		if (v[i] == ' ' || v[i] == '\t') && nextIsParam(v[i+1:]) {
			return v[start:i], i + 1 // the semicolon before the next parameter is missing
		}
		i++
	}
	value := strings.TrimSpace(v[start:i])
	for i < len(v) && v[i] != ';' {
		if v[i] == '(' {
			i = skipComment(v, i)
			continue
		}
		i++
	}
	return value, i
}

// nextIsParam tells whether "name=" comes next.
func nextIsParam(v string) bool {
	for i := range len(v) {
		if !isTokenByte(v[i]) {
			return i > 0 && v[i] == '='
		}
	}
	return false
}

// quotedText reads the quoted string that begins at i; one without end goes to the end of the value.
func quotedText(v string, i int) (string, int) {
	i++
	start := i
	if j := strings.IndexAny(v[i:], `"\`); j >= 0 && v[i+j] == '"' {
		return v[start : i+j], i + j + 1
	}
	var b strings.Builder
	for i < len(v) && v[i] != '"' {
		if v[i] == '\\' && i+1 < len(v) {
			i++
		}
		b.WriteByte(v[i])
		i++
	}
	return b.String(), min(i+1, len(v))
}

// joinPieces joins the continuations of RFC 2231 section 3; name*0, name*1*, ... become name, or name* when a charset is given.
func joinPieces(list []Param) []Param {
	type piece struct {
		n        int
		extended bool
		value    string
	}
	out := list[:0:0]
	pieces := map[string][]piece{}
	for _, p := range list {
		base, rest, ok := strings.Cut(p.Name, "*")
		n, number := 0, strings.TrimSuffix(rest, "*")
		for i := 0; ok && i < len(number); i++ {
			if number[i] < '0' || number[i] > '9' || i > 4 {
				ok = false
				break
			}
			n = n*10 + int(number[i]-'0')
		}
		if !ok || base == "" || number == "" {
			out = append(out, p)
			continue
		}
		if pieces[base] == nil {
			out = append(out, Param{Name: base + "*0"}) // holds the place
		}
		pieces[base] = append(pieces[base], piece{n, strings.HasSuffix(rest, "*"), p.Value})
	}
	for i := range out {
		base, ok := strings.CutSuffix(out[i].Name, "*0")
		list := pieces[base]
		if !ok || list == nil {
			continue
		}
		sort.SliceStable(list, func(a, b int) bool { return list[a].n < list[b].n })
		var b strings.Builder
		charset := list[0].extended
		for k, p := range list {
			switch {
			case k > 0 && p.n == list[k-1].n:
				continue // the first of a number wins
			case charset && !p.extended:
				percentEncode(&b, p.value)
			default:
				b.WriteString(p.value)
			}
		}
		out[i] = Param{base, b.String()}
		if charset {
			out[i].Name += "*"
		}
	}
	return out
}

// percentEncode writes v as attribute characters of RFC 2231 section 7.
func percentEncode(b *strings.Builder, v string) {
	const hex = "0123456789ABCDEF"
	for i := range len(v) {
		if c := v[i]; isTokenByte(c) && c != '*' && c != '\'' && c != '%' {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
}

// paramValue finds a parameter and decodes its charset form.
func paramValue(list []Param, name string) string {
	plain := ""
	for i := range list {
		n := list[i].Name
		if len(n) == len(name)+1 && n[len(name)] == '*' && n[:len(name)] == name {
			return decodeExtended(list[i].Value)
		}
		if plain == "" && n == name {
			plain = list[i].Value
		}
	}
	return plain
}

// decodeExtended decodes charset'language'percent-encoded text (RFC 2231 section 4).
func decodeExtended(v string) string {
	charset, rest, ok := strings.Cut(v, "'")
	if !ok {
		return percentDecode(v)
	}
	_, text, ok := strings.Cut(rest, "'")
	if !ok {
		return percentDecode(v)
	}
	return toUTF8(charset, percentDecode(text))
}

func percentDecode(v string) string {
	if strings.IndexByte(v, '%') < 0 {
		return v
	}
	out := make([]byte, 0, len(v))
	for i := 0; i < len(v); i++ {
		if v[i] == '%' && i+2 < len(v) {
			if h, l := unhex(v[i+1]), unhex(v[i+2]); h >= 0 && l >= 0 {
				out = append(out, byte(h<<4|l))
				i += 2
				continue
			}
		}
		out = append(out, v[i])
	}
	return string(out)
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	}
	return -1
}
