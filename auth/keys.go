package auth

import (
	"cmp"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// tableKeys has a row per DKIM key: domain, 0, selector.
const tableKeys kv.Table = "y"

// KeyState is where a DKIM key stands in its life.
type KeyState byte

const (
	KeyNext   KeyState = 'n' // made, waits for its record to be published
	KeyActive KeyState = 'a' // signs
	KeyOld    KeyState = 'o' // signs no more; its record stays while mail that it signed is on its way
)

func (s KeyState) String() string {
	switch s {
	case KeyNext:
		return "next"
	case KeyActive:
		return "active"
	case KeyOld:
		return "old"
	}
	return "unknown"
}

// Algorithms of DKIM keys (RFC 6376 section 3.6.1, RFC 8463).
const (
	KeyRSA     = "rsa"
	KeyEd25519 = "ed25519"
)

// rsaBits: 2,048 is what every receiver takes and what fits into DNS (RFC 8301 section 3.2).
const rsaBits = 2048

// DKIMKey is a key of a domain (RFC 6376 section 3.6).
type DKIMKey struct {
	Domain    mail.Domain
	Selector  string
	Algorithm string
	State     KeyState
	Created   time.Time
	Since     time.Time // of the state
	Private   crypto.Signer
}

// NewDKIMKey makes a key of an algorithm; its selector is not one of taken.
func NewDKIMKey(domain mail.Domain, algorithm string, now time.Time, taken []DKIMKey) (DKIMKey, error) {
	k := DKIMKey{Domain: domain, Algorithm: algorithm, State: KeyNext, Created: now.UTC().Truncate(time.Second)}
	k.Since = k.Created
	var err error
	switch algorithm {
	case KeyRSA:
		k.Private, err = rsa.GenerateKey(rand.Reader, rsaBits)
	case KeyEd25519:
		_, k.Private, err = ed25519.GenerateKey(rand.Reader)
	default:
		err = fmt.Errorf("%w: a DKIM key is %s or %s, not %q", ErrInvalid, KeyRSA, KeyEd25519, algorithm)
	}
	if err != nil {
		return DKIMKey{}, err
	}
	base := "ph" + now.UTC().Format("20060102")
	if algorithm == KeyEd25519 {
		base += "e"
	}
	k.Selector = base
	for i := 2; slices.ContainsFunc(taken, func(t DKIMKey) bool { return t.Selector == k.Selector }); i++ {
		k.Selector = fmt.Sprintf("%s-%d", base, i)
	}
	return k, nil
}

// Name is where the key's record stands.
func (k DKIMKey) Name() string { return k.Selector + "._domainkey." + string(k.Domain) }

// Record is the text of the key's record (RFC 6376 section 3.6.1).
func (k DKIMKey) Record() string {
	var p []byte
	switch pub := k.Private.Public().(type) {
	case *rsa.PublicKey:
		p, _ = x509.MarshalPKIXPublicKey(pub) // it cannot fail for an RSA key
	case ed25519.PublicKey:
		p = pub
	}
	return "v=DKIM1; k=" + k.Algorithm + "; p=" + base64.StdEncoding.EncodeToString(p)
}

func keyKey(d mail.Domain, selector string) []byte {
	return []byte(string(d) + "\x00" + selector)
}

func (k DKIMKey) encode() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.Private)
	if err != nil {
		return nil, err
	}
	b := []byte{recordVersion, byte(k.State)}
	b = binary.AppendVarint(b, k.Created.Unix())
	b = binary.AppendVarint(b, k.Since.Unix())
	b = appendText(b, k.Algorithm)
	return appendText(b, string(der)), nil
}

func decodeKey(key, value []byte) (DKIMKey, error) {
	domain, selector, ok := strings.Cut(string(key), "\x00")
	in := decoder{rest: value, bad: !ok}
	in.version()
	k := DKIMKey{Domain: mail.Domain(domain), Selector: selector, State: KeyState(in.octet())}
	k.Created, k.Since = time.Unix(in.number(), 0).UTC(), time.Unix(in.number(), 0).UTC()
	k.Algorithm = in.text()
	der := in.text()
	if in.bad {
		return DKIMKey{}, fmt.Errorf("%w: DKIM key %q", ErrBadRecord, key)
	}
	private, err := x509.ParsePKCS8PrivateKey([]byte(der))
	if err != nil {
		return DKIMKey{}, fmt.Errorf("%w: DKIM key %q: %w", ErrBadRecord, key, err)
	}
	signer, ok := private.(crypto.Signer)
	if !ok {
		return DKIMKey{}, fmt.Errorf("%w: DKIM key %q signs nothing", ErrBadRecord, key)
	}
	k.Private = signer
	return k, nil
}

// ErrNoKey: the domain has no such DKIM key.
var ErrNoKey = errors.New("auth: no such DKIM key")

// PutKey keeps a key, or changes its state.
func (d *Directory) PutKey(tx *kv.Tx, k DKIMKey) error {
	if found, err := findRow(tx, domainKey(k.Domain)); err != nil || found.kind != rowDomain {
		return fmt.Errorf("%w: %s", ErrNoDomain, k.Domain)
	}
	v, err := k.encode()
	if err != nil {
		return err
	}
	tx.Put(tableKeys, keyKey(k.Domain, k.Selector), v)
	tx.OnCommit(d.view.changed)
	return nil
}

// RemoveKey forgets a key for good.
func (d *Directory) RemoveKey(tx *kv.Tx, domain mail.Domain, selector string) error {
	key := keyKey(domain, selector)
	if tx.Get(tableKeys, key) == nil {
		return fmt.Errorf("%w: %s of %s", ErrNoKey, selector, domain)
	}
	tx.Delete(tableKeys, key)
	tx.OnCommit(d.view.changed)
	return nil
}

// KeysIn reads the keys of a domain inside a transaction, oldest first.
func (d *Directory) KeysIn(tx *kv.Tx, domain mail.Domain) ([]DKIMKey, error) {
	var out []DKIMKey
	for k, v := range tx.Scan(tableKeys, keyKey(domain, ""), keyKey(domain, "\xff")) {
		one, err := decodeKey(k, v)
		if err != nil {
			return nil, err
		}
		out = append(out, one)
	}
	sortKeys(out)
	return out, nil
}

func sortKeys(all []DKIMKey) {
	slices.SortFunc(all, func(a, b DKIMKey) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.Selector, b.Selector))
	})
}

// Keys lists the DKIM keys of a domain, oldest first.
func (d *Directory) Keys(ctx context.Context, domain mail.Domain) ([]DKIMKey, error) {
	s, err := d.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	return slices.Clone(s.keys[domain]), nil
}

// removeKeys forgets all keys of a domain that goes.
func removeKeys(tx *kv.Tx, domain mail.Domain) {
	var gone [][]byte
	for k := range tx.Scan(tableKeys, keyKey(domain, ""), keyKey(domain, "\xff")) {
		gone = append(gone, slices.Clone(k))
	}
	for _, k := range gone {
		tx.Delete(tableKeys, k)
	}
}
