package list

import (
	"context"
	"errors"
	"slices"
	"strings"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
	"github.com/posthouse-mail/posthouse/smtp/queue"
)

// Recipient says at RCPT what one of a list's addresses does not take; from is the reverse path, size what was announced.
func (l *Lists) Recipient(ctx context.Context, from mail.Address, size int64, m auth.ListMail) error {
	switch m.Role {
	case auth.ListPost:
		if from.IsNull() {
			return smtp.Refuse(550, gosmtp.EnhancedCode{5, 7, 1}, "A list takes no reports and no automatic answers: "+m.Address.String())
		}
		if m.List.MaxSize > 0 && size > m.List.MaxSize {
			return refusal(tooLarge(m.List))
		}
		if err := l.o.Limits.List(m.List.Address).Ask(ctx); err != nil {
			return smtp.Refuse(452, gosmtp.EnhancedCode{4, 7, 1}, "Too much: "+err.Error())
		}
	case auth.ListBounces:
		if !from.IsNull() {
			return smtp.Refuse(550, gosmtp.EnhancedCode{5, 7, 1}, "This address takes reports (MAIL FROM:<>) only: "+m.Address.String())
		}
		_, err := l.tokens.find(ctx, l.o.Directory, forBounces, m.List.ID, m.Token)
		if errors.Is(err, auth.ErrNoAddress) {
			return smtp.Refuse(550, gosmtp.EnhancedCode{5, 1, 1}, "No such address here: "+m.Address.String())
		}
		return err
	}
	return nil
}

// Refuse says, when the header of a message is known, what a list does not take: nil, or what the sender is told.
func (l *Lists) Refuse(ctx context.Context, list auth.List, header []byte) error {
	no, err := l.refuses(ctx, list, parseDraft(header))
	if err != nil || no.Verdict == 0 {
		return err
	}
	return refusal(no)
}

// refusal is a Result as a desk gives it.
func refusal(r queue.Result) error {
	var code gosmtp.EnhancedCode
	for i, part := range strings.SplitN(r.Status, ".", 3) {
		code[i] = int(part[0] - '0') // of our own: one digit each
	}
	return smtp.Refuse(r.Code, code, r.Text)
}

func tooLarge(list auth.List) queue.Result {
	r := never("5.3.4", "The message is larger than the list "+list.Address.String()+" takes")
	r.Code = 552
	return r
}

// refuses holds a message against the rules of a list; a Result without verdict: it may be posted.
func (l *Lists) refuses(ctx context.Context, list auth.List, d *draft) (queue.Result, error) {
	address := list.Address.String()
	id := ID(list)
	switch {
	case slices.Contains(d.lists, id) || slices.Contains(d.loops, strings.ToLower(address)):
		r := never("5.4.6", "Mail loop: the message came from the list "+address+" already")
		r.Code = 554
		return r, nil
	case d.auto:
		return never("5.7.1", "The list "+address+" takes no automatic mail (Auto-Submitted)"), nil
	case len(d.authors) == 0:
		return never("5.7.1", "A message to the list "+address+" needs an author (From)"), nil
	case d.forged && list.Posting != auth.PostAnyone:
		return forged(list), nil
	}
	for _, a := range d.authors {
		ok, err := l.mayPost(ctx, list, a)
		if err != nil {
			return queue.Result{}, err
		}
		if !ok {
			who := "its members"
			if list.Posting == auth.PostNamed {
				who = "some people"
			}
			return never("5.7.2", a.String()+" may not post to the list "+address+": it is for "+who+" only; ask "+l.o.Directory.OwnersOf(list).String()), nil
		}
	}
	return queue.Result{}, nil
}

func (l *Lists) mayPost(ctx context.Context, list auth.List, a mail.Address) (bool, error) {
	same := func(b mail.Address) bool { return a.Key() == b.Key() }
	if list.Posting == auth.PostAnyone || slices.ContainsFunc(list.Owners, same) || slices.ContainsFunc(list.Posters, same) {
		return true, nil
	}
	if list.Posting == auth.PostNamed {
		return false, nil
	}
	ok, err := l.o.Directory.IsMember(ctx, list.ID, a)
	if ok || err != nil {
		return ok, err
	}
	return l.ownName(ctx, list, a)
}

// ownName tells whether an address leads to an account of which a member is an address too: people write from any of their names.
func (l *Lists) ownName(ctx context.Context, list auth.List, a mail.Address) (bool, error) {
	who, err := l.o.Directory.FindAccount(ctx, a.String())
	if errors.Is(err, auth.ErrNoAccount) {
		return false, nil
	}
	for _, name := range who.Addresses {
		if ok, err := l.o.Directory.IsMember(ctx, list.ID, name); ok || err != nil {
			return ok, err
		}
	}
	return false, err
}

// RefuseForged is Refuse for what the checks have found of a message's author: who is not he posts only to a list for anybody.
func (l *Lists) RefuseForged(ctx context.Context, list auth.List, found mailauth.DMARC, e mail.Envelope) error {
	if list.Posting == auth.PostAnyone || found.Result == "" {
		return nil
	}
	author, err := mail.ParseDomain(found.Domain)
	if err != nil {
		author = ""
	}
	no, err := l.disproven(ctx, found.Result, e, author)
	if err != nil || !no {
		return err
	}
	return refusal(forged(list))
}

// disproven: DMARC failed; or one of our own people is the author, who hands his mail in here or sends it with what his domain
// publishes, and nothing of that is seen. A failure of DNS disproves nobody.
func (l *Lists) disproven(ctx context.Context, dmarc mailauth.Result, e mail.Envelope, authors ...mail.Domain) (bool, error) {
	switch dmarc {
	case mailauth.Fail:
		return true, nil
	case mailauth.TempError:
		return false, nil
	}
	return l.claimed(ctx, dmarc, e, authors, func(mail.Domain) bool { return false })
}

// claimed tells whether an author is one of our own people, or of another domain that counts, while neither DMARC nor the reverse path
// prove him. dmarc is empty when nobody had to look: our desk of submission knows the author.
func (l *Lists) claimed(ctx context.Context, dmarc mailauth.Result, e mail.Envelope, authors []mail.Domain, counts func(mail.Domain) bool) (bool, error) {
	if dmarc == "" || dmarc == mailauth.Pass {
		return false, nil
	}
	for _, a := range authors {
		if a == "" || !e.Unproven && e.From.Domain == a {
			continue
		}
		ours, err := l.o.Directory.IsLocal(ctx, a)
		if err != nil || ours || counts(a) {
			return true, err
		}
	}
	return false, nil
}

// aligned tells whether a signature of the list's domain would prove an author (RFC 7489 section 3.1.1).
func aligned(list auth.List) func(author mail.Domain) bool {
	own := string(list.Address.Domain)
	return func(author mail.Domain) bool {
		return string(author) == own || strings.HasSuffix(string(author), "."+own) || strings.HasSuffix(own, "."+string(author))
	}
}

func forged(list auth.List) queue.Result {
	return never("5.7.1", "The list "+list.Address.String()+" knows its authors, and this message is not proven to be from its own (DMARC)")
}
