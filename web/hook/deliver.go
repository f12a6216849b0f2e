package hook

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/store/kv"
)

const (
	atOnce    = 8              // attempts at a time
	perHook   = 2              // of one webhook
	batch     = 64             // events that are looked at in one go
	givenUp   = 72 * time.Hour // after which nobody waits any more
	idleWait  = 10 * time.Minute
	roundMost = 20 * time.Second // after which an attempt begins only in the next round: a slow program holds up the others no longer
	pauseMost = 10 * time.Minute // between attempts at a webhook that nobody answers at, while there are new events
)

// schedule is how long after an attempt the next one comes.
func schedule() []time.Duration {
	return []time.Duration{5 * time.Second, time.Minute, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour}
}

// Run delivers until ctx ends.
func (b *Book) Run(ctx context.Context) {
	clients := map[bool]*http.Client{false: b.client(false), true: b.client(true)}
	defer func() {
		for _, c := range clients {
			c.CloseIdleConnections()
		}
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.wake:
		case <-timer.C:
		}
		next, err := b.round(ctx, clients)
		if err != nil && ctx.Err() == nil {
			b.o.Logger.WarnContext(ctx, logx.HookFailed, "error", err)
		}
		timer.Reset(next)
	}
}

// job is an event that is due.
type job struct {
	hook Hook
	key  []byte
	w    waiting
}

// round makes the attempts that are due, and says how long there is nothing to do.
func (b *Book) round(ctx context.Context, clients map[bool]*http.Client) (time.Duration, error) {
	all := b.hooks.Load()
	if all == nil {
		return idleWait, nil
	}
	if err := b.o.Side.Flush(ctx); err != nil {
		return time.Minute, err
	}
	jobs, next, err := b.due(ctx, *all)
	if err != nil {
		return time.Minute, err
	}
	began := b.o.Now()
	var running sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for id, list := range jobs {
		for part := range slices.Chunk(list, max(1, (len(list)+perHook-1)/perHook)) {
			running.Go(func() {
				for _, j := range part {
					if ctx.Err() != nil || b.paused(id) || b.o.Now().Sub(began) > roundMost {
						return
					}
					slots <- struct{}{}
					b.attempt(ctx, clients[j.hook.Private], j)
					<-slots
				}
			})
		}
	}
	running.Wait()
	if len(jobs) > 0 {
		return 0, nil // there may be more
	}
	return next, nil
}

// due reads what is due of each webhook that is not left alone, and how long it is until something is.
func (b *Book) due(ctx context.Context, all []Hook) (map[string][]job, time.Duration, error) {
	now := b.o.Now()
	next := idleWait
	jobs := map[string][]job{}
	err := b.o.Side.View(ctx, func(tx *kv.Tx) error {
		for _, h := range all {
			if until := b.until(h.ID); until.After(now) {
				next = min(next, until.Sub(now))
				continue
			}
			for key, value := range tx.Scan(tableWaiting, prefixOf(h.ID), endOf(h.ID)) {
				if at := dueOf(key); at.After(now) || len(jobs[h.ID]) == batch {
					next = min(next, max(at.Sub(now), 0))
					break
				}
				j := job{hook: h, key: slices.Clone(key)}
				if json.Unmarshal(value, &j.w) != nil {
					j.w = waiting{} // it goes with the first attempt
				}
				jobs[h.ID] = append(jobs[h.ID], j)
			}
		}
		return nil
	})
	return jobs, next, err
}

func (b *Book) until(id string) time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.states[id]; s != nil {
		return s.pause
	}
	return time.Time{}
}

func (b *Book) paused(id string) bool { return b.until(id).After(b.o.Now()) }

// attempt sends one event, and writes down what came of it.
func (b *Book) attempt(ctx context.Context, client *http.Client, j job) {
	if j.w.Name == "" {
		b.over(ctx, j, "lost", errors.New("the row cannot be read"))
		return
	}
	if j.w.Body == nil {
		b.complete(ctx, &j.w.Data)
		body, err := bodyOf(j.w.Type, j.w.At, j.w.Data)
		if err != nil {
			b.over(ctx, j, "lost", err)
			return
		}
		j.w.Body = body
	}
	status, err := b.post(ctx, client, j.hook, j.w)
	if ctx.Err() != nil {
		return // the house stops: it is tried again after the next start
	}
	if err == nil {
		b.over(ctx, j, "taken", nil)
		return
	}
	b.o.Logger.DebugContext(ctx, logx.HookTried, "hook", j.hook.ID, "event", j.w.Name, "attempt", j.w.Tries+1, "error", err)
	now := b.o.Now()
	wait := 24 * time.Hour
	if steps := schedule(); j.w.Tries < len(steps) {
		wait = steps[j.w.Tries]
	}
	wait += time.Duration(rand.Int64N(int64(wait)/10 + 1)) // what failed together does not come back together
	j.w.Tries++
	// 410 says that nobody wants them any more.
	if due := now.Add(wait); status != http.StatusGone && due.Before(j.w.At.Add(givenUp)) {
		b.later(j, due, status, err)
		return
	}
	b.over(ctx, j, "lost", err)
}

// bodyOf is the payload (Standard Webhooks, "Payload structure").
func bodyOf(kind string, at time.Time, d Data) ([]byte, error) {
	return json.Marshal(struct {
		Type string    `json:"type"`
		At   time.Time `json:"timestamp"`
		Data Data      `json:"data"`
	}{kind, at, d})
}

// post makes one request; status 0: there was no answer.
func (b *Book) post(ctx context.Context, client *http.Client, h Hook, w waiting) (status int, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, h.URL, bytes.NewReader(w.Body))
	if err != nil {
		return 0, err
	}
	now := b.o.Now()
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "posthouse")
	if b.o.Program != "" {
		r.Header.Set("User-Agent", b.o.Program)
	}
	r.Header.Set("webhook-id", w.Name)
	r.Header.Set("webhook-timestamp", strconv.FormatInt(now.Unix(), 10))
	signed := Sign(h.Secret, w.Name, now, w.Body)
	if h.Former != "" && now.Before(h.Until) {
		signed += " " + Sign(h.Former, w.Name, now, w.Body) // one that fits is enough (Standard Webhooks, "Multiple signatures")
	}
	r.Header.Set("webhook-signature", signed)
	a, err := client.Do(r)
	if err != nil {
		return 0, withoutURL(err)
	}
	return a.StatusCode, errors.Join(answered(a), a.Body.Close())
}

// withoutURL is an error without the address, which may have a secret in it.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	if errors.Is(err, errPrivate) {
		return errPrivate
	}
	return err
}

// said is an error as people are shown it: what the other side has written in it is bounded, and is no command to their terminal.
func said(err error) string {
	const most = 300
	text := err.Error()
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + " …"
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, text)
}

// over takes an event out of what waits.
func (b *Book) over(ctx context.Context, j job, result string, why error) {
	b.tries.WithLabelValues(result).Inc()
	b.mu.Lock()
	switch s := b.states[j.hook.ID]; {
	case s == nil: // the webhook was removed meanwhile
	case why == nil:
		s.Waiting, s.Good, s.Error, s.failed, s.pause = max(s.Waiting-1, 0), b.o.Now().UTC(), "", 0, time.Time{}
	default:
		s.Waiting, s.Lost, s.Bad, s.Error = max(s.Waiting-1, 0), s.Lost+1, b.o.Now().UTC(), said(why)
	}
	b.mu.Unlock()
	if why != nil {
		b.o.Logger.WarnContext(ctx, logx.HookGivenUp, "hook", j.hook.ID, "event", j.w.Name, "type", j.w.Type, "attempts", j.w.Tries, "error", why)
	}
	b.o.Side.Later(func(tx *kv.Tx) error {
		tx.Delete(tableWaiting, j.key)
		return nil
	})
}

// later has an event wait for its next attempt. Where nobody answers, or the other side has too much to do, all other events of the
// webhook wait too, for a while: each of them would only find the same.
func (b *Book) later(j job, due time.Time, status int, why error) {
	b.tries.WithLabelValues("failed").Inc()
	now := b.o.Now()
	b.mu.Lock()
	if s := b.states[j.hook.ID]; s != nil {
		s.Bad, s.Error = now.UTC(), said(why)
		if status == 0 || status == http.StatusTooManyRequests || status/100 == 5 {
			s.failed++
			s.pause = now.Add(min(pauseMost, 5*time.Second<<min(s.failed-1, 10)))
		}
	}
	b.mu.Unlock()
	text, err := json.Marshal(j.w)
	if err != nil {
		return
	}
	key := waitingKey(j.hook.ID, due, binary.BigEndian.Uint64(j.key[len(j.key)-8:]))
	b.o.Side.Later(func(tx *kv.Tx) error {
		if tx.Get(tableWaiting, j.key) == nil {
			return nil // the webhook was removed meanwhile
		}
		tx.Delete(tableWaiting, j.key)
		tx.Put(tableWaiting, key, text)
		return nil
	})
}

// Test sends an event made by hand, now.
func (b *Book) Test(ctx context.Context, id string) (status int, err error) {
	all, err := b.Hooks(ctx)
	if err != nil {
		return 0, err
	}
	i := slices.IndexFunc(all, func(h Hook) bool { return h.ID == id })
	if i < 0 {
		return 0, ErrUnknown
	}
	now := b.o.Now().UTC()
	w := waiting{Name: fmt.Sprintf("msg_test%d", now.UnixNano())}
	if w.Body, err = bodyOf(Tested, now, Data{Text: "a test by hand"}); err != nil {
		return 0, err
	}
	client := b.client(all[i].Private)
	defer client.CloseIdleConnections()
	if status, err = b.post(ctx, client, all[i], w); err != nil && !errors.Is(err, errPrivate) {
		err = errors.New("hook: " + said(err))
	}
	return status, err
}
