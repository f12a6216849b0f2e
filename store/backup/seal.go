package backup

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"filippo.io/age"

	"github.com/posthouse-mail/posthouse/internal/vfs"
)

const sealedSuffix = ".age"

// Secrets are what a backup is encrypted with and opened by, as the settings or the command line give them.
type Secrets struct {
	Recipients []string // public keys: age1...
	Passphrase string   // instead: a key of the folder's own is kept in it, under this
	Identities string   // private keys as in a file of age-keygen, to open and to verify
	cheap      bool     // tests do not pay for the passphrase
}

// keys are Secrets made ready for one folder.
type keys struct {
	recipients []age.Recipient // none: not encrypted
	public     []string        // their text, sorted: it is part of the names of segments, so that what another key opens is not taken for ours
	identities []age.Identity
}

func (k *keys) sealed() bool { return len(k.recipients) > 0 }

// canOpen reports whether what is written can be read back decrypted.
func (k *keys) canOpen() bool { return !k.sealed() || len(k.identities) > 0 }

// parse reads what needs no folder.
func (s Secrets) parse() (*keys, error) {
	k := &keys{}
	for _, r := range s.Recipients {
		list, err := age.ParseRecipients(strings.NewReader(r))
		if err != nil {
			return nil, fmt.Errorf("%w: %q is no public key of age (age1...): %w", ErrKey, r, err)
		}
		k.recipients, k.public = append(k.recipients, list...), append(k.public, strings.TrimSpace(r))
	}
	slices.Sort(k.public)
	if strings.TrimSpace(s.Identities) != "" {
		list, err := age.ParseIdentities(strings.NewReader(s.Identities))
		if err != nil {
			return nil, fmt.Errorf("%w: the identity file has no private key of age (AGE-SECRET-KEY-1...)", ErrKey) // never its text
		}
		k.identities = list
	}
	return k, nil
}

// forWriting makes the keys of a store's folder; a passphrase gets its key there with the first backup.
func (s Secrets) forWriting(fsys vfs.FS, folder string) (*keys, error) {
	k, err := s.parse()
	if err != nil || s.Passphrase == "" {
		return k, err
	}
	if len(s.Recipients) > 0 {
		return nil, fmt.Errorf("%w: give a public key or a passphrase, not both", ErrKey)
	}
	id, err := s.unlock(fsys, folder)
	if errors.Is(err, fs.ErrNotExist) {
		id, err = s.newKey(fsys, folder)
	}
	if err != nil {
		return nil, err
	}
	k.recipients, k.identities = []age.Recipient{id.Recipient()}, []age.Identity{id}
	k.public = []string{id.Recipient().String()}
	return k, nil
}

// forReading makes the keys that open what is in a store's folder.
func (s Secrets) forReading(fsys vfs.FS, folder string) (*keys, error) {
	k, err := s.parse()
	if err != nil || s.Passphrase == "" {
		return k, err
	}
	id, err := s.unlock(fsys, folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: the folder has no %s: its backups are not under a passphrase", ErrKey, keyName)
	}
	if err != nil {
		return nil, err
	}
	k.identities = append(k.identities, id)
	return k, nil
}

// newKey makes the key of a folder. A passphrase costs a second of work each time it is tried, and that once a backup, not once a file.
func (s Secrets) newKey(fsys vfs.FS, folder string) (*age.X25519Identity, error) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, err
	}
	lock, err := age.NewScryptRecipient(s.Passphrase)
	if err != nil {
		return nil, fmt.Errorf("%w: passphrase: %w", ErrKey, err)
	}
	if s.cheap {
		lock.SetWorkFactor(2)
	}
	var b bytes.Buffer
	w, err := age.Encrypt(&b, lock)
	if err == nil {
		_, err = io.WriteString(w, id.String()+"\n")
	}
	if err == nil {
		err = w.Close()
	}
	if err == nil {
		err = writeAll(fsys, filepath.Join(folder, keyName), b.Bytes())
	}
	if err != nil {
		return nil, fmt.Errorf("make the key of the folder: %w", err)
	}
	return id, nil
}

func (s Secrets) unlock(fsys vfs.FS, folder string) (*age.X25519Identity, error) {
	text, err := readAll(fsys, filepath.Join(folder, keyName))
	if err != nil {
		return nil, err
	}
	lock, err := age.NewScryptIdentity(s.Passphrase)
	if err != nil {
		return nil, fmt.Errorf("%w: passphrase: %w", ErrKey, err)
	}
	r, err := age.Decrypt(bytes.NewReader(text), lock)
	if err == nil {
		text, err = io.ReadAll(r)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: the passphrase does not open %s", ErrKey, keyName)
	}
	id, err := age.ParseX25519Identity(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, fmt.Errorf("%w: %s holds no key", ErrKey, keyName)
	}
	return id, nil
}

// segmentName names a segment in the folder. A closed segment never changes and its number is never given again, so number and size say
// which one it is; encrypted, only who has the house's secret can tell.
func (k *keys) segmentName(secret [32]byte, number uint32, size int64) string {
	if !k.sealed() {
		return fmt.Sprintf("%08x-%x.seg", number, size)
	}
	m := hmac.New(sha256.New, secret[:])
	m.Write([]byte("backup segment"))
	m.Write(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(nil, number), uint64(size)))
	m.Write([]byte(strings.Join(k.public, " ")))
	return hex.EncodeToString(m.Sum(nil)[:16]) + sealedSuffix
}
