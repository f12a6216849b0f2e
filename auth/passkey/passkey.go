// Package passkey is the relying party of WebAuthn (level 3): what a browser is asked to do with a passkey, and whether its answer
// proves that it has one.
//
// A Party makes the questions and checks the answers (party.go); each question has a challenge (challenge.go) that is good once, for five minutes, for
// one visitor and one purpose. It keeps nothing else: credentials are the caller's to keep.
package passkey

import "errors"

// Errors of an answer.
var (
	ErrLate       = errors.New("passkey: the question is too old, was answered before, or is none of ours")
	ErrUnknown    = errors.New("passkey: nobody here has this passkey")
	ErrRefused    = errors.New("passkey: the answer proves nothing")
	ErrUnverified = errors.New("passkey: the device did not ask for its owner's finger, face or PIN")
	ErrCopied     = errors.New("passkey: its counter goes back: there is a copy of it")
	ErrNowhere    = errors.New("passkey: none can be used at this address")
)

// Wrong tells that err is about what was answered, and no fault of ours.
func Wrong(err error) bool {
	for _, e := range []error{ErrLate, ErrUnknown, ErrRefused, ErrUnverified, ErrCopied, ErrNowhere} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// Where is the page that asks. A passkey belongs to the host it was made at, which the browser tells the device by itself.
type Where struct {
	Host   string // the relying party id; empty: passkeys cannot be used here
	Origin string // what the browser must say of the page: scheme, host and port
}

// Credential is what is kept of a passkey; none of it is secret.
type Credential struct {
	ID         []byte
	Key        []byte // public, in COSE (RFC 9052)
	Host       string // where it was made, and works
	Counter    uint32 // of its uses; many devices do not count, and say 0
	Flags      byte   // of the authenticator data (WebAuthn section 6.1)
	Transports []string
	Model      []byte // AAGUID, 16 octets
}

// Synced tells whether the passkey has a copy elsewhere, such as in the account of its maker's: a lost device does not lose it.
func (c *Credential) Synced() bool { return c.Flags&flagBackedUp != 0 }

const flagBackedUp = 1 << 4

// Owner is whose passkeys are asked for.
type Owner struct {
	Handle []byte // names the account for devices; no address, and the same for ever
	Name   string // address
	Label  string // for people
	Keys   []Credential
}

// at are the owner's passkeys that work at a host.
func (o Owner) at(host string) (all []Credential) {
	for _, c := range o.Keys {
		if c.Host == host {
			all = append(all, c)
		}
	}
	return all
}

// Proof is an answer that holds.
type Proof struct {
	Handle     []byte     // whose
	Credential Credential // with the counter and flags that it has now
	Verified   bool       // the device knows its owner: the passkey stands for two factors
}
