package store_test

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

const alpha = "alpha.test"

func update(t *testing.T, h *storetest.House, what string, fn func(tx *kv.Tx) error) {
	t.Helper()
	wantErr(t, what, h.DB.Update(t.Context(), fn), nil)
}

// three accounts, of which 1 and 2 share a quota of four messages.
func sharing(t *testing.T) *storetest.House {
	t.Helper()
	h := house(t)
	storetest.Account(t, h.Store, h.DB, 2)
	storetest.Account(t, h.Store, h.DB, 3)
	storetest.Message(t, h.Store, 1, "INBOX", aText)
	update(t, h, "set the pool", func(tx *kv.Tx) error {
		return h.Store.SetPool(tx, alpha, store.Quota{Messages: 4}, []mail.AccountID{1, 2})
	})
	return h
}

func poolMessages(t *testing.T, s *store.Store, want uint64) {
	t.Helper()
	if u, err := s.PoolUsage(t.Context(), alpha); err != nil || u.Messages != want {
		t.Errorf("common usage %+v, %v; want %d messages", u, err, want)
	}
}

func TestPoolIsOneQuota(t *testing.T) {
	h := sharing(t)
	s := h.Store
	storetest.Deliver(t, s, 2, "INBOX", aText)
	poolMessages(t, s, 2)
	one, err := s.Reserve(t.Context(), 1, 10)
	wantErr(t, "reserve the third", err, nil)
	two, err := s.Reserve(t.Context(), 2, 10)
	wantErr(t, "reserve the fourth", err, nil)
	_, err = s.Reserve(t.Context(), 1, 10)
	wantErr(t, "reserve the fifth", err, store.ErrOverQuota)
	other, err := s.Reserve(t.Context(), 3, 10)
	wantErr(t, "reserve for another", err, nil)
	inbox := boxID(t, s, 1, "INBOX")
	_, err = s.Copy(t.Context(), inbox, everything(), inbox)
	wantErr(t, "copy", err, store.ErrOverQuota)
	for _, r := range []*store.Reservation{one, two, other} {
		r.Release()
	}
	_, err = s.Copy(t.Context(), inbox, everything(), inbox)
	wantErr(t, "copy when there is room", err, nil)
	_, _, err = s.Append(t.Context(), inbox, []store.AppendMessage{{Arrival: storetest.Arrival(t, s, aText)}})
	wantErr(t, "append the fourth", err, nil)
	_, _, err = s.Append(t.Context(), inbox, []store.AppendMessage{{Arrival: storetest.Arrival(t, s, aText)}})
	wantErr(t, "append the fifth", err, store.ErrOverQuota)
	if _, _, err := s.Expunge(t.Context(), inbox, uids(1, 2), false); err != nil {
		t.Fatal(err)
	}
	poolMessages(t, s, 2)
	h.Reopen()
	poolMessages(t, h.Store, 2)
}

func TestPoolMembers(t *testing.T) {
	h := sharing(t)
	s := h.Store
	storetest.Message(t, s, 3, "INBOX", aText)
	update(t, h, "join", func(tx *kv.Tx) error { return s.JoinPool(tx, 3, alpha) })
	poolMessages(t, s, 2)
	update(t, h, "leave", func(tx *kv.Tx) error { return s.JoinPool(tx, 1, "beta.test") })
	poolMessages(t, s, 1)
	update(t, h, "take over", func(tx *kv.Tx) error {
		return s.SetPool(tx, "beta.test", store.Quota{Messages: 1}, []mail.AccountID{1, 3})
	})
	poolMessages(t, s, 0)
	update(t, h, "change members", func(tx *kv.Tx) error {
		return s.SetPool(tx, alpha, store.Quota{Bytes: 1 << 20}, []mail.AccountID{1, 2})
	})
	poolMessages(t, s, 1)
	storetest.Deliver(t, s, 2, "INBOX", aText)
	poolMessages(t, s, 2)
	update(t, h, "remove an account", func(tx *kv.Tx) error { return s.DeleteAccount(tx, 2) })
	poolMessages(t, s, 1)
	update(t, h, "dissolve", func(tx *kv.Tx) error { return s.SetPool(tx, alpha, store.Quota{}, nil) })
	_, err := s.PoolUsage(t.Context(), alpha)
	wantErr(t, "usage of none", err, store.ErrNoPool)
	err = h.DB.Update(t.Context(), func(tx *kv.Tx) error { return s.SetPool(tx, "", store.Quota{Bytes: 1}, nil) })
	wantErr(t, "a pool without a name", err, store.ErrBadName)
	err = h.DB.Update(t.Context(), func(tx *kv.Tx) error { return s.JoinPool(tx, 77, alpha) })
	wantErr(t, "nobody joins", err, store.ErrNoAccount)
}

// The owner of a quota is told once for each crossing, whatever falls down in between.
func TestNearlyFull(t *testing.T) {
	h := storetest.Start(t, storetest.Options{Warn: 90})
	storetest.Account(t, h.Store, h.DB, 1, store.Quota{Messages: 10})
	storetest.Account(t, h.Store, h.DB, 2)
	update(t, h, "set the pool", func(tx *kv.Tx) error {
		return h.Store.SetPool(tx, alpha, store.Quota{Messages: 20}, []mail.AccountID{1, 2})
	})
	fill := func(id mail.AccountID, n int) {
		t.Helper()
		for range n {
			storetest.Message(t, h.Store, id, "INBOX", aText)
		}
	}
	due := func(want ...string) {
		t.Helper()
		list, err := h.Store.NearlyFull(t.Context())
		var got []string
		for _, n := range list {
			got = append(got, fmt.Sprint(n.Account, n.Pool, " ", n.Messages, "/", n.Limit.Messages))
		}
		if err != nil || strings.Join(got, ", ") != strings.Join(want, ", ") {
			t.Errorf("due %q, %v; want %q", got, err, want)
		}
	}
	told := func() {
		t.Helper()
		list, _ := h.Store.NearlyFull(t.Context())
		for _, n := range list {
			wantErr(t, "told", h.Store.Told(t.Context(), n), nil)
		}
	}
	fill(1, 8)
	due()
	fill(1, 1)
	due("1 9/10")
	<-h.Store.Warnings()
	h.Reopen()
	due("1 9/10")
	told()
	fill(1, 1)
	due()
	inbox := boxID(t, h.Store, 1, "INBOX")
	h.Store.Expunge(t.Context(), inbox, uids(1), false)
	fill(1, 1)
	due() // 9 of 10 in between: it never fell far enough
	h.Store.Expunge(t.Context(), inbox, uids(2, 3), false)
	fill(1, 1)
	due("1 9/10")
	told()
	fill(2, 9)
	due("0alpha.test 18/20")
	told()
	due()
	update(t, h, "raise the limit", func(tx *kv.Tx) error { return h.Store.SetQuota(tx, 1, store.Quota{Messages: 100}) })
	update(t, h, "lower the limit", func(tx *kv.Tx) error { return h.Store.SetQuota(tx, 1, store.Quota{Messages: 9}) })
	due("1 9/9")
	h.Store.SetWarn(0)
	h.Store.Expunge(t.Context(), inbox, uids(5), false)
	due()
}

// Recount mends every number that Check complains about.
func TestRecount(t *testing.T) {
	h := sharing(t)
	s := h.Store
	storetest.Message(t, s, 1, "INBOX", aText)
	inbox := boxID(t, s, 1, "INBOX")
	if _, _, err := s.Expunge(t.Context(), inbox, uids(1), false); err != nil {
		t.Fatal(err)
	}
	bin, err := s.Bin(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	key := func(n ...uint32) (b []byte) {
		for _, n := range n {
			b = binary.BigEndian.AppendUint32(b, n)
		}
		return b
	}
	spoil := func(table kv.Table, k []byte, at int) func(tx *kv.Tx) error {
		return func(tx *kv.Tx) error {
			v := append([]byte(nil), tx.Get(table, k)...)
			binary.BigEndian.PutUint32(v[at:], 77)
			tx.Put(table, k, v)
			return nil
		}
	}
	update(t, h, "usage", spoil("h", key(1), 20))
	update(t, h, "count of mailboxes", spoil("h", key(1), 32))
	update(t, h, "exists", spoil("m", key(uint32(inbox), 0xffffffff), 20))
	update(t, h, "unseen of the bin", spoil("m", key(uint32(bin.ID), 0xffffffff), 24))
	update(t, h, "common usage", spoil("o", []byte(alpha), 20))
	problems, err := s.Check(t.Context(), false)
	if len(problems) < 5 {
		t.Errorf("check says %q, %v", problems, err)
	}
	st, err := s.State(t.Context(), inbox)
	if err != nil {
		t.Fatal(err)
	}
	numbers := func() uint32 { // as a session learns them
		c, err := s.Changes(t.Context(), inbox, st.HighestModSeq-1)
		if err != nil {
			t.Fatal(err)
		}
		return c.State.Exists
	}
	if numbers() == 1 {
		t.Error("the numbers are not wrong")
	}
	r, err := s.Recount(t.Context(), 1)
	if n := numbers(); n != 1 {
		t.Errorf("a session learns of %d messages", n)
	}
	if err != nil || r.Is.Messages != 1 || r.Was == r.Is || r.Mailboxes != 2 {
		t.Errorf("recounted %+v, %v", r, err)
	}
	if r, err = s.Recount(t.Context(), 1); err != nil || r.Was != r.Is || r.Mailboxes != 0 {
		t.Errorf("recounted again %+v, %v", r, err)
	}
	h.Check()
	_, err = s.Recount(t.Context(), 9)
	wantErr(t, "recount nobody", err, store.ErrNoAccount)
}
