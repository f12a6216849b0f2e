package spam

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/message"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
)

// Token is a word of a message as the account's classifier knows it.
type Token struct {
	Text       string
	Good, Junk int     // messages it was in
	Chance     float64 // that a message with it is junk
}

// Explanation is a verdict with all that led to it.
type Explanation struct {
	Verdict  Verdict
	Facts    Facts
	Report   mailauth.Report
	Author   mail.Address
	Subject  string
	Training Training
	Chance   float64 // that it is junk, by the classifier alone
	Tokens   []Token // that counted, the most decisive first
	Learned  string  // "good", "junk" or "": what the classifier was taught about this message
}

// Explain judges a stored message again, from what its header says of how it came (only what this house wrote is believed) and from
// what the lists, the classifier and the account's history say today.
func (j *Judge) Explain(ctx context.Context, to Recipient, m io.Reader) (Explanation, error) {
	f, err := j.stored(ctx, m, true)
	if err != nil {
		return Explanation{}, err
	}
	v := j.Verdict(ctx, f, to)
	return Explanation{Verdict: v, Facts: f.facts, Report: f.report, Author: f.author, Subject: f.Subject(),
		Training: v.state.training(), Chance: v.chance, Tokens: v.used, Learned: v.lesson}, nil
}

// Came is how a stored message came, as the fields of this house at the front of its header tell it; zero when they do not.
func (j *Judge) Came(header []byte) (Facts, mailauth.Report) {
	a := j.arrival(header)
	return a.facts, a.report
}

// front is how much of a stored message is looked through for the fields of this house.
const front = 32 << 10

// stored looks at a message out of a mailbox as it was looked at when it came: without the fields that this house put in front.
// With explain the lists are asked again, and the words are kept.
func (j *Judge) stored(ctx context.Context, m io.Reader, explain bool) (*Findings, error) {
	r := bufio.NewReaderSize(m, front)
	head, err := r.Peek(front)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
		return nil, fmt.Errorf("read the message: %w", err)
	}
	came := j.arrival(head)
	facts := came.facts
	r.Discard(came.size)
	var s *Sight
	if explain {
		s = j.Begin(ctx, facts)
	} else {
		s = &Sight{j: j, facts: facts, scratch: j.scratches.take(), scan: message.NewScanner()}
	}
	s.explain = explain
	s.vouched, s.came = came.vouched, came.at
	if _, err := io.Copy(s, r); err != nil {
		s.Discard()
		return nil, fmt.Errorf("read the message: %w", err)
	}
	if explain {
		j.nameAgain(ctx, &came)
	}
	return s.Finish(came.report), nil
}

// arrival is how a stored message came.
type arrival struct {
	facts   Facts
	report  mailauth.Report
	vouched bool
	at      time.Time
	size    int // octets of the fields that say so
}

// nameAgain asks for the name of the client's address, which Authentication-Results does not tell.
func (j *Judge) nameAgain(ctx context.Context, a *arrival) {
	if j.o.Resolver == nil || a.report.IPRev.Result != mailauth.Pass || !a.facts.Remote.IsValid() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, j.o.ListWait)
	defer cancel()
	if names, _, err := j.o.Resolver.PTR(ctx, a.facts.Remote); err == nil && len(names) > 0 {
		a.report.IPRev.Name = names[0]
	}
}

// arrival reads how a message came, from the fields down to the first Received of this house, and how many octets they are.
func (j *Judge) arrival(head []byte) (a arrival) {
	f, r := &a.facts, &a.report
	for field := range message.Fields(head) {
		a.size += len(field.Raw)
		switch {
		case field.Is("Return-Path"):
			if from, err := mail.ParseAddress(strings.Trim(field.Unfolded(), "<> ")); err == nil {
				f.From = from
			}
		case mailauth.Ours(field, j.o.Hostname):
			*r = readResults(field.Unfolded())
		case field.Is("X-Spam-Status"):
			a.vouched = strings.Contains(field.Unfolded(), "arc_vouched")
		case field.Is("Received"):
			v := field.Unfolded()
			hello, addr, ours := readTrace(v, j.o.Hostname)
			if !ours {
				return arrival{}
			}
			f.Hello, f.Remote = hello, addr
			if t, ok := message.ParseDate(v[strings.LastIndexByte(v, ';')+1:]); ok {
				a.at = t
			}
			r.Session = mailauth.Session{Remote: addr, Hello: hello, From: f.From}
			return a
		case !ourField(field):
			return arrival{}
		}
	}
	return arrival{}
}

// ourField tells whether a field may stand above our Received.
func ourField(f message.Field) bool {
	return ours(f) || bytes.HasPrefix(bytes.ToLower(f.Name), []byte("x-"))
}

// readTrace reads a Received of this house word by word, as smtp.Trace writes it: a client's name may be or end like any of its words.
func readTrace(v, hostname string) (hello string, addr netip.Addr, ours bool) {
	w := strings.Fields(v)
	if len(w) > 1 && w[0] == "from" {
		hello, w = w[1], w[2:]
		if len(w) > 0 && strings.HasPrefix(w[0], "([") && strings.HasSuffix(w[0], "])") {
			addr, _ = netip.ParseAddr(strings.TrimPrefix(w[0][2:len(w[0])-2], "IPv6:"))
			w = w[1:]
		}
	}
	if len(w) < 3 || hostname == "" || w[0] != "by" || w[1] != hostname || w[2] != "(posthouse)" {
		return "", netip.Addr{}, false
	}
	if hello == "unknown" {
		hello = ""
	}
	return hello, addr, true
}

// readResults reads an Authentication-Results field of this house: see mailauth.Report.Results.
func readResults(v string) (r mailauth.Report) {
	for n, part := range splitQuoted(v, ';') {
		if n == 0 { // our name
			continue
		}
		var method, result, reason string
		props := map[string]string{}
		for i, word := range splitQuoted(part, ' ') {
			name, value, _ := strings.Cut(word, "=")
			value = unquoted(value)
			switch {
			case i == 0:
				method, result = name, value
			case name == "reason":
				reason = value
			default:
				props[name] = value
			}
		}
		res := mailauth.Result(result)
		switch method {
		case "iprev":
			r.IPRev.Result = res
		case "spf":
			r.SPF = mailauth.SPF{Result: res, Reason: reason, Domain: props["smtp.mailfrom"]}
			if helo, ok := props["smtp.helo"]; ok {
				r.SPF.Domain, r.SPF.Hello = helo, true
			}
		case "dkim":
			if res != mailauth.None {
				r.DKIM = append(r.DKIM, mailauth.DKIM{Result: res, Reason: reason, Domain: props["header.d"], Selector: props["header.s"]})
			}
		case "arc":
			r.ARC = mailauth.ARC{Result: res, Reason: reason}
		case "dmarc":
			r.DMARC = mailauth.DMARC{Result: res, Reason: reason, Domain: props["header.from"], Policy: props["policy.published-domain-policy"]}
		}
	}
	return r
}

// splitQuoted cuts at a separator outside of quotes; empty pieces are left out.
func splitQuoted(s string, sep byte) []string {
	var parts []string
	from, quoted := 0, false
	cut := func(to int) {
		if p := strings.TrimSpace(s[from:to]); p != "" {
			parts = append(parts, p)
		}
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case c == sep && !quoted:
			cut(i)
			from = i + 1
		}
	}
	cut(len(s))
	return parts
}

func unquoted(s string) string {
	if len(s) < 2 || s[0] != '"' {
		return s
	}
	return strings.ReplaceAll(strings.TrimSuffix(s[1:], `"`), `\`, "")
}
