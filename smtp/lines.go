package smtp

import (
	"bytes"
	"io"

	"github.com/posthouse-mail/posthouse/internal/wire"
)

// FixLines reads text whose lines may end in a bare LF as CRLF lines; a bare CR ends it with wire.ErrBareCR. It is for what
// programs of this machine write into pipes.
func FixLines(r io.Reader) io.Reader { return &lines{src: r, fix: true} }

// lines looks for bare CR and LF in what BDAT carries: without BINARYMIME it is text, as with DATA (RFC 3030 section 3).
type lines struct {
	src   io.Reader
	fix   bool   // a bare LF becomes CRLF
	buf   []byte // made at the first read; its first octet is for a CR held back
	out   []byte // where text with fixed LFs is put together
	ready []byte // checked, not yet given; in buf or out
	cr    bool   // the last octet was a CR, held back until the next one is seen
	fault error  // told at the end; nothing is given any more
}

// Read gives checked text.
func (l *lines) Read(p []byte) (int, error) {
	for len(l.ready) == 0 {
		if err := l.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, l.ready)
	l.ready = l.ready[n:]
	return n, nil
}

// WriteTo gives all of it to w without another copy.
func (l *lines) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for {
		for len(l.ready) == 0 {
			if err := l.next(); err == io.EOF {
				return total, nil
			} else if err != nil {
				return total, err
			}
		}
		n, err := w.Write(l.ready)
		total += int64(n)
		l.ready = l.ready[n:]
		if err != nil {
			return total, err
		}
	}
}

// next reads once and checks what came. Text that is read together with an error is given first: the error comes again.
func (l *lines) next() error {
	if l.buf == nil {
		l.buf = make([]byte, 16<<10)
	}
	n, err := l.src.Read(l.buf[1:])
	b := l.buf[1 : 1+n]
	if n > 0 {
		l.check(b)
	}
	if len(l.ready) > 0 || err == nil {
		return nil
	}
	if err == io.EOF && l.cr {
		l.fail(wire.ErrBareCR)
	}
	if err == io.EOF && l.fault != nil {
		return l.fault
	}
	return err
}

func (l *lines) fail(err error) {
	if l.fault == nil {
		l.fault = err
	}
}

// check makes b, which stands behind the free octet of buf, ready to be given.
func (l *lines) check(b []byte) {
	if l.cr {
		l.buf[0] = '\r'
		b = l.buf[:1+len(b)]
	}
	if l.cr = b[len(b)-1] == '\r'; l.cr {
		b = b[:len(b)-1]
	}
	if l.fault == nil && cleanLines(b) {
		l.ready = b
		return
	}
	l.out = l.out[:0]
	for i, ch := range b {
		switch {
		case ch == '\r' && (i+1 == len(b) || b[i+1] != '\n'):
			l.fail(wire.ErrBareCR)
		case ch == '\n' && (i == 0 || b[i-1] != '\r') && !l.fix:
			l.fail(wire.ErrBareLF)
		case ch == '\n' && (i == 0 || b[i-1] != '\r'):
			l.out = append(l.out, '\r', '\n')
		default:
			l.out = append(l.out, ch)
		}
	}
	if l.fault == nil {
		l.ready = l.out
	}
}

// cleanLines reports whether every CR and LF of b is part of a CRLF.
func cleanLines(b []byte) bool {
	for len(b) > 0 {
		lf := bytes.IndexByte(b, '\n')
		if lf < 0 {
			return bytes.IndexByte(b, '\r') < 0
		}
		if lf == 0 || bytes.IndexByte(b[:lf], '\r') != lf-1 {
			return false
		}
		b = b[lf+1:]
	}
	return true
}
