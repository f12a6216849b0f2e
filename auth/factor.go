package auth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// The second factor of the web sign-in is a code that an authenticator shows (TOTP, RFC 6238): HMAC-SHA-1, six digits, a new one each
// half minute, because that is what every authenticator takes.
const (
	totpPeriod = 30
	totpDigits = 1_000_000
	totpSecret = 20 // octets (RFC 4226 section 4, R6)
	totpWindow = 1  // codes before and after that fit: clocks differ, and people type (RFC 6238 section 5.2)
)

// How wrong codes are slowed down. Whoever tries one knows the password; with a try in a quarter of an hour he needs years for a
// chance of one in ten. Recovery codes are not held up, so that he cannot lock the owner out.
const (
	freeCodes   = 5
	maxCodeWait = 15 * time.Minute
)

// recoveryCodes is how many an account gets.
const recoveryCodes = 8

// ErrCode: the code is wrong, was used before, or is too old.
var ErrCode = errors.New("auth: wrong code")

// SecondFactor is what an account has besides its password.
type SecondFactor struct {
	On            bool
	Since         time.Time
	Recovery      int  // codes that are left
	Authenticator bool // its codes are asked for
	Passkeys      int  // that do instead, or are asked for where there is no authenticator
}

// factor is the second factor as it is stored.
type factor struct {
	secret   []byte // of the authenticator; nil: there is none
	keyed    bool   // a passkey is asked for after the password, though there is no authenticator
	step     int64  // of the code that was used last: none before it is taken again
	since    time.Time
	recovery [][sha256.Size]byte // of codes that are left
}

var codeEncoding = base32.StdEncoding.WithPadding(base32.NoPadding)

// NewAuthenticator makes the secret of an authenticator, as it is typed.
func NewAuthenticator() string {
	secret := make([]byte, totpSecret)
	_, _ = rand.Read(secret) // never fails
	return codeEncoding.EncodeToString(secret)
}

// AuthenticatorURI is what authenticators read from a QR code.
func AuthenticatorURI(site, account, secret string) string {
	q := url.Values{"secret": {secret}, "issuer": {site}, "algorithm": {"SHA1"}, "digits": {"6"}, "period": {"30"}}
	label := url.PathEscape(site) + ":" + url.PathEscape(account)
	return "otpauth://totp/" + label + "?" + strings.ReplaceAll(q.Encode(), "+", "%20")
}

// parseSecret reads what NewAuthenticator made, as people type it.
func parseSecret(text string) ([]byte, error) {
	secret, err := codeEncoding.DecodeString(strings.ToUpper(strings.ReplaceAll(text, " ", "")))
	if err != nil || len(secret) != totpSecret {
		return nil, fmt.Errorf("%w: this is no secret of an authenticator", ErrInvalid)
	}
	return secret, nil
}

// totp is the code of a step (RFC 4226 section 5.3).
func totp(secret []byte, step int64) int {
	mac := hmac.New(sha1.New, secret)
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(step)))
	sum := mac.Sum(nil)
	at := sum[len(sum)-1] & 15
	return int(binary.BigEndian.Uint32(sum[at:])&0x7fffffff) % totpDigits
}

// stepOf is the step that a code belongs to, later than after; ok is false when it fits none.
func stepOf(secret []byte, code string, now time.Time, after int64) (step int64, ok bool) {
	current := now.Unix() / totpPeriod
	for s := current - totpWindow; s <= current+totpWindow; s++ {
		if want := fmt.Sprintf("%06d", totp(secret, s)); subtle.ConstantTimeCompare([]byte(want), []byte(code)) == 1 && s > after {
			step, ok = s, true
		}
	}
	return step, ok
}

// digits is a code without the spaces that people put into it.
func digits(code string) string { return strings.Join(strings.Fields(code), "") }

// SecondFactor tells what an account has.
func (d *Directory) SecondFactor(ctx context.Context, id mail.AccountID) (SecondFactor, error) {
	s, err := d.snapshot(ctx)
	if err != nil {
		return SecondFactor{}, err
	}
	who := s.accounts[id]
	if who == nil {
		return SecondFactor{}, ErrNoAccount
	}
	return SecondFactor{
		On: who.hasFactor(), Since: who.factor.since, Recovery: len(who.factor.recovery), Authenticator: who.factor.secret != nil, Passkeys: len(who.passkeys.all),
	}, nil
}

// hasFactor tells whether the web asks for more than the password.
func (s *Secret) hasFactor() bool {
	return s.factor.secret != nil || s.factor.keyed && len(s.passkeys.all) > 0
}

// SetFactor begins to ask for codes of an authenticator, which one of its codes proves to work (ErrCode). It returns the recovery
// codes, which are nowhere else.
func (d *Directory) SetFactor(tx *kv.Tx, id mail.AccountID, secret, code string) ([]string, error) {
	key, err := parseSecret(secret)
	if err != nil {
		return nil, err
	}
	r, err := findRecord(tx, id)
	if err != nil {
		return nil, err
	}
	now := d.options.Now()
	step, ok := stepOf(key, digits(code), now, 0)
	if !ok {
		return nil, ErrCode
	}
	r.factor = factor{secret: key, step: step, since: now.UTC().Truncate(time.Second), keyed: r.factor.keyed}
	codes, err := r.factor.renew()
	if err == nil {
		d.putRecord(tx, r)
	}
	return codes, err
}

// renew makes new recovery codes in place of those that were left.
func (f *factor) renew() ([]string, error) {
	f.recovery = nil
	var codes []string
	for range recoveryCodes {
		code, err := newMade()
		if err != nil {
			return nil, err
		}
		plain, _ := plainMade(code)
		f.recovery = append(f.recovery, sumMade(plain))
		codes = append(codes, code)
	}
	return codes, nil
}

// RenewRecovery makes new recovery codes; the old ones are void.
func (d *Directory) RenewRecovery(tx *kv.Tx, id mail.AccountID) ([]string, error) {
	r, err := findRecord(tx, id)
	if err != nil {
		return nil, err
	}
	if !r.hasFactor() {
		return nil, fmt.Errorf("%w: the account has no second factor", ErrInvalid)
	}
	codes, err := r.factor.renew()
	if err == nil {
		d.putRecord(tx, r)
	}
	return codes, err
}

// RemoveFactor ends the second factor of an account; its passkeys stay, and are not asked for.
func (d *Directory) RemoveFactor(tx *kv.Tx, id mail.AccountID) error {
	r, err := findRecord(tx, id)
	if err != nil {
		return err
	}
	if !r.hasFactor() {
		return fmt.Errorf("%w: the account has no second factor", ErrInvalid)
	}
	r.factor = factor{}
	d.putRecord(tx, r)
	return nil
}

// ProveFactor takes a code of the account's authenticator, or a recovery code, once. ErrCode when it is none, ErrSlowDown when too many
// were not.
func (d *Directory) ProveFactor(ctx context.Context, id mail.AccountID, code string) error {
	err := d.proveFactor(ctx, id, code)
	if err != nil {
		d.log.WarnContext(ctx, logx.FactorRefused, "account", uint32(id), "reason", err)
	}
	return err
}

func (d *Directory) proveFactor(ctx context.Context, id mail.AccountID, code string) error {
	s, err := d.snapshot(ctx)
	if err != nil {
		return err
	}
	who := s.accounts[id]
	if who == nil {
		return ErrNoAccount
	}
	plain, made := plainMade(code)
	if !made {
		if err := d.codes.try(who, digits(code), d.options.Now()); err != nil {
			return err
		}
	}
	return d.db.Update(ctx, func(tx *kv.Tx) error { // it looks again: two may come with the same code
		r, err := findRecord(tx, id)
		if err != nil {
			return err
		}
		if made {
			sum := sumMade(plain)
			i := slices.Index(r.factor.recovery, sum)
			if i < 0 {
				return ErrCode
			}
			r.factor.recovery = slices.Delete(slices.Clone(r.factor.recovery), i, i+1)
		} else {
			step, ok := stepOf(r.factor.secret, digits(code), d.options.Now(), r.factor.step)
			if !ok || r.factor.secret == nil {
				return ErrCode
			}
			r.factor.step = step
		}
		d.putRecord(tx, r)
		return nil
	})
}

// codes counts wrong codes of accounts. A try is looked at and counted in one go, so that many at once are no more than one after the
// other.
type codes struct {
	mu    sync.Mutex
	wrong map[mail.AccountID]*failures // guarded by mu
}

func (c *codes) try(who *record, code string, now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.wrong[who.ID]; f != nil && now.Before(f.until) {
		return ErrSlowDown
	}
	if _, ok := stepOf(who.factor.secret, code, now, who.factor.step); ok && who.factor.secret != nil {
		delete(c.wrong, who.ID)
		return nil
	}
	if c.wrong == nil {
		c.wrong = make(map[mail.AccountID]*failures)
	}
	entry(c.wrong, who.ID, now).fail(now, freeCodes, maxCodeWait)
	return ErrCode
}

func (f *factor) fields() []field {
	return []field{
		{62, func() []byte { return f.secret }, func(in *decoder) { f.secret = slices.Clone(in.take(uint64(len(in.rest)))) }},
		amount(63, &f.step), moment(64, &f.since), flag(73, &f.keyed),
		{65, func() (b []byte) {
			for _, sum := range f.recovery {
				b = append(b, sum[:]...)
			}
			return b
		}, func(in *decoder) {
			for len(in.rest) > 0 && !in.bad {
				var sum [sha256.Size]byte
				copy(sum[:], in.take(sha256.Size))
				f.recovery = append(f.recovery, sum)
			}
		}},
	}
}
