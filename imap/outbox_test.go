package imap

import (
	"strconv"
	"testing"

	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

func submitted(n string) string {
	return "Message-ID: <" + n + "@mail.test>\r\nDate: Fri, 2 Jan 2026 03:04:05 +0000\r\nSubject: message " + n + "\r\n\r\nhello\r\n"
}

// outbox N: alice submits message N, and it waits to be sent.
func (h *house) outbox(t *testing.T, n string) {
	h.submit(t, n, store.Delivery{Account: 1, Use: store.UseOutbox, Own: true, Flags: store.Seen, Waits: []byte(n)})
}

// sent N: alice submits message N, and the house puts it into Sent. "sent uid N": the time of message N in the Outbox has come.
func (h *house) sent(t *testing.T, n string) {
	if len(n) < 4 || n[:4] != "uid " {
		h.submit(t, n, store.Delivery{Account: 1, Use: store.UseSent, Own: true, Flags: store.Seen})
		return
	}
	uid, err := strconv.Atoi(n[4:])
	if err != nil {
		t.Fatal(err)
	}
	box, err := h.Store.Mailbox(t.Context(), 1, store.OutboxName)
	if err != nil {
		t.Fatal(err)
	}
	err = h.DB.Update(t.Context(), func(tx *kv.Tx) error {
		_, err := h.Store.LetGo(tx, store.Waiting{Account: 1, Mailbox: box.ID, UID: store.UID(uid)})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (h *house) submit(t *testing.T, n string, d store.Delivery) {
	t.Helper()
	if _, err := h.Store.Deliver(t.Context(), storetest.Arrival(t, h.Store, submitted(n)), []store.Delivery{d}); err != nil {
		t.Fatal(err)
	}
}
