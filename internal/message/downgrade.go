package message

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime/quotedprintable"
	"unicode/utf8"
)

// ErrHeaderSize: a header is too large to be rewritten.
var ErrHeaderSize = errors.New("message: header too large to convert")

// maxRewrite is the longest header Downgrade rewrites.
const maxRewrite = 4 << 20

// Downgraded tells what Downgrade did and what it had to leave as it was.
type Downgraded struct {
	Encoded int  // parts that were encoded
	Header  bool // a header has octets over 127: needs SMTPUTF8 (RFC 6531), cannot be converted
	Signed  bool // a signed part has 8-bit content: converting it would break the signature (RFC 1847 section 2.1)
	Unknown bool // a part in an encoding nobody knows, or of a type that may not be encoded, has 8-bit content
}

// SevenBit tells whether the result has no octet over 127.
func (d Downgraded) SevenBit() bool { return !d.Header && !d.Signed && !d.Unknown }

// Downgrade writes the message in src, whose structure is root, with every 8-bit, binary or over-long body part in
// quoted-printable or base64 (RFC 6152 section 3). Content-Transfer-Encoding fields are adjusted on the way down; all other octets
// stay. It reads src in pieces and holds no body.
func Downgrade(w io.Writer, src io.ReaderAt, root *Part) (Downgraded, error) {
	bw := bufio.NewWriterSize(w, 32<<10)
	d := downgrader{w: bw, src: src}
	if err := d.part(root, true); err != nil {
		return d.done, fmt.Errorf("convert to 7 bit: %w", err)
	}
	return d.done, bw.Flush()
}

type downgrader struct {
	w    *bufio.Writer
	src  io.ReaderAt
	done Downgraded
}

func (d *downgrader) part(p *Part, root bool) error {
	switch {
	case p.IsMultipart() && p.Subtype == "SIGNED":
		return d.leave(p, &d.done.Signed)
	case len(p.Parts) > 0:
		return d.container(p)
	case p.IsMultipart(), p.Type == "MESSAGE" && p.Subtype != "GLOBAL" && p.Subtype != "DELIVERY-STATUS":
		return d.leave(p, &d.done.Unknown)
	}
	return d.leaf(p, root)
}

// leave copies a part as it stands and notes 8-bit content.
func (d *downgrader) leave(p *Part, note *bool) error {
	if err := d.copy(p.Header, p.Body, &d.done.Header, false); err != nil {
		return err
	}
	return d.copy(p.Body, p.End, note, false)
}

// copy writes a range; mask replaces octets over 127 (text between parts that nobody reads), else they are noted.
func (d *downgrader) copy(from, to int64, note *bool, mask bool) error {
	var buf [8 << 10]byte
	for from < to {
		b := buf[:min(int64(len(buf)), to-from)]
		if err := readFull(d.src, b, from); err != nil {
			return err
		}
		if has8Bit(b) {
			if !mask {
				*note = true
			}
			for i := range b {
				if mask && b[i] >= 0x80 {
					b[i] = '?'
				}
			}
		}
		if _, err := d.w.Write(b); err != nil {
			return err
		}
		from += int64(len(b))
	}
	return nil
}

func readFull(src io.ReaderAt, b []byte, off int64) error {
	n, err := src.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// container writes a multipart or an enclosed message: what stands between the parts is copied.
func (d *downgrader) container(p *Part) error {
	change := headerChange{}
	if p.Encoding == "8BIT" || p.Encoding == "BINARY" {
		change.encoding = "7bit"
	}
	if err := d.header(p, change); err != nil {
		return err
	}
	mask := isASCII(p.Param("boundary"))
	at := p.Body
	for _, c := range p.Parts {
		if err := d.copy(at, c.Header, &d.done.Header, mask); err != nil {
			return err
		}
		if err := d.part(c, false); err != nil {
			return err
		}
		at = c.End
	}
	return d.copy(at, p.End, &d.done.Header, mask)
}

// leaf writes a part that has content, encoded when it must be.
func (d *downgrader) leaf(p *Part, root bool) error {
	content, known := ContentReader(d.src, p)
	raw, err := d.look(RawReader(d.src, p))
	if err != nil {
		return err
	}
	if !raw.needsEncoding() {
		change := headerChange{}
		if p.Encoding == "8BIT" || p.Encoding == "BINARY" {
			change.encoding = "7bit"
		}
		if err := d.header(p, change); err != nil {
			return err
		}
		return d.copy(p.Body, p.End, new(bool), false)
	}
	if !known || !identityEncoding(p.Encoding) && raw.eight == 0 {
		return d.leave(p, &d.done.Unknown)
	}
	d.done.Encoded++
	change := headerChange{encoding: "base64", root: root}
	if p.Type == "TEXT" && raw.eight*3 < raw.size && !raw.binary {
		change.encoding = "quoted-printable"
	}
	if change.charset = "utf-8"; !raw.utf8 {
		change.charset = "unknown-8bit" // RFC 1428 section 3
	}
	if err := d.header(p, change); err != nil {
		return err
	}
	var enc io.WriteCloser = quotedprintable.NewWriter(d.w)
	if change.encoding == "base64" {
		enc = newBase64Writer(d.w)
	}
	if _, err := io.Copy(enc, content); err != nil {
		return err
	}
	if err := enc.Close(); err != nil || !root || change.encoding != "base64" {
		return err
	}
	_, err = d.w.WriteString("\r\n")
	return err
}

// looked is what the octets of a body ask for.
type looked struct {
	size, eight int64
	long        bool // a line over 998 octets
	binary      bool // NUL, or CR and LF that are no line ends
	utf8        bool
}

func (l looked) needsEncoding() bool { return l.eight > 0 || l.long || l.binary }

// look reads a body once.
func (d *downgrader) look(r io.Reader) (looked, error) {
	l := looked{utf8: true}
	var buf [8 << 10]byte
	var line int64
	var rest []byte // an unfinished character
	last := byte(0)
	for {
		n, err := r.Read(buf[:])
		b := buf[:n]
		l.size += int64(n)
		for _, c := range b {
			if c >= 0x80 {
				l.eight++
			}
			if c == 0 || c == '\n' && last != '\r' || last == '\r' && c != '\n' {
				l.binary = true
			}
			if line++; c == '\n' {
				line = 0
			}
			l.long = l.long || line > maxLine+1 // the CR counts
			last = c
		}
		rest = checkUTF8(append(rest, b...), &l.utf8)
		if err == io.EOF {
			l.binary = l.binary || last == '\r'
			l.utf8 = l.utf8 && len(rest) == 0
			return l, nil
		}
		if err != nil {
			return l, err
		}
	}
}

// checkUTF8 clears ok when b is no UTF-8, and returns an unfinished character at its end.
func checkUTF8(b []byte, ok *bool) []byte {
	if !*ok {
		return nil
	}
	end := len(b)
	for i := 1; i <= min(utf8.UTFMax-1, len(b)); i++ {
		if c := b[len(b)-i]; utf8.RuneStart(c) {
			if !utf8.FullRune(b[len(b)-i:]) {
				end = len(b) - i
			}
			break
		}
	}
	*ok = utf8.Valid(b[:end])
	return bytes.Clone(b[end:])
}

// headerChange is what a new header says.
type headerChange struct {
	encoding string // the new Content-Transfer-Encoding; "" leaves the header as it is
	charset  string // of a text that has no Content-Type
	root     bool
}

// header writes the header of a part with the change.
func (d *downgrader) header(p *Part, c headerChange) error {
	if c.encoding == "" {
		return d.copy(p.Header, p.Body, &d.done.Header, false)
	}
	if p.Body-p.Header > maxRewrite {
		return ErrHeaderSize
	}
	raw := make([]byte, p.Body-p.Header)
	if err := readFull(d.src, raw, p.Header); err != nil {
		return err
	}
	d.done.Header = d.done.Header || has8Bit(raw)
	written, typed, versioned := false, false, false
	var h HeaderWriter
	for f := range Fields(raw) {
		switch {
		case f.Is("content-transfer-encoding"):
			if !written {
				h.Field("Content-Transfer-Encoding", c.encoding)
				written = true
			}
			continue
		case f.Is("content-type"):
			typed = true
		case f.Is("mime-version"):
			versioned = true
		}
		h.b = append(h.b, f.Raw...)
	}
	if c.root && !versioned {
		h.Field("MIME-Version", "1.0")
	}
	if c.charset != "" && !typed {
		h.Field("Content-Type", "text/plain; charset="+c.charset)
	}
	if !written {
		h.Field("Content-Transfer-Encoding", c.encoding)
	}
	if !bytes.HasSuffix(h.b, []byte("\n")) {
		h.b = append(h.b, "\r\n"...)
	}
	h.b = append(h.b, "\r\n"...)
	_, err := d.w.Write(h.b)
	return err
}
