package store

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/posthouse-mail/posthouse/internal/message"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// keys are what ids shown outside are made with. They come from the folder's secret, one for each purpose.
type keys struct {
	block  cipher.Block
	thread [sha256.Size]byte
}

func newKeys(secret [32]byte) *keys {
	derive := func(purpose string) [sha256.Size]byte {
		h := hmac.New(sha256.New, secret[:])
		h.Write([]byte(purpose))
		return [sha256.Size]byte(h.Sum(nil))
	}
	id := derive("store object id")
	block, err := aes.NewCipher(id[:16])
	if err != nil {
		panic("store: " + err.Error()) // 16 bytes are a valid AES key
	}
	return &keys{block: block, thread: derive("store thread")}
}

// feistelRounds makes of AES as round function a permutation of 64 bits, so that an id can be read back and no two are the same.
const feistelRounds = 8

// round works in b, which holds one block for the input and one for the output.
func (k *keys) round(b *[2 * aes.BlockSize]byte, letter, i byte, half uint32) uint32 {
	in, out := b[:aes.BlockSize], b[aes.BlockSize:]
	in[0], in[1] = letter, i
	binary.BigEndian.PutUint32(in[2:], half)
	k.block.Encrypt(out, in)
	return binary.BigEndian.Uint32(out)
}

func (k *keys) seal(letter byte, id uint64) uint64 {
	var b [2 * aes.BlockSize]byte
	l, r := uint32(id>>32), uint32(id)
	for i := range byte(feistelRounds) {
		l, r = r, l^k.round(&b, letter, i, r)
	}
	return uint64(l)<<32 | uint64(r)
}

func (k *keys) open(letter byte, v uint64) uint64 {
	var b [2 * aes.BlockSize]byte
	l, r := uint32(v>>32), uint32(v)
	for i := byte(feistelRounds); i > 0; i-- {
		l, r = r^k.round(&b, letter, i-1, l), l
	}
	return uint64(l)<<32 | uint64(r)
}

// hash is a keyed hash of text, never 0.
func (k *keys) hash(text string) uint64 {
	h := sha256.New()
	h.Write(k.thread[:])
	h.Write([]byte(text))
	return max(binary.BigEndian.Uint64(h.Sum(nil)), 1)
}

// ObjectID shows an id outside, encrypted with the store's key: letter and 16 characters (RFC 8474 section 4).
func (s *Store) ObjectID(letter byte, id uint64) string {
	b := make([]byte, 0, 17)
	b = append(b, letter)
	return string(hex.AppendEncode(b, binary.BigEndian.AppendUint64(nil, s.keys().seal(letter, id))))
}

// ParseObjectID reads back what ObjectID gave; ok is false for anything else.
func (s *Store) ParseObjectID(text string) (letter byte, id uint64, ok bool) {
	if len(text) != 17 || strings.ToLower(text[1:]) != text[1:] {
		return 0, 0, false
	}
	v, err := strconv.ParseUint(text[1:], 16, 64)
	if err != nil {
		return 0, 0, false
	}
	return text[0], s.keys().open(text[0], v), true
}

// UIDL is the POP3 unique-id of a message (RFC 1939 section 7): the same for ever, one of its kind in its mailbox. Use
// UIDLs for many.
func (s *Store) UIDL(id MailboxID, m Message) string {
	out, err := s.UIDLs(context.Background(), id, []Message{m})
	if err != nil {
		return s.ownUIDL(m)
	}
	return out[0]
}

// UIDLs gives the unique-ids of messages of one mailbox: what another server had given them, or our own.
func (s *Store) UIDLs(ctx context.Context, id MailboxID, msgs []Message) ([]string, error) {
	out := make([]string, len(msgs))
	err := s.db.View(ctx, func(tx *kv.Tx) error {
		brought := hasUIDLs(tx, id)
		for i, m := range msgs {
			if v := []byte(nil); brought {
				if v = tx.Get(tabUIDL, key32x2(uint32(id), m.UID)); v != nil {
					out[i] = string(v)
					continue
				}
			}
			out[i] = s.ownUIDL(m)
		}
		return nil
	})
	return out, err
}

// ownUIDL is made of the message's id and its uid, because copies in one mailbox share the id. Messages that were moved keep
// the id and get another uid, so nothing else may stand in it.
func (s *Store) ownUIDL(m Message) string {
	return s.ObjectID('U', m.ID) + "." + strconv.FormatUint(uint64(m.UID), 36)
}

// validUIDL: RFC 1939 section 7, 1 to 70 characters from 0x21 to 0x7E.
func validUIDL(v string) bool {
	if len(v) < 1 || len(v) > 70 {
		return false
	}
	for _, c := range []byte(v) {
		if c < 0x21 || c > 0x7e {
			return false
		}
	}
	return true
}

// thread is the keyed hash of the message's first reference, which all messages of a thread share; 0 when it names none.
func (k *keys) threadOf(sum *message.Summary) uint64 {
	for _, r := range sum.References {
		if id := bareID(r); id != "" {
			return k.hash(id)
		}
	}
	env := envelope(sum)
	if id := bareID(env.InReplyTo); id != "" {
		return k.hash(id)
	}
	if id := bareID(env.MessageID); id != "" {
		return k.hash(id)
	}
	return 0
}

// messageHash is the keyed hash of the Message-ID, for the index that finds a message by it; 0 without one.
func (k *keys) messageHash(sum *message.Summary) uint64 {
	if id := bareID(envelope(sum).MessageID); id != "" {
		return k.hash(id)
	}
	return 0
}

func envelope(sum *message.Summary) message.Envelope {
	if sum.Root == nil || sum.Root.Envelope == nil {
		return message.Envelope{}
	}
	return *sum.Root.Envelope
}

// bareID is the first message-id of a field, without its brackets.
func bareID(field string) string {
	if _, rest, ok := strings.Cut(field, "<"); ok {
		field, _, _ = strings.Cut(rest, ">")
	}
	return strings.TrimSpace(field)
}
