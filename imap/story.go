package imap

import (
	"cmp"

	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/blob"
	"github.com/posthouse-mail/posthouse/store/story"
)

// reads tells the message's story that its text was read.
func (c *conn) reads(m *store.Message) {
	if c.s.o.Story == nil {
		return
	}
	c.s.o.Story.Read(blob.LSN(m.ID), m.Received, story.Event{Who: c.who.Main.String(), Client: cmp.Or(c.program, "IMAP")})
}
