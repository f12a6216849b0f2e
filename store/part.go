package store

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/posthouse-mail/posthouse/internal/mail"
)

// partMail is the part kind of this package in a log record: one copy of the body for one mailbox.
const partMail byte = 'm'

// PartKinds are the part kinds of this package: what a rollback logs again for an older program.
const PartKinds = string(rune(partMail))

// mailPart is what the log says about one copy: tag, length, value. A tag that is not known is passed over, so that older
// code can replay a newer log.
type mailPart struct {
	account  mail.AccountID
	mailbox  MailboxID // as it was when the mail came
	name     string
	flags    Flags
	keywords []string
	received int64
	saved    int64
	thread   uint64
	msgHash  uint64 // of the Message-ID
	ticket   uint64 // what this process counts for it until it is applied
	use      SpecialUse
	copy     uint64 // it is not stored a second time where table j has this hash
	waits    []byte // what the owner of the Outbox is told when it has landed
}

const (
	tagAccount byte = iota + 1
	tagMailbox
	tagName
	tagFlags
	tagKeyword
	tagReceived
	tagSaved
	tagThread
	tagMessageHash
	tagTicket
	tagUse
	tagCopy
	tagWaits
)

const partVersion = 1

func (p *mailPart) encode() []byte {
	b := make([]byte, 1, 96+len(p.name))
	b[0] = partVersion
	number := func(tag byte, v uint64) {
		if v != 0 {
			n := (bits.Len64(v) + 7) / 8
			b = append(b, tag, byte(n))
			for i := n - 1; i >= 0; i-- {
				b = append(b, byte(v>>(8*i)))
			}
		}
	}
	text := func(tag byte, v string) {
		b = append(b, tag)
		b = binary.AppendUvarint(b, uint64(len(v)))
		b = append(b, v...)
	}
	number(tagAccount, uint64(p.account))
	number(tagMailbox, uint64(p.mailbox))
	text(tagName, p.name)
	number(tagFlags, uint64(p.flags))
	for _, k := range p.keywords {
		text(tagKeyword, k)
	}
	number(tagReceived, uint64(seconds(p.received)))
	number(tagSaved, uint64(seconds(p.saved)))
	number(tagThread, p.thread)
	number(tagMessageHash, p.msgHash)
	number(tagTicket, p.ticket)
	number(tagUse, uint64(p.use))
	number(tagCopy, p.copy)
	if len(p.waits) > 0 {
		text(tagWaits, string(p.waits))
	}
	return b
}

func parsePart(b []byte) (mailPart, error) {
	var p mailPart
	if len(b) == 0 || b[0] != partVersion {
		return p, fmt.Errorf("part of an unknown version: %w", ErrDamaged)
	}
	for b = b[1:]; len(b) > 0; {
		tag := b[0]
		n, w := binary.Uvarint(b[1:])
		if w <= 0 || n > uint64(len(b)-1-w) {
			return p, fmt.Errorf("part with a bad length: %w", ErrDamaged)
		}
		v := b[1+w : 1+w+int(n)]
		b = b[1+w+int(n):]
		p.set(tag, v)
	}
	return p, nil
}

func (p *mailPart) set(tag byte, v []byte) {
	var n uint64
	for _, c := range v[:min(len(v), 8)] {
		n = n<<8 | uint64(c)
	}
	switch tag {
	case tagAccount:
		p.account = mail.AccountID(n)
	case tagMailbox:
		p.mailbox = MailboxID(n)
	case tagName:
		p.name = string(v)
	case tagFlags:
		p.flags = Flags(n)
	case tagKeyword:
		p.keywords = append(p.keywords, string(v))
	case tagReceived:
		p.received = int64(n)
	case tagSaved:
		p.saved = int64(n)
	case tagThread:
		p.thread = n
	case tagMessageHash:
		p.msgHash = n
	case tagTicket:
		p.ticket = n
	case tagUse:
		p.use = SpecialUse(n)
	case tagCopy:
		p.copy = n
	case tagWaits:
		p.waits = v
	}
}
