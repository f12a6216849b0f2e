package auth

import (
	"context"
	"encoding/binary"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// tableAppUse of side.db: account u32 | app password u32 -> version | door | last use, unix seconds u64 | address as text.
const tableAppUse kv.Table = "D"

// tableTokenUse of side.db is the same of tokens: account u32, 0 for those of the house | number u32.
const tableTokenUse kv.Table = "T"

// tableCertificateUse of side.db is the same of certificates that programs show: account u32 | number u32, 0 for those of the authority.
const tableCertificateUse kv.Table = "w"

// AppBook notes when app passwords, or tokens, were used last. A program comes every minute: it is written when something is new, else now and
// then. A nil AppBook notes nothing.
type AppBook struct {
	side  *kv.Side
	table kv.Table

	mu      sync.Mutex
	written map[expiry]AppUse // guarded by mu; bounded
}

// NewAppBook keeps it in side.db.
func NewAppBook(side *kv.Side) *AppBook {
	return &AppBook{side: side, table: tableAppUse, written: make(map[expiry]AppUse)}
}

// NewTokenBook keeps that of tokens there.
func NewTokenBook(side *kv.Side) *AppBook {
	return &AppBook{side: side, table: tableTokenUse, written: make(map[expiry]AppUse)}
}

// NewCertificateBook keeps that of certificates there.
func NewCertificateBook(side *kv.Side) *AppBook {
	return &AppBook{side: side, table: tableCertificateUse, written: make(map[expiry]AppUse)}
}

// AppUse is the last use of an app password.
type AppUse struct {
	At     time.Time
	Door   Door
	Remote netip.Addr
}

// How exactly a use is known.
const (
	useEvery  = 10 * time.Minute // from the same address, at the same door
	useSooner = time.Minute      // else
	maxUses   = 8192             // remembered
)

// used notes a login; it waits for nothing. again: the same was noted a moment ago.
func (b *AppBook) used(id mail.AccountID, app uint32, u AppUse) (again bool) {
	if b == nil {
		return false
	}
	which := expiry{account: id, number: app}
	b.mu.Lock()
	old, known := b.written[which]
	every := useEvery
	if old.Door != u.Door || old.Remote != u.Remote {
		every = useSooner
	}
	if since := u.At.Sub(old.At); known && since >= 0 && since < every {
		b.mu.Unlock()
		return every == useEvery
	}
	if !known {
		makeRoom(b.written, maxUses, func(o AppUse) bool { return u.At.Sub(o.At) > useEvery })
	}
	b.written[which] = u
	b.mu.Unlock()
	b.side.Later(func(tx *kv.Tx) error {
		tx.Put(b.table, useKey(id, app), u.encode())
		return nil
	})
	return false
}

// Uses tells of the app passwords of an account, by number; one that was never used is not there.
func (b *AppBook) Uses(ctx context.Context, id mail.AccountID) (map[uint32]AppUse, error) {
	out := make(map[uint32]AppUse)
	if b == nil {
		return out, nil
	}
	err := b.side.View(ctx, func(tx *kv.Tx) error {
		for key, value := range tx.Scan(b.table, useKey(id, 0), useKey(id+1, 0)) {
			if u, ok := decodeAppUse(value); ok && len(key) == 8 {
				out[binary.BigEndian.Uint32(key[4:])] = u
			}
		}
		return nil
	})
	return out, err
}

// forget drops what was noted of an account that goes.
func (b *AppBook) forget(id mail.AccountID) {
	if b == nil {
		return
	}
	b.side.Later(func(tx *kv.Tx) error {
		var gone [][]byte
		for key := range tx.Scan(b.table, useKey(id, 0), useKey(id+1, 0)) {
			gone = append(gone, slices.Clone(key))
		}
		for _, key := range gone {
			tx.Delete(b.table, key)
		}
		return nil
	})
}

func useKey(id mail.AccountID, app uint32) []byte {
	return binary.BigEndian.AppendUint32(accountKey(id), app)
}

func (u AppUse) encode() []byte {
	b := []byte{recordVersion, byte(u.Door)}
	b = binary.BigEndian.AppendUint64(b, uint64(u.At.Unix()))
	return append(b, u.Remote.String()...)
}

func decodeAppUse(value []byte) (u AppUse, ok bool) {
	if len(value) < 10 || value[0] != recordVersion {
		return AppUse{}, false
	}
	u = AppUse{Door: Door(value[1]), At: time.Unix(int64(binary.BigEndian.Uint64(value[2:])), 0).UTC()}
	u.Remote, _ = netip.ParseAddr(string(value[10:])) // a unix socket has none
	return u, true
}
