package list

import (
	"bufio"
	"bytes"
	"io"
	"strings"

	"github.com/posthouse-mail/posthouse/internal/message"
)

// Bounds of a report that is read.
const (
	maxReport     = 1 << 20  // octets of the message that are looked at
	maxStatus     = 64 << 10 // octets of its message/delivery-status
	maxRecipients = 100      // of which it may tell
	maxSaid       = 200      // octets that are kept of an answer
)

// status is what a report says of one recipient (RFC 3464 section 2.3).
type status struct {
	action string // lower case: failed, delayed, delivered, relayed, expanded
	code   string // "5.1.1"
	said   string // Diagnostic-Code without its type, printable
}

// counts: the message did not reach him, nobody tries any more, and that tells something of his address. A refusal of this message for
// its size, form or look (RFC 3463 sections 3.3, 3.4, 3.7, 3.8) does not: it would be said to a good address too.
func (s status) counts() bool {
	if s.action != "failed" {
		return false
	}
	for _, other := range []string{"5.2.3", "5.3.4", "5.6.", "5.7."} {
		if strings.HasPrefix(s.code, other) {
			return false
		}
	}
	return true
}

// readReport takes a delivery status notification apart; ok is false for any other message. It reads a bounded part of it and bears
// whatever stands there.
func readReport(content io.ReaderAt, size int64) (all []status, ok bool) {
	scanned, err := message.Scan(io.NewSectionReader(content, 0, min(size, maxReport)))
	if err != nil || scanned.Root == nil {
		return nil, false
	}
	scanned.Root.Walk(func(p *message.Part) bool {
		if ok || p.Type != "MESSAGE" || p.Subtype != "DELIVERY-STATUS" && p.Subtype != "GLOBAL-DELIVERY-STATUS" {
			return !ok
		}
		r, decoded := message.ContentReader(content, p)
		if !decoded {
			r = message.RawReader(content, p)
		}
		ok, all = true, readStatus(io.LimitReader(r, maxStatus))
		return false
	})
	return all, ok
}

// readStatus reads the groups of fields, of which the first is about the message (RFC 3464 section 2.1).
func readStatus(r io.Reader) (all []status) {
	lines := bufio.NewReader(r)
	var group []byte
	first := true
	flush := func() {
		if len(group) == 0 {
			return
		}
		s := statusOf(group)
		if (!first || s.action != "") && len(all) < maxRecipients && s.action != "" {
			all = append(all, s)
		}
		first, group = false, nil
	}
	for {
		line, err := lines.ReadBytes('\n')
		if len(bytes.TrimSpace(line)) == 0 {
			flush()
		} else {
			group = append(group, line...)
		}
		if err != nil {
			flush()
			return all
		}
	}
}

func statusOf(group []byte) (s status) {
	if !bytes.HasSuffix(group, []byte("\n")) {
		group = append(group, "\r\n"...)
	}
	for f := range message.Fields(group) {
		value := strings.TrimSpace(f.Unfolded())
		switch {
		case f.Is("Action"):
			s.action = strings.ToLower(value)
		case f.Is("Status"):
			code, _, _ := strings.Cut(value, " ")
			if len(code) <= 16 {
				s.code = code
			}
		case f.Is("Diagnostic-Code"):
			if _, text, ok := strings.Cut(value, ";"); ok {
				value = strings.TrimSpace(text)
			}
			s.said = printable(value)
		}
	}
	return s
}

// printable is a stranger's text as it may stand in a letter and on a terminal.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\uFFFD' || r >= 0x80 && r < 0xa0 {
			return -1
		}
		return r
	}, s)
	if len(s) > maxSaid {
		s = strings.ToValidUTF8(s[:maxSaid], "")
	}
	return strings.ToValidUTF8(s, "")
}
