// Package message knows RFC 5322 and MIME: a one-pass scanner with byte offsets
// (it never fails and never holds a body), the structure it finds, decoding for
// search and people, and what submission writes.
//
// Start at Scanner: it is fed a message while it arrives and gives a Summary,
// whose Root is the tree of Parts. AppendPart stores the tree, ParsePart reads it
// back. Fields walks a header, TextReader reads a part as UTF-8 text, HeaderWriter
// writes a header, Downgrade turns 8-bit mail into 7-bit mail.
package message

import (
	"strings"
	"time"
)

// Address is one address of a header field, as IMAP's ENVELOPE needs it (RFC 9051 section 7.5.2).
// Group start: Host empty and Mailbox the group's name; group end: both empty.
type Address struct {
	Name    string // raw, encoded words kept
	Mailbox string
	Host    string
}

// Envelope is the parsed header of one message, values raw (encoded words kept).
type Envelope struct {
	Date      string // as written
	Subject   string
	From      []Address
	Sender    []Address
	ReplyTo   []Address
	To        []Address
	Cc        []Address
	Bcc       []Address
	InReplyTo string
	MessageID string
}

// Param is one parameter of a Content-Type or Content-Disposition, name lower case. RFC 2231 pieces are joined;
// a value with a charset keeps it, under a name that ends in "*" (Part.Param decodes it).
type Param struct{ Name, Value string }

// Part is one entity of a message. Offsets count from the start of the whole message, in octets as stored.
type Part struct {
	Type, Subtype     string // upper case, defaults filled in (RFC 2045 section 5.2)
	Params            []Param
	ID, Description   string
	Encoding          string // upper case; "7BIT" when not given
	MD5, Location     string
	Disposition       string // upper case
	DispositionParams []Param
	Language          []string
	Header, Body, End int64     // first octet of the header, of the body, and behind the body
	Lines             int64     // line ends in the body
	Envelope          *Envelope // of the root and of an enclosed message
	Parts             []*Part   // of a multipart; for message/rfc822 the one enclosed message
}

// IsMultipart tells whether the part is a multipart of any kind.
func (p *Part) IsMultipart() bool { return p.Type == "MULTIPART" }

// IsMessage tells whether the part encloses a message (RFC 2046 section 5.2.1, RFC 6532 section 3.7).
func (p *Part) IsMessage() bool {
	return p.Type == "MESSAGE" && (p.Subtype == "RFC822" || p.Subtype == "GLOBAL")
}

// Size is the length of the body in octets, as it stands in the message.
func (p *Part) Size() int64 { return p.End - p.Body }

// Param is the value of a Content-Type parameter as text (RFC 2231 decoded), or "".
func (p *Part) Param(name string) string { return paramValue(p.Params, name) }

// Charset is the charset parameter in lower case, "us-ascii" when there is none (RFC 2045 section 5.2).
func (p *Part) Charset() string {
	if c := p.Param("charset"); c != "" {
		return strings.ToLower(c)
	}
	return "us-ascii"
}

// Summary is what the scanner found out about a message in one pass.
type Summary struct {
	Root       *Part
	Size       int64
	Date       time.Time // parsed Date field, zero when it is absent or wrong
	References []string  // message-ids of References, in order
	Has8Bit    bool      // an octet over 127 anywhere
	HasNUL     bool
	HasBareCR  bool
	HasBareLF  bool
	LongLine   bool // a line over 998 octets
}

// Shift makes room for n octets of header fields that were put before the message: everything but its beginning moves.
func (s *Summary) Shift(n int64) {
	if n == 0 {
		return
	}
	s.Size += n
	s.Root.Walk(func(p *Part) bool {
		if p != s.Root {
			p.Header += n
		}
		p.Body += n
		p.End += n
		return true
	})
}
