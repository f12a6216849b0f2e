package store_test

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

// The bin is a mailbox that can be read as any other, and taken out of.
func TestBin(t *testing.T) {
	h, _ := keeping(t)
	s := h.Store
	ctx := t.Context()
	for range 3 {
		storetest.Message(t, s, 1, "INBOX", aText)
	}
	bin, err := s.Bin(ctx, 1)
	if err != nil || bin.Name != store.BinName {
		t.Fatalf("bin %+v, %v", bin, err)
	}
	empty, err := s.State(ctx, bin.ID)
	if err != nil || empty.Exists != 0 || empty.UIDNext != 1 {
		t.Errorf("empty bin %+v, %v", empty, err)
	}
	bell := s.Watch(bin.ID)
	defer bell.Close()
	inbox := boxID(t, s, 1, "INBOX")
	if _, err := s.ExpungeAtOnce(ctx, inbox, uids(1, 3)); err != nil {
		t.Fatal(err)
	}
	<-bell.C
	c, err := s.Changes(ctx, bin.ID, empty.HighestModSeq)
	if err != nil || len(c.Messages) != 2 || c.State.UIDNext != 3 {
		t.Errorf("changes of the bin %+v, %v", c, err)
	}
	_, _, err = s.SetFlags(ctx, bin.ID, everything(), store.FlagsChange{Flags: store.Seen})
	wantErr(t, "flags in the bin", err, store.ErrReadOnly)
	_, _, err = s.Expunge(ctx, bin.ID, everything(), false)
	wantErr(t, "expunge in the bin", err, store.ErrReadOnly)
	_, err = s.Copy(ctx, inbox, everything(), bin.ID)
	wantErr(t, "copy into the bin", err, store.ErrReadOnly)
	_, _, err = s.Move(ctx, inbox, everything(), bin.ID)
	wantErr(t, "move into the bin", err, store.ErrReadOnly)
	_, _, err = s.Append(ctx, bin.ID, []store.AppendMessage{{Arrival: storetest.Arrival(t, s, aText)}})
	wantErr(t, "append into the bin", err, store.ErrReadOnly)

	if _, err := s.Copy(ctx, bin.ID, uids(1), inbox); err != nil {
		t.Fatal(err)
	}
	moved, _, err := s.Move(ctx, bin.ID, uids(1), inbox)
	if err != nil || !slices.Equal(moved.To, []store.UID{5}) {
		t.Fatalf("moved %+v, %v", moved, err)
	}
	if c, err = s.Changes(ctx, bin.ID, c.State.HighestModSeq); err != nil || !slices.Equal(c.Vanished, uids(1)) {
		t.Errorf("changes of the bin %+v, %v", c, err)
	}
	if u, err := s.Usage(ctx, 1); err != nil || u.Messages != 3 {
		t.Errorf("usage %+v, %v", u, err)
	}
	h.Reopen()
	again, err := h.Store.Bin(ctx, 1)
	if err != nil || again.ID != bin.ID {
		t.Errorf("bin %+v, %v; was %+v", again, err, bin)
	}
	if _, err := h.Store.CreateMailbox(ctx, 1, store.BinName+"/mine", 0); err != nil {
		t.Fatal(err)
	}
	_, err = h.Store.Bin(ctx, 1)
	wantErr(t, "bin whose name is taken", err, store.ErrNoMailbox)
}

// What is taken out of the bin counts again.
func TestBinAndQuota(t *testing.T) {
	h, _ := keeping(t, store.Quota{Messages: 2})
	s := h.Store
	storetest.Message(t, s, 1, "INBOX", aText)
	inbox := boxID(t, s, 1, "INBOX")
	if _, _, err := s.Expunge(t.Context(), inbox, everything(), false); err != nil {
		t.Fatal(err)
	}
	storetest.Message(t, s, 1, "INBOX", aText)
	storetest.Message(t, s, 1, "INBOX", aText)
	bin, err := s.Bin(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Copy(t.Context(), bin.ID, everything(), inbox)
	wantErr(t, "copy", err, store.ErrOverQuota)
	_, _, err = s.Move(t.Context(), bin.ID, everything(), inbox)
	wantErr(t, "move", err, store.ErrOverQuota)
}

// An account that is removed takes its bin along.
func TestBinOfARemovedAccount(t *testing.T) {
	h, _ := keeping(t)
	s := h.Store
	storetest.Message(t, s, 1, "INBOX", aText)
	storetest.Message(t, s, 1, "INBOX", aText)
	if _, _, err := s.Expunge(t.Context(), boxID(t, s, 1, "INBOX"), uids(1), false); err != nil {
		t.Fatal(err)
	}
	err := h.DB.Update(t.Context(), func(tx *kv.Tx) error { return s.DeleteAccount(tx, 1) })
	wantErr(t, "delete the account", err, nil)
	wantErr(t, "purge", s.Purge(t.Context()), nil)
	err = h.DB.View(t.Context(), func(tx *kv.Tx) error {
		for _, table := range []kv.Table{"m", "v", "k", "u", "d", "x", "h", "n"} {
			for k := range tx.Scan(table, nil, nil) {
				t.Errorf("table %s still has %x", table, k)
			}
		}
		return nil
	})
	wantErr(t, "look", err, nil)
}

// Rows that an earlier version wrote are read: a deleted mailbox without a name, an account row without a bin.
func TestRowsOfTheFirstVersion(t *testing.T) {
	h, _ := keeping(t)
	storetest.Message(t, h.Store, 1, "Sent", aText)
	sent := boxID(t, h.Store, 1, "Sent")
	if err := h.Store.DeleteMailbox(t.Context(), 1, "Archive"); err != nil {
		t.Fatal(err)
	}
	key := binary.BigEndian.AppendUint32(nil, 1)
	err := h.DB.Update(t.Context(), func(tx *kv.Tx) error {
		row := tx.Get("h", key)
		tx.Put("h", key, slices.Clone(row[:40]))
		return nil
	})
	wantErr(t, "shorten the row", err, nil)
	h.Reopen()
	if _, _, err := h.Store.Expunge(t.Context(), sent, everything(), false); err != nil {
		t.Fatal(err)
	}
	if gone := goneOf(t, h.Store, 1); len(gone) != 1 {
		t.Errorf("kept %d", len(gone))
	}
}
