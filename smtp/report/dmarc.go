package report

import (
	"bytes"
	"compress/gzip"
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"github.com/posthouse-mail/posthouse/smtp/dmarcbook"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
)

// feedback is an aggregate report as XML (RFC 7489 appendix C). np, testing, discovery_method and generator are those of its successor:
// readers of the old form pass over them. It has no namespace, as nobody's has.
type feedback struct {
	XMLName  xml.Name     `xml:"feedback"`
	Version  string       `xml:"version"`
	Metadata metadataXML  `xml:"report_metadata"`
	Policy   publishedXML `xml:"policy_published"`
	Records  []recordXML  `xml:"record"`
}

type metadataXML struct {
	Organization string `xml:"org_name"`
	Email        string `xml:"email"`
	Contact      string `xml:"extra_contact_info,omitempty"`
	ID           string `xml:"report_id"`
	Begin        int64  `xml:"date_range>begin"`
	End          int64  `xml:"date_range>end"`
	Error        string `xml:"error,omitempty"`
	Generator    string `xml:"generator,omitempty"`
}

type publishedXML struct {
	Domain    string `xml:"domain"`
	DKIM      string `xml:"adkim"`
	SPF       string `xml:"aspf"`
	P         string `xml:"p"`
	SP        string `xml:"sp"`
	NP        string `xml:"np,omitempty"`
	Percent   int    `xml:"pct"`
	FO        string `xml:"fo,omitempty"`
	Testing   string `xml:"testing,omitempty"`
	Discovery string `xml:"discovery_method"`
}

type recordXML struct {
	Row struct {
		Source    string `xml:"source_ip"`
		Count     int64  `xml:"count"`
		Evaluated struct {
			Disposition string       `xml:"disposition"`
			DKIM        string       `xml:"dkim"`
			SPF         string       `xml:"spf"`
			Reasons     []*reasonXML `xml:"reason"`
		} `xml:"policy_evaluated"`
	} `xml:"row"`
	Identifiers struct {
		To     string `xml:"envelope_to,omitempty"`
		From   string `xml:"envelope_from"`
		Header string `xml:"header_from"`
	} `xml:"identifiers"`
	Results struct {
		DKIM []dkimXML `xml:"dkim"`
		SPF  spfXML    `xml:"spf"`
	} `xml:"auth_results"`
}

type reasonXML struct {
	Type    string `xml:"type"`
	Comment string `xml:"comment,omitempty"`
}

type dkimXML struct {
	Domain   string `xml:"domain"`
	Selector string `xml:"selector"`
	Result   string `xml:"result"`
}

type spfXML struct {
	Domain string `xml:"domain"`
	Scope  string `xml:"scope"`
	Result string `xml:"result"`
}

// reporter is who makes reports.
type reporter struct {
	host      string // our name in mail
	name      string // the organization's, for people
	contact   string // address
	generator string
}

// id is the same when the report is made again, so that a second copy is known as such.
func (who reporter) id(d dmarcbook.Domain) string {
	return fmt.Sprintf("%s.%d.%s@%s", d.Period.Begin.Format("20060102T15"), int(d.Period.Length.Hours()), d.Name, who.host)
}

// file is the name of the attachment (RFC 7489 section 7.2.1.1).
func (who reporter) file(d dmarcbook.Domain) string {
	return fmt.Sprintf("%s!%s!%d!%d.xml.gz", who.host, d.Name, d.Period.Begin.Unix(), d.Period.End().Unix()-1)
}

// write makes the report.
func (who reporter) write(d dmarcbook.Domain) ([]byte, error) {
	f := feedback{Version: "1.0"}
	f.Metadata = metadataXML{Organization: who.name, Email: who.contact, ID: who.id(d), Begin: d.Period.Begin.Unix(), End: d.Period.End().Unix() - 1, Generator: who.generator}
	if d.Missed > 0 {
		f.Metadata.Error = fmt.Sprintf("%d more messages came from too many different sources to be listed", d.Missed)
	}
	p := d.Policy
	f.Policy = publishedXML{Domain: d.Name, DKIM: mode(p.StrictDKIM), SPF: mode(p.StrictSPF), P: p.P, SP: p.SP, NP: p.NP, Percent: p.Percent, FO: p.FailureOptions,
		Testing: "n", Discovery: "treewalk"}
	if f.Policy.SP == "" {
		f.Policy.SP = p.P
	}
	if p.Testing {
		f.Policy.Testing = "y"
	}
	for _, r := range d.Rows {
		f.Records = append(f.Records, record(d, r))
	}
	var b bytes.Buffer
	b.WriteString(xml.Header)
	e := xml.NewEncoder(&b)
	e.Indent("", "  ")
	if err := e.Encode(f); err != nil {
		return nil, err
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

func record(d dmarcbook.Domain, r dmarcbook.Row) (x recordXML) {
	x.Row.Source, x.Row.Count = r.Source.String(), r.Count
	e := &x.Row.Evaluated
	e.Disposition, e.DKIM, e.SPF = r.Disposition, passed(r.DKIM), passed(r.SPF)
	if r.Override != "" {
		e.Reasons = []*reasonXML{{r.Override, r.Comment}}
	}
	x.Identifiers.To, x.Identifiers.From, x.Identifiers.Header = r.EnvelopeTo, r.EnvelopeFrom, r.HeaderFrom
	if r.HeaderFrom == "" {
		x.Identifiers.Header = d.Name
	}
	for _, s := range r.Signatures {
		x.Results.DKIM = append(x.Results.DKIM, dkimXML{s.Domain, s.Selector, dkimWord(s.Result)})
	}
	x.Results.SPF = spfXML{r.SPFDomain, "mfrom", spfWord(r.SPFResult)}
	if r.SPFHello {
		x.Results.SPF.Scope = "helo"
	}
	return x
}

func mode(strict bool) string {
	if strict {
		return "s"
	}
	return "r"
}

func passed(ok bool) string {
	if ok {
		return "pass"
	}
	return "fail"
}

// dkimWord and spfWord are results that the schema has.
func dkimWord(r string) string {
	switch mailauth.Result(r) {
	case mailauth.Pass, mailauth.Fail, mailauth.Policy, mailauth.Neutral, mailauth.TempError, mailauth.PermError:
		return r
	}
	return string(mailauth.None)
}

func spfWord(r string) string {
	switch mailauth.Result(r) {
	case mailauth.Pass, mailauth.Fail, mailauth.SoftFail, mailauth.Neutral, mailauth.TempError, mailauth.PermError:
		return r
	}
	return string(mailauth.None)
}

// gzipped packs a text; the same text gives the same octets.
func gzipped(text []byte) ([]byte, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := io.Copy(z, bytes.NewReader(text)); err != nil {
		return nil, err
	}
	err := z.Close()
	return b.Bytes(), err
}

// oneWord is a text of ours or of a stranger that goes into one header field or one line.
func oneWord(s string) string { return strings.Join(strings.Fields(s), " ") }
