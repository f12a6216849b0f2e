// Package learn teaches the judge of junk what the users show him: what they
// move into Junk and out of it, mark, answer and file, with any program.
//
// Start at Teacher. It follows the changes of each account's mailboxes with a
// cursor (round.go) that is kept in side.db (ledger.go), so that nothing is missed
// over a restart; a lesson that is given twice counts once. Train teaches from
// what stands in the mailboxes, when the tables are new or lost.
package learn

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/metrics"
	"github.com/posthouse-mail/posthouse/smtp/spam"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// Options of a Teacher. The zero value of a duration or number means its default.
type Options struct {
	Logger  *slog.Logger
	Metrics *metrics.Set
	Now     func() time.Time
	Store   *store.Store
	Side    *kv.Side
	// Accounts lists all, for what changed while nobody looked.
	Accounts func(ctx context.Context) ([]mail.AccountID, error)
	// Wanted tells whether an account wants its mail to be judged; nil: all do.
	Wanted func(ctx context.Context, account mail.AccountID) bool
	// Learn is spam.Judge.Learn.
	Learn func(ctx context.Context, account mail.AccountID, m io.Reader, c spam.Class) (changed bool, err error)
	// Gone is spam.Judge.Forget, for accounts that are there no more; nil: nobody.
	Gone func(ctx context.Context, account mail.AccountID) error

	Delay time.Duration // what an account does within it is looked at together; 5 s
	Retry time.Duration // after a failure; 1 min
	Share float64       // the part of the time that lessons may take; 0.2
	Most  int           // messages remembered of one account; 20,000
}

// Teacher follows the mailboxes.
type Teacher struct {
	o       Options
	lessons *prometheus.CounterVec

	mu      sync.Mutex
	changed map[mail.AccountID]struct{} // guarded by mu: to be looked at
	wake    chan struct{}               // cap 1
}

// New returns a Teacher.
func New(o Options) *Teacher {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Delay == 0 {
		o.Delay = 5 * time.Second
	}
	if o.Retry == 0 {
		o.Retry = time.Minute
	}
	if o.Share == 0 {
		o.Share = 0.2
	}
	if o.Most == 0 {
		o.Most = 20_000
	}
	return &Teacher{
		o: o, changed: map[mail.AccountID]struct{}{}, wake: make(chan struct{}, 1),
		lessons: o.Metrics.Counters("junk_lessons_total", "Messages that were learned because of what their owner did with them, by what they are (good, junk).", "class"),
	}
}

// Junked notes that this house itself put a message into the account's Junk: that it is there is nothing that the user has shown.
// It never waits (local.Options.Junked).
func (t *Teacher) Junked(account mail.AccountID, id uint64) {
	now := t.o.Now()
	t.o.Side.Later(func(tx *kv.Tx) error {
		putState(tx, account, id, ours, now)
		return nil
	})
}

// Forget drops what is remembered of an account.
func (t *Teacher) Forget(ctx context.Context, account mail.AccountID) error {
	return t.o.Side.Update(ctx, func(tx *kv.Tx) error {
		forget(tx, account)
		return nil
	})
}

// gone drops all that was learned of an account that was removed. Its cursor goes last, so that the next start knows of what is left.
func (t *Teacher) gone(ctx context.Context, account mail.AccountID) error {
	if t.o.Gone != nil {
		if err := t.o.Gone(ctx, account); err != nil {
			return err
		}
	}
	return t.Forget(ctx, account)
}

// Pause is for a house in which nobody learns: what it puts into Junk meanwhile is noted by nobody, and must not look like the users' doing
// when somebody learns again. That will be as over new tables.
func (t *Teacher) Pause(ctx context.Context) error {
	return t.o.Side.Update(ctx, func(tx *kv.Tx) error {
		var gone [][]byte
		for k := range tx.Scan(tabCursor, nil, nil) {
			gone = append(gone, append([]byte(nil), k...))
		}
		for _, k := range gone {
			tx.Delete(tabCursor, k)
		}
		return nil
	})
}

// Run looks at what changes until ctx ends. While nothing does, it costs nothing.
func (t *Teacher) Run(ctx context.Context) {
	bell := t.o.Store.WatchAll(t.note)
	defer bell.Close()
	for {
		err := t.start(ctx)
		if err == nil {
			break
		}
		t.o.Logger.WarnContext(ctx, logx.LearnFailed, "error", err)
		if !sleep(ctx, t.o.Retry) {
			return
		}
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.wake:
		}
		if !sleep(ctx, t.o.Delay) || !t.lookAtAll(ctx) {
			return
		}
	}
}

// start looks for what happened while nobody looked. Over new tables it is the first look at each account; an account that is made later
// is known from its beginning.
func (t *Teacher) start(ctx context.Context) error {
	all, err := t.o.Accounts(ctx)
	if err != nil {
		return err
	}
	begun := false
	var known []mail.AccountID
	if err := t.o.Side.View(ctx, func(tx *kv.Tx) error {
		begun = tx.Get(tabCursor, begunKey()) != nil
		known = cursors(tx)
		return nil
	}); err != nil {
		return err
	}
	if begun {
		t.note(append(all, known...)) // some may have been removed
		return nil
	}
	for _, account := range all {
		r := round{t: t, account: account}
		if err := r.begin(ctx); err != nil && !errors.Is(err, store.ErrNoAccount) {
			return err
		}
	}
	return t.o.Side.Update(ctx, func(tx *kv.Tx) error {
		tx.Put(tabCursor, begunKey(), []byte{cursorVersion})
		return nil
	})
}

// note remembers accounts that changed. However many changes there are, each account waits once: there is no queue that could grow.
func (t *Teacher) note(accounts []mail.AccountID) {
	t.mu.Lock()
	for _, a := range accounts {
		t.changed[a] = struct{}{}
	}
	t.mu.Unlock()
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// lookAtAll goes through those that changed; false when ctx ended.
func (t *Teacher) lookAtAll(ctx context.Context) bool {
	t.mu.Lock()
	todo := t.changed
	t.changed = map[mail.AccountID]struct{}{}
	t.mu.Unlock()
	if err := t.o.Side.Flush(ctx); err != nil { // what Junked noted stands in the tables before a round reads them
		t.o.Logger.WarnContext(ctx, logx.LearnFailed, "error", err)
	}
	var again []mail.AccountID
	for account := range todo {
		if ctx.Err() != nil {
			return false
		}
		began := time.Now()
		r := round{t: t, account: account}
		if err := r.run(ctx); err != nil && !errors.Is(err, store.ErrNoAccount) {
			t.o.Logger.WarnContext(ctx, logx.LearnFailed, "account", account, "error", err)
			again = append(again, account)
		}
		if r.lessons > 0 && !t.rest(ctx, time.Since(began)) {
			return false
		}
	}
	if len(again) == 0 {
		return true
	}
	if !sleep(ctx, t.o.Retry) {
		return false
	}
	t.note(again)
	return true
}

// rest keeps lessons to their share of the time: mail has the processor first.
func (t *Teacher) rest(ctx context.Context, worked time.Duration) bool {
	if t.o.Share >= 1 {
		return ctx.Err() == nil
	}
	return sleep(ctx, time.Duration(float64(worked)*(1/t.o.Share-1)))
}

func sleep(ctx context.Context, d time.Duration) bool {
	w := time.NewTimer(d)
	defer w.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-w.C:
		return true
	}
}
