package cert

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"os"
	"time"
)

// maxFile bounds what is read: a chain with its key takes a few kilobytes.
const maxFile = 1 << 20

// stamp tells cheaply whether the files may have changed.
type stamp struct {
	certSize, keySize int64
	certTime, keyTime time.Time
}

func (p Pair) stamp() (stamp, error) {
	c, err := os.Stat(p.Certificate)
	if err != nil {
		return stamp{}, unreadable(p.Certificate, err)
	}
	k, err := os.Stat(p.Key)
	if err != nil {
		return stamp{}, unreadable(p.Key, err)
	}
	return stamp{c.Size(), k.Size(), c.ModTime(), k.ModTime()}, nil
}

// load reads the pair; took tells that the certificate is another than before.
// With changedOnly it does nothing while size and time of both files stay the same.
func (f *file) load(changedOnly bool) (took bool, err error) {
	now, err := f.pair.stamp()
	if err != nil {
		f.broken, f.stamp = err, stamp{}
		return false, err
	}
	if changedOnly && now == f.stamp {
		return false, f.broken
	}
	loaded, sum, err := f.pair.read()
	f.stamp, f.broken = now, err
	if err != nil || f.loaded != nil && sum == f.sum {
		return false, err
	}
	f.loaded, f.sum, f.fresh = loaded, sum, true
	return true, nil
}

// Roots reads the certificates of authorities out of a PEM file.
func Roots(path string) (*x509.CertPool, error) {
	b, err := readFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, describe(path, errors.New("no certificate in it"), "write those of the authorities into it, in PEM")
	}
	return pool, nil
}

func (p Pair) read() (*tls.Certificate, [sha256.Size]byte, error) {
	var none [sha256.Size]byte
	chain, err := readFile(p.Certificate)
	if err != nil {
		return nil, none, err
	}
	key, err := readFile(p.Key)
	if err != nil {
		return nil, none, err
	}
	if !hasBlock(chain, "CERTIFICATE") {
		return nil, none, describe(p.Certificate, errors.New("no CERTIFICATE block"), "write the chain in PEM form, the server's own certificate first")
	}
	c, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return nil, none, describe(p.Certificate, err, "check that "+p.Key+" holds the unencrypted PEM key of the first certificate")
	}
	if c.Leaf == nil {
		if c.Leaf, err = x509.ParseCertificate(c.Certificate[0]); err != nil {
			return nil, none, describe(p.Certificate, err, "write the server's own certificate first")
		}
	}
	if c.Leaf.IsCA && len(namesOf(c.Leaf)) == 0 {
		return nil, none, describe(p.Certificate, errors.New("this is the certificate of an authority"), "write the server's own certificate first")
	}
	return &c, sha256.Sum256(append(chain, key...)), nil
}

func hasBlock(data []byte, kind string) bool {
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == kind {
			return true
		}
	}
	return false
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, unreadable(path, err)
	}
	if len(data) > maxFile {
		return nil, describe(path, errors.New("larger than 1 MB"), "name a PEM file")
	}
	return data, nil
}

func unreadable(path string, err error) error {
	var reason *fs.PathError
	if errors.As(err, &reason) {
		err = reason.Err
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return describe(path, err, "correct its name in the settings, or put the file there")
	case errors.Is(err, fs.ErrPermission):
		return describe(path, err, "let the server's user read it")
	}
	return describe(path, err, "check the file and its folders")
}
