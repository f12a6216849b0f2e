package admin

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
)

// Lesson is the last one that was made of all the mail of an account, since the house has started.
type Lesson struct {
	State string        `json:"state"` // running, done, stopped or failed, as of an import; empty: there was none
	Began time.Time     `json:"began,omitzero"`
	Ended time.Time     `json:"ended,omitzero"`
	Good  int           `json:"good"` // messages that were looked at
	Junk  int           `json:"junk"`
	Known SpamKnowledge `json:"known"` // in all
}

// maxLessons is how many run at once; others wait for their turn.
const maxLessons = 2

// lessons are the trainings of a house: one of an account at a time.
type lessons struct {
	mu      sync.Mutex
	closed  bool                       // guarded by mu
	all     map[mail.AccountID]*lesson // guarded by mu; the last of each account
	running sync.WaitGroup
	turn    chan struct{} // cap maxLessons
}

// lesson is one of them.
type lesson struct {
	Lesson // guarded by lessons.mu
	stop   context.CancelFunc
	done   chan struct{}
}

// begin lets an account's training run, if none does.
func (l *lessons) begin(id mail.AccountID, stop context.CancelFunc, now time.Time) (*lesson, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, &Error{Class: Unavailable, Message: errClosing.Error()}
	}
	if old := l.all[id]; old != nil && old.State == PullRunning {
		return nil, conflict("all mail of the account is being learned from already, since " + old.Began.UTC().Format(time.DateTime))
	}
	if l.all == nil {
		l.all, l.turn = make(map[mail.AccountID]*lesson), make(chan struct{}, maxLessons)
	}
	x := &lesson{Lesson: Lesson{State: PullRunning, Began: now.UTC()}, stop: stop, done: make(chan struct{})}
	l.all[id] = x
	l.running.Add(1)
	return x, nil
}

// end notes what came of one.
func (l *lessons) end(ctx context.Context, x *lesson, t SpamTrained, err error, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	x.Good, x.Junk, x.Ended, x.State = t.Good, t.Junk, now.UTC(), PullDone
	switch {
	case err == nil:
	case ctx.Err() != nil:
		x.State = PullStopped
	default:
		x.State = PullFailed
	}
	x.stop()
	close(x.done)
	l.running.Done()
}

// last is the last one of an account.
func (l *lessons) last(id mail.AccountID) Lesson {
	l.mu.Lock()
	defer l.mu.Unlock()
	if x := l.all[id]; x != nil {
		return x.Lesson
	}
	return Lesson{}
}

// forget ends what runs for an account that goes, and waits for it.
func (l *lessons) forget(id mail.AccountID) {
	l.mu.Lock()
	x := l.all[id]
	delete(l.all, id)
	l.mu.Unlock()
	if x != nil {
		x.stop()
		<-x.done
	}
}

// close ends all, and waits for them.
func (l *lessons) close() {
	l.mu.Lock()
	l.closed = true
	for _, x := range l.all {
		x.stop()
	}
	l.mu.Unlock()
	l.running.Wait()
}

// lesson makes one in the turn of the account.
func (h *House) lesson(ctx context.Context, a auth.Account, x *lesson, anew bool) (out SpamTrained, err error) {
	defer func() { h.lessons.end(ctx, x, out, err, h.now()) }()
	select {
	case h.lessons.turn <- struct{}{}:
		defer func() { <-h.lessons.turn }()
	case <-ctx.Done():
		return out, context.Cause(ctx)
	}
	err = h.noting(ctx, aboutAccount("spam train", a), func() (string, error) {
		if anew {
			if err := h.o.Junk.Judge.Forget(ctx, a.ID); err != nil {
				return "", err
			}
		}
		t, err := h.o.Junk.Teacher.Train(ctx, a.ID)
		out.Good, out.Junk = t.Good, t.Junk
		return fmt.Sprintf("from %d good messages and %d of junk", t.Good, t.Junk), err
	})
	if err == nil {
		h.done(ctx, "spam train", a.Addresses[0].String())
	}
	return out, err
}

// TrainSpam teaches the judge from what stands in the account's mailboxes; anew: after all that he knew of it is forgotten.
func (h *House) TrainSpam(ctx context.Context, user string, anew bool) (SpamTrained, error) {
	_, a, err := h.spamAccount(ctx, user)
	if err != nil {
		return SpamTrained{}, err
	}
	lasting, stop := context.WithCancel(ctx) // its end is the lesson's
	defer stop()
	x, err := h.lessons.begin(a.ID, stop, h.now())
	if err != nil {
		return SpamTrained{}, err
	}
	out, err := h.lesson(lasting, a, x, anew)
	if err == nil {
		out.State, err = h.spamKnowledge(ctx, a.ID)
	}
	if err != nil {
		return SpamTrained{}, translate(user, err)
	}
	return out, nil
}

// StartTraining begins what TrainSpam does, which takes minutes where there is much mail; it goes on when the caller is gone, until it is
// done or the house ends.
func (h *House) StartTraining(ctx context.Context, user string) (Lesson, error) {
	_, a, err := h.spamAccount(ctx, user)
	if err != nil {
		return Lesson{}, err
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	x, err := h.lessons.begin(a.ID, stop, h.now())
	if err != nil {
		stop()
		return Lesson{}, err
	}
	began := h.lessons.last(a.ID)
	go func() {
		if _, err := h.lesson(ctx, a, x, false); err != nil && ctx.Err() == nil {
			h.o.Logger.WarnContext(ctx, logx.LearnFailed, "account", a.ID, "error", err)
		}
	}()
	return began, nil
}

// Training is how far the last one of an account is, and what the judge knows.
func (h *House) Training(ctx context.Context, user string) (Lesson, error) {
	_, a, err := h.spamAccount(ctx, user)
	if err != nil {
		return Lesson{}, err
	}
	t := h.lessons.last(a.ID)
	t.Known, err = h.spamKnowledge(ctx, a.ID)
	return t, translate(user, err)
}
