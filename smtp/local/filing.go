package local

import (
	"context"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store"
)

// Filing is what a desk found for one account: where its copy goes, and how it is marked.
type Filing struct {
	Junk     bool // into the mailbox for junk, with $Junk
	Keywords []string
}

// FileAll is one filing for every account that the recipients lead to.
func (t *Transaction) FileAll(f Filing) {
	for _, to := range t.To {
		for _, d := range to.Route.Local {
			t.File(d.Account, f)
		}
	}
}

// File says where an account's copy goes. Without it, it is INBOX.
func (t *Transaction) File(id mail.AccountID, f Filing) {
	if t.Filed == nil {
		t.Filed = map[mail.AccountID]Filing{}
	}
	t.Filed[id] = f
}

// filed makes the delivery of one account.
func (c *Carrier) filed(ctx context.Context, m *Message, box store.Delivery) store.Delivery {
	f, ok := m.Filed[box.Account]
	if !ok {
		return box
	}
	box.Keywords = f.Keywords
	if f.Junk {
		box.Mailbox, box.Flags = c.junk(ctx, box.Account), store.Junk
	}
	return box
}

// tellFiled tells who wants to know which messages this house has put aside.
func (c *Carrier) tellFiled(m *Message, boxes []store.Delivery, id uint64) {
	if c.o.Junked == nil {
		return
	}
	for _, b := range boxes {
		if m.Filed[b.Account].Junk {
			c.o.Junked(b.Account, id)
		}
	}
}
