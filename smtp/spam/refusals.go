package spam

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// bookRefused is the kind of the rows of tabBook: account, 'r', sender -> Refusal as JSON.
const bookRefused = 'r'

// Refusal is a sender whose mail was refused for an account.
type Refusal struct {
	Sender  string     `json:"sender"` // author's address, or that of MAIL FROM; "<>" for neither
	Subject string     `json:"subject,omitempty"`
	Remote  netip.Addr `json:"remote"`
	Reason  string     `json:"reason"` // sentences for people
	Score   float64    `json:"score"`
	First   time.Time  `json:"first"`
	Last    time.Time  `json:"last"`
	Count   int        `json:"count"`
}

// Refused notes in the account's book that a message was refused. It never waits.
func (j *Judge) Refused(ctx context.Context, f *Findings, to Recipient, v Verdict) {
	if j.o.Side == nil || to.Account == 0 || ctx.Err() != nil {
		return
	}
	now := j.o.Now().UTC().Truncate(time.Second)
	r := Refusal{Sender: f.sender(), Subject: f.Subject(), Remote: f.facts.Remote, Reason: v.Reason(3), Score: v.Score, First: now, Last: now, Count: 1}
	key := accountKey(to.Account, bookRefused, r.Sender)
	j.o.Side.Later(func(tx *kv.Tx) error {
		row := r
		var old Refusal
		if v := tx.Get(tabBook, key); v != nil && json.Unmarshal(v, &old) == nil && now.Sub(old.Last) < j.o.Remembers {
			row.First, row.Count = old.First, old.Count+1
		}
		text, err := json.Marshal(row)
		if err != nil {
			return err
		}
		tx.Put(tabBook, key, text)
		if old.Count == 0 {
			j.shorten(tx, to.Account)
		}
		return nil
	})
}

// sender is by whom a message is named in the book.
func (f *Findings) sender() string {
	switch {
	case !f.author.IsNull():
		return f.author.Key()
	case !f.facts.From.IsNull():
		return f.facts.From.Key()
	}
	return "<>"
}

// Reason is what counted most for junk, as one text for people.
func (v *Verdict) Reason(most int) string {
	var parts []string
	for _, s := range v.Signals {
		if s.Score > 0 && len(parts) < most {
			parts = append(parts, s.Text)
		}
	}
	return strings.Join(parts, "; ")
}

// shorten keeps the book within its bound: the oldest go.
func (j *Judge) shorten(tx *kv.Tx, a mail.AccountID) {
	type row struct {
		key  []byte
		last time.Time
	}
	var all []row
	for key, v := range tx.Scan(tabBook, accountKey(a, bookRefused), accountKey(a, bookRefused+1)) {
		var r Refusal
		json.Unmarshal(v, &r) // what cannot be read is the oldest
		all = append(all, row{key: slices.Clone(key), last: r.Last})
	}
	slices.SortStableFunc(all, func(a, b row) int { return a.last.Compare(b.last) })
	for _, r := range all[:max(0, len(all)-j.o.Refusals)] {
		tx.Delete(tabBook, r.key)
	}
}

// Refusals lists the book of an account, the last one first.
func (j *Judge) Refusals(ctx context.Context, account mail.AccountID) ([]Refusal, error) {
	if j.o.Side == nil {
		return nil, nil
	}
	var list []Refusal
	err := j.o.Side.View(ctx, func(tx *kv.Tx) error {
		list = nil
		for _, v := range tx.Scan(tabBook, accountKey(account, bookRefused), accountKey(account, bookRefused+1)) {
			var r Refusal
			if json.Unmarshal(v, &r) != nil || j.o.Now().Sub(r.Last) > j.o.Remembers {
				continue
			}
			list = append(list, r)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the book of refusals: %w", err)
	}
	slices.SortStableFunc(list, func(a, b Refusal) int { return b.Last.Compare(a.Last) })
	return list, nil
}

// forgetRefusals drops what is no longer listed, a piece of the table at a time.
func (j *Judge) forgetRefusals(tx *kv.Tx) {
	n := 0
	var gone [][]byte
	var last []byte
	for key, v := range tx.Scan(tabBook, j.swept, nil) {
		if n++; n > sweepRows {
			last = slices.Clone(key)
			break
		}
		if len(key) < 5 {
			gone = append(gone, slices.Clone(key))
			continue
		}
		var r Refusal
		if key[4] != bookRefused || json.Unmarshal(v, &r) != nil || j.o.Now().Sub(r.Last) > j.o.Remembers {
			gone = append(gone, slices.Clone(key))
		}
	}
	for _, key := range gone {
		tx.Delete(tabBook, key)
	}
	j.swept = last
}

// Forget drops all that is kept of an account: it was removed, or wants to begin anew.
func (j *Judge) Forget(ctx context.Context, account mail.AccountID) error {
	if j.o.Side == nil {
		return nil
	}
	for more := true; more; {
		err := j.o.Side.Update(ctx, func(tx *kv.Tx) error {
			more = false
			for _, t := range []kv.Table{tabBayes, tabKnown, tabBook} {
				var gone [][]byte
				for key := range tx.Scan(t, accountKey(account, 0), accountKey(account, 0xff)) {
					if gone = append(gone, slices.Clone(key)); len(gone) == sweepRows {
						more = true
						break
					}
				}
				for _, key := range gone {
					tx.Delete(t, key)
				}
			}
			return nil
		})
		if err != nil {
			j.o.Logger.WarnContext(ctx, logx.SpamFailed, "account", account, "error", err)
			return fmt.Errorf("forget what account %d taught: %w", account, err)
		}
	}
	return nil
}
