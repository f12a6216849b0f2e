package housetest

import (
	"strings"
	"testing"

	goimap "github.com/emersion/go-imap/v2"
)

// TestRestartKeepsEverything: uids, flags, UIDLs, passwords and what waits in the queue.
func TestRestartKeepsEverything(t *testing.T) {
	s := newStreet(t)
	h := s.build("", "alice@one.test")
	if err := s.zone.Add("far.test. MX 10 mx.far.test.", "mx.far.test. A 127.0.0.99"); err != nil { // nobody listens there
		t.Fatal(err)
	}
	r := h.reader("alice@one.test")
	h.send("alice@one.test", "stays", "alice@one.test", "x@far.test")
	uid := r.awaits(1, "stays")[0]
	if _, err := r.Store(goimap.UIDSetNum(uid), &goimap.StoreFlags{Op: goimap.StoreFlagsAdd, Flags: []goimap.Flag{goimap.FlagFlagged, "todo"}}, nil).Collect(); err != nil {
		t.Fatal(err)
	}
	before, uidl := stateOf(t, r, uid), uidlOf(h)
	queued, err := h.Daemon.House().Queue(t.Context())
	if err != nil || len(queued) != 1 || queued[0].Domain != "far.test" {
		t.Fatalf("queue: %+v %v", queued, err)
	}
	h.stop()
	h.start()
	r = h.reader("alice@one.test")
	if after := stateOf(t, r, uid); after != before {
		t.Errorf("after the restart %s, before %s", after, before)
	}
	if after := uidlOf(h); after != uidl {
		t.Errorf("UIDL %s, before %s", after, uidl)
	}
	again, err := h.Daemon.House().QueueEntry(t.Context(), queued[0].ID)
	if err != nil || len(again) != 1 || again[0].Recipients[0].Address != "x@far.test" {
		t.Errorf("queue after the restart: %+v %v", again, err)
	}
}

// stateOf is everything about a message that must not change.
func stateOf(t *testing.T, r *reader, uid goimap.UID) string {
	t.Helper()
	box, err := r.Select("INBOX", nil).Wait()
	if err != nil {
		t.Fatal(err)
	}
	list, err := r.Fetch(goimap.UIDSetNum(uid), &goimap.FetchOptions{UID: true, Flags: true, InternalDate: true, RFC822Size: true, Envelope: true}).Collect()
	if err != nil || len(list) != 1 {
		t.Fatalf("%d messages, %v", len(list), err)
	}
	m := list[0]
	var flags []string
	for _, f := range m.Flags {
		if f != "\\Recent" {
			flags = append(flags, string(f))
		}
	}
	return strings.Join([]string{
		string(rune(box.UIDValidity)), string(rune(box.UIDNext)), m.InternalDate.String(), m.Envelope.MessageID, strings.Join(flags, " "),
	}, " | ")
}

func uidlOf(h *house) string {
	h.t.Helper()
	p := h.pop("alice@one.test")
	p.say("UIDL 1")
	answer := p.want("+OK")
	p.say("QUIT")
	p.want("+OK")
	return answer
}
