package dmarcbook

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"time"

	"github.com/posthouse-mail/posthouse/store/blob"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// Waiting is a message that came in and may carry a report. It waits here over a restart; the mail itself is in its mailbox.
type Waiting struct {
	At     blob.LSN  `json:"-"`
	ID     string    `json:"id"` // of the transaction
	Sender string    `json:"sender"`
	To     []string  `json:"to"`
	Taken  time.Time `json:"taken"`
	Tries  int       `json:"tries,omitempty"`
}

func waitingKey(at blob.LSN) []byte { return binary.BigEndian.AppendUint64([]byte{'p'}, uint64(at)) }

// Wait brings a message into the tables within a second. It never waits itself.
func (b *Book) Wait(w Waiting) {
	text, err := json.Marshal(w)
	if err != nil {
		return
	}
	b.o.Side.Later(func(tx *kv.Tx) error {
		tx.Put(tabReceived, waitingKey(w.At), text)
		return nil
	})
}

// Settle writes what Wait was given.
func (b *Book) Settle(ctx context.Context) error { return b.o.Side.Flush(ctx) }

// Waiting lists the messages that are to be read, oldest first.
func (b *Book) Waiting(ctx context.Context, most int) (all []Waiting, err error) {
	err = b.o.Side.View(ctx, func(tx *kv.Tx) error {
		for key, v := range tx.Scan(tabReceived, []byte{'p'}, []byte{'p' + 1}) {
			var w Waiting
			if len(key) != 9 || json.Unmarshal(v, &w) != nil {
				continue
			}
			w.At = blob.LSN(binary.BigEndian.Uint64(key[1:]))
			if all = append(all, w); len(all) == most {
				break
			}
		}
		return nil
	})
	return all, err
}

// Over takes a message off the list.
func (b *Book) Over(ctx context.Context, w Waiting) error {
	return b.update(ctx, "waiting", func(tx *kv.Tx) error {
		tx.Delete(tabReceived, waitingKey(w.At))
		return nil
	})
}
