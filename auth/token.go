package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/posthouse-mail/posthouse/auth/sasl"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// tableTokens of meta.db: number u32 -> version, fields. Number 0 has the last one that was given.
const tableTokens kv.Table = "T"

// Token is a secret that a program shows instead of a password. It may do what its scopes say and nothing else, and never opens the
// pages.
type Token struct {
	ID      uint32         // never given twice in a house
	Account mail.AccountID // whose it is; 0: the house's own, made by who runs it
	Name    string         // what for
	Scopes  Scope
	Created time.Time
	Expires time.Time // zero: never
}

// Bearer is who showed a token.
type Bearer struct {
	Token    Token
	Identity Identity // of the account whose it is; zero for a token of the house
}

// How a token looks: its prefix and form are the same for ever, so that a scanner of secrets finds it in a file that should not have
// it, and its last six characters are a sum over the rest (CRC-32), so that the scanner can tell it from what only looks like one.
const (
	TokenPrefix  = "posthouse_"
	tokenLetters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	tokenLength  = 32 // letters: 190 bits, which nobody tries through: a hash that costs nothing is enough
	tokenSum     = 6
	// TokenPattern is the form as a regular expression.
	TokenPattern = `posthouse_[0-9A-Za-z]{38}`
)

// How many there may be.
const (
	MaxTokens      = 50 // of an account
	MaxHouseTokens = 200
)

// maxYear is the last that JSON has (RFC 3339 section 5.6): a list with a later one could be shown to nobody.
const maxYear = 9999

// storedToken is one as it is stored.
type storedToken struct {
	Token
	sum     [sha256.Size]byte
	unknown []byte
}

func (t *storedToken) fields() []field {
	return []field{
		amount(1, &t.Account), text(2, &t.Name), amount(3, &t.Scopes), moment(4, &t.Created), moment(5, &t.Expires),
		{6, func() []byte { return t.sum[:] }, func(in *decoder) { copy(t.sum[:], in.take(sha256.Size)) }},
	}
}

func (t *storedToken) encode() []byte {
	return appendFields([]byte{recordVersion}, t.fields(), t.unknown)
}

func decodeToken(key, value []byte) (*storedToken, error) {
	in := decoder{rest: value}
	in.version()
	var t storedToken
	t.unknown = in.fields(t.fields())
	if len(key) == 4 {
		t.ID = binary.BigEndian.Uint32(key)
	}
	if in.bad || t.ID == 0 {
		return nil, fmt.Errorf("%w: token %x", ErrBadRecord, key)
	}
	return &t, nil
}

func (t *storedToken) expired(now time.Time) bool {
	return !t.Expires.IsZero() && !now.Before(t.Expires)
}

func tokenKey(id uint32) []byte { return binary.BigEndian.AppendUint32(nil, id) }

// sumToken is what is stored of a token. No two are alike, so that a salt would add nothing.
func sumToken(secret string) [sha256.Size]byte {
	return sha256.Sum256([]byte("posthouse token\x00" + secret))
}

// newTokenSecret makes one.
func newTokenSecret() string {
	b := make([]byte, 0, tokenLength)
	for raw := [64]byte{}; len(b) < tokenLength; {
		_, _ = rand.Read(raw[:]) // it never fails
		for _, c := range raw {
			if len(b) < tokenLength && c < 4*byte(len(tokenLetters)) { // each letter is as likely
				b = append(b, tokenLetters[c%byte(len(tokenLetters))])
			}
		}
	}
	return TokenPrefix + string(b) + tokenCheck(string(b))
}

func tokenCheck(body string) string {
	sum := crc32.ChecksumIEEE([]byte(body))
	out := make([]byte, tokenSum)
	for i := range slices.Backward(out) {
		out[i] = tokenLetters[sum%uint32(len(tokenLetters))]
		sum /= uint32(len(tokenLetters))
	}
	return string(out)
}

// IsToken tells whether a text has the form of a token.
func IsToken(text string) bool {
	body, ok := strings.CutPrefix(text, TokenPrefix)
	return ok && len(body) == tokenLength+tokenSum && tokenCheck(body[:tokenLength]) == body[tokenLength:]
}

// AddToken makes a token; its secret is told this once. One with scopes of the house belongs to an operator, or to nobody.
func (d *Directory) AddToken(tx *kv.Tx, t Token) (made Token, secret string, err error) {
	if err := d.checkToken(tx, &t); err != nil {
		return Token{}, "", err
	}
	now := d.options.Now()
	last, most, have := uint32(0), MaxTokens, 0
	if t.Account == 0 {
		most = MaxHouseTokens
	}
	if value := tx.Get(tableTokens, tokenKey(0)); len(value) == 5 {
		last = binary.BigEndian.Uint32(value[1:])
	}
	for _, old := range tokensOf(tx, t.Account) {
		if !old.expired(now) {
			have++
		}
	}
	if have >= most {
		return Token{}, "", fmt.Errorf("%w: there are %d tokens: remove those that you do not need", ErrInvalid, have)
	}
	for _, old := range tokensOf(tx, t.Account) { // what has expired makes room
		if old.expired(now) && have+1 >= most {
			tx.Delete(tableTokens, tokenKey(old.ID))
		}
	}
	t.ID = last + 1
	secret = newTokenSecret()
	row := storedToken{Token: t, sum: sumToken(secret)}
	tx.Put(tableTokens, tokenKey(0), binary.BigEndian.AppendUint32([]byte{recordVersion}, t.ID))
	tx.Put(tableTokens, tokenKey(t.ID), row.encode())
	d.told(tx, t.Account)
	return t, secret, nil
}

func (d *Directory) checkToken(tx *kv.Tx, t *Token) error {
	now := d.options.Now()
	t.Name = strings.TrimSpace(t.Name)
	switch {
	case t.Name == "" || len(t.Name) > maxAppName || strings.ContainsFunc(t.Name, func(r rune) bool { return unicode.IsControl(r) || r == unicode.ReplacementChar }):
		return fmt.Errorf("%w: the name of a token has 1 to %d octets and no control characters", ErrInvalid, maxAppName)
	case t.Scopes == 0 || t.Scopes&^(ScopesOwn|ScopesHouse) != 0:
		return fmt.Errorf("%w: a token has one scope at least: %s", ErrInvalid, ScopesOwn|ScopesHouse)
	case t.Expires.UTC().Year() > maxYear:
		return fmt.Errorf("%w: a token ends before the year %d, or never", ErrInvalid, maxYear+1)
	case !t.Expires.IsZero() && !t.Expires.After(now):
		return fmt.Errorf("%w: the token would have expired already", ErrInvalid)
	case t.Account == 0 && t.Scopes&ScopesOwn != 0:
		return fmt.Errorf("%w: %s needs an account that the token belongs to", ErrInvalid, t.Scopes&ScopesOwn)
	}
	t.Created, t.Expires = now.UTC().Truncate(time.Second), t.Expires.UTC().Truncate(time.Second)
	if t.Account == 0 {
		return nil
	}
	r, err := findRecord(tx, t.Account)
	if err != nil {
		return err
	}
	if t.Scopes&ScopesHouse != 0 && !r.Settings.Operator {
		return fmt.Errorf("%w: %s is for operators, and this account is none", ErrInvalid, t.Scopes&ScopesHouse)
	}
	return nil
}

// RemoveToken revokes one; what was opened with it ends.
func (d *Directory) RemoveToken(tx *kv.Tx, id uint32) (Token, error) {
	value := tx.Get(tableTokens, tokenKey(id))
	if value == nil || id == 0 {
		return Token{}, fmt.Errorf("%w: number %d", ErrNoToken, id)
	}
	t, err := decodeToken(tokenKey(id), value)
	if err != nil {
		t = &storedToken{Token: Token{ID: id}} // one that cannot be read opens nothing, and goes all the same
	}
	tx.Delete(tableTokens, tokenKey(id))
	d.told(tx, t.Account)
	return t.Token, nil
}

// tokensOf are the tokens of an account, or those of the house.
func tokensOf(tx *kv.Tx, id mail.AccountID) (all []*storedToken) {
	for key, value := range tx.Scan(tableTokens, tokenKey(1), nil) {
		if t, err := decodeToken(key, value); err == nil && t.Account == id {
			all = append(all, t)
		}
	}
	return all
}

// dropTokens revokes those of an account that goes.
func dropTokens(tx *kv.Tx, id mail.AccountID) {
	for _, t := range tokensOf(tx, id) {
		tx.Delete(tableTokens, tokenKey(t.ID))
	}
}

// Tokens lists all tokens of the house, by number; those that have expired too.
func (d *Directory) Tokens(ctx context.Context) ([]Token, error) {
	s, err := d.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]Token, 0, len(s.tokens))
	for _, t := range s.tokens {
		out = append(out, t.Token)
	}
	slices.SortFunc(out, func(a, b Token) int { return int(a.ID) - int(b.ID) })
	return out, nil
}

// readTokens fills the tokens of a snapshot.
func (s *snapshot) readTokens(tx *kv.Tx, bad func(error)) {
	s.tokens = make(map[[sha256.Size]byte]*storedToken)
	for key, value := range tx.Scan(tableTokens, tokenKey(1), nil) {
		t, err := decodeToken(key, value)
		if err != nil {
			bad(err)
			continue
		}
		s.tokens[t.sum] = t
		s.byPrograms = s.byPrograms || t.Scopes.doors() != 0
	}
}

// token is the one with a number, nil when there is none.
func (s *snapshot) token(id uint32) *storedToken {
	for _, t := range s.tokens {
		if t.ID == id {
			return t
		}
	}
	return nil
}

// may tells whether a token opens a door, now: its account has to stand, and to be an operator still where the scopes need one.
func (d *Directory) may(s *snapshot, t *storedToken, door Door) (*record, error) {
	switch {
	case t == nil || t.expired(d.options.Now()):
		return nil, ErrCredentials
	case door != DoorWeb && t.Scopes.doors()&door == 0:
		return nil, fmt.Errorf("%w: the token %q is not for it", ErrDoorClosed, t.Name)
	case t.Account == 0:
		return nil, nil
	}
	who := s.accounts[t.Account]
	switch {
	case who == nil || len(who.Addresses) == 0:
		return nil, ErrCredentials
	case who.Disabled:
		return nil, fmt.Errorf("%w: the account is disabled", ErrDoorClosed)
	case who.Doors&door == 0:
		return nil, ErrDoorClosed
	case t.Scopes&ScopesHouse != 0 && !who.Settings.Operator:
		return nil, fmt.Errorf("%w: the account is no operator any more", ErrDoorClosed)
	}
	return who, nil
}

// TokenStanding tells whether what a token has begun may go on: it is neither revoked nor expired, and its account may still what the token
// says. The errors are those of Standing.
func (d *Directory) TokenStanding(ctx context.Context, id uint32, door Door) error {
	s, err := d.snapshot(ctx)
	if err == nil {
		_, err = d.may(s, s.token(id), door)
	}
	return err
}

// LoginToken checks a token that a program showed. user may be empty; else it must name the account whose token it is. The errors are
// those of Login.
func (d *Directory) LoginToken(ctx context.Context, c Client, user, secret, mechanism string) (Bearer, error) {
	b, err := d.proveToken(ctx, c, user, secret, mechanism)
	if err == nil && c.Door == DoorWeb && d.known(b.Token, c) {
		return b, nil // a program that asks each second does not fill the log
	}
	if user == "" {
		user = b.Identity.Main.String()
	}
	d.report(ctx, c, claim{user: user, mechanism: mechanism}, b.Identity, err)
	return b, err
}

// known tells whether the token was used from there a moment ago, and notes that it is now.
func (d *Directory) known(t Token, c Client) bool {
	return d.options.TokenUses.used(t.Account, t.ID, AppUse{At: d.options.Now(), Door: c.Door, Remote: c.Remote})
}

func (d *Directory) proveToken(ctx context.Context, c Client, user, secret, mechanism string) (Bearer, error) {
	if d.clear(c) {
		return Bearer{}, ErrNeedTLS
	}
	s, err := d.snapshot(ctx)
	if err != nil {
		return Bearer{}, err
	}
	var t *storedToken
	if IsToken(secret) {
		t = s.tokens[sumToken(secret)]
	}
	who, err := d.may(s, t, c.Door)
	named := d.find(s, user)
	if err == nil && user != "" && (named == nil || named != who) {
		err = ErrCredentials
	}
	switch {
	case errors.Is(err, ErrCredentials):
		return Bearer{}, d.wrongToken(ctx, c, user, named, secret)
	case err != nil:
		return Bearer{}, err
	case who == nil && c.Door != DoorWeb:
		return Bearer{}, ErrDoorClosed
	}
	b := Bearer{Token: t.Token}
	if who != nil {
		b.Identity = Identity{Account: who.ID, Main: who.Addresses[0], Mechanism: mechanism, Token: t.ID, proof: d.tokenProof(t)}
		d.slow.succeeded(d.attempt(c, who.Addresses[0].String(), who), d.options.Now())
		d.awaitEnd(expiry{account: who.ID, number: t.ID, kind: endOfToken}, t.Expires)
	}
	if c.Door != DoorWeb {
		d.known(t.Token, c)
	}
	return b, nil
}

// wrongToken counts one that opens nothing against who showed it, as a wrong password. A right one is never held up: nobody guesses it.
// Over the API it does not count against the address: a page of another site may call it from the browser of whoever looks at that page,
// and would shut its visitors out of their mail.
func (d *Directory) wrongToken(ctx context.Context, c Client, user string, named *record, secret string) error {
	try := d.attempt(c, user, named)
	if c.Door == DoorWeb {
		try.address = netip.Prefix{}
	}
	if err := d.hold(ctx, try); err != nil {
		return err
	}
	if len(secret) > sasl.MaxMessage {
		secret = secret[:sasl.MaxMessage]
	}
	d.slow.failed(try, d.digests.of("wrong token", secret), d.options.Now())
	return ErrCredentials
}

// tokenProof stands for a token in memory.
func (d *Directory) tokenProof(t *storedToken) digest {
	return d.digests.of("standing token", string(t.sum[:]))
}
