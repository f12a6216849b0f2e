package local

import (
	"github.com/posthouse-mail/posthouse/internal/mail"
)

// LoopField marks mail that goes on from several of our addresses at once, one field for each; what comes back with a mark is in a
// loop. A mark tells nobody which address it is for: Delivered-To would, and stands only where there is but one recipient.
const LoopField = "X-Posthouse-Loop"

// LoopMark is the mark of an address whose mail goes on to somebody outside; empty when this house forwards nothing.
func (c *Carrier) LoopMark(a mail.Address) string {
	if c.o.Forwarding == nil {
		return ""
	}
	return c.o.Forwarding.hash("loop " + a.Key())
}
