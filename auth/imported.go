package auth

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"hash"
	"strconv"
	"strings"

	"golang.org/x/crypto/bcrypt"

	"github.com/posthouse-mail/posthouse/auth/sasl"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// Hashes of other servers are taken as they are, and replaced by ours at the first good login, when the password is there for a moment.

// What an imported hash may cost at most: somebody else chose it, and each wrong password pays for it.
const (
	maxShaRounds  = 200_000
	maxBcryptCost = 14
)

// ImportHash makes the Secret of a password whose hash another server has kept: $6$, $5$, $2a$, $2b$, $2y$, $argon2id$, {SSHA},
// {SSHA256}, {SSHA512}, with or without the names that Dovecot writes before them, and {PLAIN}.
func (d *Directory) ImportHash(ctx context.Context, text string) (Secret, error) {
	scheme, rest := "", strings.TrimSpace(text)
	if end := strings.IndexByte(rest, '}'); strings.HasPrefix(rest, "{") && end > 0 {
		scheme, rest = strings.ToUpper(rest[1:end]), rest[end+1:]
	}
	switch scheme {
	case "PLAIN", "CLEARTEXT":
		return d.Hash(ctx, rest)
	case "SSHA", "SSHA256", "SSHA512":
		rest = "{" + scheme + "}" + rest
	case "", "CRYPT", "SHA256-CRYPT", "SHA512-CRYPT", "BLF-CRYPT", "ARGON2ID":
	default:
		return Secret{}, fmt.Errorf("%w: hashes of the kind {%s} are not taken: set a new password", ErrPassword, scheme)
	}
	if _, err := parsePHC(rest); err == nil {
		return Secret{phc: rest}, nil
	}
	if foreign(rest) == nil {
		return Secret{}, fmt.Errorf("%w: this is no hash that is taken ($6$, $5$, $2b$, $argon2id$, {SSHA}, {SSHA256}, {SSHA512}), or one that costs too much", ErrPassword)
	}
	return Secret{phc: rest}, nil
}

// foreign is how a password is compared with an imported hash; nil: it is none.
func foreign(kept string) func(password string) bool {
	switch {
	case strings.HasPrefix(kept, "{"):
		return saltedSHA(kept)
	case strings.HasPrefix(kept, "$5$"), strings.HasPrefix(kept, "$6$"):
		return shaCrypt(kept)
	case strings.HasPrefix(kept, "$2a$"), strings.HasPrefix(kept, "$2b$"), strings.HasPrefix(kept, "$2y$"):
		if cost, err := bcrypt.Cost([]byte(kept)); err != nil || cost > maxBcryptCost || len(kept) != 60 {
			return nil
		}
		return func(password string) bool {
			return bcrypt.CompareHashAndPassword([]byte(kept), []byte(password)) == nil
		}
	}
	return nil
}

// saltedSHA is a hash of password and salt, then the salt, in base64.
func saltedSHA(kept string) func(string) bool {
	name, text, _ := strings.Cut(kept, "}")
	sha, ok := map[string]func() hash.Hash{"{SSHA": sha1.New, "{SSHA256": sha256.New, "{SSHA512": sha512.New}[name]
	value, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil || len(value) <= sha().Size() || len(value) > 256 {
		return nil
	}
	sum, salt := value[:sha().Size()], value[sha().Size():]
	return func(password string) bool {
		h := sha()
		h.Write([]byte(password))
		h.Write(salt)
		return subtle.ConstantTimeCompare(h.Sum(nil), sum) == 1
	}
}

// shaCrypt is crypt(3) with SHA-256 ($5$) or SHA-512 ($6$): "$6$rounds=5000$salt$sum".
func shaCrypt(kept string) func(string) bool {
	sha, order := sha256.New, order256[:]
	if kept[1] == '6' {
		sha, order = sha512.New, order512[:]
	}
	rounds := 5000
	rest := kept[3:]
	if text, ok := strings.CutPrefix(rest, "rounds="); ok {
		number, after, _ := strings.Cut(text, "$")
		n, err := strconv.Atoi(number)
		if err != nil || n < 1000 || n > maxShaRounds {
			return nil
		}
		rounds, rest = n, after
	}
	salt, sum, ok := strings.Cut(rest, "$")
	if !ok || len(salt) > 16 || len(sum) != (sha().Size()*8+5)/6 {
		return nil
	}
	return func(password string) bool {
		got := cryptText(cryptSum(sha, []byte(password), []byte(salt), rounds), order)
		return subtle.ConstantTimeCompare([]byte(got), []byte(sum)) == 1
	}
}

// cryptSum is the digest of sha-crypt; the steps are those of its specification.
func cryptSum(sha func() hash.Hash, password, salt []byte, rounds int) []byte {
	sum := func(parts ...[]byte) []byte {
		h := sha()
		for _, p := range parts {
			h.Write(p)
		}
		return h.Sum(nil)
	}
	b := sum(password, salt, password)
	h := sha()
	h.Write(password)
	h.Write(salt)
	h.Write(stretch(b, len(password)))
	for n := len(password); n > 0; n >>= 1 {
		if n&1 == 1 {
			h.Write(b)
		} else {
			h.Write(password)
		}
	}
	a := h.Sum(nil)
	p := stretch(sum(bytes.Repeat(password, len(password))), len(password))
	s := stretch(sum(bytes.Repeat(salt, 16+int(a[0]))), len(salt))
	for i := range rounds {
		h := sha()
		if i&1 == 1 {
			h.Write(p)
		} else {
			h.Write(a)
		}
		if i%3 != 0 {
			h.Write(s)
		}
		if i%7 != 0 {
			h.Write(p)
		}
		if i&1 == 1 {
			h.Write(a)
		} else {
			h.Write(p)
		}
		a = h.Sum(a[:0])
	}
	return a
}

// stretch repeats b to n octets.
func stretch(b []byte, n int) []byte {
	return bytes.Repeat(b, n/len(b)+1)[:n]
}

// The order in which sha-crypt writes the octets of a digest.
var (
	order256 = [...]byte{0, 10, 20, 21, 1, 11, 12, 22, 2, 3, 13, 23, 24, 4, 14, 15, 25, 5, 6, 16, 26, 27, 7, 17, 18, 28, 8, 9, 19, 29, 31, 30}
	order512 = [...]byte{
		0, 21, 42, 22, 43, 1, 44, 2, 23, 3, 24, 45, 25, 46, 4, 47, 5, 26, 6, 27, 48, 28, 49, 7, 50, 8, 29, 9, 30, 51, 31, 52,
		10, 53, 11, 32, 12, 33, 54, 34, 55, 13, 56, 14, 35, 15, 36, 57, 37, 58, 16, 59, 17, 38, 18, 39, 60, 40, 61, 19, 62, 20, 41, 63,
	}
)

// cryptText writes groups of three octets, the lowest six bits first, in the letters of crypt(3).
func cryptText(sum []byte, order []byte) string {
	const letters = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	var out strings.Builder
	for len(order) > 0 {
		n := min(3, len(order))
		w := 0
		for _, at := range order[:n] {
			w = w<<8 | int(sum[at])
		}
		for range (n*8 + 5) / 6 {
			out.WriteByte(letters[w&63])
			w >>= 6
		}
		order = order[n:]
	}
	return out.String()
}

// fits compares a password with whatever hash is kept. With an imported one it costs our hash as well, so that it is never the cheap
// one to guess at.
func fits(kept, typed, prepared string) bool {
	compare := foreign(kept)
	own := verify(kept, prepared)
	if compare == nil {
		return own
	}
	// Other servers hash what was typed as it is.
	return compare(typed) || prepared != typed && compare(prepared)
}

// upgrade puts our own hash in the place of an imported one. The password is the same: sessions that it began go on, because their stamp
// stays the one of the imported hash (Secret.origin). That it fails is no reason to refuse the login.
func (d *Directory) upgrade(ctx context.Context, who *record, prepared string) {
	if foreign(who.phc) == nil {
		return
	}
	basis := sasl.NewBasis()
	if who.salt() != "" {
		basis = who.basis()
	}
	secret, err := d.hash(ctx, prepared, basis)
	if err != nil {
		return
	}
	_ = d.db.Update(ctx, func(tx *kv.Tx) error {
		now, err := findRecord(tx, who.ID)
		if err != nil || now.phc != who.phc { // changed meanwhile
			return err
		}
		now.origin = stamp(now)
		now.phc = secret.phc
		if secret.scram != nil && (now.salt() == "" || now.salt() == string(secret.scram.Salt)) {
			now.scram = secret.scram
		}
		d.putRecord(tx, now)
		return nil
	})
}
