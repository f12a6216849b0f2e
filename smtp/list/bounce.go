package list

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/queue"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// bounceForgotten: days on which mail came back count together when no more than this lies between them. A list that posts on the first of
// each month, to a host that says no after five days of trying, must come to an end too.
const bounceForgotten = 40 * 24 * time.Hour

// bounced counts a report on a member's copy: a day counts once, whatever comes back on it, so that one bad day of a provider
// pauses nobody. Reports that are none, and reports of delay or success, count nothing.
func (l *Lists) bounced(ctx context.Context, a queue.Attempt, m auth.ListMail, d *draft) queue.Result {
	who, err := l.tokens.find(ctx, l.o.Directory, forBounces, m.List.ID, m.Token)
	switch {
	case errors.Is(err, auth.ErrNoAddress):
		return done("the member has left")
	case err != nil:
		return later("the members of the list cannot be read at the moment")
	}
	all, ok := readReport(a.Content, a.Content.Size())
	if !ok {
		return done("no report (RFC 3464): not counted")
	}
	for _, s := range all {
		if s.counts() {
			return l.count(ctx, m.List, who.Address, s)
		}
	}
	return done("a report that tells nothing of the address: not counted")
}

func (l *Lists) count(ctx context.Context, list auth.List, who mail.Address, s status) queue.Result {
	var after auth.Member
	paused := false
	now := l.o.Now().UTC().Truncate(time.Second)
	err := l.o.DB.Update(ctx, func(tx *kv.Tx) error {
		return l.o.Directory.ChangeMember(tx, list.ID, who, func(m *auth.Member) error {
			if now.Sub(m.Last) > bounceForgotten {
				m.Bounces, m.First = 0, now
			}
			if m.Bounces == 0 || now.Format(time.DateOnly) != m.Last.Format(time.DateOnly) {
				m.Bounces++
			}
			m.Last, m.Said = now, printable(s.code+" "+s.said)
			paused = m.State == auth.MemberActive && m.Bounces >= l.o.BounceDays
			if paused {
				m.State, m.Since = auth.MemberBounced, now
			}
			after = *m
			return nil
		})
	})
	switch {
	case errors.Is(err, auth.ErrNoAddress):
		return done("the member has left")
	case err != nil:
		return later("the list cannot be changed at the moment")
	}
	l.log.InfoContext(ctx, logx.ListBounce, "list", list.Address.String(), "member", who.String(), "days", after.Bounces, "status", s.code, "paused", paused)
	if paused {
		l.tell(ctx, list, fmt.Sprintf("%s is paused on the list %s", who, list.Address), fmt.Sprintf(
			"Mail of the list %s to its member %s came back on %d days, the first on %s.\nThe last answer was:\n\n    %s\n\n"+
				"The member gets no more mail of the list. When the address works again:\n\n    posthouse list members resume %s %s\n\n"+
				"If it is gone for good:\n\n    posthouse list members remove %s %s\n",
			list.Address, who, after.Bounces, after.First.Format(time.DateOnly), after.Said, list.Address, who, list.Address, who))
	}
	return done("counted: mail to %s came back on %d days", who, after.Bounces)
}
