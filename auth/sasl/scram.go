package sasl

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"strings"
	"unicode/utf8"

	gosasl "github.com/emersion/go-sasl"
	"github.com/xdg-go/scram"
	"github.com/xdg-go/stringprep"
)

// Iterations of new keys. RFC 7677 section 4 asks for 4096 at least; the client pays for them at each login.
const Iterations = 16384

const saltSize = 16

// Credentials are what the server keeps of a password for SCRAM (RFC 5802 section 3).
type Credentials struct {
	Salt                 []byte
	Iterations           int
	StoredKey, ServerKey []byte
}

// Derive makes new keys of a password.
func Derive(password string) (Credentials, error) {
	salt := make([]byte, saltSize)
	rand.Read(salt) // never fails
	client, err := scram.SHA256.NewClientUnprepped("", Prepare(password), "")
	if err != nil {
		return Credentials{}, fmt.Errorf("sasl: %w", err)
	}
	stored, err := client.GetStoredCredentialsWithError(scram.KeyFactors{Salt: string(salt), Iters: Iterations})
	if err != nil {
		return Credentials{}, fmt.Errorf("sasl: %w", err)
	}
	return Credentials{Salt: salt, Iterations: Iterations, StoredKey: stored.StoredKey, ServerKey: stored.ServerKey}, nil
}

// Fake is what a user gets who does not exist or has no keys: the same salt at each
// try, as a real one would have, and keys that nothing fits. The secret stays with the server.
func Fake(secret []byte, user string) Credentials {
	hash := func(what string) []byte {
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(what + "\x00" + user))
		return mac.Sum(nil)
	}
	return Credentials{Salt: hash("salt")[:saltSize], Iterations: Iterations, StoredKey: hash("stored"), ServerKey: hash("server")}
}

// Prepare is SASLprep (RFC 4013). What it forbids is taken as it is: the same at
// every login, so that a password once set keeps fitting.
func Prepare(password string) string {
	prepared, err := stringprep.SASLprep.Prepare(password)
	if err != nil || prepared == "" {
		return password
	}
	return prepared
}

// SCRAM is what one exchange of SCRAM-SHA-256 needs (RFC 5802, RFC 7677).
type SCRAM struct {
	Plus        bool // the client chose SCRAM-SHA-256-PLUS
	PlusOffered bool // it was offered: a client that says it was not has been deceived
	TLS         *tls.ConnectionState
	Leaf        *x509.Certificate // our certificate on this connection; nil: tls-server-end-point is not served
	// Lookup finds the keys of a user; for one who does not exist it returns Fake's. An error is a failure of ours.
	Lookup func(user string) (Credentials, error)
	// Finish is called when the proof fits, before the client learns of it; its error ends the exchange.
	Finish func(authzid, user string) error
}

// NewSCRAM starts an exchange.
func NewSCRAM(s SCRAM) gosasl.Server { return &scramServer{SCRAM: s} }

type scramServer struct {
	SCRAM
	conversation *scram.ServerConversation
	prompted     bool
	proved       bool
	ended        bool
	failure      error // of Lookup, which the conversation would hide
}

func (s *scramServer) Next(response []byte) ([]byte, bool, error) {
	if s.ended || len(response) > MaxMessage || !utf8.Valid(response) || bytes.IndexByte(response, 0) >= 0 {
		return s.end(ErrMalformed)
	}
	switch {
	case s.proved: // the client has seen our signature and says nothing more
		s.ended = true
		if len(response) != 0 {
			return nil, false, ErrMalformed
		}
		return nil, true, nil
	case len(response) == 0 && s.conversation == nil && !s.prompted:
		s.prompted = true
		return []byte{}, false, nil
	case s.conversation == nil:
		return s.first(string(response))
	}
	return s.final(string(response))
}

func (s *scramServer) end(err error) ([]byte, bool, error) {
	s.ended = true
	return nil, false, err
}

func (s *scramServer) first(message string) ([]byte, bool, error) {
	binding, err := s.binding(message)
	if err != nil {
		return s.end(err)
	}
	server, err := scram.SHA256.NewServer(func(user string) (scram.StoredCredentials, error) {
		c, err := s.Lookup(user)
		s.failure = err
		return scram.StoredCredentials{
			KeyFactors: scram.KeyFactors{Salt: string(c.Salt), Iters: c.Iterations},
			StoredKey:  c.StoredKey, ServerKey: c.ServerKey,
		}, err
	})
	if err != nil {
		return s.end(fmt.Errorf("sasl: %w", err))
	}
	s.conversation = server.NewConversationWithChannelBinding(binding)
	reply, err := s.conversation.Step(message)
	switch {
	case s.failure != nil:
		return s.end(s.failure)
	case err != nil:
		return s.end(fmt.Errorf("%w: %w", ErrMalformed, err))
	}
	return []byte(reply), false, nil
}

// binding checks the gs2 flag against the mechanism's name (RFC 5802 section 6),
// which the library leaves to us, and makes the binding data the client must show.
func (s *scramServer) binding(message string) (scram.ChannelBinding, error) {
	flag, _, _ := strings.Cut(message, ",")
	kind, bound := strings.CutPrefix(flag, "p=")
	switch {
	case bound != s.Plus:
		return scram.ChannelBinding{}, ErrBinding
	case flag == "y" && s.PlusOffered:
		return scram.ChannelBinding{}, fmt.Errorf("%w: the offer of SCRAM-SHA-256-PLUS did not reach the client", ErrBinding)
	case !bound:
		return scram.ChannelBinding{}, nil
	}
	data, err := s.bindingData(scram.ChannelBindingType(kind))
	if err != nil {
		return scram.ChannelBinding{}, fmt.Errorf("%w: %w", ErrBinding, err)
	}
	return scram.ChannelBinding{Type: scram.ChannelBindingType(kind), Data: data}, nil
}

func (s *scramServer) bindingData(kind scram.ChannelBindingType) ([]byte, error) {
	if s.TLS == nil {
		return nil, fmt.Errorf("no TLS")
	}
	switch kind {
	case scram.ChannelBindingTLSExporter: // RFC 9266
		b, err := scram.NewTLSExporterBinding(s.TLS)
		return b.Data, err
	case scram.ChannelBindingTLSServerEndpoint: // RFC 5929 section 4: ours, not the peer's
		if s.Leaf == nil {
			return nil, fmt.Errorf("own certificate not known")
		}
		b, err := scram.NewTLSServerEndpointBinding(&tls.ConnectionState{PeerCertificates: []*x509.Certificate{s.Leaf}})
		return b.Data, err
	}
	return nil, fmt.Errorf("type not supported")
}

func (s *scramServer) final(message string) ([]byte, bool, error) {
	reply, err := s.conversation.Step(message)
	if err != nil || !s.conversation.Valid() {
		if strings.HasPrefix(reply, scram.ErrChannelBindingsDontMatch) {
			return s.end(ErrBinding)
		}
		return s.end(ErrFailed)
	}
	if err := s.Finish(s.conversation.AuthzID(), s.conversation.Username()); err != nil {
		return s.end(err)
	}
	s.proved = true
	return []byte(reply), false, nil
}
