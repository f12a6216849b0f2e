package load

import (
	"fmt"
	"maps"
	"slices"
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

// SelectTimes fills mailboxes of user 21, each to its number of messages, and returns the median milliseconds of a SELECT of
// each on fresh connections. They are taken in turn: what is a twentieth of a millisecond differs more from one second to the
// next than from one mailbox to the other.
func SelectTimes(t *Target, times int, sizes map[string]int) (map[string]float64, error) {
	sc := DefaultScale
	names := slices.Sorted(maps.Keys(sizes))
	for _, name := range names {
		if ms := fill(t, "fill."+name, goal{t.box(bigUser), name, sizes[name], sc.fixed(1024)}); ms[0].Errors > 0 {
			return nil, fmt.Errorf("fill %s: %s", name, ms[0].Error)
		}
	}
	hists := map[string]*Hist{}
	for i := range times * len(names) {
		name := names[i%len(names)]
		ic, err := t.box(bigUser).Login()
		if err != nil {
			return nil, err
		}
		d, err := ic.Timed("SELECT " + name)
		ic.Logout()
		if err != nil {
			return nil, err
		}
		if hists[name] == nil {
			hists[name] = &Hist{}
		}
		hists[name].Add(d)
	}
	out := map[string]float64{}
	for name, h := range hists {
		out[name] = h.Quantile(0.5)
	}
	return out, nil
}
