package pop3

import (
	"bytes"
	"strings"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/message"
)

// Outside of UTF-8 mode no header may carry UTF-8 as it is (RFC 6856 section 2.1).
// Refusing such a message would stop many programs at it for ever, so they get a
// surrogate (RFC 6855 section 7, in the manner of RFC 6857): names and texts as encoded
// words, addresses that only UTF-8 can write as empty groups.

// surrogate makes the header ASCII; one that is needs nothing.
func surrogate(header []byte) []byte {
	if isASCII(header) {
		return header
	}
	var out bytes.Buffer
	for f := range message.Fields(header) {
		name := string(f.Name)
		switch {
		case isASCII(f.Raw):
			out.Write(f.Raw)
			continue
		case name == "" || !isASCII(f.Name):
			out.Write(masked(f.Raw))
			continue
		case isAddressField(name):
			out.WriteString(name + ": " + surrogateAddresses(f.Unfolded()))
		case isStructuredField(name):
			out.WriteString(name + ":")
			out.Write(masked(f.Value))
		default:
			out.WriteString(name + ": " + encodeText(f.Text()))
		}
		out.WriteString("\r\n")
	}
	return out.Bytes()
}

func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 {
			return false
		}
	}
	return true
}

// masked puts a question mark in the place of every octet that is not ASCII.
func masked(b []byte) []byte {
	out := bytes.Clone(b)
	for i, c := range out {
		if c >= 0x80 {
			out[i] = '?'
		}
	}
	return out
}

// encodeText makes encoded words, one a line (RFC 2047 section 2).
func encodeText(s string) string {
	return strings.ReplaceAll(message.EncodeWords(s), "?= =?", "?=\r\n =?")
}

func isAddressField(name string) bool {
	switch strings.TrimPrefix(strings.ToLower(name), "resent-") {
	case "from", "sender", "reply-to", "to", "cc", "bcc", "disposition-notification-to":
		return true
	}
	return false
}

func isStructuredField(name string) bool {
	name = strings.ToLower(name)
	switch name {
	case "received", "return-path", "message-id", "in-reply-to", "references", "date", "mime-version", "dkim-signature", "authentication-results", "delivered-to":
		return true
	case "content-description":
		return false
	}
	return strings.HasPrefix(name, "content-") || strings.HasPrefix(name, "arc-") || strings.HasPrefix(name, "list-")
}

func surrogateAddresses(value string) string {
	var out strings.Builder
	behind := false // something stands before that a comma has to follow
	for _, a := range message.ParseAddresses(value) {
		switch {
		case a.Host == "" && a.Mailbox == "": // the end of a group
			out.WriteString(";")
			behind = true
			continue
		case behind:
			out.WriteString(",\r\n ")
		}
		if a.Host == "" {
			out.WriteString(phrase(a.Mailbox) + ":")
			behind = false
			continue
		}
		out.WriteString(surrogateAddress(a))
		behind = true
	}
	return out.String()
}

func surrogateAddress(a message.Address) string {
	host := a.Host
	if domain, err := mail.ParseDomain(host); err == nil {
		host = string(domain)
	}
	if !isASCII([]byte(a.Mailbox)) || !isASCII([]byte(host)) {
		return phrase(strings.TrimSpace(a.Name+" "+a.Mailbox+"@"+a.Host)) + ":;"
	}
	address := mail.Address{Local: a.Mailbox, Domain: mail.Domain(host)}.String()
	if a.Name == "" {
		return address
	}
	return phrase(a.Name) + " <" + address + ">"
}

// phrase is a display name: encoded words where it is not ASCII, else as it is, quoted.
func phrase(name string) string {
	if !isASCII([]byte(name)) {
		return encodeText(message.DecodeWords(name))
	}
	if strings.HasPrefix(name, "=?") && strings.HasSuffix(name, "?=") {
		return name
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name) + `"`
}
