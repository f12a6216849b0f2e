package list

import (
	"slices"
	"strings"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/message"
)

// dropped are fields of the message that a list makes anew, or that are of one delivery only.
func dropped() []string {
	return []string{"Return-Path", "Delivered-To", "Precedence", "List-Id", "List-Post", "List-Unsubscribe", "List-Unsubscribe-Post",
		"List-Help", "List-Subscribe", "List-Owner", "List-Archive", "X-Spam-Status", "X-Spam-Flag"}
}

// compose writes the header that all copies have: the list's own fields, then the message's, of which as few as possible are
// changed, since each change may break a signature. munged: the list is the author, who can still be answered.
func (p *posting) compose(munged bool) []byte {
	d, l := p.draft, p.list
	own := message.HeaderWriter{}
	own.Field("Received", "by "+p.l.o.Hostname+" (list) id "+p.id+" for <"+l.Address.String()+">; "+message.FormatDate(p.l.o.Now()))
	own.Field("List-Id", strings.TrimSpace(phrase(l.Name)+" <"+ID(l)+">")) // RFC 2919
	own.Field("List-Post", p.postTo())                                     // RFC 2369 section 3.4
	if !p.linked {
		own.Field("List-Unsubscribe", "<"+p.unsubscribeMail()+">") // section 3.2
	}
	own.Field("List-Owner", "<mailto:"+escape(p.l.o.Directory.OwnersOf(l).String())+">")
	own.Field("Precedence", "list")
	for _, loop := range d.loops {
		own.Field("X-Loop", loop)
	}
	own.Field("X-Loop", strings.ToLower(l.Address.String()))
	b := slices.Clone(own.Bytes())

	drop := dropped()
	change := message.HeaderWriter{}
	if l.Tag != "" && !strings.Contains(message.DecodeWords(d.subject), l.Tag) {
		drop = append(drop, "Subject")
		change.Field("Subject", strings.TrimSpace(message.EncodeWords(l.Tag)+" "+d.subject))
	}
	switch {
	case l.Replies == auth.ReplyList:
		drop = append(drop, "Reply-To")
		change.Addresses("Reply-To", message.Address{Mailbox: l.Address.Local, Host: string(l.Address.Domain)})
	case munged && !d.replyTo:
		var all []message.Address
		for _, a := range d.authors {
			all = append(all, message.Address{Mailbox: a.Local, Host: string(a.Domain)})
		}
		change.Addresses("Reply-To", all...)
	}
	if munged {
		drop = append(drop, "From")
		name := message.DecodeWords(d.name)
		if name == "" {
			name = d.authors[0].Unicode()
		}
		via := l.Name
		if via == "" {
			via = l.Address.Local
		}
		change.Addresses("From", message.Address{Name: message.EncodeWords(name + " via " + via), Mailbox: l.Address.Local, Host: string(l.Address.Domain)})
	}
	b = message.FieldFilter{Names: append(drop, "X-Loop"), Not: true}.Append(b, d.header)
	return append(b, change.Bytes()...)
}

// phrase is a name in front of <>.
func phrase(name string) string {
	if name == "" {
		return ""
	}
	if encoded := message.EncodeWords(name); encoded != name {
		return encoded
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name) + `"`
}

func (p *posting) postTo() string {
	if p.list.Posting == auth.PostNamed {
		return "NO (only some people may post)"
	}
	return "<mailto:" + escape(p.list.Address.String()) + ">"
}

func (p *posting) unsubscribeMail() string {
	return "mailto:" + escape(p.l.o.Directory.At(p.list, auth.ListUnsubscribe, "").String()) + "?subject=unsubscribe"
}

// escape makes an address part of a URL (RFC 6068 section 2).
func escape(address string) string {
	var b strings.Builder
	for i := 0; i < len(address); i++ {
		c := address[i]
		if c >= 0x80 || c <= ' ' || strings.IndexByte("%?&#\"<>[]\\^`{|},()+;:", c) >= 0 {
			const hex = "0123456789ABCDEF"
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}
