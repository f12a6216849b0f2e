package story

import (
	"context"
	"encoding/binary"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/store/kv"
)

// Own asks for the messages of one account.
type Own struct {
	Account   uint32
	Addresses []string            // that it may have been told of without its number: who was refused at the door has none
	Fits      func(*Message) bool // asked for each of them; it must not keep what it is given
	Since     time.Time
	Before    time.Time // zero: until now
	From      string    // Owned.Next of the page before; empty: the newest
	Limit     int
	Look      int // at most so many are looked at, of others too; 10,000
}

// Owned is an answer to Own: the newest first.
type Owned struct {
	Messages []Message
	Next     string // there may be more before; empty: there are none
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
	to, index := o.end()
	err = b.o.Side.View(ctx, func(tx *kv.Tx) error {
		out = Owned{}
		looked := 0
		for key, row := range tx.ScanBack(tabHash, nil, to) {
			number := binary.BigEndian.Uint64(key)
			if !o.Since.IsZero() && number < uint64(o.Since.Add(-slack).UnixNano()) {
				return nil
			}
			if !has(row, func(h uint32) bool { return wanted[h] }) {
				continue
			}
			var here []Message
			for m := range messages(tx.Get(tabChunk, key)) {
				here = append(here, *m)
			}
			if index >= 0 && number == o.number() {
				here = here[:min(index, len(here))]
			}
			for i := len(here) - 1; i >= 0; i-- {
				if len(out.Messages) >= o.Limit || looked >= o.Look {
					out.Next = strconv.FormatUint(number, 36) + "-" + strconv.Itoa(i+1)
					return nil
				}
				looked++
				m := &here[i]
				if m.At.Before(o.Since) || !o.Before.IsZero() && !m.At.Before(o.Before) {
					continue
				}
				if o.Fits(m) {
					out.Messages = append(out.Messages, *m)
				}
			}
		}
		return nil
	})
	return out, err
}

// slack is how far a message's time may be from that of its chunk: a client may take its time, and clocks are set.
const slack = time.Hour

// number is the chunk that From names; 0: none.
func (o *Own) number() uint64 {
	text, _, _ := strings.Cut(o.From, "-")
	n, err := strconv.ParseUint(text, 36, 64)
	if err != nil {
		return 0
	}
	return n
}

// end is behind the first chunk that is looked at, and behind its first message; -1: all of them.
func (o *Own) end() (to []byte, index int) {
	index = -1
	if !o.Before.IsZero() {
		to = chunkKey(uint64(o.Before.Add(slack).UnixNano()))
	}
	number := o.number()
	if number == 0 || number == math.MaxUint64 {
		return to, index
	}
	if _, text, ok := strings.Cut(o.From, "-"); ok {
		if n, err := strconv.Atoi(text); err == nil {
			index = n
		}
	}
	return chunkKey(number + 1), index
}
