package report

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/message"
	"github.com/posthouse-mail/posthouse/smtp/dmarcbook"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
)

const (
	maxRecords  = 50_000
	maxSources  = 1000      // that are kept of a report, each with its count; the others' mail is summed up
	maxNesting  = 12        // the form has 5
	maxElement  = 64 << 10  // octets between two "<": text, or one tag with all its attributes
	maxCount    = 1 << 40   // messages of one record
	maxElements = 5_000_000 // of a report
	maxShort    = 255       // octets that are kept of a text
	maxSigners  = 4         // that are kept of a source
)

// DMARC is an aggregate report as it was read (RFC 7489 section 7.2).
type DMARC struct {
	Organization string
	Email        string
	ID           string
	Domain       mail.Domain // whose policy it is about
	Begin, End   time.Time
	Policy       dmarcbook.Policy
	Sources      []dmarcbook.Source // alike ones summed up; those of most mail first
	Other        int64              // messages of sources beyond the limit
}

// ParseDMARC reads a report in the form of RFC 7489 appendix C or of its successor, in any namespace. Elements that it does not know are passed
// over. Document type declarations, and with them entities, are refused.
func ParseDMARC(r io.Reader) (*DMARC, error) {
	d := xml.NewDecoder(&elementLimit{r: &bounded{r: r, left: maxText}})
	d.CharsetReader = func(charset string, in io.Reader) (io.Reader, error) {
		switch strings.ToLower(charset) {
		case "us-ascii", "ascii", "iso-8859-1", "windows-1252": // in others "<" may be part of a letter, and elementLimit sees nothing
			return message.CharsetReader(charset, in), nil
		}
		return nil, fmt.Errorf("its charset is %.40q", charset)
	}
	p := dmarcParser{out: &DMARC{}, sums: map[sourceKey]int{}}
	for range maxElements {
		t, err := d.Token()
		if errors.Is(err, io.EOF) && p.done {
			return p.out, p.finish()
		}
		if err == nil {
			err = p.token(t)
		}
		if err != nil {
			return nil, fmt.Errorf("report: %w", err)
		}
		if p.done {
			return p.out, p.finish()
		}
	}
	return nil, errors.New("report: it has too many elements")
}

// elementLimit fails when no "<" comes for long: the decoder would hold a tag of any length, with any number of attributes.
type elementLimit struct {
	r     io.Reader
	since int
}

func (l *elementLimit) Read(p []byte) (int, error) {
	n, err := l.r.Read(p[:min(len(p), 4096)])
	if i := bytes.LastIndexByte(p[:n], '<'); i >= 0 {
		if first := bytes.IndexByte(p[:n], '<'); l.since+first > maxElement {
			return 0, errors.New("one element of it is endless")
		}
		l.since = n - i
	} else {
		l.since += n
	}
	if l.since > maxElement {
		return 0, errors.New("one element of it is endless")
	}
	return n, err
}

// sourceKey is what makes records alike.
type sourceKey struct {
	address, disposition, reason, header, envelope, signers, spf string
	dkimOK, spfOK                                                bool
}

// dmarcParser is told token by token where it is.
type dmarcParser struct {
	out     *DMARC
	path    []string
	text    []byte
	rec     dmarcbook.Source
	dkim    [2]string // domain and result of the signature that is being read
	sums    map[sourceKey]int
	records int
	done    bool
}

func (p *dmarcParser) token(t xml.Token) error {
	switch t := t.(type) {
	case xml.Directive:
		return errors.New("it has a document type declaration")
	case xml.StartElement:
		if len(p.path) == 0 && t.Name.Local != "feedback" {
			return fmt.Errorf("its root is %.40q, not feedback", t.Name.Local)
		}
		if len(p.path) == maxNesting {
			return errors.New("its elements are nested too deep")
		}
		p.path = append(p.path, t.Name.Local)
		p.text = p.text[:0]
		switch p.where() {
		case "record":
			p.rec = dmarcbook.Source{}
		case "record/auth_results/dkim":
			p.dkim = [2]string{}
		}
	case xml.CharData:
		if room := maxWord - len(p.text); room > 0 {
			p.text = append(p.text, t[:min(len(t), room)]...)
		}
	case xml.EndElement:
		at := p.where()
		err := p.element(at, strings.TrimSpace(string(p.text)))
		p.path = p.path[:len(p.path)-1]
		p.text = p.text[:0]
		p.done = len(p.path) == 0
		return err
	}
	return nil
}

// where is the path below the root.
func (p *dmarcParser) where() string {
	if len(p.path) < 2 {
		return ""
	}
	return strings.Join(p.path[1:], "/")
}

// element takes an element that ended.
func (p *dmarcParser) element(at, text string) (err error) {
	o, short := p.out, short(text)
	switch at {
	case "report_metadata/org_name":
		o.Organization = short
	case "report_metadata/email":
		o.Email = short
	case "report_metadata/report_id":
		o.ID = strings.Trim(short, "<>")
	case "report_metadata/date_range/begin":
		o.Begin, err = moment(text)
	case "report_metadata/date_range/end":
		o.End, err = moment(text)
	case "policy_published/domain":
		if o.Domain, err = mail.ParseDomain(strings.TrimSuffix(text, ".")); err != nil {
			return fmt.Errorf("its domain is %.80q", text)
		}
	case "policy_published/p":
		o.Policy.P = short
	case "policy_published/sp":
		o.Policy.SP = short
	case "policy_published/np":
		o.Policy.NP = short
	case "policy_published/adkim":
		o.Policy.StrictDKIM = text == "s"
	case "policy_published/aspf":
		o.Policy.StrictSPF = text == "s"
	case "policy_published/testing":
		o.Policy.Testing = text == "y"
	case "policy_published/pct":
		o.Policy.Percent, _ = strconv.Atoi(short) // 0 where it is none: nothing depends on it
	case "record":
		return p.add()
	default:
		if len(p.path) > 2 && p.path[1] == "record" {
			return p.inRecord(strings.TrimPrefix(at, "record/"), text)
		}
	}
	return err
}

func (p *dmarcParser) inRecord(at, text string) (err error) {
	r, short := &p.rec, short(text)
	switch at {
	case "row/source_ip":
		if a, err := netip.ParseAddr(text); err == nil {
			r.Address = a.Unmap().WithZone("").String()
		}
	case "row/count":
		if r.Count, err = strconv.ParseInt(text, 10, 64); err != nil || r.Count < 0 || r.Count > maxCount {
			return fmt.Errorf("it counts %.40q messages", text)
		}
	case "row/policy_evaluated/disposition":
		if r.Disposition = strings.ToLower(short); r.Disposition == "pass" { // the successor's word for none on mail that is proven
			r.Disposition = mailauth.PolicyNone
		}
	case "row/policy_evaluated/dkim":
		r.DKIM = strings.EqualFold(text, "pass")
	case "row/policy_evaluated/spf":
		r.SPF = strings.EqualFold(text, "pass")
	case "row/policy_evaluated/reason/type":
		r.Reason = cmp.Or(r.Reason, short)
	case "identifiers/header_from":
		r.HeaderFrom = strings.ToLower(short)
	case "identifiers/envelope_from":
		r.EnvelopeFrom = strings.ToLower(short)
	case "auth_results/dkim/domain":
		p.dkim[0] = strings.ToLower(short)
	case "auth_results/dkim/result":
		p.dkim[1] = text
	case "auth_results/dkim":
		if strings.EqualFold(p.dkim[1], "pass") && len(r.Signers) < maxSigners && !slices.Contains(r.Signers, p.dkim[0]) {
			r.Signers = append(r.Signers, p.dkim[0])
		}
	case "auth_results/spf/result":
		r.SPFResult = strings.ToLower(short)
	}
	return nil
}

// add sums up the record that was read.
func (p *dmarcParser) add() error {
	if p.records++; p.records > maxRecords {
		return errors.New("it has too many records")
	}
	r := p.rec
	slices.Sort(r.Signers)
	key := sourceKey{r.Address, r.Disposition, r.Reason, r.HeaderFrom, r.EnvelopeFrom, strings.Join(r.Signers, " "), r.SPFResult, r.DKIM, r.SPF}
	i, ok := p.sums[key]
	switch {
	case ok:
		p.out.Sources[i].Count += r.Count
	case len(p.out.Sources) == maxSources || r.Address == "":
		p.out.Other += r.Count
	default:
		p.sums[key] = len(p.out.Sources)
		p.out.Sources = append(p.out.Sources, r)
	}
	return nil
}

// finish refuses what is no honest report; pages show it and sums add it up.
func (p *dmarcParser) finish() error {
	o := p.out
	switch {
	case o.Domain == "":
		return errors.New("report: it names no domain")
	case o.ID == "":
		return errors.New("report: it has no id")
	case p.records == 0:
		return errors.New("report: it has no records")
	case o.Begin.Year() < 2012 || o.Begin.Year() > 2200 || o.End.Before(o.Begin) || o.End.Sub(o.Begin) > 40*24*time.Hour:
		return fmt.Errorf("report: its time is %s to %s", o.Begin.Format(time.RFC3339), o.End.Format(time.RFC3339))
	}
	slices.SortStableFunc(o.Sources, func(a, b dmarcbook.Source) int { return cmp.Compare(b.Count, a.Count) })
	return nil
}

// Received is the report as it is kept; sender is the domain that is proven to have sent it.
func (o *DMARC) Received(sender string, taken time.Time) dmarcbook.Received {
	return dmarcbook.Received{ID: o.ID, Sender: sender, From: o.Organization, Domain: string(o.Domain), Begin: o.Begin, End: o.End, Taken: taken,
		Policy: o.Policy, Sources: o.Sources, Other: o.Other}
}

// Totals are the messages of all sources.
func (o *DMARC) Totals() (passed, failed int64) {
	for _, s := range o.Sources {
		if s.Pass() {
			passed += s.Count
		} else {
			failed += s.Count
		}
	}
	return passed, failed
}

func moment(text string) (time.Time, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > 1<<40 {
		return time.Time{}, fmt.Errorf("a time of it is %.40q", text)
	}
	return time.Unix(n, 0).UTC(), nil
}

// short bounds a text that is kept and shown to people, and takes out of it what would move their cursor.
func short(text string) string {
	text = oneWord(text)
	text = strings.ToValidUTF8(text[:min(len(text), maxShort)], "?")
	return strings.Map(func(c rune) rune {
		if unicode.Is(unicode.C, c) {
			return '?'
		}
		return c
	}, text)
}
