package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/web/admin"
)

// tableOnce of side.db: account u32 | hash of the key (16 octets) -> kept as JSON.
const tableOnce kv.Table = "Q"

const (
	onceKeep  = 24 * time.Hour
	onceSweep = time.Hour // between two looks for old ones
	maxKey    = 200
)

// once sends what comes with a key one time, however often a program asks because it has not heard the answer.
type once struct {
	log  *slog.Logger
	side *kv.Side
	now  func() time.Time

	mu      sync.Mutex
	running map[string]bool // guarded by mu
	swept   time.Time       // guarded by mu
}

// attempt is a request with a key.
type attempt struct {
	account mail.AccountID
	key     string
	what    string // of the request, besides the message
}

// kept is what stands behind a key.
type kept struct {
	At   time.Time `json:"at"`
	What []byte    `json:"what,omitempty"` // hash of the request; none: it was begun, and nobody knows how it ended
	Sent Sent      `json:"sent,omitzero"`
}

// do calls fn with the message, unless the same was sent with the key already: then it answers what was answered. The key is written
// down before the message is sent, so that a house that dies in between does not send it twice.
func (o *once) do(ctx context.Context, a attempt, text io.Reader, fn func(text io.Reader) (Sent, error)) (Sent, error) {
	switch {
	case a.key == "":
		return fn(text)
	case len(a.key) > maxKey:
		return Sent{}, &admin.Error{Class: admin.Invalid, Message: "the Idempotency-Key is too long"}
	case o.side == nil:
		return Sent{}, &admin.Error{Class: admin.Unavailable, Message: "this house keeps no Idempotency-Key"}
	}
	sum := sha256.Sum256([]byte(a.key))
	row := append(binary.BigEndian.AppendUint32(nil, uint32(a.account)), sum[:16]...)
	if !o.enter(string(row)) {
		return Sent{}, &denied{status: http.StatusConflict, text: "a request with this Idempotency-Key is on its way: wait for its answer"}
	}
	defer o.leave(string(row))
	hash := sha256.New()
	hash.Write([]byte(a.what + "\x00"))
	text = io.TeeReader(text, hash)
	old, found, err := o.find(ctx, row)
	switch {
	case err != nil:
		return Sent{}, err
	case found && old.What == nil:
		return Sent{}, &denied{status: http.StatusConflict, text: "the house stopped while it took the message with this Idempotency-Key: look whether it stands in Sent; if not, send it with another key"}
	case found:
		if _, err := io.Copy(io.Discard, text); err != nil {
			return Sent{}, err
		}
		if !bytes.Equal(old.What, hash.Sum(nil)) {
			return Sent{}, &denied{status: http.StatusUnprocessableEntity, text: "another message was sent with this Idempotency-Key"}
		}
		return old.Sent, nil
	}
	if err := o.put(ctx, row, kept{At: o.now()}); err != nil {
		return Sent{}, err
	}
	sent, err := fn(text)
	if err != nil { // nothing was taken: the key is free again
		forget := o.side.Update(context.WithoutCancel(ctx), func(tx *kv.Tx) error { tx.Delete(tableOnce, row); return nil })
		if forget != nil {
			return Sent{}, forget
		}
		return Sent{}, err
	}
	if _, err = io.Copy(io.Discard, text); err == nil { // all of it was read: the message ends where the request does
		err = o.put(context.WithoutCancel(ctx), row, kept{At: o.now(), What: hash.Sum(nil), Sent: sent})
	}
	if err != nil { // the message is safe, and that is what was asked; who asks again hears that it was begun
		o.log.WarnContext(ctx, logx.AdminError, "what", "idempotency key", "message", sent.ID, "error", err)
	}
	return sent, nil
}

func (o *once) enter(row string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.running[row] {
		return false
	}
	o.running[row] = true
	return true
}

func (o *once) leave(row string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.running, row)
}

func (o *once) find(ctx context.Context, row []byte) (k kept, found bool, err error) {
	err = o.side.View(ctx, func(tx *kv.Tx) error {
		value := tx.Get(tableOnce, row)
		found = value != nil && json.Unmarshal(value, &k) == nil && o.now().Sub(k.At) < onceKeep
		return nil
	})
	return k, found, err
}

// put writes a key down, and forgets old ones now and then.
func (o *once) put(ctx context.Context, row []byte, k kept) error {
	value, err := json.Marshal(k)
	if err != nil {
		return err
	}
	o.mu.Lock()
	sweep := o.now().Sub(o.swept) > onceSweep
	if sweep {
		o.swept = o.now()
	}
	o.mu.Unlock()
	return o.side.Update(ctx, func(tx *kv.Tx) error {
		var gone [][]byte
		if sweep {
			for key, value := range tx.Scan(tableOnce, nil, nil) {
				var old kept
				if json.Unmarshal(value, &old) != nil || o.now().Sub(old.At) >= onceKeep {
					gone = append(gone, bytes.Clone(key))
				}
			}
		}
		for _, key := range gone {
			tx.Delete(tableOnce, key)
		}
		tx.Put(tableOnce, row, value)
		return nil
	})
}
