package list

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// Tokens makes words that name a member of a list, and that nobody else can make. A token has no date: who left and comes back has
// the same one, and a copy that is read after years can still be used to leave.
type Tokens struct{ key [32]byte }

// NewTokens derives the key from the data folder's secret.
func NewTokens(secret [32]byte) Tokens {
	m := hmac.New(sha256.New, secret[:])
	m.Write([]byte("lists"))
	return Tokens{[32]byte(m.Sum(nil))}
}

// What a token is good for; the two are strangers to each other.
const (
	forBounces = 'b'
	forLeaving = 'l'
)

// tokenOctets: 80 bits, 16 letters.
const tokenOctets = 10

func (t Tokens) make(use byte, id auth.ListID, member string) string {
	return strings.ToLower(base32.StdEncoding.EncodeToString(t.maker(use, id)([]byte(member))))
}

// maker makes the octets of many tokens of one list; each call overwrites what the last one returned.
func (t Tokens) maker(use byte, id auth.ListID) func(member []byte) []byte {
	m := hmac.New(sha256.New, t.key[:])
	head := binary.BigEndian.AppendUint32([]byte{use}, uint32(id))
	var sum []byte
	return func(member []byte) []byte {
		m.Reset()
		m.Write(head)
		m.Write(member)
		sum = m.Sum(sum[:0])
		return sum[:tokenOctets]
	}
}

// find is the member whom a token names, paused ones too; auth.ErrNoAddress for any other word. All members are tried: a word costs
// about as much as reading a page of the tables, since anybody may ask.
func (t Tokens) find(ctx context.Context, d *auth.Directory, use byte, id auth.ListID, token string) (auth.Member, error) {
	want, err := base32.StdEncoding.DecodeString(strings.ToUpper(token))
	if err != nil || len(want) != tokenOctets {
		return auth.Member{}, fmt.Errorf("%w: no token", auth.ErrNoAddress)
	}
	made := t.maker(use, id)
	return d.FindMember(ctx, id, func(key []byte) bool { return hmac.Equal(want, made(key)) })
}

// Link is what stands in an address of the web for a member who wants to leave: the list's number and the token.
func (t Tokens) Link(id auth.ListID, member mail.Address) string {
	return fmt.Sprintf("%d-%s", id, t.make(forLeaving, id, member.Key()))
}

// ErrLink: the link is none that we made, or its member has left.
var ErrLink = errors.New("list: this link is not good any more")

// Leave takes the member out of the list that a Link names. A link that was used before is ErrLink.
func (t Tokens) Leave(ctx context.Context, db *kv.DB, d *auth.Directory, link string) (auth.List, mail.Address, error) {
	l, member, err := t.Leaver(ctx, d, link)
	if err != nil {
		return l, mail.Address{}, err
	}
	err = db.Update(ctx, func(tx *kv.Tx) error { return d.RemoveMembers(tx, l.Address, []mail.Address{member}) })
	if errors.Is(err, auth.ErrNoAddress) {
		err = ErrLink
	}
	return l, member, err
}

// Leaver is the list and the member that a link is for. ErrLink.
func (t Tokens) Leaver(ctx context.Context, d *auth.Directory, link string) (auth.List, mail.Address, error) {
	number, token, ok := strings.Cut(link, "-")
	id, err := strconv.ParseUint(number, 10, 32)
	if !ok || err != nil || len(token) != tokenOctets*8/5 {
		return auth.List{}, mail.Address{}, ErrLink
	}
	l, err := d.ListByID(ctx, auth.ListID(id))
	if errors.Is(err, auth.ErrNoAddress) {
		return auth.List{}, mail.Address{}, ErrLink
	}
	if err != nil {
		return auth.List{}, mail.Address{}, err
	}
	m, err := t.find(ctx, d, forLeaving, l.ID, token)
	if errors.Is(err, auth.ErrNoAddress) {
		return l, mail.Address{}, ErrLink
	}
	if err != nil {
		return l, mail.Address{}, err
	}
	return l, m.Address, nil
}
