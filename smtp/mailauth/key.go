package mailauth

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/posthouse-mail/posthouse/internal/dns"
)

// Sizes of RSA keys in bits: RFC 8301 section 3.2 wants 1,024 at least, and what is longer than any in use costs us time.
const (
	minKey = 1024
	maxKey = 4096
)

// key is a public key as it is published (RFC 6376 section 3.6.1, RFC 8463).
type key struct {
	rsa     *rsa.PublicKey
	ed25519 ed25519.PublicKey
	hashes  []string // that it may be used with; empty: all
	strict  bool     // t=s: the identity's domain is the signer's
	testing bool     // t=y
}

// bits is the length of an RSA key.
func (k *key) bits() int {
	if k.rsa == nil {
		return 256
	}
	return k.rsa.N.BitLen()
}

// lookupKey asks for the key of a selector. Of several records the first that is one counts.
func lookupKey(ctx context.Context, r dns.Resolver, selector, domain string) (*key, error) {
	name := selector + "._domainkey." + domain
	texts, _, err := r.TXT(ctx, name)
	switch {
	case errors.Is(err, dns.ErrNotFound):
		return nil, because(PermError, "no key at %s", name)
	case err != nil:
		return nil, because(TempError, "key at %s: DNS does not answer", name)
	}
	var first error
	for i, text := range texts {
		if i == 10 {
			break
		}
		k, err := parseKey(text)
		if err == nil {
			return k, nil
		}
		if first == nil {
			first = because(PermError, "key at %s: %v", name, err)
		}
	}
	if first == nil {
		first = because(PermError, "no key at %s", name)
	}
	return nil, first
}

// parseKey reads a key record.
func parseKey(text string) (*key, error) {
	t, err := parseLooseTags(text)
	if err != nil {
		return nil, err
	}
	if v, ok := t["v"]; ok && (v != "DKIM1" || !strings.HasPrefix(strings.TrimLeft(text, " \t"), "v")) {
		return nil, errors.New("v is not DKIM1, or not first")
	}
	if s, ok := t["s"]; ok && !slices.Contains(t.list("s"), "*") && !slices.Contains(t.list("s"), "email") {
		return nil, fmt.Errorf("it is not for mail but for %s", s)
	}
	if _, ok := t["p"]; !ok {
		return nil, errors.New("it has no tag p")
	}
	p, err := t.bytes("p")
	if err != nil {
		return nil, err
	}
	if len(p) == 0 {
		return nil, errors.New("it is revoked")
	}
	k := &key{hashes: t.list("h"), strict: slices.Contains(t.list("t"), "s"), testing: slices.Contains(t.list("t"), "y")}
	switch t["k"] {
	case "", "rsa":
		k.rsa, err = parseRSA(p)
	case "ed25519": // RFC 8463 section 4.1
		if len(p) != ed25519.PublicKeySize {
			err = errors.New("an Ed25519 key has 32 octets")
		}
		k.ed25519 = p
	default:
		err = fmt.Errorf("its type %.20q is unknown", t["k"])
	}
	return k, err
}

// parseRSA reads a SubjectPublicKeyInfo, or the bare key that some publish.
func parseRSA(p []byte) (*rsa.PublicKey, error) {
	var pub any
	pub, err := x509.ParsePKIXPublicKey(p)
	if err != nil {
		if pub, err = x509.ParsePKCS1PublicKey(p); err != nil {
			return nil, errors.New("tag p holds no RSA key")
		}
	}
	k, ok := pub.(*rsa.PublicKey)
	if !ok {
		return nil, errors.New("tag p holds no RSA key")
	}
	if k.E < 3 || k.E > 1<<31-1 {
		return nil, errors.New("its exponent is out of range")
	}
	return k, nil
}

// verify checks a signature over the SHA-256 of what was signed.
func (k *key) verify(algorithm string, digest, signature []byte) error {
	if len(k.hashes) > 0 && !slices.Contains(k.hashes, "sha256") {
		return because(PermError, "the key is not for SHA-256")
	}
	switch {
	case algorithm == algorithmRSA && k.rsa != nil:
		if n := k.bits(); n < minKey || n > maxKey {
			return because(Policy, "RSA key of %d bits: %d to %d are trusted", n, minKey, maxKey)
		}
		if rsa.VerifyPKCS1v15(k.rsa, crypto.SHA256, digest, signature) != nil {
			return because(Fail, "the signature does not fit the header")
		}
	case algorithm == algorithmEd25519 && k.ed25519 != nil:
		if !ed25519.Verify(k.ed25519, digest, signature) {
			return because(Fail, "the signature does not fit the header")
		}
	default:
		return because(PermError, "the key is not one for %s", algorithm)
	}
	return nil
}
