package spam

import (
	"context"
	"encoding/binary"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// The rows of tabGrey: 'g', hash of network, sender and recipient -> first u64, last u64, passes u32; 'n', hash of network -> the same.
const (
	greyTriplet = 'g'
	greyNetwork = 'n'
	greySize    = 20

	trustedPasses = 5 // of a network, after which none of its senders waits any more
)

// greyBook is what is known of the table beside its rows.
type greyBook struct {
	rows   atomic.Int64 // about
	cursor []byte       // where forgetGrey goes on; of the writer of side.db alone
	full   bool
}

// Wait is what Greylist says.
type Wait struct {
	Pass bool
	For  time.Duration // how long the sender should wait; 0 when Pass
}

// greyRow is one row.
type greyRow struct {
	first, last time.Time
	passes      uint32
}

func readGrey(tx *kv.Tx, key []byte) (greyRow, bool) {
	v := tx.Get(tabGrey, key)
	if len(v) != greySize {
		return greyRow{}, false
	}
	return parseGrey(v), true
}

func parseGrey(v []byte) greyRow {
	at := func(i int) time.Time { return time.Unix(int64(binary.BigEndian.Uint64(v[i:])), 0) }
	return greyRow{first: at(0), last: at(8), passes: binary.BigEndian.Uint32(v[16:])}
}

// over tells whether a row says nothing any more: it is too old, or of a clock that ran ahead.
func (r greyRow) over(o Greylisting, now time.Time, window time.Duration) bool {
	const ahead = time.Hour
	switch {
	case r.first.Sub(now) > ahead, r.last.Sub(now) > ahead:
		return true
	case r.passes == 0:
		return now.Sub(r.first) > window
	}
	return now.Sub(r.last) > o.Keep
}

func (r greyRow) put(tx *kv.Tx, key []byte) {
	v := binary.BigEndian.AppendUint64(make([]byte, 0, greySize), uint64(r.first.Unix()))
	v = binary.BigEndian.AppendUint64(v, uint64(r.last.Unix()))
	tx.Put(tabGrey, key, binary.BigEndian.AppendUint32(v, r.passes))
}

// greyKeys names a triplet and its network. Large senders come again from another address and with another number in MAIL FROM: whom
// SPF or the name of his address proves is known by that.
func (f *Findings) greyKeys(to Recipient) (triplet, network []byte) {
	from := strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, f.facts.From.Key())
	where := f.network
	switch {
	case f.spfPass:
		where = "spf " + organization(f.report.SPF.Domain)
		if !f.report.SPF.Hello {
			from = organization(string(f.facts.From.Domain))
		}
	case f.ptr != "":
		where = "ptr " + f.ptr
	}
	key := func(kind byte, parts ...string) []byte {
		k := []byte{kind}
		for salt := range 2 { // two hashes: what is passed by chance must stay rare among 100,000 rows that strangers choose
			k = binary.BigEndian.AppendUint64(k, hashOf(place(salt), parts...))
		}
		return k
	}
	return key(greyTriplet, where, "\x00", from, "\x00", to.Address.Key()), key(greyNetwork, where)
}

// Greylist says whether a doubtful message may come in now, or must come again. It answers Pass when the tables cannot be used.
func (j *Judge) Greylist(ctx context.Context, f *Findings, to Recipient) Wait {
	if j.o.Side == nil || f.facts.From == (mail.Address{}) && f.network == "" {
		return Wait{Pass: true}
	}
	o, now := j.o.Greylist, j.o.Now()
	triplet, network := f.greyKeys(to)
	var row, host greyRow
	var there, seen bool
	err := j.o.Side.View(ctx, func(tx *kv.Tx) error {
		row, there = readGrey(tx, triplet)
		host, seen = readGrey(tx, network)
		return nil
	})
	if err != nil {
		j.o.Logger.WarnContext(ctx, logx.SpamFailed, "account", to.Account, "error", err)
		return Wait{Pass: true}
	}
	if seen && host.passes >= trustedPasses && !host.over(o, now, o.Window) {
		return Wait{Pass: true}
	}
	there = there && !row.over(o, now, o.Window)
	switch {
	case !there && j.grey.rows.Load() >= int64(o.Rows): // full: nobody waits because of others
		return Wait{Pass: true}
	case !there:
		j.grey.rows.Add(1)
		j.o.Side.Later(func(tx *kv.Tx) error {
			greyRow{first: now, last: now}.put(tx, triplet)
			return nil
		})
		return Wait{For: o.Delay}
	case row.passes == 0 && now.Sub(row.first) < o.Delay:
		return Wait{For: (o.Delay - now.Sub(row.first)).Round(time.Second) + time.Second}
	}
	j.o.Side.Later(func(tx *kv.Tx) error {
		passGrey(tx, triplet, now)
		if row.passes == 0 {
			passGrey(tx, network, now)
		}
		return nil
	})
	return Wait{Pass: true}
}

func passGrey(tx *kv.Tx, key []byte, now time.Time) {
	r, ok := readGrey(tx, key)
	if !ok {
		r.first = now
	}
	r.last = now
	r.passes++
	r.put(tx, key)
}

const sweepRows = 20_000 // looked at in one go, so that no sweep holds the writer up

// forgetGrey drops what is over, a piece of the table at a time, and counts what is left.
func (j *Judge) forgetGrey(tx *kv.Tx) {
	o, now := j.o.Greylist, j.o.Now()
	window := o.Window
	if j.grey.full {
		window = min(window, 6*time.Hour)
	}
	n := 0
	var gone [][]byte
	var last []byte
	for key, v := range tx.Scan(tabGrey, j.grey.cursor, nil) {
		if n++; n > o.Rows+sweepRows {
			last = slices.Clone(key)
			break
		}
		if len(v) != greySize {
			gone = append(gone, slices.Clone(key))
			continue
		}
		if parseGrey(v).over(o, now, window) {
			gone = append(gone, slices.Clone(key))
		}
	}
	for _, key := range gone[:min(len(gone), sweepRows)] {
		tx.Delete(tabGrey, key)
	}
	j.grey.cursor = last
	left := n - min(len(gone), sweepRows)
	j.grey.rows.Store(int64(left))
	j.grey.full = left > o.Rows*3/4
}
