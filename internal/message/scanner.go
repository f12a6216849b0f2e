package message

import (
	"bytes"
	"encoding/binary"
	"io"
)

// What a Scanner keeps of one message. Beyond a limit nothing fails: values are cut, parts stay body of their parent.
const (
	maxHeaderKept = 256 << 10 // octets of field values of one header
	maxKept       = 1 << 20   // of all headers together, addresses and parameters counted with their weight
	maxParts      = 10_000
	maxDepth      = 100
	maxBoundary   = 1000 // octets; RFC 2046 section 5.1.1 allows 70, mail in the wild has more
	maxLine       = 998  // RFC 5322 section 2.1.1
)

// Scanner is an io.Writer that is fed the message while it arrives, in pieces of any size.
type Scanner struct {
	pos      int64 // start of the current line
	lines    int64 // line ends before pos
	crs      int64 // CR octets, and how many of them stood before an LF
	crlfs    int64
	prevEOL  int64  // length of the line end before pos
	held     []byte // beginning of the current line, when it came in an earlier piece
	heldLen  int64  // octets of the current line so far
	heldCR   bool   // the last of them is CR
	inHeader bool
	limits   scanLimits
	stack    []entity
	field    field
	sum      Summary
}

// scanLimits counts down what may still be kept.
type scanLimits struct {
	parts  int // parts made
	bounds int // open multiparts on the stack
	header int // octets left for this header
	kept   int // octets left for the message
}

// entity is a part that is not finished yet.
type entity struct {
	part      *Part
	delimiter []byte // "--" and the boundary; nil when it is no multipart, or is closed
	bodyLines int64  // line ends before the body
	digest    bool   // multipart/digest: its parts are messages by default (RFC 2046 section 5.1.5)
}

// NewScanner returns a Scanner for one message.
func NewScanner() *Scanner {
	s := &Scanner{limits: scanLimits{kept: maxKept}}
	s.stack = make([]entity, 0, 4)
	s.sum.Root = &Part{Envelope: new(Envelope)}
	s.push(s.sum.Root, false)
	return s
}

// Write takes the next octets; it never fails.
func (s *Scanner) Write(p []byte) (int, error) {
	n := len(p)
	s.facts(p)
	if s.heldLen > 0 {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			s.hold(p)
			return n, nil
		}
		s.hold(p[:i])
		s.endHeld(true)
		p = p[i+1:]
	}
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			s.hold(p)
			break
		}
		line, eol := p[:i], int64(1)
		if i > 0 && p[i-1] == '\r' {
			line, eol = p[:i-1], 2
			s.crlfs++
		}
		s.takeLine(line, int64(len(line)), eol)
		p = p[i+1:]
	}
	return n, nil
}

// facts notes what does not depend on lines.
func (s *Scanner) facts(p []byte) {
	if !s.sum.Has8Bit && has8Bit(p) {
		s.sum.Has8Bit = true
	}
	if !s.sum.HasNUL && bytes.IndexByte(p, 0) >= 0 {
		s.sum.HasNUL = true
	}
	s.crs += int64(bytes.Count(p, []byte{'\r'}))
}

func has8Bit(p []byte) bool {
	const high = 0x8080808080808080
	for len(p) >= 32 {
		a := binary.LittleEndian.Uint64(p) | binary.LittleEndian.Uint64(p[8:])
		b := binary.LittleEndian.Uint64(p[16:]) | binary.LittleEndian.Uint64(p[24:])
		if (a|b)&high != 0 {
			return true
		}
		p = p[32:]
	}
	for _, c := range p {
		if c >= 0x80 {
			return true
		}
	}
	return false
}

// lineLimit is how much of a line is looked at; the same whether it came in one piece or in many.
func (s *Scanner) lineLimit() int {
	if s.inHeader {
		return maxHeaderKept
	}
	return maxBoundary + 64
}

// hold keeps a piece of a line whose end has not come.
func (s *Scanner) hold(p []byte) {
	if len(p) == 0 {
		return
	}
	s.heldLen += int64(len(p))
	s.heldCR = p[len(p)-1] == '\r'
	if room := s.lineLimit() - len(s.held); room > 0 {
		s.held = append(s.held, p[:min(len(p), room)]...)
	}
}

// endHeld takes the held line; terminated: an LF followed it.
func (s *Scanner) endHeld(terminated bool) {
	n, eol := s.heldLen, int64(0)
	if terminated {
		eol = 1
		if s.heldCR {
			n, eol = n-1, 2
			s.crlfs++
		}
	}
	line := s.held
	if int64(len(line)) > n {
		line = line[:n]
	}
	s.takeLine(line, n, eol)
	s.held, s.heldLen = s.held[:0], 0
}

// takeLine takes one line of n octets (line may be its beginning only) and its line end of eol octets.
func (s *Scanner) takeLine(line []byte, n, eol int64) {
	start := s.pos
	s.pos += n + eol
	if n > maxLine {
		s.sum.LongLine = true
		line = line[:min(len(line), s.lineLimit())]
	}
	switch {
	case s.limits.bounds > 0 && len(line) > 2 && line[0] == '-' && line[1] == '-' && s.boundary(line, start):
	case s.inHeader:
		s.headerLine(line)
	}
	if eol > 0 {
		s.lines++
	}
	s.prevEOL = eol
}

// boundary ends and opens parts when line is a delimiter of an open multipart.
// An exact match anywhere on the stack wins, innermost first, so that boundaries that begin alike are told
// apart; else the longest boundary that the line begins with (RFC 2046 section 5.1.1).
func (s *Scanner) boundary(line []byte, start int64) bool {
	found, closes := -1, false
	for i := len(s.stack) - 1; i >= 0; i-- {
		d := s.stack[i].delimiter
		if d == nil || !bytes.HasPrefix(line, d) {
			continue
		}
		rest := line[len(d):]
		end := bytes.HasPrefix(rest, []byte("--"))
		if end && isBlank(rest[2:]) || isBlank(rest) {
			found, closes = i, end
			break
		}
		if found < 0 || len(d) > len(s.stack[found].delimiter) {
			found, closes = i, end
		}
	}
	if found < 0 {
		return false
	}
	s.unwind(found+1, start, s.prevEOL)
	s.inHeader = false
	if closes {
		s.stack[found].delimiter = nil
		s.limits.bounds--
		return true
	}
	multipart := s.stack[found].part
	child := &Part{Header: s.pos}
	multipart.Parts = append(multipart.Parts, child)
	s.push(child, s.stack[found].digest)
	return true
}

func isBlank(b []byte) bool {
	for _, c := range b {
		if c != ' ' && c != '\t' {
			return false
		}
	}
	return true
}

// push opens a part; its header comes next.
func (s *Scanner) push(p *Part, inDigest bool) {
	p.Type, p.Subtype, p.Encoding = "TEXT", "PLAIN", "7BIT"
	if inDigest {
		p.Type, p.Subtype = "MESSAGE", "RFC822"
	}
	s.stack = append(s.stack, entity{part: p})
	s.limits.parts++
	if s.limits.parts >= maxParts {
		s.stopSplitting()
	}
	s.limits.header = maxHeaderKept
	s.field.reset()
	s.field.had = 0
	s.inHeader = true
}

// stopSplitting makes all that follows body of the parts that are open.
func (s *Scanner) stopSplitting() {
	for i := range s.stack {
		s.stack[i].delimiter = nil
	}
	s.limits.bounds = 0
}

// unwind finishes the parts above depth; they end before the line at start, whose preceding line end
// of eol octets belongs to the delimiter (RFC 2046 section 5.1.1).
func (s *Scanner) unwind(depth int, start, eol int64) {
	end := start - eol
	for i := len(s.stack) - 1; i >= depth; i-- {
		e := &s.stack[i]
		if s.inHeader && i == len(s.stack)-1 {
			s.endField()
			e.part.Body, e.bodyLines = start, s.lines
		}
		end = max(end, e.part.Body)
		e.part.End = end
		e.part.Lines = s.lines - e.bodyLines
		if end < start {
			e.part.Lines--
		}
		if e.delimiter != nil {
			s.limits.bounds--
		}
	}
	clear(s.stack[depth:])
	s.stack = s.stack[:depth]
}

// headerLine takes one line of a header.
func (s *Scanner) headerLine(line []byte) {
	switch {
	case len(line) == 0:
		s.endHeader()
	case line[0] == ' ' || line[0] == '\t':
		if s.field.kind != fieldOther {
			s.keep(line)
		}
	default:
		s.endField()
		if value, ok := s.field.start(line); ok {
			s.keep(value)
		}
	}
}

// keep adds a piece to the field's value, as far as the limits allow.
func (s *Scanner) keep(b []byte) {
	n := min(len(b), s.limits.header, s.limits.kept)
	s.field.value = append(s.field.value, b[:n]...)
	s.limits.header -= n
	s.limits.kept -= n
}

// endField takes what the finished field says.
func (s *Scanner) endField() {
	kind := s.field.kind
	if kind == fieldOther {
		return
	}
	p := s.stack[len(s.stack)-1].part
	value := cleanValue(s.field.value)
	s.field.reset()
	if kind >= fieldDate {
		if p.Envelope != nil {
			s.envelopeField(p, kind, value)
		}
		return
	}
	s.contentField(p, kind, value)
}

// endHeader looks at what the header announced: parts, an enclosed message, or a plain body.
func (s *Scanner) endHeader() {
	s.endField()
	top := &s.stack[len(s.stack)-1]
	p := top.part
	p.Body, top.bodyLines = s.pos, s.lines+1
	s.inHeader = false
	if len(s.stack) >= maxDepth || s.limits.parts >= maxParts {
		return
	}
	switch {
	case p.IsMultipart():
		if b := trimRight(p.Param("boundary")); b != "" && len(b) <= maxBoundary {
			top.delimiter = append([]byte("--"), b...)
			top.digest = p.Subtype == "DIGEST"
			s.limits.bounds++
		}
	case p.IsMessage() && identityEncoding(p.Encoding):
		child := &Part{Header: s.pos, Envelope: new(Envelope)}
		p.Parts = []*Part{child}
		s.push(child, false)
	}
}

// identityEncoding tells whether the octets of a body are its content (RFC 2045 section 6.2).
func identityEncoding(e string) bool {
	return e == "7BIT" || e == "8BIT" || e == "BINARY"
}

// Finish ends the message.
func (s *Scanner) Finish() *Summary {
	if s.heldLen > 0 {
		s.endHeld(false)
	}
	if len(s.stack) > 0 {
		s.unwind(0, s.pos, 0)
	}
	s.sum.Size = s.pos
	s.sum.HasBareCR = s.crs > s.crlfs
	s.sum.HasBareLF = s.lines > s.crlfs
	return &s.sum
}

// Scan reads a whole message.
func Scan(r io.Reader) (*Summary, error) {
	s := NewScanner()
	if _, err := io.Copy(s, r); err != nil {
		return nil, err
	}
	return s.Finish(), nil
}
