// Package mailauth tells who a message comes from, and says so for others: SPF
// (RFC 7208), DKIM (RFC 6376), ARC (RFC 8617), DMARC (RFC 7489 with the tree walk
// of its successor), and the names of an address (iprev).
//
// Start at Checker: Begin is told who speaks, Check takes the message while it
// arrives, and Finish gives a Report, whose Field is the one
// Authentication-Results field (RFC 8601). Signer and Sealer write signatures.
//
// canon.go and signature.go are what DKIM and ARC share. Nothing here decides what
// becomes of a message. Everything asks the given resolver only; time, memory and
// questions are bounded, and a failure of DNS is never taken for an absent record.
package mailauth
