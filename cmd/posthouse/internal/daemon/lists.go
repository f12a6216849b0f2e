package daemon

import (
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/config"
	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/list"
)

// newLists makes who carries the mail of lists.
func (d *Daemon) newLists(c *config.Config) *list.Lists {
	return list.New(list.Options{
		Logger: d.part(logx.PartLists), Store: d.keepers.store, DB: d.keepers.db, Directory: d.keepers.directory, Queue: d.keepers.queue, Story: d.keepers.story,
		Hostname: c.Hostname, Secret: d.keepers.db.Secret(), Keys: d.signingKeys, Checks: d.checks(c), URL: c.Lists.URL, BounceDays: c.Lists.BounceDays,
		Limits: d.keepers.limits,
	})
}

// masked counts mail that comes to masked addresses.
func (d *Daemon) masked() func(mail.Address) {
	book := auth.NewMaskBook(d.keepers.side)
	return func(a mail.Address) { book.Used(a, time.Now()) }
}
