package daemon

import (
	"context"
	"fmt"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/config"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/limit"
	"github.com/posthouse-mail/posthouse/smtp/queue"
	"github.com/posthouse-mail/posthouse/web/admin"
)

// limits are what keeps the house from harming its own name.
func (k *keepers) openLimits(o keeperOptions) {
	k.suppressed = limit.NewList(limit.ListOptions{DB: k.db, Logger: o.logger, Metrics: o.metrics, Now: o.now, Off: !o.config.Sending.Suppress})
	if k.side != nil {
		k.limits = limit.New(limit.Options{Side: k.side, Logger: o.logger, Metrics: o.metrics, Settings: sendSettings(o.config), Now: o.now})
	}
}

// sendSettings is [sending] as the book wants it.
func sendSettings(c *config.Config) limit.Settings {
	s := c.Sending
	return limit.Settings{
		Account: limit.Limits{MessagesHour: int64(s.MessagesHour), MessagesDay: int64(s.MessagesDay), RecipientsHour: int64(s.RecipientsHour),
			RecipientsDay: int64(s.RecipientsDay), NewDay: int64(s.NewDay)},
		Program:    limit.Limits{RecipientsHour: int64(s.ProgramHour), RecipientsDay: int64(s.ProgramDay)},
		Forward:    limit.Limits{RecipientsHour: int64(s.ForwardHour), RecipientsDay: int64(s.ForwardDay)},
		ForwardAll: limit.Limits{RecipientsDay: int64(s.ForwardAllDay)},
		List:       limit.Limits{MessagesHour: int64(s.ListHour), MessagesDay: int64(s.ListDay)},
		SuspendAt:  int64(s.SuspendAt),
	}
}

// failed is what the suppression list hears of the queue.
func (k *keepers) failed(to, from mail.Address, r queue.Result) {
	k.suppressed.Heard(limit.Failure{To: to, From: from, Code: r.Code, Status: r.Status, Text: r.Text, Host: r.Remote})
}

func (k *keepers) limitVerbs() admin.Limits {
	return admin.Limits{Book: k.limits, Suppressed: k.suppressed}
}

// maxTold is how many notices a day the postmaster gets of programs and forwards.
const maxTold = 10

// watchLimits tells user and postmaster of limits that were reached, until ctx ends.
func (d *Daemon) watchLimits(ctx context.Context) {
	day, told := int64(0), 0 // of what concerns no account: many forwards can be full at once
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-d.keepers.limits.Events():
			if today := d.o.Now().Unix() / 86400; today != day {
				day, told = today, 0
			}
			if e.Account == 0 {
				if told++; told > maxTold {
					continue
				}
			}
			d.tellLimit(ctx, e)
		}
	}
}

func (d *Daemon) tellLimit(ctx context.Context, e limit.Event) {
	var a auth.Account
	if e.Account != 0 {
		var err error
		if a, err = d.keepers.directory.Account(ctx, e.Account); err != nil || len(a.Addresses) == 0 {
			return // removed meanwhile
		}
	}
	operator := mail.Address{Local: "postmaster"}
	if e.Account == 0 {
		n := limitNotice(e, "")
		n.to = operator
		_ = d.sendNotice(ctx, n, nil) // it is in the log
		return
	}
	main := a.Addresses[0]
	operator.Domain = main.Domain
	forUser, forOperator := userNotice(e, main), limitNotice(e, main.String())
	forUser.to, forOperator.to = main, operator
	_ = d.sendNotice(ctx, forUser, &auth.Route{Local: []auth.Destination{{Account: e.Account, Address: main}}})
	_ = d.sendNotice(ctx, forOperator, nil)
}

// userNotice is what the user of an account reads.
func userNotice(e limit.Event, main mail.Address) notice {
	const password = "If you did not send that, somebody else may know your password: change it at once,\nin all programs, and tell the postmaster.\n"
	if s := e.Stolen; s != nil {
		return notice{
			subject: "Your account cannot send mail any more: has somebody your password?",
			text: "Within an hour " + fmt.Sprint(s.Recipients) + " people were written to from " + main.String() + " to whom the\naccount has never written, from the network " + s.Network.String() +
				", where it was not used before.\nThat looks as if somebody else had your password, so nothing more is sent.\nYou receive and read mail as always.\n\n" + password +
				"\nIf it was you, on a journey for instance, the postmaster can let you send again:\npostmaster@" + string(main.Domain) + "\n",
		}
	}
	x := e.Exceeded
	return notice{
		subject: "You have reached a limit of sending",
		text: x.Error() + ".\n\nUntil then your mail program is told so when it tries to send more. Nothing is lost:\nwhat was refused is still there in your program.\n\n" + password +
			"\nIf you need to send more, ask the postmaster: postmaster@" + string(main.Domain) + "\n",
	}
}

// limitNotice is what the postmaster reads.
func limitNotice(e limit.Event, account string) notice {
	if s := e.Stolen; s != nil {
		return notice{
			subject: s.Who + " was kept from sending: its password may be stolen",
			text: s.Error() + ".\n\nThe account sends nothing any more; it receives and reads as always. To see what it sent:\n\n    posthouse trace " + s.Who + "\n    posthouse queue list\n\n" +
				"If it was a thief: set a new password, cancel what waits, then let it send again:\n\n    posthouse account passwd " + s.Who + "\n    posthouse queue cancel ID --silent\n    posthouse account send " + s.Who + " on\n\n" +
				"If it was its user, the last of these commands is enough.\n",
		}
	}
	x := e.Exceeded
	n := notice{subject: "A limit of sending was reached: " + e.Who, text: x.Error() + ".\n\n"}
	if e.Account == 0 {
		n.text += "What is refused meanwhile is tried again by its senders. To see what it was:\n\n    posthouse queue list\n\nThe settings sending.* say how much is allowed.\n"
		return n
	}
	n.text += "To see what was sent, and to allow more:\n\n    posthouse trace " + account + "\n    posthouse account limits " + account + "\n\n" +
		"If somebody else has the password:\n\n    posthouse account send " + account + " off\n    posthouse account passwd " + account + "\n"
	return n
}
