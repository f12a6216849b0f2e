package auth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/posthouse-mail/posthouse/auth/sasl"
	"github.com/posthouse-mail/posthouse/internal/mail"
)

// The cost of a password: OWASP's smallest argon2id, so that a house with 512 MB
// bears a few logins at once.
const (
	argonMemory  = 19 << 10 // KiB
	argonTime    = 2
	argonThreads = 1
	argonKey     = 32
	argonSalt    = 16

	maxPassword   = 1024             // octets
	patience      = 15 * time.Second // wait for a core
	quiet         = 2 * time.Second  // without a hash, before its memory is given back
	rememberFor   = 10 * time.Minute
	maxRemembered = 8192
)

// Secret is what is kept of a password: never the password.
type Secret struct {
	phc   string            // "$argon2id$v=19$m=19456,t=2,p=1$salt$hash", or an imported one (imported.go); "": no password fits
	scram *sasl.Credentials // nil: no SCRAM login

	apps    []appPassword // in the order they were made; never changed in place
	lastApp uint32        // the highest number that one of them was given
	factor  factor

	passkeys passkeys

	certificates    []certificate // in the order they were added; never changed in place
	lastCertificate uint32

	origin string // the stamp of the imported hash that phc took the place of; empty: none
}

// fields: tags 60 to 84 of an account's record are those of its secrets.
func (s *Secret) fields() []field {
	own := append([]field{apps(60, &s.apps), amount(61, &s.lastApp), text(66, &s.origin)}, s.factor.fields()...)
	own = append(own, certificates(80, &s.certificates), amount(81, &s.lastCertificate))
	return append(own, s.passkeys.fields()...)
}

// Hash makes the Secret of a new password. It takes 19 MiB and tens of
// milliseconds, so it stands outside of every transaction.
func (d *Directory) Hash(ctx context.Context, password string) (Secret, error) {
	if err := checkPassword(password); err != nil {
		return Secret{}, err
	}
	return d.hash(ctx, password, sasl.NewBasis())
}

func checkPassword(password string) error {
	switch {
	case password == "":
		return fmt.Errorf("%w: it is empty", ErrPassword)
	case len(password) > maxPassword:
		return fmt.Errorf("%w: it is longer than %d octets", ErrPassword, maxPassword)
	case strings.ContainsAny(password, "\x00\r\n"):
		return fmt.Errorf("%w: it has a line break or a zero octet, which no login can carry", ErrPassword)
	}
	return nil
}

// hash makes SCRAM keys like those of the account's other passwords.
func (d *Directory) hash(ctx context.Context, password string, basis sasl.Credentials) (Secret, error) {
	if err := d.hasher.enter(ctx); err != nil {
		return Secret{}, err
	}
	defer d.hasher.leave()
	password = sasl.Prepare(password)
	secret := Secret{phc: newPHC(password)}
	if d.options.SCRAM {
		keys, err := sasl.DeriveWith(password, basis)
		if err != nil {
			return Secret{}, err
		}
		secret.scram = &keys
	}
	return secret, nil
}

// hasher lets one hash run per core, so that logins cannot take the memory of the house.
// After the last one of a while the memory goes back to the system: the runtime
// would keep 20 MB a core for minutes, which is more than all the rest at rest.
type hasher struct {
	slots chan struct{}
	idle  *time.Timer
}

func newHasher() *hasher {
	h := &hasher{slots: make(chan struct{}, runtime.GOMAXPROCS(0)), idle: time.AfterFunc(quiet, debug.FreeOSMemory)}
	h.idle.Stop()
	return h
}

func (h *hasher) enter(ctx context.Context) error {
	select {
	case h.slots <- struct{}{}:
		return nil
	default:
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case h.slots <- struct{}{}:
		return nil
	case <-timer.C:
		return ErrSlowDown
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (h *hasher) leave() {
	<-h.slots
	h.idle.Reset(quiet)
}

var phcEncoding = base64.RawStdEncoding

func newPHC(prepared string) string {
	salt := make([]byte, argonSalt)
	rand.Read(salt) // never fails
	key := argon2.IDKey([]byte(prepared), salt, argonTime, argonMemory, argonThreads, argonKey)
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonTime, argonThreads,
		phcEncoding.EncodeToString(salt), phcEncoding.EncodeToString(key))
}

// phc is a parsed hash.
type phc struct {
	memory, time uint32
	threads      uint8
	salt, key    []byte
}

var errPHC = errors.New("auth: unknown password hash")

// parsePHC reads an argon2id string; costs that could stop the house are refused.
func parsePHC(s string) (phc, error) {
	var p phc
	fields := strings.Split(s, "$")
	if len(fields) != 6 || fields[0] != "" || fields[1] != "argon2id" || fields[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return p, errPHC
	}
	if n, err := fmt.Sscanf(fields[3], "m=%d,t=%d,p=%d", &p.memory, &p.time, &p.threads); n != 3 || err != nil {
		return p, errPHC
	}
	var err1, err2 error
	p.salt, err1 = phcEncoding.DecodeString(fields[4])
	p.key, err2 = phcEncoding.DecodeString(fields[5])
	if err1 != nil || err2 != nil || len(p.salt) < 8 || len(p.key) < 16 || len(p.key) > 64 {
		return p, errPHC
	}
	if p.memory < 8 || p.memory > 1<<20 || p.time < 1 || p.time > 32 || p.threads < 1 || p.threads > 16 {
		return p, errPHC
	}
	return p, nil
}

// verify costs the same whether there is a hash or none: what does not exist is hashed too.
func verify(hash, prepared string) bool {
	p, err := parsePHC(hash)
	if err != nil {
		p = phc{memory: argonMemory, time: argonTime, threads: argonThreads, salt: make([]byte, argonSalt), key: make([]byte, argonKey)}
	}
	key := argon2.IDKey([]byte(prepared), p.salt, p.time, p.memory, p.threads, uint32(len(p.key)))
	return subtle.ConstantTimeCompare(key, p.key) == 1 && err == nil
}

// digests are keyed hashes of passwords, for comparing in memory; the key lives as long as the process.
type digests struct{ key [32]byte }

func newDigests() *digests {
	var d digests
	rand.Read(d.key[:])
	return &d
}

type digest [16]byte

func (d *digests) of(parts ...string) (out digest) {
	mac := hmac.New(sha256.New, d.key[:])
	for _, p := range parts {
		mac.Write(binary.BigEndian.AppendUint32(nil, uint32(len(p))))
		mac.Write([]byte(p))
	}
	copy(out[:], mac.Sum(nil))
	return out
}

// remembered are good logins of the last minutes, so that a client which comes every
// minute does not cost a hash each time. The stored hash is part of the digest: with a
// new password the old one is forgotten by itself.
type remembered struct {
	digests *digests
	holds   time.Duration
	mu      sync.Mutex
	good    map[digest]time.Time // until
}

func newRemembered(keyed *digests, holds time.Duration) *remembered {
	return &remembered{digests: keyed, holds: holds, good: make(map[digest]time.Time)}
}

func (r *remembered) key(id mail.AccountID, hash, prepared string) digest {
	return r.digests.of("good", string(accountKey(id)), hash, prepared)
}

func (r *remembered) has(k digest, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return now.Before(r.good[k])
}

func (r *remembered) keep(k digest, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	makeRoom(r.good, maxRemembered, func(until time.Time) bool { return !now.Before(until) })
	r.good[k] = now.Add(r.holds)
}

// makeRoom bounds a map: when it is full, a few random entries are looked at, and the stale ones of them go, or one of any age.
func makeRoom[K comparable, V any](m map[K]V, limit int, stale func(V) bool) {
	const sample = 16
	if len(m) < limit {
		return
	}
	seen := 0
	for k, v := range m {
		if seen++; seen == sample || stale(v) {
			delete(m, k)
		}
		if seen == sample {
			return
		}
	}
}
