package daemon

import (
	"context"
	"errors"
	"fmt"

	"github.com/posthouse-mail/posthouse/internal/config"
	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/inbound"
	"github.com/posthouse-mail/posthouse/smtp/junkbook"
	"github.com/posthouse-mail/posthouse/smtp/learn"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
	"github.com/posthouse-mail/posthouse/smtp/spam"
)

// junk is who judges mail from outside, what the accounts want of him, and who teaches him.
type junk struct {
	judge   *spam.Judge
	book    *junkbook.Book
	teacher *learn.Teacher
}

// wishes are those of the accounts.
func (k *keepers) wishes() inbound.Wishes {
	return inbound.Wishes{Book: k.junk.book, Directory: k.directory}
}

// openJunk makes the judge over the tables that stand beside the mail.
func (k *keepers) openJunk(o keeperOptions) error {
	c := o.config
	lists, err := junkLists(c)
	if err != nil {
		return err
	}
	so := spam.Options{
		Logger: logx.Part(o.logger, logx.PartJunk), Metrics: o.metrics, Side: k.side, Hostname: c.Hostname,
		Local: func(d mail.Domain) bool {
			ours, err := k.directory.IsLocal(context.Background(), d)
			return err == nil && ours
		},
		Vouched: mailauth.New(mailauth.Options{Trusted: trustedSealers(c)}).Vouched,
		Lists:   lists, ListWait: c.Junk.ListWait.Duration, AskOfPrivate: c.Junk.Loopback,
		Lines:     spam.Lines{Doubtful: c.Junk.Doubtful, Junk: c.Junk.Line, Refuse: c.Junk.Refuse},
		Greylist:  spam.Greylisting{Delay: c.Junk.GreylistDelay.Duration},
		Remembers: c.Junk.Refusals.Duration,
	}
	if o.resolver != nil { // an interface with nothing in it is not nil
		so.Resolver = o.resolver
	}
	k.junk.judge = spam.New(so)
	k.junk.book = junkbook.New(k.db, nil)
	k.junk.teacher = learn.New(learn.Options{
		Logger: logx.Part(o.logger, logx.PartJunk), Metrics: o.metrics, Store: k.store, Side: k.side, Learn: k.junk.judge.Learn, Gone: k.junk.judge.Forget, Accounts: k.accounts,
		Wanted: func(ctx context.Context, id mail.AccountID) bool {
			_, judged := k.wishes().Of(ctx, id, mail.Address{}, inbound.Senders{})
			return judged
		},
	})
	return nil
}

func (k *keepers) accounts(ctx context.Context) ([]mail.AccountID, error) {
	list, err := k.directory.Accounts(ctx)
	out := make([]mail.AccountID, 0, len(list))
	for _, a := range list {
		out = append(out, a.ID)
	}
	return out, err
}

// junkLists are the lists of the DNS that the settings name.
func junkLists(c *config.Config) ([]spam.List, error) {
	var all []spam.List
	var errs []error
	for _, text := range c.Junk.Lists {
		l, err := spam.ParseList(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("junk.lists: %q: %w", text, err))
		}
		all = append(all, l)
	}
	return all, errors.Join(errs...)
}

// judge is who judges at port 25; nil: nobody.
func (d *Daemon) judge() *spam.Judge {
	if !d.o.Config.Junk.Enabled {
		return nil
	}
	return d.keepers.junk.judge
}

// junked hears which messages this house puts into Junk itself; nil: nobody wants to know.
func (d *Daemon) junked() func(mail.AccountID, uint64) {
	if c := d.o.Config.Junk; !c.Enabled || !c.Learn {
		return nil
	}
	return d.keepers.junk.teacher.Junked
}

// wrote tells the judge whom our own people write to; nil: nobody judges.
func (d *Daemon) wrote() func(context.Context, mail.AccountID, string, []mail.Address) {
	if !d.o.Config.Junk.Enabled {
		return nil
	}
	return d.keepers.junk.judge.Wrote
}

// runJunk looks after the judge's tables, and teaches him, until ctx ends.
func (d *Daemon) runJunk(ctx context.Context) {
	c := d.o.Config.Junk
	if !c.Enabled || !c.Learn {
		if err := d.keepers.junk.teacher.Pause(ctx); err != nil {
			d.log.WarnContext(ctx, logx.LearnFailed, "error", err)
		}
	}
	if !c.Enabled {
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.keepers.junk.judge.Run(ctx)
	}()
	if c.Learn {
		d.keepers.junk.teacher.Run(ctx)
	}
	<-done
}
