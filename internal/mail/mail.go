// Package mail holds the nouns of the house: Domain, Address, Envelope and
// AccountID. Text becomes one of them once, at the edge (ParseDomain,
// ParseAddress); from there on only the canonical form travels.
package mail

import "time"

// AccountID names an account for ever; it is never given twice. Zero is no account.
type AccountID uint32

// BodyType is the BODY parameter of MAIL (RFC 6152, RFC 3030).
type BodyType uint8

const (
	Body7Bit BodyType = iota
	Body8BitMIME
	BodyBinaryMIME
)

// Notify is the set of events a sender wants to hear of (RFC 3461 section 4.1).
// Zero means that the sender said nothing: failure, and delay where the house tells delays.
type Notify uint8

const (
	NotifyNever Notify = 1 << iota
	NotifySuccess
	NotifyFailure
	NotifyDelay
)

// Return says how much of the message a report carries (RFC 3461 section 4.3).
type Return uint8

const (
	ReturnUnset Return = iota
	ReturnFull
	ReturnHeaders
)

// Recipient is one forward path with its DSN parameters.
type Recipient struct {
	Address      Address
	Notify       Notify
	OriginalType string // ORCPT's address type as it was written ("rfc822", "UTF-8"); empty when not given
	Original     string // ORCPT's address, xtext decoded
}

// Release is when a message is to be sent, where that is not at once (FUTURERELEASE, RFC 4865).
type Release struct {
	At    time.Time // zero: at once
	Asked string    // how the sender put it, "for;3600" or "until;2026-01-02T03:04:05Z"; empty: it did not
}

// Envelope is what MAIL and RCPT said (RFC 5321 section 2.3.1).
type Envelope struct {
	From       Address // zero: the null reverse-path <>
	Recipients []Recipient
	Body       BodyType
	UTF8       bool   // SMTPUTF8 (RFC 6531)
	Return     Return // RET
	EnvelopeID string // ENVID, xtext decoded
	RequireTLS bool   // REQUIRETLS (RFC 8689)
	Front      string // header fields of this copy alone; the carrier to other hosts sends them in front of the message
	Release    Release
	Unproven   bool // a stranger's mail, and nothing shows that it came from From: no report goes there (backscatter)
}
