package load

import (
	"fmt"
	"time"
)

// Huge is the name of the mailbox of 1 KB messages.
const Huge = huge

// Boxes are the IMAP log-ins of users from..to.
func (t *Target) Boxes(from, to int) []IMAP { return t.boxes(from, to) }

// Greeted waits until every service greets.
func (t *Target) Greeted() error { return t.greeted(30 * time.Second) }

// Inboxes is the number of messages in all INBOXes, by IMAP STATUS.
func (t *Target) Inboxes() (int, error) {
	sum := 0
	for _, b := range t.boxes(1, t.Users) {
		ic, err := b.Login()
		if err != nil {
			return 0, err
		}
		n, err := ic.Messages("INBOX")
		ic.Logout()
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// AwaitInboxes waits until all INBOXes together have want messages.
func (t *Target) AwaitInboxes(want int) error {
	got := 0
	for end := time.Now().Add(5 * time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		var err error
		if got, err = t.Inboxes(); err != nil || got >= want {
			return err
		}
	}
	return fmt.Errorf("%s has %d messages, not %d", t.Name, got, want)
}

// SelectTime fills a mailbox of user 21 to n messages and returns the median milliseconds of a SELECT on fresh connections, with all of
// them logged in before the first is timed.
func SelectTime(t *Target, mailbox string, n, times int) (float64, error) {
	sc := DefaultScale
	if ms := fill(t, "fill."+mailbox, goal{t.box(bigUser), mailbox, n, sc.fixed(1024)}); ms[0].Errors > 0 {
		return 0, fmt.Errorf("fill %s: %s", mailbox, ms[0].Error)
	}
	var h Hist
	for range times {
		ic, err := t.box(bigUser).Login()
		if err != nil {
			return 0, err
		}
		d, err := ic.Timed("SELECT " + mailbox)
		ic.Logout()
		if err != nil {
			return 0, err
		}
		h.Add(d)
	}
	return h.Quantile(0.5), nil
}
