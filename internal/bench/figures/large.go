package main

import (
	"context"
	"errors"
	"fmt"
	netsmtp "net/smtp"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/internal/bench/house"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/api"
)

// The account of the owner, whose own pages are measured too.
const (
	largeMessages = 100_000
	largeBoxes    = 300 // beside INBOX, with 100 messages each
	largeDeleted  = 20_000
	largeMasks    = 300
	largeSenders  = 1000
	largeWaiting  = 1000 // in the Outbox
	largeStories  = 5    // of so many stories, one is the owner's
)

// fill puts the mail of a large account into a house that does not run.
func (b *bench) fill(name string) (err error) {
	ctx := context.Background()
	o, err := b.open(name, kv.Options{})
	if err != nil {
		return err
	}
	defer func() {
		if e := o.db.Close(); err == nil {
			err = e
		}
	}()
	o.s.SetKeep(30 * 24 * time.Hour)
	if err := o.growPart(1, largeMessages+largeDeleted-100*largeBoxes, fixed(300, 64)); err != nil {
		return err
	}
	text := fixed(300, 1)[0]
	for i := range largeBoxes {
		box, err := o.s.CreateMailbox(ctx, 1, fmt.Sprintf("Archive/%d/Folder %d", i%20, i), 0)
		if err != nil {
			return err
		}
		var all []store.AppendMessage
		for range 100 {
			a, err := o.arrival(text)
			if err != nil {
				return err
			}
			all = append(all, store.AppendMessage{Arrival: a, Received: time.Now()})
		}
		if _, _, err := o.s.Append(ctx, box.ID, all); err != nil {
			return err
		}
	}
	inbox, err := o.s.Mailbox(ctx, mail.AccountID(1), store.Inbox)
	if err != nil {
		return err
	}
	_, _, err = o.s.Expunge(ctx, inbox.ID, []store.UIDRange{{First: 1, Last: largeDeleted}}, false)
	return err
}

// furnish gives the owner what else an account has in years.
func furnish(ctx context.Context, c *api.Client, submission string) error {
	day := "24h"
	if _, err := c.SetAccount(ctx, owner, admin.Change{Hold: &day}); err != nil {
		return err
	}
	if err := schedule(submission); err != nil {
		return err
	}
	for i := range largeMasks {
		if _, err := c.AddMask(ctx, owner, admin.NewMask{Note: fmt.Sprintf("shop %d", i)}); err != nil {
			return err
		}
	}
	for i := range largeSenders {
		if _, err := c.SetSpamSender(ctx, owner, admin.SpamSender{Sender: fmt.Sprintf("far%d.test", i), Blocked: i%2 == 0}); err != nil {
			return err
		}
	}
	return nil
}

// schedule hands messages in that wait in the Outbox.
func schedule(addr string) error {
	c, err := netsmtp.Dial(addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Auth(netsmtp.PlainAuth("", owner, house.Password, "127.0.0.1")); err != nil {
		return err
	}
	for i := range largeWaiting {
		if err := errors.Join(c.Mail(owner), c.Rcpt(fmt.Sprintf("p%d@far.test", i))); err != nil {
			return err
		}
		w, err := c.Data()
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "From: <%s>\r\nSubject: Letter %d\r\n\r\nHello.\r\n", owner, i); err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
	}
	return c.Quit()
}

// takes is how often a page is asked for: the kernel counts the time of a process in steps of some milliseconds.
const takes = 12

// cost is what a page costs the house: the processor's time for it in the mean of some takes, or the least that the clock says, whichever
// is less, so that what else the machine does does not count.
func (v *visitor) cost(path string) (time.Duration, error) {
	before := processorTime(v.pid)
	least, err := best(takes, func() error { _, _, err := v.get(path); return err })
	if used := (processorTime(v.pid) - before) / takes; used > 0 {
		least = min(least, used)
	}
	return least, err
}

// processorTime is what all threads of a process have used.
func processorTime(pid int) (sum time.Duration) {
	all, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	for _, name := range all {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // the thread has ended
		}
		used, _, _ := strings.Cut(string(text), " ")
		n, _ := strconv.ParseInt(used, 10, 64)
		sum += time.Duration(n)
	}
	return sum
}
