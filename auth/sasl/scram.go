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

// NewBasis is a salt and a count without keys yet, for DeriveWith.
func NewBasis() Credentials {
	salt := make([]byte, saltSize)
	rand.Read(salt) // never fails
	return Credentials{Salt: salt, Iterations: Iterations}
}

// Derive makes new keys of a password.
func Derive(password string) (Credentials, error) { return DeriveWith(password, NewBasis()) }

// DeriveWith makes keys with the salt and the count of others: where a user has several passwords, the client must be told one salt
// before it has shown which of them it knows.
func DeriveWith(password string, basis Credentials) (Credentials, error) {
	client, err := scram.SHA256.NewClientUnprepped("", Prepare(password), "")
	if err != nil {
		return Credentials{}, fmt.Errorf("sasl: %w", err)
	}
	stored, err := client.GetStoredCredentialsWithError(scram.KeyFactors{Salt: string(basis.Salt), Iters: basis.Iterations})
	if err != nil {
		return Credentials{}, fmt.Errorf("sasl: %w", err)
	}
	return Credentials{Salt: basis.Salt, Iterations: basis.Iterations, StoredKey: stored.StoredKey, ServerKey: stored.ServerKey}, nil
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
	// Lookup finds the keys of a user, one for each of his passwords, all with the same salt and count; for one who does not exist it
	// returns Fake's. An error is a failure of ours.
	Lookup func(user string) ([]Credentials, error)
	// Finish is called when the proof fits the keys at index which, before the client learns of it; its error ends the exchange.
	Finish func(authzid, user string, which int) error
}

// NewSCRAM starts an exchange.
func NewSCRAM(s SCRAM) gosasl.Server { return &scramServer{SCRAM: s} }

type scramServer struct {
	SCRAM
	conversations []*scram.ServerConversation // one for each password: the same until the proof
	prompted      bool
	proved        bool
	ended         bool
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
	case len(response) == 0 && s.conversations == nil && !s.prompted:
		s.prompted = true
		return []byte{}, false, nil
	case s.conversations == nil:
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
	// A first talk only tells the user's name, without which there are no keys.
	name, err := s.converse(message, binding, Fake(nil, ""), "")
	if err != nil {
		return s.end(fmt.Errorf("%w: %w", ErrMalformed, err))
	}
	all, err := s.Lookup(name.Username())
	if err != nil {
		return s.end(err)
	}
	if len(all) == 0 {
		return s.end(fmt.Errorf("sasl: no keys for a user"))
	}
	nonce := rand.Text()
	var reply string
	for _, keys := range all {
		keys.Salt, keys.Iterations = all[0].Salt, all[0].Iterations
		c, err := s.converse(message, binding, keys, nonce)
		if err != nil {
			return s.end(fmt.Errorf("%w: %w", ErrMalformed, err))
		}
		reply = c.reply
		s.conversations = append(s.conversations, c.ServerConversation)
	}
	return []byte(reply), false, nil
}

// conversation is one with its first answer.
type conversation struct {
	*scram.ServerConversation
	reply string
}

// converse takes the client's first message with one pair of keys.
func (s *scramServer) converse(message string, binding scram.ChannelBinding, keys Credentials, nonce string) (conversation, error) {
	server, err := scram.SHA256.NewServer(func(string) (scram.StoredCredentials, error) {
		return scram.StoredCredentials{
			KeyFactors: scram.KeyFactors{Salt: string(keys.Salt), Iters: keys.Iterations},
			StoredKey:  keys.StoredKey, ServerKey: keys.ServerKey,
		}, nil
	})
	if err != nil {
		return conversation{}, err
	}
	c := conversation{ServerConversation: server.WithNonceGenerator(func() string { return nonce }).NewConversationWithChannelBinding(binding)}
	c.reply, err = c.Step(message)
	return c, err
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

// final looks which of the user's passwords the proof is of. All are tried, so that the time tells nothing of their order.
func (s *scramServer) final(message string) ([]byte, bool, error) {
	which, answer := -1, ""
	for i, c := range s.conversations {
		reply, err := c.Step(message)
		switch {
		case err == nil && c.Valid():
			which, answer = i, reply
		case strings.HasPrefix(reply, scram.ErrChannelBindingsDontMatch):
			return s.end(ErrBinding)
		}
	}
	if which < 0 {
		return s.end(ErrFailed)
	}
	c := s.conversations[which]
	if err := s.Finish(c.AuthzID(), c.Username(), which); err != nil {
		return s.end(err)
	}
	s.proved = true
	return []byte(answer), false, nil
}
