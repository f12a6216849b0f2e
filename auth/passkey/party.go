package passkey

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/protocol/webauthncose"
	"github.com/go-webauthn/webauthn/webauthn"
)

// maxAnswer bounds the octets of an answer: attestation is not asked for, so that there is a key and little else.
const maxAnswer = 32 << 10

const maxReason = 300 // octets of why an answer was refused

// Party is the house as devices see it.
type Party struct{ challenges *challenges }

// NewParty returns a Party; now nil: the clock.
func NewParty(now func() time.Time) *Party {
	if now == nil {
		now = time.Now
	}
	return &Party{newChallenges(now)}
}

// engine is the library for one page of the house.
func engine(at Where) (*webauthn.WebAuthn, error) {
	if at.Host == "" {
		return nil, ErrNowhere
	}
	return webauthn.New(&webauthn.Config{RPID: at.Host, RPDisplayName: at.Host, RPOrigins: []string{at.Origin}, AttestationPreference: protocol.PreferNoAttestation})
}

// algorithms that devices may choose of, the shortest signatures first.
func algorithms() []protocol.CredentialParameter {
	var all []protocol.CredentialParameter
	for _, a := range []webauthncose.COSEAlgorithmIdentifier{webauthncose.AlgES256, webauthncose.AlgEdDSA, webauthncose.AlgRS256} {
		all = append(all, protocol.CredentialParameter{Type: protocol.PublicKeyCredentialType, Algorithm: a})
	}
	return all
}

// user is an Owner as the library knows one, with the passkeys of one host.
type user struct {
	Owner
	host string
}

func (u user) WebAuthnID() []byte          { return u.Handle }
func (u user) WebAuthnName() string        { return u.Name }
func (u user) WebAuthnDisplayName() string { return u.Label }
func (u user) WebAuthnCredentials() (all []webauthn.Credential) {
	for _, c := range u.at(u.host) {
		all = append(all, webauthn.Credential{
			ID: c.ID, PublicKey: c.Key, Flags: webauthn.NewCredentialFlags(protocol.AuthenticatorFlags(c.Flags)),
			Authenticator: webauthn.Authenticator{AAGUID: c.Model, SignCount: c.Counter},
		})
	}
	return all
}

// descriptors name passkeys for a browser.
func descriptors(keys []Credential) []protocol.CredentialDescriptor {
	all := []protocol.CredentialDescriptor{}
	for _, c := range keys {
		d := protocol.CredentialDescriptor{Type: protocol.PublicKeyCredentialType, CredentialID: c.ID}
		for _, t := range c.Transports {
			d.Transport = append(d.Transport, protocol.AuthenticatorTransport(t))
		}
		all = append(all, d)
	}
	return all
}

// AskToMake is the question that makes a passkey for o: options of navigator.credentials.create in JSON. bound names the visitor, whose answer alone
// will do. The passkey is found by the device itself later, and knows its owner: it stands for both factors.
func (p *Party) AskToMake(at Where, bound string, o Owner) ([]byte, error) {
	e, err := engine(at)
	if err != nil {
		return nil, err
	}
	q, _, err := e.BeginRegistration(user{o, at.Host},
		webauthn.WithExclusions(descriptors(o.at(at.Host))), webauthn.WithCredentialParameters(algorithms()),
		webauthn.WithAuthenticatorSelection(protocol.AuthenticatorSelection{
			ResidentKey: protocol.ResidentKeyRequirementRequired, RequireResidentKey: protocol.ResidentKeyRequired(), UserVerification: protocol.VerificationRequired,
		}),
		func(c *protocol.PublicKeyCredentialCreationOptions) error {
			c.Challenge, c.Timeout = p.challenges.make(toMake, bound+at.Host), int(Life/time.Millisecond)
			return nil
		})
	if err != nil {
		return nil, fmt.Errorf("passkey: %w", err)
	}
	return json.Marshal(q.Response)
}

// Made reads the answer to AskToMake.
func (p *Party) Made(at Where, bound string, o Owner, answer string) (Credential, error) {
	e, err := engine(at)
	if err != nil {
		return Credential{}, err
	}
	if len(answer) > maxAnswer {
		return Credential{}, ErrRefused
	}
	a, err := protocol.ParseCredentialCreationResponseBytes([]byte(answer))
	if err != nil {
		return Credential{}, refused(err)
	}
	challenge := a.Response.CollectedClientData.Challenge
	if !p.challenges.ours(toMake, bound+at.Host, challenge) {
		return Credential{}, ErrLate
	}
	if !a.Response.AttestationObject.AuthData.Flags.HasUserVerified() {
		return Credential{}, ErrUnverified
	}
	c, err := e.CreateCredential(user{o, at.Host}, webauthn.SessionData{
		Challenge: challenge, RelyingPartyID: at.Host, UserID: o.Handle, UserVerification: protocol.VerificationRequired, CredParams: algorithms(),
	}, a)
	if err != nil {
		return Credential{}, refused(err)
	}
	if !p.challenges.spend(challenge) {
		return Credential{}, ErrLate
	}
	out := Credential{ID: c.ID, Key: c.PublicKey, Host: at.Host, Counter: c.Authenticator.SignCount, Flags: byte(c.Flags.ProtocolValue()), Model: c.Authenticator.AAGUID}
	for _, t := range c.Transport[:min(len(c.Transport), 8)] {
		if len(t) <= 20 { // those of the standard are shorter
			out.Transports = append(out.Transports, string(t))
		}
	}
	return out, nil
}

// Ask is the question for any passkey, whose device must know its owner: options of navigator.credentials.get in JSON.
func (p *Party) Ask(at Where, bound string) ([]byte, error) {
	return p.ask(at, toEnter, bound, nil)
}

// AskOwner is the question for one of o's passkeys, besides a password. ErrUnknown when none works here.
func (p *Party) AskOwner(at Where, bound string, o Owner) ([]byte, error) {
	keys := o.at(at.Host)
	if at.Host != "" && len(keys) == 0 {
		return nil, ErrUnknown
	}
	return p.ask(at, toProve, bound, keys)
}

func (p *Party) ask(at Where, why purpose, bound string, keys []Credential) ([]byte, error) {
	e, err := engine(at)
	if err != nil {
		return nil, err
	}
	verify := protocol.VerificationRequired
	if why == toProve {
		verify = protocol.VerificationPreferred // the password was the first factor
	}
	q, _, err := e.BeginDiscoverableLogin(webauthn.WithChallenge(p.challenges.make(why, bound+at.Host)), webauthn.WithUserVerification(verify), func(r *protocol.PublicKeyCredentialRequestOptions) error {
		r.AllowedCredentials, r.Timeout = descriptors(keys), int(Life/time.Millisecond)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("passkey: %w", err)
	}
	return json.Marshal(q.Response)
}

// Proved reads the answer to Ask; find tells whose the passkey is that the device names (ErrUnknown).
func (p *Party) Proved(at Where, bound, answer string, find func(id, handle []byte) (Owner, error)) (Proof, error) {
	return p.proved(at, toEnter, bound, answer, find)
}

// OwnerProved reads the answer to AskOwner.
func (p *Party) OwnerProved(at Where, bound, answer string, o Owner) (Proof, error) {
	return p.proved(at, toProve, bound, answer, func([]byte, []byte) (Owner, error) { return o, nil })
}

func (p *Party) proved(at Where, why purpose, bound, answer string, find func(id, handle []byte) (Owner, error)) (Proof, error) {
	e, err := engine(at)
	if err != nil {
		return Proof{}, err
	}
	if len(answer) > maxAnswer {
		return Proof{}, ErrRefused
	}
	a, err := protocol.ParseCredentialRequestResponseBytes([]byte(answer))
	if err != nil {
		return Proof{}, refused(err)
	}
	challenge := a.Response.CollectedClientData.Challenge
	if !p.challenges.ours(why, bound+at.Host, challenge) {
		return Proof{}, ErrLate
	}
	o, err := find(a.RawID, a.Response.UserHandle)
	if err != nil {
		return Proof{}, err
	}
	kept := slices.IndexFunc(o.Keys, func(c Credential) bool { return c.Host == at.Host && string(c.ID) == string(a.RawID) })
	if kept < 0 {
		return Proof{}, ErrUnknown
	}
	verified := a.Response.AuthenticatorData.Flags.HasUserVerified()
	s := webauthn.SessionData{Challenge: challenge, RelyingPartyID: at.Host, UserID: o.Handle}
	if why == toEnter {
		if s.UserVerification = protocol.VerificationRequired; !verified {
			return Proof{}, ErrUnverified
		}
	}
	c, err := e.ValidateLogin(user{o, at.Host}, s, a)
	if err != nil {
		return Proof{}, refused(err)
	}
	if c.Authenticator.CloneWarning {
		return Proof{}, ErrCopied
	}
	if !p.challenges.spend(challenge) {
		return Proof{}, ErrLate
	}
	now := o.Keys[kept]
	now.Counter, now.Flags = c.Authenticator.SignCount, byte(c.Flags.ProtocolValue())
	return Proof{o.Handle, now, verified}, nil
}

// refused adds what the library found; it is for the log, and bounded, because it has words of the browser.
func refused(err error) error {
	text := err.Error()
	var known *protocol.Error
	if errors.As(err, &known) && known.DevInfo != "" {
		text = known.Details + " (" + known.DevInfo + ")"
	}
	if len(text) > maxReason {
		text = strings.ToValidUTF8(text[:maxReason], "") + " ..."
	}
	return fmt.Errorf("%w: %s", ErrRefused, text)
}
