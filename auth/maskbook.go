package auth

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// tableMaskUse of side.db: address key -> uses u64, last unix seconds u64.
const tableMaskUse kv.Table = "V"

// MaskBook counts the mail that comes to masked addresses. It may lose a second of counting, and holds no mail up. A nil MaskBook
// counts nothing.
type MaskBook struct{ side *kv.Side }

// NewMaskBook keeps it in side.db.
func NewMaskBook(side *kv.Side) *MaskBook { return &MaskBook{side} }

// MaskUse is how often mail came to a mask, and when last.
type MaskUse struct {
	Count uint64
	Last  time.Time
}

// Used counts one message.
func (b *MaskBook) Used(a mail.Address, at time.Time) {
	if b == nil {
		return
	}
	key := addressKey(a)
	b.side.Later(func(tx *kv.Tx) error {
		u := decodeUse(tx.Get(tableMaskUse, key))
		value := binary.BigEndian.AppendUint64(nil, u.Count+1)
		tx.Put(tableMaskUse, key, binary.BigEndian.AppendUint64(value, uint64(at.Unix())))
		return nil
	})
}

// Uses tells of masks; one that was never used is not there. What was counted in the last second may be missing.
func (b *MaskBook) Uses(ctx context.Context, all []Mask) (map[mail.Address]MaskUse, error) {
	out := make(map[mail.Address]MaskUse, len(all))
	if b == nil {
		return out, nil
	}
	err := b.side.View(ctx, func(tx *kv.Tx) error {
		for _, m := range all {
			if u := decodeUse(tx.Get(tableMaskUse, addressKey(m.Address))); u.Count > 0 {
				out[m.Address] = u
			}
		}
		return nil
	})
	return out, err
}

// Forget drops what was counted of a mask that is removed.
func (b *MaskBook) Forget(a mail.Address) {
	if b == nil {
		return
	}
	b.side.Later(func(tx *kv.Tx) error {
		tx.Delete(tableMaskUse, addressKey(a))
		return nil
	})
}

func decodeUse(value []byte) MaskUse {
	if len(value) != 16 {
		return MaskUse{}
	}
	return MaskUse{Count: binary.BigEndian.Uint64(value), Last: time.Unix(int64(binary.BigEndian.Uint64(value[8:])), 0).UTC()}
}
