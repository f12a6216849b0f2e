package inbound

import (
	"context"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/junkbook"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
	"github.com/posthouse-mail/posthouse/smtp/spam"
)

// Wishes knows what each account wants of the judge: whom it lets in and shuts out, its line, and whether it wants to be judged at all.
type Wishes struct {
	Book      *junkbook.Book
	Directory *auth.Directory
}

// Senders are whose entries a message may have.
type Senders struct {
	Author mail.Address
	Path   mail.Address // of MAIL FROM
	Forged bool         // Path is said to be, by the domain itself
	Proven bool         // Path is
}

// SendersOf are those of a message with a report on where it comes from. Who proves that he is the author has proven nothing of MAIL FROM.
func SendersOf(author, path mail.Address, r *mailauth.Report) Senders {
	forged := r.SPF.Result == mailauth.Fail || r.SPF.Result == mailauth.SoftFail
	proven := r.ProvesPath(path.Domain)
	return Senders{Author: author, Path: path, Forged: forged && !proven, Proven: proven}
}

// Of makes what the judge is told of an account for mail of the senders. judged is false when its mail is to be left alone. What cannot
// be read now is as if nothing were said.
func (w Wishes) Of(ctx context.Context, account mail.AccountID, address mail.Address, from Senders) (r spam.Recipient, judged bool) {
	r = spam.Recipient{Account: account, Address: address}
	if account == 0 || w.Directory == nil {
		return r, true
	}
	set, err := w.Directory.Settings(ctx, account)
	if err == nil {
		r.Line = float64(set.JunkLine) / 10
	}
	if w.Book == nil {
		return r, !set.JunkOff
	}
	e, ok, err := w.Book.Find(ctx, account, from.Author, from.Path)
	if err == nil && ok && !e.Block && from.Forged { // what lets in must not be borrowed; what shuts out nobody borrows
		e, ok, err = w.Book.Find(ctx, account, from.Author)
	}
	switch {
	case err != nil || !ok:
	case e.Block:
		r.KeptOut = e.Sender
	default:
		r.LetIn = e.Sender
		if from.Proven {
			by, ok, err := w.Book.Find(ctx, account, from.Path)
			r.Sent = err == nil && ok && by == e
		}
	}
	return r, !set.JunkOff
}
