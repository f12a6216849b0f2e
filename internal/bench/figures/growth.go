package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store"
)

// cost is what work takes in a store of so many messages.
type cost struct {
	deliver float64       // messages a second, 4 KB, W=20
	open    time.Duration // SELECT and its view, in a mailbox of a fiftieth of the messages
	fetch   time.Duration // one message anywhere: its row, its structure, its text
	memory  float64       // MB, anonymous
}

// growth fills the store in steps and prints what the same work costs at each: ten and a hundred times as many messages must not be felt.
func (b *bench) growth(o *opened) error {
	var first cost
	have := 0
	for step, n := range []int{b.grown / 100, b.grown / 10, b.grown} {
		for account := 1; account <= accounts; account++ {
			if _, err := o.grow(account, (n-have)/accounts); err != nil {
				return err
			}
		}
		have = n
		c, err := o.costs(n)
		if err != nil {
			return err
		}
		if step == 0 {
			first = c
		}
		b.add(true, fmt.Sprintf("growth: %d messages there", n), "shown", "%.0f deliveries/s (%.2f of the first), SELECT and view %.2f ms, FETCH of one %.0f us (%.2f), %.0f MB",
			c.deliver, c.deliver/first.deliver, c.open.Seconds()*1000, c.fetch.Seconds()*1e6, c.fetch.Seconds()/first.fetch.Seconds(), c.memory)
	}
	return nil
}

// costs measures a store of about n messages; what it delivers goes to an account that nobody reads.
func (o *opened) costs(n int) (cost, error) {
	ctx := context.Background()
	var c cost
	msgs := fixed(4096, 64)
	const deliveries = 4000
	begin := time.Now()
	if _, err := o.deliverAll(20, deliveries, msgs); err != nil {
		return c, err
	}
	c.deliver = deliveries / time.Since(begin).Seconds()
	c.memory = anonymous()
	if err := o.db.SettleAll(ctx); err != nil {
		return c, err
	}
	box, err := o.s.Mailbox(ctx, 1, store.Inbox)
	if err != nil {
		return c, err
	}
	c.open, err = best(20, func() error {
		if _, err := o.s.State(ctx, box.ID); err != nil {
			return err
		}
		_, err := o.s.UIDs(ctx, box.ID)
		return err
	})
	if err != nil {
		return c, err
	}
	const fetches = 2000
	r := rand.New(rand.NewPCG(1, 2))
	buf := make([]byte, 8<<10)
	begin = time.Now()
	for range fetches {
		if err := o.fetch(mail.AccountID(1+r.IntN(accounts)), store.UID(1+r.IntN(n/accounts)), buf); err != nil {
			return c, err
		}
	}
	c.fetch = time.Since(begin) / fetches
	return c, nil
}

// fetch reads one message.
func (o *opened) fetch(account mail.AccountID, uid store.UID, buf []byte) error {
	ctx := context.Background()
	box, err := o.s.Mailbox(ctx, account, store.Inbox)
	if err != nil {
		return err
	}
	for page, err := range o.s.Messages(ctx, box.ID, []store.UIDRange{{First: uid, Last: uid}}) {
		if err != nil {
			return err
		}
		for _, m := range page {
			body, err := o.s.Open(ctx, m)
			if err != nil {
				return err
			}
			_, err = body.Root()
			if err == nil {
				_, err = body.ReadAt(buf[:min(int64(len(buf)), body.Size())], 0)
			}
			if closed := body.Close(); err != nil || closed != nil {
				return fmt.Errorf("read message %d of account %d: %w", uid, account, err)
			}
		}
	}
	return nil
}
