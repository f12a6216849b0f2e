package local

import (
	"slices"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
)

// ownForwards takes out of a recipient what goes on from an account that keeps a copy: it goes on in the account's own name, so that
// its owner hears when it does not arrive there. The sender, whose mail has arrived, does not, and learns no address that is not his
// business. Where no copy stays, the sender hears (SRS).
func ownForwards(to *Recipient, e *mail.Envelope) (own []mail.Envelope) {
	if e.From.IsNull() {
		return nil // nobody hears of reports
	}
	r := &to.Route
	for _, f := range r.Forwards {
		kept := slices.ContainsFunc(r.Local, func(d auth.Destination) bool { return d.Account == f.From.Account })
		i := slices.IndexFunc(r.Remote, func(a mail.Address) bool { return a.Key() == f.To.Key() })
		if !kept || i < 0 {
			continue
		}
		r.Remote = slices.Delete(slices.Clone(r.Remote), i, i+1)
		own = append(own, mail.Envelope{From: f.From.Address, Recipients: []mail.Recipient{{Address: f.To}}, Body: e.Body, UTF8: e.UTF8,
			RequireTLS: e.RequireTLS, Return: mail.ReturnHeaders})
	}
	return own
}

// firsts are the recipients of envelopes of one recipient each.
func firsts(all []mail.Envelope) (out []mail.Recipient) {
	for _, e := range all {
		out = append(out, e.Recipients[0])
	}
	return out
}
