package mailauth

import (
	"fmt"
	"strings"

	"github.com/posthouse-mail/posthouse/internal/message"
)

// Results is the value of Authentication-Results for the report without the name in front (RFC 8601 section 2.2): what
// ARC-Authentication-Results repeats too.
func (r *Report) Results() string {
	var b resultsWriter
	b.method("iprev", r.IPRev.Result, "")
	b.property("policy.iprev", r.Session.Remote.Unmap().String())
	if r.SPF.Result != "" {
		b.method("spf", r.SPF.Result, r.SPF.Reason)
		if r.SPF.Hello {
			b.property("smtp.helo", r.SPF.Domain)
		} else {
			b.property("smtp.mailfrom", r.SPF.Domain)
		}
	}
	for _, d := range r.DKIM {
		b.method("dkim", d.Result, d.Reason)
		b.property("header.d", d.Domain)
		b.property("header.s", d.Selector)
		b.property("header.a", d.Algorithm)
		b.property("header.b", d.Short)
	}
	if len(r.DKIM) == 0 {
		b.method("dkim", None, "")
	}
	if r.ARC.Result != None {
		b.method("arc", r.ARC.Result, r.ARC.Reason)
	}
	if r.DMARC.Result != "" {
		b.method("dmarc", r.DMARC.Result, r.DMARC.Reason)
		b.property("header.from", r.DMARC.Domain)
		b.property("policy.published-domain-policy", r.DMARC.Policy)
	}
	return b.String()
}

// Field is the Authentication-Results field, folded, with its line end.
func (r *Report) Field(hostname string) []byte {
	return resultsField("Authentication-Results", hostname+"; "+r.Results())
}

// resultsField folds before each method, so that people can read it.
func resultsField(name, value string) []byte {
	var h message.HeaderWriter
	h.Field(name, value)
	return h.Bytes()
}

// resultsWriter writes methods and their properties, every value safe.
type resultsWriter struct{ strings.Builder }

func (b *resultsWriter) method(name string, r Result, reason string) {
	if b.Len() > 0 {
		b.WriteString("; ")
	}
	if r == "" {
		r = None
	}
	fmt.Fprintf(b, "%s=%s", name, r)
	if reason != "" {
		b.WriteString(" reason=" + quoted(reason))
	}
}

func (b *resultsWriter) property(name, value string) {
	if value != "" {
		b.WriteString(" " + name + "=" + pvalue(value))
	}
}

// pvalue writes a value as a token or quoted string (RFC 8601 section 2.2); what is no ASCII text is left out.
func pvalue(v string) string {
	for _, c := range []byte(v) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`()<>,;\"[]?=`, c) >= 0 {
			return quoted(v)
		}
	}
	return v
}

const maxReason = 200

func quoted(v string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := 0; i < len(v) && i < maxReason; i++ {
		switch c := v[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c >= 0x7f:
			b.WriteByte('?')
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// Ours tells whether a field claims to be results of hostname: on mail from outside it is forged and must go (RFC 8601 section 5).
func Ours(f message.Field, hostname string) bool {
	if !f.Is("Authentication-Results") {
		return false
	}
	id := strings.TrimLeft(withoutComments(f.Unfolded()), " \t")
	if strings.HasPrefix(id, `"`) {
		id, _, _ = strings.Cut(id[1:], `"`)
	} else if i := strings.IndexAny(id, "; \t"); i >= 0 {
		id = id[:i]
	}
	return strings.EqualFold(strings.TrimSuffix(id, "."), hostname)
}

// withoutComments drops comments; one that never ends takes all that follows.
func withoutComments(s string) string {
	var b strings.Builder
	depth, inQuotes := 0, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s):
			i++
			if depth == 0 {
				b.WriteByte(s[i])
			}
		case inQuotes || c == '"' && depth == 0:
			inQuotes = inQuotes != (c == '"')
			b.WriteByte(c)
		case c == '(':
			depth++
		case c == ')' && depth > 0:
			depth--
		case depth == 0:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// saysPass tells whether results name the method with pass.
func saysPass(results, method string) bool { return Said(results, method) == Pass }

// Said is what results (Report.Results) say of a method, of several the first; empty: nothing. Comments and quoted strings repeat what
// strangers wrote, a semicolon and "dmarc=pass" too, and are passed over.
func Said(results, method string) Result {
	for part := range strings.SplitSeq(bare(results), ";") {
		words := strings.Fields(part)
		if len(words) == 0 {
			continue
		}
		name, result, ok := strings.Cut(words[0], "=")
		if ok && strings.EqualFold(name, method) {
			return Result(strings.ToLower(result))
		}
	}
	return ""
}

// bare is a value without its comments and quoted strings; one that never ends takes all that follows.
func bare(s string) string {
	var b strings.Builder
	depth, inQuotes := 0, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			i++
		case inQuotes:
			inQuotes = c != '"'
		case c == '"' && depth == 0:
			inQuotes = true
		case c == '(':
			depth++
		case c == ')' && depth > 0:
			depth--
		case depth == 0:
			b.WriteByte(c)
		}
	}
	return b.String()
}
