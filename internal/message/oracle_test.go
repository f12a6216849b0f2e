package message

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	gomessage "github.com/emersion/go-message"
	_ "github.com/emersion/go-message/charset" // its charsets
)

// TestStructureAsGoMessage makes well-formed mail at random and compares what go-message finds in it.
func TestStructureAsGoMessage(t *testing.T) {
	for seed := range uint64(300) {
		g := generator{rng: rand.New(rand.NewPCG(seed, 7))}
		raw := g.message()
		e, err := gomessage.Read(bytes.NewReader(raw))
		if err != nil {
			t.Fatalf("%v of\n%s", err, raw)
		}
		var theirs, ours strings.Builder
		describeEntity(t, &theirs, e)
		describePart(t, &ours, raw, scanWhole(raw).Root)
		if theirs.String() != ours.String() {
			t.Fatalf("seed %d: go-message\n%s\nwe\n%s\nof\n%s", seed, theirs.String(), ours.String(), raw)
		}
	}
}

func describeEntity(t *testing.T, b *strings.Builder, e *gomessage.Entity) {
	typ, params, err := e.Header.ContentType()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(b, "(%s %s", strings.ToUpper(typ), params["name"])
	if parts := e.MultipartReader(); parts != nil {
		for {
			p, err := parts.NextPart()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			describeEntity(t, b, p)
		}
	} else {
		body, err := io.ReadAll(e.Body)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(b, " %q", body)
	}
	b.WriteString(")")
}

func describePart(t *testing.T, b *strings.Builder, raw []byte, p *Part) {
	fmt.Fprintf(b, "(%s/%s %s", p.Type, p.Subtype, p.Param("name"))
	if p.IsMultipart() {
		for _, c := range p.Parts {
			describePart(t, b, raw, c)
		}
	} else {
		r, ok := ContentReader(bytes.NewReader(raw), p)
		if !ok {
			t.Fatal(p.Encoding)
		}
		body, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if p.Type == "TEXT" { // go-message gives text as UTF-8
			body = []byte(toUTF8(p.Charset(), string(body)))
		}
		fmt.Fprintf(b, " %q", body)
	}
	b.WriteString(")")
}

// generator makes well-formed mail.
type generator struct {
	rng   *rand.Rand
	parts int
	b     bytes.Buffer
}

func (g *generator) message() []byte {
	g.b.WriteString("From: a@alpha.test\r\nSubject: made\r\n up\r\nMIME-Version: 1.0\r\n")
	g.entity(0)
	return g.b.Bytes()
}

func (g *generator) entity(depth int) {
	if depth < 4 && g.rng.IntN(3) > 0 {
		g.multipart(depth)
		return
	}
	types := []string{"text/plain; charset=utf-8", "text/html; charset=iso-8859-1", "image/png; name=\"a b.png\"", "application/x; name*=utf-8''%C3%BC; x=y", "application/y;\r\n name*0=\"long \";\r\n name*1=name"}
	fmt.Fprintf(&g.b, "Content-Type: %s\r\n", types[g.rng.IntN(len(types))])
	switch g.rng.IntN(3) {
	case 0:
		g.b.WriteString("Content-Transfer-Encoding: quoted-printable\r\n\r\nsoft=\r\n line =3D=41\r\n")
	case 1:
		g.b.WriteString("Content-Transfer-Encoding: base64\r\n\r\n" + wrapBase64(bytes.Repeat([]byte("content"), g.rng.IntN(40))))
	default:
		g.b.WriteString("\r\n")
		for range g.rng.IntN(4) {
			g.b.WriteString("--a line that is no boundary\r\n\r\n")
		}
	}
}

func (g *generator) multipart(depth int) {
	g.parts++
	boundary := fmt.Sprintf("b%d", g.parts)
	fmt.Fprintf(&g.b, "Content-Type: multipart/mixed; boundary=\"%s\"\r\n\r\n", boundary)
	if g.rng.IntN(2) == 0 {
		g.b.WriteString("preamble\r\n")
	}
	for range 1 + g.rng.IntN(3) {
		fmt.Fprintf(&g.b, "--%s\r\n", boundary)
		g.entity(depth + 1)
		g.b.WriteString("\r\n")
	}
	fmt.Fprintf(&g.b, "--%s--\r\n", boundary)
}

// TestLimits: what is beyond a limit is body, and memory stays small.
func TestLimits(t *testing.T) {
	deep := strings.Builder{}
	for i := range 300 {
		fmt.Fprintf(&deep, "Content-Type: multipart/mixed; boundary=b%03d\r\n\r\n--b%03d\r\n", i, i)
	}
	enclosed := strings.Repeat("Content-Type: message/rfc822\r\n\r\n", 300)
	many := "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\n\r\nx\r\n", 2*maxParts)
	wide := "To: " + strings.Repeat("a@b.test, ", 100_000) + "\r\nX: " + strings.Repeat("y", 3<<20) + "\r\nSubject: late\r\n\r\nbody\r\n"
	params := "Content-Type: text/plain" + strings.Repeat("; a=b", 100_000) + "\r\n\r\nbody\r\n"
	unquoted := "Content-Type: text/plain; " + strings.Repeat("a=b ", 100_000) + "\r\n\r\nbody\r\n"
	comments := "From: " + strings.Repeat("((", 100_000) + "\r\nSubject: " + strings.Repeat("=?a?q?", 50_000) + "\r\nDate: " + strings.Repeat("(", 100_000) + "\r\n\r\nbody\r\n"
	folded := "Subject: " + strings.Repeat("x\r\n ", 500_000) + "\r\n\r\nbody\r\n"
	for _, c := range []struct {
		name, raw    string
		depth, parts int
	}{{"deep", deep.String(), maxDepth, maxDepth}, {"enclosed", enclosed, maxDepth, maxDepth}, {"many", many, 2, maxParts}, {"wide", wide, 1, 1}, {"params", params, 1, 1}, {"unquoted", unquoted, 1, 1}, {"comments", comments, 1, 1}, {"folded", folded, 1, 1}} {
		sum := scanWhole([]byte(c.raw))
		parts, depth := 0, 0
		var walk func(p *Part, level int)
		walk = func(p *Part, level int) {
			parts++
			depth = max(depth, level)
			for _, k := range p.Parts {
				walk(k, level+1)
			}
		}
		walk(sum.Root, 1)
		if depth > c.depth || parts > c.parts || depth < c.depth/2 {
			t.Errorf("%s: %d parts, %d deep", c.name, parts, depth)
		}
		checkPart(t, []byte(c.raw), sum.Root)
		stored := AppendPart(nil, sum.Root)
		if len(stored) > 2*maxKept {
			t.Errorf("%s: %d octets stored", c.name, len(stored))
		}
		if _, err := ParsePart(stored); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if c.parts == 1 && !strings.HasPrefix(c.raw[sum.Root.Body:], "body") {
			t.Errorf("%s: body at %d", c.name, sum.Root.Body)
		}
	}
}
