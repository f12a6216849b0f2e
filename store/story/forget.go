package story

import (
	"context"
	"encoding/binary"
	"slices"
	"time"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/store/kv"
)

const (
	forgetEvery  = 10 * time.Minute
	forgetAtOnce = 1000 // chunks of one commit
)

// Run forgets old stories until ctx ends.
func (b *Book) Run(ctx context.Context) error {
	if b == nil {
		return nil
	}
	t := time.NewTicker(forgetEvery)
	defer t.Stop()
	for {
		if err := b.Forget(ctx); err != nil && ctx.Err() == nil {
			b.o.Logger.WarnContext(ctx, logx.StoryForget, "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		case <-b.full:
		}
	}
}

// Forget drops the stories that are older than they may be, and the oldest when all are larger than they may be.
func (b *Book) Forget(ctx context.Context) error {
	for {
		n := 0
		err := b.o.Side.Update(ctx, func(tx *kv.Tx) error {
			n = 0
			return b.forget(tx, &n)
		})
		if err != nil || n < forgetAtOnce {
			return err
		}
	}
}

func (b *Book) forget(tx *kv.Tx, n *int) error {
	oldest := chunkKey(uint64(max(b.o.Now().Add(-b.o.Keep).UnixNano(), 0)))
	left := int64(size(tx))
	var gone [][]byte
	for k, v := range tx.Scan(tabChunk, nil, nil) {
		if slices.Compare(k, oldest) >= 0 && left <= b.o.Limit || len(gone) == forgetAtOnce {
			break
		}
		gone = append(gone, slices.Clone(k))
		left -= int64(len(v) + len(tx.Get(tabHash, k)))
	}
	for _, k := range gone {
		tx.Delete(tabChunk, k)
		tx.Delete(tabHash, k)
	}
	if *n = len(gone); *n > 0 {
		tx.Put(tabSize, sizeKey(), binary.BigEndian.AppendUint64(nil, uint64(max(left, 0))))
	}
	return nil
}
