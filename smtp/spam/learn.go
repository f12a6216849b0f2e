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
	return j.lesson(ctx, account, m, func(p *pupil, f *Findings) bool {
		old, ok := readLesson(p.tx, account, f.digest)
		if ok && old.class == c {
			return false
		}
		if ok {
			j.takeBack(p, f, old)
		}
		p.teach(f.tokens.list, c, 1)
		p.note(f.digest, c)
		j.rate(p.tx, account, f, c, 1)
		p.age(j.o.Tokens)
		return true
	})
}

// Unlearn takes back what Learn or Delivered taught by a message: the counts are as they were. changed is false when it was never
// learned.
func (j *Judge) Unlearn(ctx context.Context, account mail.AccountID, m io.Reader) (changed bool, err error) {
	return j.lesson(ctx, account, m, func(p *pupil, f *Findings) bool {
		old, ok := readLesson(p.tx, account, f.digest)
		if ok {
			j.takeBack(p, f, old)
		}
		return ok
	})
}

// takeBack undoes a lesson. Tokens of another tokenizer cannot be found again: they age away.
func (j *Judge) takeBack(p *pupil, f *Findings, old lesson) {
	class := old.class &^ byItself
	if old.tokenizer == tokenizer {
		p.teach(f.tokens.list, class, -1)
	}
	if old.class&byItself == 0 {
		j.rate(p.tx, p.account, f, class, -1)
	}
	p.tx.Delete(tabBayes, p.key(rowLesson, string(f.digest[:])))
	p.lessons -= min(p.lessons, 1)
}

// lesson reads a stored message and changes the account's state in one transaction.
func (j *Judge) lesson(ctx context.Context, a mail.AccountID, m io.Reader, change func(p *pupil, f *Findings) bool) (changed bool, err error) {
	if j.o.Side == nil {
		return false, ErrNoTable
	}
	f, err := j.stored(ctx, m, false)
	if err != nil {
		return false, err
	}
	err = j.o.Side.Update(ctx, func(tx *kv.Tx) error {
		p := j.pupil(tx, a)
		if changed = change(p, f); changed {
			p.keep()
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
