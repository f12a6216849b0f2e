package report

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"strings"
	"time"
)

const (
	maxMessage  = 10 << 20 // octets of a message that are looked at
	maxText     = 10 << 20 // octets of a report, unpacked
	maxParts    = 20
	maxPolicies = 1000
	maxFailures = 10_000 // of all policies
	maxWord     = 4096
)

// ErrNone: the message has no report.
var ErrNone = errors.New("report: the message has no report")

// ReadTLS finds the TLS report in a message (RFC 8460 section 5.3) and reads it. Strangers send it: everything is bounded.
func ReadTLS(message io.Reader) (*TLS, error) {
	m, err := mail.ReadMessage(io.LimitReader(message, maxMessage))
	if err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	return find(m.Body, m.Header.Get("Content-Type"), m.Header.Get("Content-Transfer-Encoding"), 0)
}

// find looks through the parts, one level of multipart inside another at most.
func find(body io.Reader, kind, encoding string, depth int) (*TLS, error) {
	kind, params, err := mime.ParseMediaType(kind)
	if err != nil {
		return nil, ErrNone
	}
	switch {
	case kind == "application/tlsrpt+gzip":
		return unpack(decoded(body, encoding))
	case kind == "application/tlsrpt+json":
		return ParseTLS(decoded(body, encoding))
	case !strings.HasPrefix(kind, "multipart/") || depth > 1 || params["boundary"] == "":
		return nil, ErrNone
	}
	parts := multipart.NewReader(body, params["boundary"])
	for range maxParts {
		p, err := parts.NextRawPart()
		if err != nil {
			break
		}
		r, err := find(p, p.Header.Get("Content-Type"), p.Header.Get("Content-Transfer-Encoding"), depth+1)
		if !errors.Is(err, ErrNone) {
			return r, err
		}
	}
	return nil, ErrNone
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

func unpack(r io.Reader) (*TLS, error) {
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	return ParseTLS(z)
}

// ParseTLS reads a report; one that is larger than 10 MB, as a bomb unpacks to, is refused as soon as that is seen.
func ParseTLS(r io.Reader) (*TLS, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxText+1))
	if err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	if len(text) > maxText {
		return nil, fmt.Errorf("report: it is larger than %d octets", maxText)
	}
	var t TLS
	if err := json.NewDecoder(bytes.NewReader(text)).Decode(&t); err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	return &t, t.check()
}

// check refuses what is no honest report; pages show it and sums add it up.
func (t *TLS) check() error {
	if len(t.Policies) == 0 || len(t.Policies) > maxPolicies {
		return fmt.Errorf("report: it has %d policies", len(t.Policies))
	}
	const first, last = 2015, 2200
	if y := t.Range.Begin.Year(); y < first || y > last || t.Range.End.Before(t.Range.Begin) || t.Range.End.Sub(t.Range.Begin) > 32*24*time.Hour {
		return fmt.Errorf("report: its time is %s to %s", t.Range.Begin, t.Range.End)
	}
	failures := 0
	for _, p := range t.Policies {
		failures += len(p.Failures)
		if p.Summary.Good < 0 || p.Summary.Bad < 0 || p.Summary.Good > 1<<40 || p.Summary.Bad > 1<<40 {
			return errors.New("report: its counts are impossible")
		}
		if len(p.Policy.Domain) > maxWord || len(p.Policy.Type) > maxWord {
			return errors.New("report: its policies have endless names")
		}
	}
	if failures > maxFailures || len(t.ID) > maxWord || len(t.Organization) > maxWord {
		return errors.New("report: it has too many failures, or endless names")
	}
	return nil
}
