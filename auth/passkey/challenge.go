package passkey

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"maps"
	"sync"
	"time"
)

// Life is how long a question may be answered.
const Life = 5 * time.Minute

// maxSpent bounds what is remembered of answered questions. Each cost a valid signature.
const maxSpent = 1 << 16

// A challenge is nonce 16 | time 8 | seal 16. Its seal says that it is ours, for whom and for what, so that nothing has to be
// remembered of questions that nobody answers: anybody may ask for one, as often as he likes. The key is made with the process.
const (
	nonceSize     = 16
	challengeSize = nonceSize + 8 + 16
)

type challenges struct {
	now func() time.Time
	key [32]byte

	mu    sync.Mutex
	spent map[string]time.Time // by challenge, until it is too old; guarded by mu
}

func newChallenges(now func() time.Time) *challenges {
	c := &challenges{now: now, spent: make(map[string]time.Time)}
	_, _ = rand.Read(c.key[:]) // never fails (crypto/rand)
	return c
}

// purpose is what a challenge is for; an answer to one proves nothing for another.
type purpose string

const (
	toMake  purpose = "make"
	toEnter purpose = "enter"  // in place of everything else
	toProve purpose = "second" // besides a password
)

func (c *challenges) make(p purpose, bound string) []byte {
	b := make([]byte, nonceSize, challengeSize)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	b = binary.BigEndian.AppendUint64(b, uint64(c.now().Unix()))
	return append(b, c.seal(p, bound, b)...)
}

func (c *challenges) seal(p purpose, bound string, text []byte) []byte {
	mac := hmac.New(sha256.New, c.key[:])
	mac.Write([]byte(string(p) + "\x00" + bound + "\x00"))
	mac.Write(text)
	return mac.Sum(nil)[:challengeSize-nonceSize-8]
}

// ours tells whether a challenge, as the browser sends it back, may be answered now.
func (c *challenges) ours(p purpose, bound, challenge string) bool {
	b, err := base64.RawURLEncoding.DecodeString(challenge)
	if err != nil || len(b) != challengeSize {
		return false
	}
	text := b[:nonceSize+8]
	made := time.Unix(int64(binary.BigEndian.Uint64(text[nonceSize:])), 0)
	age := c.now().Sub(made)
	if !hmac.Equal(c.seal(p, bound, text), b[len(text):]) || age > Life || age < -time.Second {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_, spent := c.spent[challenge]
	return !spent
}

// spend notes that a challenge was answered; false when it was before.
func (c *challenges) spend(challenge string) bool {
	now := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, spent := c.spent[challenge]; spent {
		return false
	}
	if len(c.spent) >= maxSpent {
		maps.DeleteFunc(c.spent, func(_ string, ends time.Time) bool { return now.After(ends) })
	}
	if len(c.spent) >= maxSpent {
		return false
	}
	c.spent[challenge] = now.Add(Life + time.Second)
	return true
}
