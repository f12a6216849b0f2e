package story

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/store/kv"
)

// maxPassed bounds the chunks that one Search looks into and finds nothing: their index said that there might be something.
const maxPassed = 2000

// Search is Find without events and in parts: the stories that fit and began before a time (zero: now), the newest first, at most limit.
// What names one message by its id yields that one.
func (b *Book) Search(ctx context.Context, what string, before time.Time, limit int) ([]Message, error) {
	if b == nil {
		return nil, nil
	}
	if err := b.o.Side.Flush(ctx); err != nil {
		return nil, err
	}
	what = strings.TrimSpace(what)
	bare := strings.TrimSuffix(strings.TrimPrefix(what, "<"), ">")
	id := "<" + bare + ">"
	fits := func(m *Message) bool {
		return (before.IsZero() || m.At.Before(before)) && (m.ID == what || strings.EqualFold(m.MessageID, id) || m.concerns(bare))
	}
	wanted := []uint32{hashOf(byMessageID, id), hashOf(byAddress, bare)}
	if plainID(what) {
		wanted = append(wanted, hashOf(byID, what))
	}
	limit = max(1, min(limit, maxFound))
	var out []Message
	err := b.o.Side.View(ctx, func(tx *kv.Tx) error {
		out = nil
		var to []byte
		if !before.IsZero() {
			to = chunkKey(uint64(before.UnixNano()))
		}
		passed := 0
		for key, row := range tx.ScanBack(tabHash, nil, to) {
			if !has(row, func(h uint32) bool { return slices.Contains(wanted, h) }) {
				continue
			}
			var here []Message
			for e := range entries(tx.Get(tabChunk, key)) {
				if e.kind != kindBegin || !mayName(e.rest.b, bare) {
					continue
				}
				if m := e.rest.message(string(e.id)); !e.rest.bad && fits(m) {
					here = append(here, *m)
				}
			}
			slices.Reverse(here)
			if out = append(out, here...); len(out) >= limit {
				out = out[:limit]
				return nil
			}
			if passed++; passed == maxPassed || ctx.Err() != nil {
				return ctx.Err()
			}
		}
		return nil
	})
	return out, err
}

// mayName tells whether an address or a Message-ID can be in a row: one look at its signs costs a tenth of reading it.
func mayName(row []byte, what string) bool {
	before := strings.IndexByte(what, '@')
	if before < 0 {
		return true
	}
	for from := 0; ; {
		i := bytes.IndexByte(row[from:], '@')
		if i < 0 {
			return false
		}
		at := from + i
		if begin := at - before; begin >= 0 && begin+len(what) <= len(row) && bytes.EqualFold(row[begin:begin+len(what)], []byte(what)) {
			return true
		}
		from = at + 1
	}
}
