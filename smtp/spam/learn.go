package spam

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// Errors of lessons.
var (
	ErrClass   = errors.New("spam: only good and junk can be learned")
	ErrNoTable = errors.New("spam: there are no tables to remember it in") // no Side
)

// Learn teaches the account's classifier and reputations that a stored message is Good or Junk. changed is false when it was learned
// so before; a message that was learned as the other class is unlearned first.
func (j *Judge) Learn(ctx context.Context, account mail.AccountID, m io.Reader, c Class) (changed bool, err error) {
	if c != Good && c != Junk {
		return false, ErrClass
	}
	return j.lesson(ctx, account, m, func(tx *kv.Tx, s *state, f *Findings) bool {
		old, ok := readLesson(tx, account, f.digest)
		if ok && old.class == c {
			return false
		}
		if ok {
			j.takeBack(tx, account, s, f, old)
		}
		today := day(j.o.Now())
		teach(tx, account, s, f.tokens.list, c, 1, today)
		putLesson(tx, account, s, f.digest, c, today)
		j.rate(tx, account, f, c, 1)
		age(tx, account, s, j.o.Tokens)
		return true
	})
}

// Unlearn takes back what Learn or Delivered taught by a message: the counts are as they were. changed is false when it was never
// learned.
func (j *Judge) Unlearn(ctx context.Context, account mail.AccountID, m io.Reader) (changed bool, err error) {
	return j.lesson(ctx, account, m, func(tx *kv.Tx, s *state, f *Findings) bool {
		old, ok := readLesson(tx, account, f.digest)
		if ok {
			j.takeBack(tx, account, s, f, old)
		}
		return ok
	})
}

// takeBack undoes a lesson. Tokens of another tokenizer cannot be found again: they age away.
func (j *Judge) takeBack(tx *kv.Tx, a mail.AccountID, s *state, f *Findings, old lesson) {
	class := old.class &^ byItself
	if old.tokenizer == tokenizer {
		teach(tx, a, s, f.tokens.list, class, -1, 0)
	}
	if old.class&byItself == 0 {
		j.rate(tx, a, f, class, -1)
	}
	tx.Delete(tabBayes, accountKey(a, rowLesson, string(f.digest[:])))
	s.lessons -= min(s.lessons, 1)
}

// lesson reads a stored message and changes the account's state in one transaction.
func (j *Judge) lesson(ctx context.Context, a mail.AccountID, m io.Reader, change func(tx *kv.Tx, s *state, f *Findings) bool) (changed bool, err error) {
	if j.o.Side == nil {
		return false, ErrNoTable
	}
	f, err := j.stored(ctx, m, false)
	if err != nil {
		return false, err
	}
	err = j.o.Side.Update(ctx, func(tx *kv.Tx) error {
		s := readState(tx, a)
		if changed = change(tx, &s, f); changed {
			s.put(tx, a)
		}
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("learn from a message: %w", err)
	}
	return changed, nil
}

// Training is what an account's classifier was taught.
type Training struct {
	Good, Junk int // messages
	Tokens     int
	Known      int // addresses, domains, networks that it remembers
}

// Training tells how far the account's classifier is.
func (j *Judge) Training(ctx context.Context, account mail.AccountID) (t Training, err error) {
	if j.o.Side == nil {
		return Training{}, nil
	}
	err = j.o.Side.View(ctx, func(tx *kv.Tx) error {
		t = readState(tx, account).training()
		for range tx.Scan(tabKnown, accountKey(account, ofCount+1), accountKey(account, 0xff)) {
			t.Known++
		}
		return nil
	})
	return t, err
}

func (s state) training() Training {
	return Training{Good: int(s.good), Junk: int(s.junk), Tokens: int(s.tokens)}
}
