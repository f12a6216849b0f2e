package report

import (
	"archive/zip"
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"path"
	"strings"
)

const (
	maxMessage = 10 << 20 // octets of a message that are looked at
	maxText    = 20 << 20 // octets of a report, unpacked
	maxPacked  = 4 << 20  // octets of an archive, which is held in memory
	maxRatio   = 250      // of unpacked to packed; reports of many like lines reach 60
	freeText   = 1 << 20  // octets below which nobody cares for the ratio
	maxParts   = 20
	maxDepth   = 2 // of multipart in multipart
	maxMembers = 8 // of an archive
)

// Errors of reading a report; what a stranger wrote wrong is told by its own words behind them.
var (
	ErrNone = errors.New("report: the message has no report") // the usual case
	ErrBomb = errors.New("report: it unpacks to far more than a report has")
)

// Found is the report of a message: one of them is set.
type Found struct {
	TLS       *TLS
	DMARC     *DMARC
	Complaint *Complaint
}

// Read finds the report in a message and reads it: a DMARC aggregate report (RFC 7489 section 7.2.1.1) as XML, gzip or zip, or a TLS report
// (RFC 8460 section 5.3). Strangers send it: everything is bounded.
func Read(message io.Reader) (Found, error) {
	m, err := mail.ReadMessage(io.LimitReader(message, maxMessage))
	if err != nil {
		return Found{}, fmt.Errorf("report: %w", err)
	}
	if boundary, ok := isFeedback(m.Header.Get("Content-Type")); ok {
		return complaint(m.Body, boundary)
	}
	budget := maxParts
	return find(m.Body, mediaHeader{m.Header.Get("Content-Type"), m.Header.Get("Content-Transfer-Encoding"), m.Header.Get("Content-Disposition")}, &budget, 0)
}

// ReadTLS is Read for TLS reports only.
func ReadTLS(message io.Reader) (*TLS, error) {
	f, err := Read(message)
	if err == nil && f.TLS == nil {
		err = ErrNone
	}
	return f.TLS, err
}

// mediaHeader is what a part says of itself.
type mediaHeader struct{ kind, encoding, disposition string }

// find looks through the parts, budget of them in all.
func find(body io.Reader, h mediaHeader, budget *int, depth int) (Found, error) {
	kind, params, err := mime.ParseMediaType(h.kind)
	if kind == "" || err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
		return Found{}, ErrNone
	}
	if !strings.HasPrefix(kind, "multipart/") {
		if !mayCarry(kind, fileName(h, params)) {
			return Found{}, ErrNone
		}
		return content(decoded(body, h.encoding))
	}
	if depth == maxDepth || params["boundary"] == "" {
		return Found{}, ErrNone
	}
	parts := multipart.NewReader(body, params["boundary"])
	for ; *budget > 0; *budget-- {
		p, err := parts.NextRawPart()
		if err != nil {
			break
		}
		f, err := find(p, mediaHeader{p.Header.Get("Content-Type"), p.Header.Get("Content-Transfer-Encoding"), p.Header.Get("Content-Disposition")}, budget, depth+1)
		if !errors.Is(err, ErrNone) {
			return f, err
		}
	}
	return Found{}, ErrNone
}

func fileName(h mediaHeader, params map[string]string) string {
	if _, d, err := mime.ParseMediaType(h.disposition); err == nil && d["filename"] != "" {
		return d["filename"]
	}
	return params["name"]
}

// mayCarry tells by its type, or its file's name where the type says nothing, whether a part may be a report.
func mayCarry(kind, file string) bool {
	switch kind {
	case "application/tlsrpt+gzip", "application/tlsrpt+json", "application/gzip", "application/x-gzip", "application/zip", "application/x-zip",
		"application/x-zip-compressed", "text/xml", "application/xml":
		return true
	case "application/octet-stream", "application/x-compressed", "application/x-gzip-compressed":
		switch strings.ToLower(path.Ext(file)) {
		case ".gz", ".zip", ".xml", ".json":
			return true
		}
	}
	return false
}

func decoded(r io.Reader, encoding string) io.Reader {
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "base64":
		return base64.NewDecoder(base64.StdEncoding, r)
	case "quoted-printable":
		return quotedprintable.NewReader(r)
	}
	return r
}

// content reads a report by what it is: many senders name the type wrong.
func content(r io.Reader) (Found, error) {
	b := bufio.NewReader(r)
	magic, err := b.Peek(2)
	switch {
	case len(magic) == 0 && err != nil && !errors.Is(err, io.EOF):
		return Found{}, fmt.Errorf("report: %w", err)
	case bytes.Equal(magic, []byte{0x1f, 0x8b}):
		return fromGzip(b)
	case string(magic) == "PK":
		return fromZip(b)
	}
	return text(&bounded{r: b, left: maxText})
}

func fromGzip(r io.Reader) (Found, error) {
	packed := &counted{r: io.LimitReader(r, maxMessage)}
	z, err := gzip.NewReader(packed)
	if err != nil {
		return Found{}, fmt.Errorf("report: %w", err)
	}
	return text(&bounded{r: z, left: maxText, packed: func() int64 { return packed.n }})
}

func fromZip(r io.Reader) (Found, error) {
	all, err := io.ReadAll(io.LimitReader(r, maxPacked+1))
	if err != nil {
		return Found{}, fmt.Errorf("report: %w", err)
	}
	if len(all) > maxPacked {
		return Found{}, fmt.Errorf("report: its archive is larger than %d octets", maxPacked)
	}
	z, err := zip.NewReader(bytes.NewReader(all), int64(len(all)))
	if err != nil {
		return Found{}, fmt.Errorf("report: %w", err)
	}
	for _, member := range z.File[:min(len(z.File), maxMembers)] {
		if ext := strings.ToLower(path.Ext(member.Name)); ext != ".xml" && ext != ".json" {
			continue
		}
		m, err := member.Open()
		if err != nil {
			return Found{}, fmt.Errorf("report: %w", err)
		}
		f, err := text(&bounded{r: m, left: maxText, packed: func() int64 { return int64(len(all)) }})
		return f, errors.Join(err, m.Close())
	}
	return Found{}, ErrNone
}

// text reads what is no archive any more.
func text(r *bounded) (f Found, err error) {
	b := bufio.NewReader(r)
	for {
		c, err := b.ReadByte()
		if err != nil {
			return f, r.why(err)
		}
		switch c {
		case ' ', '\t', '\r', '\n', 0xef, 0xbb, 0xbf: // a byte order mark
			continue
		case '{':
			_ = b.UnreadByte() // a byte was read just now
			f.TLS, err = ParseTLS(b)
		case '<':
			_ = b.UnreadByte()
			f.DMARC, err = ParseDMARC(b)
		default:
			return f, errors.New("report: it is neither XML nor JSON")
		}
		if err != nil {
			return Found{}, r.why(err)
		}
		return f, nil
	}
}

// counted counts what is read.
type counted struct {
	r io.Reader
	n int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// bounded fails as soon as more comes out of an archive than a report has.
type bounded struct {
	r      io.Reader
	left   int64
	n      int64
	packed func() int64 // nil: it is no archive
	bomb   bool
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p[:min(len(p), 32<<10)])
	b.n, b.left = b.n+int64(n), b.left-int64(n)
	if b.left < 0 || b.packed != nil && b.n > freeText && b.n > maxRatio*b.packed() {
		b.bomb = true
		return 0, ErrBomb
	}
	return n, err
}

// why is the error of reading; a bomb is one whatever the parser made of it.
func (b *bounded) why(err error) error {
	if b.bomb {
		return ErrBomb
	}
	if strings.HasPrefix(err.Error(), "report: ") {
		return err
	}
	return fmt.Errorf("report: %w", err)
}
