package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

// importer is one account with a mailbox to import into.
type importer struct {
	*storetest.House
	t   *testing.T
	box store.Mailbox
}

func newImporter(t *testing.T, quota ...store.Quota) *importer {
	h := storetest.Start(t, storetest.Options{})
	storetest.Account(t, h.Store, h.DB, 1, quota...)
	box, err := h.Store.CreateMailbox(t.Context(), 1, "Old", 0)
	if err != nil {
		t.Fatal(err)
	}
	return &importer{House: h, t: t, box: box}
}

func (i *importer) message(n int, uid store.UID) store.ImportMessage {
	text := fmt.Sprintf("Subject: %d\r\n\r\nmessage %d\r\n", n, n)
	return store.ImportMessage{
		AppendMessage: store.AppendMessage{Arrival: storetest.Arrival(i.t, i.Store, text)},
		UID:           uid, Origin: store.Origin{Source: 7, Key: [16]byte{1, byte(n >> 8), byte(n)}, Stamp: uint32(n)},
	}
}

func (i *importer) imported(source uint64) []store.Imported {
	i.t.Helper()
	var out []store.Imported
	for page, err := range i.Store.Imported(i.t.Context(), 1, source) {
		if err != nil {
			i.t.Fatal(err)
		}
		out = append(out, page...)
	}
	return out
}

func TestImport(t *testing.T) {
	i := newImporter(t)
	when := time.Unix(1_000_000_000, 0)
	a, b, c := i.message(1, 10), i.message(2, 0), i.message(3, 400)
	a.Flags, a.Keywords, a.Received, a.UIDL = store.Seen, []string{"$Work", "bad keyword", "$Forwarded"}, when, "there-1"
	uids, err := i.Store.Import(t.Context(), i.box.ID, []store.ImportMessage{a, b, c})
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(uids) != "[10 11 400]" {
		t.Errorf("uids %v, want 10, 11, 400", uids)
	}
	i.Reopen()
	rows := storetest.Rows(t, i.Store, 1, "Old")
	if len(rows) != 3 || rows[0].Flags != store.Seen|store.Forwarded|1<<8 || !rows[0].Received.Equal(when) {
		t.Fatalf("rows %+v", rows)
	}
	kw, err := i.Store.Keywords(t.Context(), i.box.ID)
	if err != nil || fmt.Sprint(kw) != "[$Work]" {
		t.Errorf("keywords %v, %v", kw, err)
	}
	if text := storetest.Text(t, i.Store, rows[2]); text != "Subject: 3\r\n\r\nmessage 3\r\n" {
		t.Errorf("text %q", text)
	}
	ids, err := i.Store.UIDLs(t.Context(), i.box.ID, rows)
	if err != nil || ids[0] != "there-1" || ids[1] == "there-1" {
		t.Errorf("unique-ids %v, %v", ids, err)
	}
	got := i.imported(7)
	if len(got) != 3 || got[2].UID != 400 || got[2].Stamp != 3 || got[2].Mailbox != i.box.ID || got[2].Key != [16]byte{1, 0, 3} {
		t.Errorf("imported %+v", got)
	}
	if more := i.imported(8); len(more) != 0 {
		t.Errorf("another source has %v", more)
	}
}

// TestImportIsWhole: what cannot be taken leaves nothing behind, its origins neither.
func TestImportIsWhole(t *testing.T) {
	i := newImporter(t, store.Quota{Bytes: 90, Messages: 50})
	for _, c := range []struct {
		name string
		msgs []store.ImportMessage
		want error
	}{
		{"descending", []store.ImportMessage{i.message(1, 5), i.message(2, 5)}, store.ErrUID},
		{"unique-id", []store.ImportMessage{i.message(1, 0), {AppendMessage: store.AppendMessage{
			Arrival: storetest.Arrival(t, i.Store, "x"), UIDL: "with space"}}}, store.ErrKeyword},
		{"quota", []store.ImportMessage{i.message(1, 1), i.message(2, 0), i.message(3, 0), i.message(4, 0)}, store.ErrOverQuota},
	} {
		if _, err := i.Store.Import(t.Context(), i.box.ID, c.msgs); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	if _, err := i.Store.Import(t.Context(), i.box.ID, []store.ImportMessage{i.message(1, 9)}); err != nil {
		t.Fatal(err)
	}
	if _, err := i.Store.Import(t.Context(), i.box.ID, []store.ImportMessage{i.message(2, 10), i.message(3, 0), i.message(4, 0)}); err == nil {
		t.Error("an import over the quota was taken")
	} else if q, ok := errors.AsType[*store.QuotaError](err); !ok || q.Missing.Bytes != 4*25-90 || q.Missing.Messages != 0 {
		t.Errorf("missing: %v", err)
	}
	if _, err := i.Store.Import(t.Context(), i.box.ID, []store.ImportMessage{i.message(2, 10), i.message(3, 9)}); !errors.Is(err, store.ErrUID) {
		t.Errorf("a uid that was given: %v", err)
	}
	if rows := storetest.Rows(t, i.Store, 1, "Old"); len(rows) != 1 {
		t.Errorf("%d messages, want 1", len(rows))
	}
	if got := i.imported(7); len(got) != 1 {
		t.Errorf("%d origins, want 1", len(got))
	}
}

func TestImportedIsALedger(t *testing.T) {
	i := newImporter(t)
	for n := range 200 { // more rows than one snapshot reads
		if _, err := i.Store.Import(t.Context(), i.box.ID, []store.ImportMessage{i.message(n, 0)}); err != nil {
			t.Fatal(err)
		}
	}
	list := i.imported(7)
	if len(list) != 200 || list[199].UID != 200 {
		t.Fatalf("%d origins", len(list))
	}
	list[3].Stamp = 99
	if err := i.Store.Restamp(t.Context(), 1, 7, list[3:4]); err != nil {
		t.Fatal(err)
	}
	if list = i.imported(7); len(list) != 201 || list[200].Stamp != 99 || list[200].Key != list[3].Key {
		t.Errorf("%d origins after a new stamp", len(list))
	}
	if err := i.Store.ForgetImported(t.Context(), 1, 7); err != nil {
		t.Fatal(err)
	}
	if list = i.imported(7); len(list) != 0 {
		t.Errorf("%d origins after they were forgotten", len(list))
	}
	if _, err := i.Store.Import(t.Context(), i.box.ID, []store.ImportMessage{i.message(1, 0)}); err != nil {
		t.Fatal(err)
	}
	err := i.DB.Update(t.Context(), func(tx *kv.Tx) error { return i.Store.DeleteAccount(tx, 1) })
	if err != nil {
		t.Fatal(err)
	}
	if list = i.imported(7); len(list) != 0 {
		t.Errorf("%d origins after their account went", len(list))
	}
}

func TestAdoptUIDs(t *testing.T) {
	i := newImporter(t)
	ctx, s := t.Context(), i.Store
	adopt := func(id store.MailboxID, v uint32, next store.UID, want error) {
		t.Helper()
		if err := s.AdoptUIDs(ctx, id, v, next); !errors.Is(err, want) {
			t.Errorf("adopt %d, %d: %v, want %v", v, next, err, want)
		}
	}
	adopt(i.box.ID, 0, 1, store.ErrUID)
	adopt(i.box.ID, 12345, 500, nil)
	adopt(i.box.ID, 12345, 400, nil)
	st, err := s.State(ctx, i.box.ID)
	if err != nil || st.UIDValidity != 12345 || st.UIDNext != 500 {
		t.Fatalf("state %+v, %v", st, err)
	}
	if m := storetest.Message(t, s, 1, "Old", "x"); m.UID != 500 {
		t.Errorf("uid %d, want 500", m.UID)
	}
	adopt(i.box.ID, 12345, 600, nil)
	adopt(i.box.ID, 54321, 600, store.ErrUID) // it had a message
	other, err := s.CreateMailbox(ctx, 1, "Other", 0)
	if err != nil {
		t.Fatal(err)
	}
	adopt(other.ID, 12345, 1, store.ErrUID) // taken
	if err := s.DeleteMailbox(ctx, 1, "Old"); err != nil {
		t.Fatal(err)
	}
	adopt(other.ID, 12345, 1, store.ErrUID) // was taken
	adopt(other.ID, 4_294_967_295, 1, nil)
	later, err := s.CreateMailbox(ctx, 1, "Later", 0)
	if err != nil {
		t.Fatal(err)
	}
	if st, err = s.State(ctx, later.ID); err != nil || st.UIDValidity > uint32(time.Now().Unix())+1000 {
		t.Errorf("the next UIDVALIDITY is %d, %v", st.UIDValidity, err)
	}
	storetest.Account(t, s, i.DB, 2)
	inbox, err := s.Mailbox(ctx, mail.AccountID(2), "INBOX")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.AdoptUIDs(context.Background(), inbox.ID, 12345, 1); err != nil {
		t.Errorf("the same UIDVALIDITY in another account: %v", err)
	}
	i.Reopen()
}

// TestImportSyncs: a batch costs the log's sync and the two of the tables, whatever its size.
func TestImportSyncs(t *testing.T) {
	i := newImporter(t)
	msgs := make([]store.ImportMessage, 500)
	for n := range msgs {
		msgs[n] = i.message(n, store.UID(n*3+1))
	}
	before := i.DB.Counts()
	if _, err := i.Store.Import(t.Context(), i.box.ID, msgs); err != nil {
		t.Fatal(err)
	}
	after := i.DB.Counts()
	if n := after.Log.Syncs - before.Log.Syncs; n != 1 {
		t.Errorf("%d syncs of the log, want 1", n)
	}
	if n := after.CommitSyncs - before.CommitSyncs; n != 2 {
		t.Errorf("%d syncs of the tables, want 2", n)
	}
	if rows := storetest.Rows(t, i.Store, 1, "Old"); len(rows) != 500 || rows[499].UID != 499*3+1 {
		t.Errorf("%d rows", len(rows))
	}
	if got := strings.Count(fmt.Sprint(i.imported(7)), "{"); got != 500 {
		t.Errorf("%d origins", got)
	}
}

// TestReserveUIDs: while another server still gives uids, mail that arrives here gets none that it may give.
func TestReserveUIDs(t *testing.T) {
	i := newImporter(t)
	ctx, s := t.Context(), i.Store
	reserve := func(v uint32, from store.UID, want error) {
		t.Helper()
		if err := s.ReserveUIDs(ctx, i.box.ID, v, from); !errors.Is(err, want) {
			t.Errorf("reserve %d, %d: %v, want %v", v, from, err, want)
		}
	}
	imported := func(want string, msgs ...store.ImportMessage) {
		t.Helper()
		uids, err := s.Import(ctx, i.box.ID, msgs)
		if err != nil || fmt.Sprint(uids) != want {
			t.Errorf("uids %v, %v, want %s", uids, err, want)
		}
	}
	reserve(0, 1, store.ErrUID)
	reserve(777, 1000, nil)
	imported("[3 4]", i.message(1, 3), i.message(2, 4))
	reserve(778, 1000, store.ErrUID)
	i.Reopen()
	s = i.Store
	imported("[90]", i.message(3, 90))
	if m := storetest.Message(t, s, 1, "Old", "x"); m.UID != 1000 {
		t.Errorf("uid %d of mail that arrived, want 1000", m.UID)
	}
	if _, err := s.Import(ctx, i.box.ID, []store.ImportMessage{i.message(4, 91)}); !errors.Is(err, store.ErrUID) {
		t.Errorf("a uid below that of other mail: %v", err)
	}
	reserve(777, 3000, nil)
	imported("[3000 3001]", i.message(5, 0), i.message(6, 3001))
	if st, err := s.State(ctx, i.box.ID); err != nil || st.UIDNext != 3002 || st.UIDValidity != 777 {
		t.Errorf("state %+v, %v", st, err)
	}
}

// A source with uids near their end must not use up those of a mailbox here: mail could not come in any more.
func TestUIDsNearTheEndAreNotKept(t *testing.T) {
	i := newImporter(t)
	s := i.Store
	wantErr(t, "adopt", s.AdoptUIDs(t.Context(), i.box.ID, 77, 1<<32-2), store.ErrUID)
	wantErr(t, "reserve", s.ReserveUIDs(t.Context(), i.box.ID, 77, 1<<32-2), store.ErrUID)
	for _, again := range []bool{false, true} {
		m := i.message(1, 1<<32-3)
		m.Renumber = again
		got, err := s.Import(t.Context(), i.box.ID, []store.ImportMessage{m})
		if err != nil || got[0] > 2 {
			t.Errorf("imported as %v, %v", got, err)
		}
	}
	for n := range 3 {
		storetest.Message(t, s, 1, "Old", text(fmt.Sprint(n)))
	}
	if rows := storetest.Rows(t, s, 1, "Old"); len(rows) != 5 || rows[4].UID != 5 {
		t.Errorf("%d messages, the last is %d", len(rows), rows[len(rows)-1].UID)
	}
}

// The common quota is named as the account's is.
func TestImportOverCommonQuota(t *testing.T) {
	i := newImporter(t)
	update(t, i.House, "set the pool", func(tx *kv.Tx) error {
		return i.Store.SetPool(tx, alpha, store.Quota{Messages: 1}, []mail.AccountID{1})
	})
	_, err := i.Store.Import(t.Context(), i.box.ID, []store.ImportMessage{i.message(1, 0), i.message(2, 0), i.message(3, 0)})
	if over, ok := errors.AsType[*store.QuotaError](err); !ok || over.Missing.Messages != 2 {
		t.Errorf("%v", err)
	}
}
