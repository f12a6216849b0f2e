package list

import (
	"context"
	"errors"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/message"
	"github.com/posthouse-mail/posthouse/smtp/queue"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// leaving are the fields of one member's copy: a link, mail, and that one click is enough (RFC 8058 section 3.1). They are signed with
// that copy.
func (p *posting) leaving(member mail.Address) string {
	var h message.HeaderWriter
	h.Field("List-Unsubscribe", "<"+p.l.o.URL+p.l.tokens.Link(p.list.ID, member)+">, <"+p.unsubscribeMail()+">")
	h.Field("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")
	return string(h.Bytes())
}

// leave is mail to LIST-unsubscribe@, of a person: our question went to his mailbox, where a program may answer it. With a token its member leaves. Without, the author leaves when our own check proves that it
// is he; else he is asked, because From may be anybody's. Who is no member hears nothing.
func (l *Lists) leave(ctx context.Context, e mail.Envelope, m auth.ListMail, d *draft) queue.Result {
	if d.auto || e.From.IsNull() {
		return done("not understood: automatic mail")
	}
	if m.Token != "" {
		who, err := l.tokens.find(ctx, l.o.Directory, forLeaving, m.List.ID, m.Token)
		switch {
		case errors.Is(err, auth.ErrNoAddress):
			return done("this was done before, or the address was changed")
		case err != nil:
			return later("the members of the list cannot be read at the moment")
		}
		return l.remove(ctx, m.List, who.Address)
	}
	d.checked(l.o.Hostname)
	if len(d.authors) != 1 {
		return done("not understood: not one author")
	}
	author := d.authors[0].Key()
	who, err := l.o.Directory.FindMember(ctx, m.List.ID, func(key []byte) bool { return string(key) == author })
	switch {
	case errors.Is(err, auth.ErrNoAddress):
		return done("%s is no member", d.authors[0])
	case err != nil:
		return later("the members of the list cannot be read at the moment")
	case d.proven:
		return l.remove(ctx, m.List, who.Address)
	}
	return l.ask(ctx, m.List, who.Address)
}

func (l *Lists) remove(ctx context.Context, list auth.List, who mail.Address) queue.Result {
	err := l.o.DB.Update(ctx, func(tx *kv.Tx) error {
		return l.o.Directory.RemoveMembers(tx, list.Address, []mail.Address{who})
	})
	if err != nil && !errors.Is(err, auth.ErrNoAddress) {
		return later("the list cannot be changed at the moment")
	}
	l.log.InfoContext(ctx, logx.ListLeft, "list", list.Address.String(), "member", who.String())
	n := notice{from: l.o.Directory.OwnersOf(list), to: who, subject: "You have left the list " + list.Address.String(),
		text: who.String() + " gets no more mail of the list " + list.Address.String() + ".\n\nIf you did not want that, write to " + l.o.Directory.OwnersOf(list).String() + "\n"}
	if err := l.send(ctx, n); err != nil {
		l.log.ErrorContext(ctx, logx.ListFailed, "list", list.Address.String(), "error", err)
	}
	return done("%s has left the list", who)
}

// askAgain is how long a member who was asked is not asked again: nobody fills a mailbox with our questions.
const (
	askAgain = time.Hour
	maxAsked = 10000
)

// ask sends the member an address that takes him out of the list.
func (l *Lists) ask(ctx context.Context, list auth.List, who mail.Address) queue.Result {
	now, key := l.o.Now(), string(rune(list.ID))+who.Key()
	l.mu.Lock()
	was, known := l.asked[key]
	if known && now.Sub(was) < askAgain {
		l.mu.Unlock()
		return done("%s was asked already", who)
	}
	if len(l.asked) >= maxAsked {
		clear(l.asked)
	}
	l.asked[key] = now
	l.mu.Unlock()
	back := l.o.Directory.At(list, auth.ListUnsubscribe, l.tokens.make(forLeaving, list.ID, who.Key()))
	n := notice{from: back, to: who, subject: "Do you want to leave the list " + list.Address.String() + "?",
		text: "Somebody asked that " + who.String() + " gets no more mail of the list " + list.Address.String() + ".\n\n" +
			"If that was you, answer this message, or write to\n\n    " + back.String() + "\n\nIf not, there is nothing to do.\n"}
	if err := l.send(ctx, n); err != nil {
		l.log.ErrorContext(ctx, logx.ListFailed, "list", list.Address.String(), "error", err)
		return later("the question cannot be sent at the moment")
	}
	return done("%s was asked", who)
}
