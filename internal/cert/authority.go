package cert

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Authority is a certificate authority of one's own: the demo's and the tests'.
// Its key lives in memory only.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	now  func() time.Time
}

// authorityLife and leafLife are short: nobody shall build on them.
const (
	authorityLife = 90 * 24 * time.Hour
	leafLife      = 60 * 24 * time.Hour
)

// NewAuthority makes an authority; now may be nil.
func NewAuthority(name string, now func() time.Time) (*Authority, error) {
	if now == nil {
		now = time.Now
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("cert: make the authority's key: %w", err)
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	a := &Authority{key: key, now: now}
	der, err := a.sign(template, template, &key.PublicKey, authorityLife)
	if err != nil {
		return nil, err
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		return nil, fmt.Errorf("cert: %w", err)
	}
	return a, nil
}

func (a *Authority) sign(template, parent *x509.Certificate, key *ecdsa.PublicKey, life time.Duration) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("cert: make a serial number: %w", err)
	}
	template.SerialNumber = serial
	template.NotBefore = a.now().Add(-time.Hour)
	template.NotAfter = a.now().Add(life)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key, a.key)
	if err != nil {
		return nil, fmt.Errorf("cert: sign: %w", err)
	}
	return der, nil
}

// PEM is the authority's certificate, for clients to trust.
func (a *Authority) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// Pool trusts this authority alone.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// Issue makes a key and a certificate for the names (host names, wildcards, IP
// addresses) and returns both in PEM form.
func (a *Authority) Issue(names ...string) (chain, key []byte, err error) {
	if len(names) == 0 {
		return nil, nil, errors.New("cert: a certificate needs a name")
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("cert: make a key: %w", err)
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: names[0]},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
			continue
		}
		template.DNSNames = append(template.DNSNames, name)
	}
	der, err := a.sign(template, a.cert, &private.PublicKey, leafLife)
	if err != nil {
		return nil, nil, err
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, fmt.Errorf("cert: encode the key: %w", err)
	}
	chain = append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), a.PEM()...)
	return chain, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}), nil
}

// Leaf is Issue as a value for a tls.Config.
func (a *Authority) Leaf(names ...string) (tls.Certificate, error) {
	chain, key, err := a.Issue(names...)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(chain, key)
}

// WritePair issues a certificate into dir/base.pem and dir/base.key.
func (a *Authority) WritePair(dir, base string, names ...string) (Pair, error) {
	chain, key, err := a.Issue(names...)
	if err != nil {
		return Pair{}, err
	}
	pair := Pair{Certificate: filepath.Join(dir, base+".pem"), Key: filepath.Join(dir, base+".key")}
	if err := os.WriteFile(pair.Key, key, 0o600); err != nil {
		return Pair{}, fmt.Errorf("cert: %w", err)
	}
	if err := os.WriteFile(pair.Certificate, chain, 0o644); err != nil {
		return Pair{}, fmt.Errorf("cert: %w", err)
	}
	return pair, nil
}
