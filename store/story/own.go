package story

import (
	"context"
	"time"

	"github.com/posthouse-mail/posthouse/store/kv"
)

// Own asks for the messages of one account.
type Own struct {
	Account   uint32
	Addresses []string            // that it may have been told of without its number: who was refused at the door has none
	Fits      func(*Message) bool // asked for each of them; it must not keep what it is given
	Before    time.Time           // zero: the newest
	Limit     int
	Look      int // at most so many are looked at, of others too; 10,000
}

// Owned is an answer to Own: the newest first.
type Owned struct {
	Messages []Message
	Next     time.Time // there may be more before; zero: there are none
}

// Owned lists an account's messages, without their events. What it costs is bounded by Look and by the index, which has some octets for
// each message.
func (b *Book) Owned(ctx context.Context, o Own) (out Owned, err error) {
	if b == nil {
		return Owned{}, nil
	}
	if o.Look == 0 {
		o.Look = 10_000
	}
	if err := b.o.Side.Flush(ctx); err != nil {
		return Owned{}, err
	}
	wanted := map[uint32]bool{hashOfOwner(o.Account): true}
	for _, a := range o.Addresses {
		wanted[hashOf(byAddress, a)] = true
	}
	var to []byte
	if !o.Before.IsZero() {
		to = chunkKey(uint64(o.Before.UnixNano()))
	}
	err = b.o.Side.View(ctx, func(tx *kv.Tx) error {
		out = Owned{}
		looked := 0
		for key, row := range tx.ScanBack(tabHash, nil, to) {
			if !has(row, func(h uint32) bool { return wanted[h] }) {
				continue
			}
			var here []Message
			for m := range messages(tx.Get(tabChunk, key)) {
				if o.Before.IsZero() || m.At.Before(o.Before) {
					here = append(here, *m)
				}
			}
			for i := len(here) - 1; i >= 0; i-- {
				if len(out.Messages) >= o.Limit || looked >= o.Look {
					out.Next = here[i].At.Add(1)
					return nil
				}
				looked++
				if o.Fits(&here[i]) {
					out.Messages = append(out.Messages, here[i])
				}
			}
		}
		return nil
	})
	return out, err
}
