package wire

import (
	"bytes"
	"io"
)

// dotReader decodes a dot-coded body; see Conn.DotReader.
type dotReader struct {
	c     *Conn
	left  int64 // octets that may still come; -1: any number
	fixLF bool
	bol   bool   // the octets before were CRLF, or nothing
	seg   []byte // decoded, not yet given; into the read buffer
	fault error  // what the body did wrong, told at its end; nothing more is given
	end   error  // set at the end, or when the connection failed
}

// DotReader reads a dot-coded body up to CRLF.CRLF (RFC 5321 section 4.5.2) and gives it decoded.
// It never ends at anything else. At the end it returns io.EOF, or ErrBareCR, ErrBareLF, ErrTooBig when
// the body had them; the body is always read to its end. fixLF turns a bare LF into CRLF instead of ErrBareLF.
// A limit of 0 or less means none. The reader is an io.WriterTo as well, which copies nothing.
func (c *Conn) DotReader(limit int64, fixLF bool) io.Reader {
	if limit <= 0 {
		limit = -1
	}
	return &dotReader{c: c, left: limit, fixLF: fixLF, bol: true}
}

var crlf = []byte("\r\n")

// Read gives decoded octets.
func (d *dotReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(d.seg) == 0 {
		if err := d.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, d.seg)
	d.seg = d.seg[n:]
	return n, nil
}

// WriteTo gives the whole body to w. When w fails the rest of the body is left unread.
func (d *dotReader) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for {
		if len(d.seg) == 0 {
			if err := d.next(); err == io.EOF {
				return total, nil
			} else if err != nil {
				return total, err
			}
		}
		n, err := w.Write(d.seg)
		total += int64(n)
		d.seg = d.seg[n:]
		if err != nil {
			return total, err
		}
	}
}

// next finds the next run of octets that stand in the read buffer as they are in the message.
func (d *dotReader) next() error {
	for d.end == nil {
		in := &d.c.in
		b := in.buf[in.r:in.w]
		if len(b) == 0 || (d.bol && b[0] == '.' && !dotDecided(b)) {
			d.fill()
			continue
		}
		if d.bol && b[0] == '.' {
			d.bol = false
			if b[1] == '\r' && b[2] == '\n' {
				in.r += 3
				d.finish()
				break
			}
			in.r++ // RFC 5321 section 4.5.2: the first period is deleted
			continue
		}
		run, stop := d.scan(b)
		in.r += run
		if run > 0 && d.take(b[:run]) {
			return nil
		}
		if run == 0 && d.odd(b, stop) {
			return nil
		}
	}
	return d.end
}

// dotDecided reports whether b, a line that begins with a period, is long enough to tell whether it ends the message.
func dotDecided(b []byte) bool {
	return len(b) >= 3 || (len(b) == 2 && b[1] != '\r')
}

func (d *dotReader) fill() {
	if err := d.c.fill(); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		d.end = err
	}
}

func (d *dotReader) finish() {
	d.end = io.EOF
	if d.fault != nil {
		d.end = d.fault
	}
}

// scan returns how many octets of b can be given as they are, and what stands behind them when that is 0.
// It stops in front of a period at the beginning of a line, of a bare CR or LF, and of a CR that is the last octet read so far.
func (d *dotReader) scan(b []byte) (run int, stop byte) {
	i := 0
	for i < len(b) {
		lf := bytes.IndexByte(b[i:], '\n')
		line := b[i:]
		if lf >= 0 {
			line = b[i : i+lf]
		}
		cr := bytes.IndexByte(line, '\r')
		if lf > 0 && cr == lf-1 {
			i += lf + 1
			d.bol = true
			if i < len(b) && b[i] == '.' {
				return i, 0
			}
			continue
		}
		switch {
		case cr >= 0:
			run, stop = i+cr, '\r'
		case lf >= 0:
			run, stop = i+lf, '\n'
		default:
			run = len(b)
		}
		if run > i {
			d.bol = false
		}
		return run, stop
	}
	return i, 0
}

// odd deals with a CR or LF at the head of b that is not part of a CRLF as far as b shows. It reports whether there is something to give.
func (d *dotReader) odd(b []byte, stop byte) bool {
	if stop == '\r' && len(b) == 1 {
		d.fill()
		return false
	}
	d.c.in.r++
	d.bol = false
	if stop == '\r' {
		d.fail(ErrBareCR)
		return false
	}
	if !d.fixLF {
		d.fail(ErrBareLF)
		return false
	}
	return d.take(crlf)
}

// take makes run the next segment, unless the body has failed or passes its limit with it.
func (d *dotReader) take(run []byte) bool {
	if d.left >= 0 && d.fault == nil {
		if int64(len(run)) > d.left {
			d.fail(ErrTooBig)
		} else {
			d.left -= int64(len(run))
		}
	}
	if d.fault != nil {
		return false
	}
	d.seg = run
	return true
}

func (d *dotReader) fail(err error) {
	if d.fault == nil {
		d.fault = err
	}
}

// dotWriter dot-codes; see Conn.DotWriter.
type dotWriter struct {
	c   *Conn
	bol bool
	cr  bool // a CR was written to us and not yet passed on
}

// DotWriter dot-codes what is written to it; Close ends it with CRLF.CRLF. It does not flush.
// A bare LF goes out as CRLF and a bare CR as a space: neither may be on the wire (RFC 5321 section 2.3.8).
func (c *Conn) DotWriter() io.WriteCloser { return &dotWriter{c: c, bol: true} }

// Write passes runs of whole lines on at once.
func (d *dotWriter) Write(p []byte) (int, error) {
	rest := p
	for len(rest) > 0 {
		if d.cr {
			d.cr = false
			if rest[0] == '\n' {
				d.c.Write(crlf)
				d.bol, rest = true, rest[1:]
				continue
			}
			d.c.WriteString(" ")
			d.bol = false
		}
		if d.bol && rest[0] == '.' {
			d.c.WriteString(".")
		}
		run := d.scan(rest)
		d.c.Write(rest[:run])
		if rest = rest[run:]; len(rest) == 0 {
			break
		}
		switch {
		case d.bol && rest[0] == '.': // stuffed at the head of the loop
		case rest[0] == '\r':
			d.cr, rest = true, rest[1:]
		default: // '\n'
			d.c.Write(crlf)
			d.bol, rest = true, rest[1:]
		}
	}
	if d.c.out.err != nil {
		return 0, d.c.out.err
	}
	return len(p), nil
}

// scan returns how many octets of b go out as they are. A period at the head of b has been dealt with.
func (d *dotWriter) scan(b []byte) int {
	i := 0
	for i < len(b) {
		lf := bytes.IndexByte(b[i:], '\n')
		line := b[i:]
		if lf >= 0 {
			line = b[i : i+lf]
		}
		cr := bytes.IndexByte(line, '\r')
		if lf > 0 && cr == lf-1 {
			i += lf + 1
			d.bol = true
			if i < len(b) && b[i] == '.' {
				return i
			}
			continue
		}
		run := len(b)
		if cr >= 0 {
			run = i + cr
		} else if lf >= 0 {
			run = i + lf
		}
		if run > i {
			d.bol = false
		}
		return run
	}
	return i
}

// Close writes the end of the body.
func (d *dotWriter) Close() error {
	if d.cr {
		d.cr, d.bol = false, false
		d.c.WriteString(" ")
	}
	if !d.bol {
		d.c.Write(crlf)
	}
	d.c.WriteString(".\r\n")
	return d.c.out.err
}
