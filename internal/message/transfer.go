package message

import "io"

// TransferReader decodes a Content-Transfer-Encoding (upper case, as in Part.Encoding); ok is false when nobody
// knows it (RFC 3516 section 4.3: UNKNOWN-CTE). Damaged encodings give what can be read and never an error.
func TransferReader(encoding string, r io.Reader) (_ io.Reader, ok bool) {
	switch encoding {
	case "", "7BIT", "8BIT", "BINARY":
		return r, true
	case "QUOTED-PRINTABLE":
		return &decodingReader{src: r, decode: new(qpDecoder)}, true
	case "BASE64":
		return &decodingReader{src: r, decode: new(base64Decoder)}, true
	}
	return nil, false
}

// decoder turns encoded octets into content, keeping what it cannot decide yet.
type decoder interface {
	append(dst, src []byte) []byte
	finish(dst []byte) []byte
}

// decodingReader holds at most one block of input.
type decodingReader struct {
	src    io.Reader
	decode decoder
	in     [8 << 10]byte
	out    []byte // decoded, not yet read
	room   []byte
	err    error
}

func (r *decodingReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(r.out) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		var n int
		n, r.err = r.src.Read(r.in[:])
		r.room = r.decode.append(r.room[:0], r.in[:n])
		if r.err == io.EOF {
			r.room = r.decode.finish(r.room)
		}
		r.out = r.room
	}
	n := copy(p, r.out)
	r.out = r.out[n:]
	return n, nil
}

// base64Decoder reads RFC 2045 section 6.8, skipping all that is not of the alphabet. Padding ends a quantum, and
// what follows begins a new one: some senders join encoded pieces.
type base64Decoder struct {
	bits uint32
	n    int // characters in bits
}

func (d *base64Decoder) append(dst, src []byte) []byte {
	for _, c := range src {
		v := base64Value(c)
		if v < 0 {
			if c == '=' {
				dst = d.finish(dst)
			}
			continue
		}
		d.bits = d.bits<<6 | uint32(v)
		if d.n++; d.n == 4 {
			dst = append(dst, byte(d.bits>>16), byte(d.bits>>8), byte(d.bits))
			d.bits, d.n = 0, 0
		}
	}
	return dst
}

func (d *base64Decoder) finish(dst []byte) []byte {
	switch d.n {
	case 2:
		dst = append(dst, byte(d.bits>>4))
	case 3:
		dst = append(dst, byte(d.bits>>10), byte(d.bits>>2))
	}
	d.bits, d.n = 0, 0
	return dst
}

func base64Value(c byte) int {
	switch {
	case 'A' <= c && c <= 'Z':
		return int(c - 'A')
	case 'a' <= c && c <= 'z':
		return int(c-'a') + 26
	case '0' <= c && c <= '9':
		return int(c-'0') + 52
	case c == '+', c == '-':
		return 62
	case c == '/', c == '_':
		return 63
	}
	return -1
}

// qpDecoder reads RFC 2045 section 6.7: soft line ends, white space at line ends dropped, "=" that encodes nothing kept.
type qpDecoder struct {
	state qpState
	high  byte   // the first digit after "="
	space []byte // white space that counts only if something follows on its line
}

type qpState uint8

const (
	qpText  qpState = iota
	qpEqual         // after "="
	qpDigit         // after "=" and one digit
	qpSoft          // after "=" and white space or CR: a line end must follow
)

func (d *qpDecoder) append(dst, src []byte) []byte {
	for i := 0; i < len(src); i++ {
		c := src[i]
		switch d.state {
		case qpText:
			dst = d.text(dst, c)
		case qpEqual:
			switch {
			case c == '\n':
				d.state = qpText
			case c == '\r' || c == ' ' || c == '\t':
				d.state = qpSoft
			case unhex(c) >= 0:
				d.state, d.high = qpDigit, c
			default:
				d.state = qpText
				dst = d.text(append(dst, '='), c)
			}
		case qpDigit:
			d.state = qpText
			if unhex(c) >= 0 {
				dst = append(dst, byte(unhex(d.high)<<4|unhex(c)))
				continue
			}
			dst = d.text(append(dst, '=', d.high), c)
		case qpSoft:
			if c == '\n' {
				d.state = qpText
			} else if c != '\r' && c != ' ' && c != '\t' {
				d.state = qpText
				dst = d.text(append(dst, '='), c)
			}
		}
	}
	return dst
}

// text takes an octet outside of an escape.
func (d *qpDecoder) text(dst []byte, c byte) []byte {
	switch c {
	case ' ', '\t', '\r':
		if len(d.space) > 1000 {
			dst = append(dst, d.space...)
			d.space = d.space[:0]
		}
		d.space = append(d.space, c)
		return dst
	case '\n':
		if n := len(d.space); n > 0 && d.space[n-1] == '\r' {
			dst = append(dst, '\r')
		}
		d.space = d.space[:0]
		return append(dst, '\n')
	}
	if len(d.space) > 0 {
		dst = append(dst, d.space...)
		d.space = d.space[:0]
	}
	if c == '=' {
		d.state = qpEqual
		return dst
	}
	return append(dst, c)
}

func (d *qpDecoder) finish(dst []byte) []byte {
	switch d.state {
	case qpDigit:
		dst = append(dst, '=', d.high)
	case qpEqual, qpSoft: // a soft line end that the last line lacks
	}
	d.state, d.space = qpText, d.space[:0]
	return dst
}
