package store_test

import (
	"slices"
	"testing"

	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

func TestMessagesSince(t *testing.T) {
	s, db := storetest.New(t)
	storetest.Account(t, s, db, 1)
	for range 200 {
		storetest.Deliver(t, s, 1, "INBOX", "Subject: x\r\n\r\n")
	}
	box, err := s.Mailbox(t.Context(), 1, "INBOX")
	if err != nil {
		t.Fatal(err)
	}
	before, err := s.State(t.Context(), box.ID)
	if err != nil {
		t.Fatal(err)
	}
	changed := []store.UIDRange{{First: 3, Last: 3}, {First: 70, Last: 71}, {First: 199, Last: 200}}
	if _, _, err := s.SetFlags(t.Context(), box.ID, changed, store.FlagsChange{Op: store.FlagsAdd, Flags: store.Flagged}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		ranges []store.UIDRange
		since  store.ModSeq
		want   []store.UID
	}{
		{[]store.UIDRange{{First: 1, Last: 1<<32 - 1}}, before.HighestModSeq, []store.UID{3, 70, 71, 199, 200}},
		{[]store.UIDRange{{First: 4, Last: 70}, {First: 200, Last: 900}}, before.HighestModSeq, []store.UID{70, 200}},
		{[]store.UIDRange{{First: 1, Last: 1<<32 - 1}}, before.HighestModSeq + 1<<40, nil},
		{[]store.UIDRange{{First: 70, Last: 72}}, 0, []store.UID{70, 71, 72}},
	} {
		var got []store.UID
		for page, err := range s.MessagesSince(t.Context(), box.ID, c.ranges, c.since) {
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range page {
				got = append(got, m.UID)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%v since %d: %v, want %v", c.ranges, c.since, got, c.want)
		}
	}
}
