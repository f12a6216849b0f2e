package queue

import (
	"context"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// maxLooked is how many entries one Page reads: a filter that few entries fit must not make somebody wait for all of a long queue.
const maxLooked = 5_000

// Page is a part of the queue in the order in which its entries are due.
type Page struct {
	Items []Item
	Next  string // where the next part begins; empty: this is the last
}

// Page returns the entries that fit behind a place, "" the first, at most Filter.Limit of them. It may return fewer, and none, with
// more to come.
func (q *Queue) Page(ctx context.Context, f Filter, after string) (Page, error) {
	from, err := placeOf(after)
	if err != nil {
		return Page{}, err
	}
	if err := q.db.SettleAll(ctx); err != nil {
		return Page{}, err
	}
	f.now = q.now()
	f.Address = strings.ToLower(f.Address)
	var p Page
	err = q.db.View(ctx, func(tx *kv.Tx) error {
		p = Page{}
		looked := 0
		for key, row := range tx.Scan(rows, from, nil) {
			if looked == maxLooked || len(p.Items) == f.Limit {
				p.Next = placeText(key)
				return nil
			}
			looked++
			e, err := parseEntry(row)
			if err != nil || len(key) != 16 {
				q.log.ErrorContext(ctx, logx.QueueBroken, "key", fmt.Sprintf("%x", key), "error", err)
				continue
			}
			if number := binary.BigEndian.Uint64(key[8:]); f.fits(number, e) {
				p.Items = append(p.Items, e.item(number, int64(binary.BigEndian.Uint64(key))))
			}
		}
		return nil
	})
	return p, err
}

// placeText and placeOf are the key of a row for people who carry it from one page to the next.
func placeText(key []byte) string {
	if len(key) != 16 {
		return ""
	}
	return strconv.FormatUint(binary.BigEndian.Uint64(key), 36) + "-" + strconv.FormatUint(binary.BigEndian.Uint64(key[8:]), 36)
}

func placeOf(text string) ([]byte, error) {
	if text == "" {
		return nil, nil
	}
	due, number, _ := strings.Cut(text, "-")
	d, err := strconv.ParseUint(due, 36, 64)
	n, err2 := strconv.ParseUint(number, 36, 64)
	if err != nil || err2 != nil {
		return nil, fmt.Errorf("%w: %q is no place of it", ErrNoItem, text)
	}
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, d), n), nil
}

// about tells whether an address of an entry, the sender's or one that still waits, has a text in it; the text is in small letters.
func (e *entry) about(text string) bool {
	if strings.Contains(strings.ToLower(e.from.String()), text) {
		return true
	}
	for _, r := range e.recipients {
		if r.state == waiting && strings.Contains(strings.ToLower(r.Address.String()), text) {
			return true
		}
	}
	return false
}
