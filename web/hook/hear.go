package hook

import (
	"context"

	"github.com/posthouse-mail/posthouse/store/story"
)

// heard makes events of what a story is told. It runs where mail is worked on: it makes values, and nothing waits for it.
func (b *Book) heard(id string, begun *story.Message, events []story.Event) {
	if begun != nil && begun.Direction == story.In {
		for i := range events {
			if events[i].Step == story.Delivered {
				b.Tell(Event{Type: Received, At: events[i].At, Data: Data{
					ID: id, To: events[i].Who, MessageID: begun.MessageID, Direction: string(begun.Direction), From: begun.From, Size: begun.Size,
				}})
			}
		}
	}
	for i := range events {
		e := &events[i]
		kind := ""
		switch e.Step {
		case story.Relayed:
			kind = Delivered
		case story.Delivered:
			if begun == nil || begun.Direction == story.Out { // in a mailbox here: of mail that waited, or that one of us sent
				kind = Delivered
			}
		case story.Failed:
			kind = Bounced
		case story.Delayed:
			kind = Delayed
		}
		if kind == "" {
			continue
		}
		d := Data{ID: id, To: e.Who, Code: e.Code, Status: e.Status, Host: e.Host, Text: e.Text}
		if begun != nil {
			d.add(begun)
		}
		b.Tell(Event{Type: kind, At: e.At, Data: d})
	}
}

func (d *Data) add(m *story.Message) {
	d.MessageID, d.Direction, d.From, d.Account, d.Size = m.MessageID, string(m.Direction), m.From, m.Account, m.Size
}

// complete adds what the story knows of the message, long after the event.
func (b *Book) complete(ctx context.Context, d *Data) {
	if d.ID == "" || d.Direction != "" || b.o.Story == nil {
		return
	}
	if found, err := b.o.Story.Find(ctx, d.ID, 1); err == nil && len(found) == 1 && found[0].ID == d.ID {
		d.add(&found[0].Message)
	}
}
