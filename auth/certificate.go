package auth

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/posthouse-mail/posthouse/auth/sasl"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// Certificate is a certificate that a program shows instead of a password (EXTERNAL, RFC 4422 appendix A). It is known by its public
// key: whoever has signed it, himself or an authority, does not matter.
type Certificate struct {
	ID      uint32 // never given twice in an account
	Name    string // which program, for people
	Doors   Door   // of DoorsApp
	Created time.Time
	Expires time.Time         // never later than the certificate itself
	Key     [sha256.Size]byte // of its public key (SubjectPublicKeyInfo)
	Subject string            // whose name stands in it, for people
}

// Fingerprint is the key as it is shown.
func (c Certificate) Fingerprint() string { return hex.EncodeToString(c.Key[:]) }

// ClientCertificates is where programs are asked for certificates, and whose hold besides those that accounts have registered.
type ClientCertificates struct {
	Doors     Door                             // where they are asked for one; 0: nowhere, and EXTERNAL is not offered
	Authority *x509.CertPool                   // a certificate of its making opens the account that it names (rfc822Name); nil: nobody's
	Refused   func(key [sha256.Size]byte) bool // public keys that open nothing any more; nil: none
}

// MaxCertificates is how many an account may have.
const MaxCertificates = 50

// Bounds of what is looked at and kept of a certificate.
const (
	maxCertificate = 64 << 10 // octets, with what stands around it in the file
	maxSubject     = 200
)

// certificate is one as it is stored.
type certificate struct {
	Certificate
	unknown []byte // what a newer program has added
}

func (c *certificate) expired(now time.Time) bool { return !now.Before(c.Expires) }

func (c *certificate) fields() []field {
	return []field{
		amount(1, &c.ID), text(2, &c.Name), amount(3, &c.Doors), moment(4, &c.Created), moment(5, &c.Expires),
		{6, func() []byte { return c.Key[:] }, func(in *decoder) { copy(c.Key[:], in.take(sha256.Size)) }},
		text(7, &c.Subject),
	}
}

// certificates is all of an account as one field.
func certificates(tag uint64, all *[]certificate) field {
	return field{tag,
		func() (b []byte) {
			for i := range *all {
				c := &(*all)[i]
				b = appendText(b, string(appendFields([]byte{recordVersion}, c.fields(), c.unknown)))
			}
			return b
		},
		func(in *decoder) {
			for len(in.rest) > 0 && !in.bad {
				one := decoder{rest: in.take(in.count())}
				one.version()
				var c certificate
				c.unknown = one.fields(c.fields())
				in.bad = in.bad || one.bad || c.ID == 0
				*all = append(*all, c)
			}
		}}
}

// keyOf is what a certificate is known by.
func keyOf(c *x509.Certificate) [sha256.Size]byte { return sha256.Sum256(c.RawSubjectPublicKeyInfo) }

// ParseCertificate reads the one certificate of a PEM file. A private key in it is refused: it has no business with us, and whoever
// sends it along has shown it to others by now.
func ParseCertificate(text []byte) (*x509.Certificate, error) {
	if len(text) > maxCertificate {
		return nil, fmt.Errorf("%w: a certificate has %d octets at most", ErrInvalid, maxCertificate)
	}
	var found *x509.Certificate
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		switch {
		case strings.HasSuffix(block.Type, "PRIVATE KEY"):
			return nil, fmt.Errorf("%w: there is a private key in it. Keep that to yourself, and give only what stands between BEGIN CERTIFICATE and END CERTIFICATE", ErrInvalid)
		case block.Type != "CERTIFICATE" || found != nil: // the first is the program's own, then come those above it
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%w: the certificate cannot be read: %w", ErrInvalid, err)
		}
		found = c
	}
	if found == nil {
		return nil, fmt.Errorf("%w: no certificate in it: it is PEM, and begins with -----BEGIN CERTIFICATE-----", ErrInvalid)
	}
	return found, nil
}

// AddCertificate registers a certificate for an account; c gives its name, doors and end. One whose key is registered there already
// is taken for the same one renewed: it keeps its number.
func (d *Directory) AddCertificate(tx *kv.Tx, id mail.AccountID, c Certificate, shown *x509.Certificate) (Certificate, error) {
	r, err := findRecord(tx, id)
	if err != nil {
		return Certificate{}, err
	}
	if err := d.checkCertificate(&c, shown); err != nil {
		return Certificate{}, err
	}
	if err := keyIsFree(tx, id, c.Key); err != nil {
		return Certificate{}, err
	}
	now := d.options.Now()
	all := slices.Clone(r.certificates)
	if i := slices.IndexFunc(all, func(o certificate) bool { return o.Key == c.Key }); i >= 0 {
		c.ID = all[i].ID
		all[i].Certificate = c
	} else {
		all = slices.DeleteFunc(all, func(o certificate) bool { return o.expired(now) && len(r.certificates) >= MaxCertificates })
		if len(all) >= MaxCertificates {
			return Certificate{}, fmt.Errorf("%w: an account has up to %d certificates: remove those that you do not need", ErrInvalid, MaxCertificates)
		}
		r.lastCertificate++
		c.ID = r.lastCertificate
		all = append(all, certificate{Certificate: c})
	}
	r.certificates = all
	d.putRecord(tx, r)
	return c, nil
}

func (d *Directory) checkCertificate(c *Certificate, shown *x509.Certificate) error {
	now := d.options.Now()
	c.Name = strings.TrimSpace(c.Name)
	switch {
	case c.Name == "" || len(c.Name) > maxAppName || strings.ContainsFunc(c.Name, func(r rune) bool { return unicode.IsControl(r) || r == unicode.ReplacementChar }):
		return fmt.Errorf("%w: the name of a certificate has 1 to %d octets and no control characters", ErrInvalid, maxAppName)
	case c.Doors == 0 || c.Doors&^DoorsApp != 0:
		return fmt.Errorf("%w: a certificate opens imap, pop3 or submission", ErrInvalid)
	case !c.Expires.IsZero() && !c.Expires.After(now):
		return fmt.Errorf("%w: that end has passed already", ErrInvalid)
	case !now.Before(shown.NotAfter):
		return fmt.Errorf("%w: the certificate has expired on %s: make a new one", ErrInvalid, shown.NotAfter.UTC().Format(time.DateOnly))
	case shown.IsCA && shown.CheckSignatureFrom(shown) != nil:
		return fmt.Errorf("%w: this is the certificate of an authority, not that of a program", ErrInvalid)
	}
	if c.Expires.IsZero() || c.Expires.After(shown.NotAfter) {
		c.Expires = shown.NotAfter
	}
	c.Created, c.Expires = now.UTC().Truncate(time.Second), c.Expires.UTC().Truncate(time.Second)
	c.Key = keyOf(shown)
	c.Subject = clean(shown.Subject.String())
	return nil
}

// clean is a text of strangers as it may be shown.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	for len(s) > maxSubject {
		s = strings.ToValidUTF8(s[:maxSubject], "")
	}
	return s
}

// keyIsFree: a key opens one account, else the certificate would not tell which. Certificates are no secret: who registers one of
// somebody else keeps him from registering it, and wins nothing; a new key mends it.
func keyIsFree(tx *kv.Tx, id mail.AccountID, key [sha256.Size]byte) error {
	for k, value := range tx.Scan(tableAccounts, accountKey(1), nil) {
		if len(k) != 4 || !bytes.Contains(value, key[:]) { // most accounts have none, and are not decoded
			continue
		}
		other := mail.AccountID(binary.BigEndian.Uint32(k))
		r, err := decodeAccount(other, value)
		if err != nil || other == id {
			continue
		}
		if r.findKey(key) != nil {
			return fmt.Errorf("%w: another account has registered this certificate: make a new one", ErrExists)
		}
	}
	return nil
}

// RemoveCertificate revokes one; what it has opened ends.
func (d *Directory) RemoveCertificate(tx *kv.Tx, id mail.AccountID, number uint32) (Certificate, error) {
	r, err := findRecord(tx, id)
	if err != nil {
		return Certificate{}, err
	}
	i := slices.IndexFunc(r.certificates, func(c certificate) bool { return c.ID == number })
	if i < 0 {
		return Certificate{}, fmt.Errorf("%w: number %d", ErrNoCertificate, number)
	}
	gone := r.certificates[i].Certificate
	r.certificates = slices.Delete(slices.Clone(r.certificates), i, i+1)
	d.putRecord(tx, r)
	return gone, nil
}

// Certificates lists those of an account, oldest first; those that have expired too.
func (d *Directory) Certificates(ctx context.Context, id mail.AccountID) ([]Certificate, error) {
	s, err := d.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	who := s.accounts[id]
	if who == nil {
		return nil, ErrNoAccount
	}
	out := make([]Certificate, 0, len(who.certificates))
	for _, c := range who.certificates {
		out = append(out, c.Certificate)
	}
	slices.SortFunc(out, func(a, b Certificate) int { return cmp.Compare(a.ID, b.ID) })
	return out, nil
}

// CertificatesAsked are the doors where programs are asked for a certificate.
func (d *Directory) CertificatesAsked() Door { return d.options.ClientCertificates.Doors }

func (r *record) findCertificate(id uint32) *certificate {
	i := slices.IndexFunc(r.certificates, func(c certificate) bool { return c.ID == id })
	if i < 0 {
		return nil
	}
	return &r.certificates[i]
}

func (r *record) findKey(key [sha256.Size]byte) *certificate {
	i := slices.IndexFunc(r.certificates, func(c certificate) bool { return c.Key == key })
	if i < 0 {
		return nil
	}
	return &r.certificates[i]
}

// externalAt tells whether a client may use EXTERNAL: it has shown a certificate, at a door where it was asked to. That it has its
// private key is proved by the handshake, or was by the one whose session this one goes on with.
func (d *Directory) externalAt(c Client) bool {
	return c.TLS != nil && len(c.TLS.PeerCertificates) > 0 && c.Door&DoorsApp&d.options.ClientCertificates.Doors != 0
}

// opener is what a certificate opens.
type opener struct {
	who        *record
	registered *certificate        // nil: it is of the authority
	chain      []*x509.Certificate // then: as it was shown
	until      time.Time
}

var (
	errCertificateTime    = errors.New("the certificate has expired, or is not valid yet")
	errCertificateUnknown = errors.New("no account has registered the certificate, and no authority of the house has made it")
	errCertificateRefused = errors.New("the settings refuse the certificate")
	errCertificateWho     = errors.New("the certificate names several accounts: the program has to say which one")
)

// opens finds the account of a certificate. It is asked at each login, and again when the account changes: what a resumed session
// brings along is judged like what was shown a moment ago.
func (d *Directory) opens(s *snapshot, chain []*x509.Certificate, authzid string) (opener, error) {
	leaf, now := chain[0], d.options.Now()
	key := keyOf(leaf)
	switch refused := d.options.ClientCertificates.Refused; {
	case now.Before(leaf.NotBefore) || now.After(leaf.NotAfter):
		return opener{}, errCertificateTime
	case refused != nil && refused(key):
		return opener{}, errCertificateRefused
	}
	if id, ok := s.certificates[key]; ok {
		who := s.accounts[id]
		c := who.findKey(key)
		if c.expired(now) {
			return opener{}, errCertificateTime
		}
		return opener{who: who, registered: c, until: c.Expires}, nil
	}
	if d.options.ClientCertificates.Authority == nil {
		return opener{}, errCertificateUnknown
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: d.options.ClientCertificates.Authority, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return opener{}, fmt.Errorf("%w: %w", errCertificateUnknown, err)
	}
	who, err := d.named(s, leaf, authzid)
	return opener{who: who, chain: chain, until: leaf.NotAfter}, err
}

// named is the account whose address stands in a certificate as an rfc822Name; where it names several, the one that is asked for.
func (d *Directory) named(s *snapshot, leaf *x509.Certificate, authzid string) (*record, error) {
	var all []*record
	for _, address := range leaf.EmailAddresses {
		if !strings.Contains(address, "@") { // RFC 5280 section 4.2.1.6; a login name is not one
			continue
		}
		if who := d.find(s, address); who != nil && !slices.Contains(all, who) {
			all = append(all, who)
		}
	}
	switch asked := d.find(s, authzid); {
	case len(all) == 0:
		return nil, fmt.Errorf("%w: it names no address of an account", errCertificateUnknown)
	case len(all) == 1:
		return all[0], nil
	case asked != nil && slices.Contains(all, asked):
		return asked, nil
	}
	return nil, errCertificateWho
}

// loginExternal is the login of a client by its certificate.
func (d *Directory) loginExternal(ctx context.Context, c Client, authzid string) (Identity, error) {
	m := claim{authzid: authzid, user: authzid, mechanism: sasl.External}
	id, err := d.proveExternal(ctx, c, &m)
	d.report(ctx, c, m, id, err)
	return id, err
}

// proveExternal tells in the log why a certificate was refused; the client learns no more than of a wrong password.
func (d *Directory) proveExternal(ctx context.Context, c Client, m *claim) (Identity, error) {
	if !d.externalAt(c) {
		return Identity{}, ErrMechanism
	}
	s, err := d.snapshot(ctx)
	if err != nil {
		return Identity{}, err
	}
	key := keyOf(c.TLS.PeerCertificates[0])
	by, err := d.opens(s, c.TLS.PeerCertificates, m.authzid)
	if err != nil {
		if m.user == "" {
			m.user = "certificate " + hex.EncodeToString(key[:])
		}
		try := d.attempt(c, m.user, nil)
		if held := d.hold(ctx, try); held != nil { // a right one is never held up: nobody guesses it
			return Identity{}, held
		}
		d.slow.failed(try, d.digests.of("wrong certificate", string(key[:])), d.options.Now())
		return Identity{}, fmt.Errorf("%w: %w", ErrCredentials, err)
	}
	if m.user == "" {
		m.user = by.who.Addresses[0].String()
	}
	id, err := d.admit(s, c, by.who, claim{authzid: m.authzid, mechanism: m.mechanism, certificate: &by})
	if err == nil {
		d.slow.succeeded(d.attempt(c, m.user, by.who), d.options.Now())
	}
	return id, err
}

// byCertificate completes the identity of who came with one.
func (d *Directory) byCertificate(id *Identity, c Client, by *opener) {
	id.proof = d.certificateProof(by)
	number := uint32(0) // of the authority's
	if by.registered != nil {
		number = by.registered.ID
		id.Certificate = number
	} else {
		id.issued = &issued{by.chain}
	}
	d.awaitEnd(expiry{account: id.Account, number: number, kind: endOfCertificate, key: keyOf(c.TLS.PeerCertificates[0])}, by.until)
	d.options.CertificateUses.used(id.Account, number, AppUse{At: d.options.Now(), Door: c.Door, Remote: c.Remote})
}

// issued is the chain that an identity was proved with, of the authority's making.
type issued struct{ chain []*x509.Certificate }

// certificateStands tells whether the certificate of an identity goes on to open a door, and what stands for it.
func (d *Directory) certificateStands(s *snapshot, id Identity, who *record, door Door) (digest, error) {
	if id.issued != nil {
		by, err := d.opens(s, id.issued.chain, id.Main.String())
		if err != nil || by.who != who || by.registered != nil {
			return digest{}, ErrCredentials
		}
		return d.certificateProof(&by), nil
	}
	c := who.findCertificate(id.Certificate)
	switch {
	case c == nil || c.expired(d.options.Now()):
		return digest{}, ErrCredentials
	case c.Doors&door == 0:
		return digest{}, ErrDoorClosed
	}
	return d.certificateProof(&opener{who: who, registered: c}), nil
}

// certificateProof stands for a certificate in memory.
func (d *Directory) certificateProof(by *opener) digest {
	if by.registered != nil {
		return d.digests.of("standing certificate", string(by.registered.Key[:]))
	}
	return d.digests.of("standing authority", string(by.chain[0].Raw))
}
