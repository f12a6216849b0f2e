package cert

import (
	"crypto/tls"
	"time"
)

// placeholder is what is shown until an authority has given a certificate: nobody trusts it, but the doors can open, and other hosts,
// which ask for no proof, send over TLS.
func placeholder(hostname string, now func() time.Time) (*tls.Certificate, error) {
	a, err := NewAuthority("no certificate yet", now)
	if err != nil {
		return nil, err
	}
	if hostname == "" {
		hostname = "localhost"
	}
	c, err := a.Leaf(hostname)
	return &c, err
}
