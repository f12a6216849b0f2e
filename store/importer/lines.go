package importer

import (
	"bytes"
	"errors"
	"io"
)

// crlf makes every line end CRLF: a bare LF becomes one, and a bare CR too, because mail knows no other line end (RFC 5322
// section 2.3) and a CR that stands alone is read as one by some and not by others.
type crlf struct {
	src     io.Reader
	raw     []byte // read, not yet looked at
	buf     []byte
	out     []byte // ready
	lastCR  bool   // the last octet of out is the CR of a pair whose LF may follow
	changed bool
	err     error
}

func newCRLF(src io.Reader, buf []byte) *crlf { return &crlf{src: src, buf: buf} }

func (c *crlf) Read(p []byte) (int, error) {
	for len(c.out) == 0 {
		if c.err != nil {
			if c.lastCR && errors.Is(c.err, io.EOF) {
				c.lastCR, c.changed = false, true
				c.out = append(c.out, '\n')
				break
			}
			return 0, c.err
		}
		n, err := c.src.Read(c.buf)
		c.raw, c.err = c.buf[:n], err
		c.convert()
	}
	n := copy(p, c.out)
	c.out = c.out[n:]
	return n, nil
}

// convert moves raw to out.
func (c *crlf) convert() {
	raw := c.raw
	if c.plain(raw) {
		c.out = raw
		return
	}
	out := make([]byte, 0, len(raw)+len(raw)/16+16)
	if !c.lastCR && bytes.IndexByte(raw, '\r') < 0 { // the files of most servers
		c.changed = true
		for len(raw) > 0 {
			i := bytes.IndexByte(raw, '\n')
			if i < 0 {
				out = append(out, raw...)
				break
			}
			out = append(append(out, raw[:i]...), '\r', '\n')
			raw = raw[i+1:]
		}
		c.out = out
		return
	}
	for len(raw) > 0 {
		if c.lastCR {
			c.lastCR = false
			if raw[0] != '\n' {
				c.changed = true
				out = append(out, '\n')
				continue
			}
			out, raw = append(out, '\n'), raw[1:]
			continue
		}
		i := bytes.IndexAny(raw, "\r\n")
		if i < 0 {
			out = append(out, raw...)
			break
		}
		out = append(out, raw[:i]...)
		if raw[i] == '\n' {
			c.changed = true
		} else {
			c.lastCR = true
		}
		out = append(out, '\r')
		if raw[i] == '\n' {
			out = append(out, '\n')
		}
		raw = raw[i+1:]
	}
	c.out = out
}

// plain reports whether raw can go as it is: every line in it ends in CRLF.
func (c *crlf) plain(raw []byte) bool {
	if c.lastCR || len(raw) > 0 && raw[len(raw)-1] == '\r' {
		return false
	}
	n := bytes.Count(raw, []byte{'\n'})
	return n == bytes.Count(raw, []byte{'\r'}) && n == bytes.Count(raw, []byte("\r\n"))
}

// fileText is the text of a message that stands in a file of its own.
type fileText struct {
	io.Reader
	lines *crlf // nil: as it is
	close func() error
}

func (f *fileText) Close() error { return f.close() }

func (f *fileText) Changed() bool { return f.lines != nil && f.lines.changed }
