package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/auth/external"
	"github.com/posthouse-mail/posthouse/internal/cert"
	"github.com/posthouse-mail/posthouse/internal/config"
	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/metrics"
	"github.com/posthouse-mail/posthouse/smtp/limit"
	"github.com/posthouse-mail/posthouse/smtp/list"
	"github.com/posthouse-mail/posthouse/smtp/queue"
	"github.com/posthouse-mail/posthouse/smtp/remote"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/backup"
	"github.com/posthouse-mail/posthouse/store/history"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/story"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/hook"
)

// keepers are those who own what is on the disk.
type keepers struct {
	db         *kv.DB
	directory  *auth.Directory
	store      *store.Store
	queue      *queue.Queue
	side       *kv.Side    // tables that can be made again
	story      *story.Book // nil: none is kept
	history    *history.Book
	limits     *limit.Book // nil: nothing is counted
	suppressed *limit.List
	apps       *auth.AppBook // when app passwords were used
	tokens     *auth.AppBook // when tokens were used
	shown      *auth.AppBook // when certificates of programs were used
	devices    *auth.DeviceBook
	junk       junk
	hooks      *hook.Book       // who is told of events
	external   *external.Helper // who knows passwords that are not ours; nil: nobody
}

// keeperOptions is what the keepers need of a house.
type keeperOptions struct {
	config  *config.Config
	logger  *slog.Logger
	metrics *metrics.Set
	certs   *cert.Keeper
	damage  bool // start past damage

	loggedIn func(context.Context, mail.AccountID) // hears of logins; nil: nobody

	resolver *dns.Client      // nil: nobody asks
	now      func() time.Time // nil: time.Now
}

// openKeepers opens the data folder and replays its log.
func openKeepers(ctx context.Context, o keeperOptions) (_ *keepers, err error) {
	c := o.config
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	k := &keepers{}
	k.db, err = kv.Open(ctx, tableOptions(o))
	if errors.Is(err, kv.ErrLocked) {
		return nil, fmt.Errorf("data folder %s is in use: another posthouse serves it or works on it; end that one, or try again when it is done", c.Data)
	}
	if err != nil {
		return nil, fmt.Errorf("data folder %s: %w", c.Data, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, k.close())
		}
	}()
	if err := k.openSide(o); err != nil {
		return nil, err
	}
	if err := k.build(o); err != nil {
		return nil, err
	}
	if err := k.openJunk(o); err != nil {
		return nil, err
	}
	k.hooks = hook.New(hook.Options{
		DB: k.db, Side: k.side, Story: k.story, Logger: logx.Part(o.logger, logx.PartWeb), Metrics: o.metrics, Now: o.now,
	})
	if err := k.db.Start(ctx); err != nil {
		return nil, fmt.Errorf("data folder %s: %w", c.Data, err)
	}
	if err := k.hooks.Load(ctx); err != nil {
		return nil, fmt.Errorf("data folder %s: %w", c.Data, err)
	}
	begun, err := k.store.BeginDueEpoch(ctx)
	if err != nil {
		return nil, fmt.Errorf("data folder %s: begin a new epoch: %w", c.Data, err)
	}
	if begun {
		o.logger.Warn(logx.BackupEpoch)
	}
	return k, nil
}

func tableOptions(o keeperOptions) kv.Options {
	c := o.config
	return kv.Options{
		AcceptDamage: o.damage,
		Dir:          c.Data, Logger: logx.Part(o.logger, logx.PartStore), Metrics: o.metrics, Plain: !c.Store.Compress, SegmentSize: int64(c.Store.SegmentSize),
		CompactEvery: c.Store.CompactEvery.Duration, CompactBelow: float64(c.Store.CompactBelow) / 100, CompactShare: float64(c.Store.CompactShare) / 100,
	}
}

// build makes the keepers over tables that are not started yet.
func (k *keepers) build(o keeperOptions) (err error) {
	c := o.config
	k.openLimits(o)
	k.store, err = store.New(k.db, store.Options{
		Logger: logx.Part(o.logger, logx.PartStore), Metrics: o.metrics, Keep: c.Store.KeepDeleted.Duration, Warn: c.Quota.Warn,
	})
	if err != nil {
		return err
	}
	qo := queueOptions(o, k.story)
	qo.Failed = k.failed
	k.queue, err = queue.New(k.db, k.store, qo)
	if err != nil {
		return err
	}
	k.apps, k.tokens = auth.NewAppBook(k.side), auth.NewTokenBook(k.side)
	k.shown = auth.NewCertificateBook(k.side)
	k.devices = auth.NewDeviceBook(k.side)
	ao := auth.Options{
		Logger: logx.Part(o.logger, logx.PartAuth), Metrics: o.metrics, Separator: c.Auth.Separator, DefaultDomain: c.Auth.DefaultDomain.Domain,
		ClearLoopback: c.Auth.ClearLoopback, SCRAM: c.Auth.SCRAM, Uses: k.apps, TokenUses: k.tokens, CertificateUses: k.shown, Devices: k.devices, Postmaster: c.Auth.Postmaster.Address,
	}
	ao.LoggedIn = o.loggedIn
	ao.External = k.askElsewhere(c)
	if ao.ClientCertificates, err = clientCertificates(c); err != nil && o.certs != nil { // who works on the files only lets nobody in
		return err
	}
	if o.certs != nil {
		ao.Leaf = o.certs.Leaf
	}
	k.directory = auth.New(k.db, ao)
	list.Register(k.db, k.directory)
	return nil
}

func queueOptions(o keeperOptions, book *story.Book) queue.Options {
	c := o.config
	q := queue.Options{
		Logger: logx.Part(o.logger, logx.PartQueue), Metrics: o.metrics, Hostname: c.Hostname, Story: book,
		Lifetime: c.Queue.Lifetime.Duration, DelayAfter: c.Queue.DelayNotice.Duration,
		PerHost: c.Queue.PerHost, Workers: c.Queue.Connections,
	}
	if q.DelayAfter == 0 {
		q.DelayAfter = -1 // never
	}
	for _, d := range c.Queue.Retry {
		q.Retry = append(q.Retry, d.Duration)
	}
	for _, h := range c.Remote.SmartHosts {
		q.DirectTries = max(q.DirectTries, h.After)
	}
	return q
}

// tellDamage says who is hit by damage that this start went past.
func (d *Daemon) tellDamage(ctx context.Context) error {
	damage := d.keepers.db.Damage()
	if damage == nil {
		return nil
	}
	hit, err := d.keepers.store.Holders(ctx, damage.Broken)
	if err != nil {
		return fmt.Errorf("look for messages that are damaged: %w", err)
	}
	for _, p := range hit {
		name := fmt.Sprintf("account %d", p.Account)
		if a, err := d.keepers.directory.Account(ctx, p.Account); err == nil {
			name = a.Addresses[0].String()
		}
		d.log.ErrorContext(ctx, logx.StoreDamaged, "account", name, "mailbox", p.Mailbox, "uid", p.UID, "place", p.Place.String())
	}
	return nil
}

// house is the operator's verbs over the keepers.
func (k *keepers) house(c *config.Config, logger *slog.Logger, r dns.Resolver) *admin.House {
	h := admin.New(admin.Options{
		Logger: logx.Part(logger, logx.PartWeb), DB: k.db, Side: k.side, Directory: k.directory, Store: k.store, Queue: k.queue, Story: k.story, Apps: k.apps, TokenUses: k.tokens, CertificateUses: k.shown, Devices: k.devices, Masks: auth.NewMaskBook(k.side),
		Quota: defaultQuota(c), Resolver: r, Site: site(c), Limits: k.limitVerbs(), Hooks: k.hooks, Reports: k.reportBooks(),
		Imports: imports(c),
		Junk:    admin.Junk{Judge: k.junk.judge, Book: k.junk.book, Teacher: k.junk.teacher, Enabled: c.Junk.Enabled, Line: c.Junk.Line},
	})
	h.SetAudit(c.Audit.Keep.Duration)
	return h
}

// imports is how far users may reach: where the house itself may.
func imports(c *config.Config) admin.Imports {
	return admin.Imports{AnyPort: c.Remote.AllowLoopback, Allowed: func(a netip.Addr) string {
		why, _ := remote.Forbidden(a, c.Remote.AllowLoopback, c.Remote.AllowPrivate)
		return why
	}}
}

// defaultQuota is what a new account may hold.
func defaultQuota(c *config.Config) store.Quota {
	return store.Quota{Bytes: uint64(c.Quota.Bytes), Messages: uint64(c.Quota.Messages)}
}

// Files is a data folder that no house runs on, opened for the operator's verbs.
type Files struct {
	House *admin.House
	close func() error
}

// OpenFiles opens the folder of c. Close it soon: no house can start meanwhile.
func OpenFiles(ctx context.Context, c *config.Config, logger *slog.Logger) (*Files, error) {
	k, err := openKeepers(ctx, keeperOptions{config: c, logger: logger})
	if err != nil {
		return nil, err
	}
	h := k.house(c, logger, nil)
	h.SetCheckup(func(context.Context) (admin.World, error) {
		var chain func(string) *tls.Certificate
		if certs, err := cert.Open(cert.Options{Pairs: slices.Concat(pairs(c), obtained(c)), Hostname: c.Hostname}); err == nil {
			chain = certs.Chain
		}
		return world(c, k, chain)
	})
	return &Files{House: h, close: k.close}, nil
}

// Close writes what is left and closes the files.
func (f *Files) Close() error { return errors.Join(f.House.Close(), f.close()) }

func (d *Daemon) openKeepers(ctx context.Context) (err error) {
	d.keepers, err = openKeepers(ctx, keeperOptions{config: d.o.Config, logger: d.log, metrics: d.metrics, certs: d.certs, damage: d.o.AcceptDamage, loggedIn: d.heardOf, resolver: d.resolver, now: d.o.Now})
	if err != nil {
		return err
	}
	d.opened(d.keepers.close)
	if err := d.tellDamage(ctx); err != nil {
		return err
	}
	d.house = d.keepers.house(d.o.Config, d.log, d.resolver)
	d.house.SetLog(d.levels)
	d.house.SetDialogues(d.talks)
	d.house.SetMachine(d.machine())
	d.house.SetCheckup(d.world)
	d.backups = backup.NewMetrics(d.metrics)
	d.setBackup(d.o.Config)
	d.opened(d.house.Close)
	return nil
}
