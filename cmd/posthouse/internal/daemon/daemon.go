// Package daemon wires the house: it is the only package that knows everybody.
//
// New opens the keepers and binds every port, Run opens the doors and keeps
// them open until its context ends, Reload takes a changed settings file.
// Everything stops in the reverse of the order in which it started. OpenFiles is for the operator's verbs while no house runs.
package daemon

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/posthouse-mail/posthouse/imap"
	"github.com/posthouse-mail/posthouse/internal/cert"
	"github.com/posthouse-mail/posthouse/internal/config"
	"github.com/posthouse-mail/posthouse/internal/dialogue"
	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/internal/handover"
	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/metrics"
	"github.com/posthouse-mail/posthouse/internal/serve"
	"github.com/posthouse-mail/posthouse/pop3"
	"github.com/posthouse-mail/posthouse/smtp/list"
	"github.com/posthouse-mail/posthouse/smtp/local"
	"github.com/posthouse-mail/posthouse/smtp/remote"
	"github.com/posthouse-mail/posthouse/smtp/scan"
	"github.com/posthouse-mail/posthouse/smtp/submission"
	"github.com/posthouse-mail/posthouse/smtp/tlsbook"
	"github.com/posthouse-mail/posthouse/smtp/tlspolicy"
	"github.com/posthouse-mail/posthouse/store/backup"
	"github.com/posthouse-mail/posthouse/web/admin"
)

// Options of a Daemon.
type Options struct {
	Config  *config.Config
	File    string // of the settings, for Reload; empty: there is none
	Logger  *slog.Logger
	Level   *slog.LevelVar // of the Logger; Reload changes it
	Version string
	Now     func() time.Time

	Sockets   *handover.Sockets                     // that were left for this house; nil: none
	Successor func(context.Context) (string, error) // the program that a restart begins, when it would start; nil: there is none

	AcceptDamage bool // start past parts of the log that cannot be read

	Disk      func() (Disk, error) // of the data folder; nil: the file system says
	DiskEvery time.Duration        // how often it is looked at; 5 s

	BackupRetry time.Duration // after a backup that failed; 1 h

	ReportsEvery time.Duration // how often reports and letters are looked at; some minutes
}

// Daemon is one house. Its fields are set by New and do not change, but for settings.
type Daemon struct {
	o        Options
	log      *slog.Logger
	levels   *logx.Levels // of the log; nil: it has none that can be changed
	settings atomic.Pointer[config.Config]
	started  time.Time
	ready    atomic.Bool
	reload   sync.Mutex // one Reload or Restart at a time
	sockets  *handover.Sockets
	again    chan struct{}  // closed when a restart was asked for
	next     *handover.Next // guarded by reload: what the next program gets
	probe    probe          // of /readyz

	talks    *dialogue.Hub // who looks at connections
	metrics  *metrics.Set
	keepers  *keepers
	certs    *cert.Keeper  // nil: no certificates
	asking   *tls.Config   // of services that ask programs for a certificate; nil: none does
	acme     *cert.ACME    // nil: they are files
	checked  chan struct{} // a checkup was asked for: names are looked at again
	resolver *dns.Client
	local    *local.Carrier
	lists    *list.Lists
	remote   *remote.Carrier
	scanners atomic.Pointer[scan.Panel] // who look at messages; nil: nobody
	policies *tlspolicy.Engine
	tlsBook  *tlsbook.Book
	fell     prometheus.Counter
	reports  *reports
	desk     atomic.Pointer[submission.Desk] // of programs of this machine
	house    *admin.House
	backups  *backup.Metrics
	group    *serve.Group
	current  current // handlers of new connections
	fetching *pop3.Sessions
	reading  *imap.Sessions
	doors    []door
	web      *web
	visitors *visitors // of the web pages
	guard    *diskGuard

	closers []func() error // what New opened, in order
}

// New opens everything and binds every port; nothing is accepted before Run.
func New(ctx context.Context, o Options) (_ *Daemon, err error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	d := &Daemon{o: o, log: o.Logger, levels: logx.LevelsOf(o.Logger), talks: dialogue.NewHub(o.Now), metrics: metrics.New(), started: o.Now(), checked: make(chan struct{}, 1), fetching: pop3.NewSessions(), reading: imap.NewSessions()}
	d.settings.Store(o.Config)
	if d.sockets = o.Sockets; d.sockets == nil {
		d.sockets = handover.New()
	}
	d.again = make(chan struct{})
	if err := d.setLevels(o.Config); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	for _, step := range []func(context.Context) error{
		d.openCertificates, d.openResolver, d.openKeepers, d.emptyTemporary, d.openCarriers, d.openReports, d.openDoors, d.openWeb,
	} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	d.guard = d.newDiskGuard()
	d.describe()
	return d, nil
}

// opened notes how to close what a step opened.
func (d *Daemon) opened(fn func() error) { d.closers = append(d.closers, fn) }

// Close is for a house that was made and is not to run.
func (d *Daemon) Close() error { return d.close() }

// close closes in reverse what the steps opened.
func (d *Daemon) close() error {
	var errs []error
	for i := len(d.closers) - 1; i >= 0; i-- {
		errs = append(errs, d.closers[i]())
	}
	d.closers = nil
	return errors.Join(errs...)
}

// Run opens the doors and returns after ctx ended and everything has stopped: doors first (what is in flight may
// finish), then the queue, then the keepers. It may be called once.
func (d *Daemon) Run(ctx context.Context) error {
	d.log.InfoContext(ctx, logx.HouseStarted, "version", d.o.Version, "hostname", d.o.Config.Hostname, "data", d.o.Config.Data)
	inner, stop := context.WithCancel(context.WithoutCancel(ctx)) // for what runs until the doors are closed
	defer stop()
	var running sync.WaitGroup
	var queueErr, storeErr error
	running.Go(func() { queueErr = d.keepers.queue.Run(inner, d.local.Transport(), d.remote) })
	if d.certs != nil {
		running.Go(func() { d.certs.Run(inner) })
		running.Go(func() { d.manageNames(inner) })
	}
	running.Go(func() { storeErr = d.keepers.store.Run(inner) })
	running.Go(func() { d.keepers.db.RunCompaction(inner) })
	running.Go(func() { d.keepers.story.Run(inner) })
	running.Go(func() { d.watchSpool(inner) })
	running.Go(func() { d.keepers.limits.Run(inner) })
	running.Go(func() { d.keepers.suppressed.Run(inner) })
	running.Go(func() { d.watchLimits(inner) })
	running.Go(func() { d.runBackups(inner) })
	running.Go(func() { d.watchQuotas(inner) })
	running.Go(func() { d.settleKeys(inner) })
	running.Go(func() { d.keepers.hooks.Run(inner) })
	running.Go(func() { d.tlsBook.Run(inner) })
	running.Go(func() { d.renewPolicies(inner) })
	running.Go(func() { d.runReports(inner) })
	running.Go(func() { d.runCheckups(inner) })
	running.Go(func() { d.runJunk(inner) })
	running.Go(func() { d.runHistory(inner) })
	running.Go(func() { d.guard.run(inner) })
	running.Go(func() { tidy(inner) })
	d.web.start()
	running.Go(func() {
		if err := d.visitors.serve(); err != nil {
			d.log.Error(logx.HouseWebError, "listener", serviceHTTPS, "error", err)
		}
	})
	for _, door := range d.doors {
		d.group.Go(door.service)
	}
	d.ready.Store(true)
	d.log.InfoContext(ctx, logx.HouseOpen, "listeners", d.listenerNames())
	d.tell("READY=1")
	d.keepSockets(ctx)

	cause := d.untilEnd(ctx)
	began := d.o.Now()
	d.ready.Store(false)
	d.log.Info(logx.HouseStopping, "cause", cause.Error())
	err := d.stop(stop, &running)
	err = errors.Join(err, queueErr, storeErr, d.close())
	d.log.Info(logx.HouseStopped, "took", d.o.Now().Sub(began))
	return err
}

// stop closes the doors, then ends the queue and what else runs.
func (d *Daemon) stop(stop context.CancelFunc, running *sync.WaitGroup) error {
	wait := d.settings.Load().Limits.ShutdownFinish.Duration
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	d.house.EndWatching()
	err := d.group.Shutdown(ctx)
	d.visitors.stop()
	if errors.Is(err, context.DeadlineExceeded) {
		err = nil // those that were not done in time were closed: that is what the setting says
	}
	stop()
	running.Wait()
	d.talks.End()
	if d.levels != nil {
		d.levels.EndFollowers()
	}
	return errors.Join(err, d.web.stop(ctx))
}

// House gives the verbs of the operator.
func (d *Daemon) House() *admin.House { return d.house }

// Status is what the house says of itself.
func (d *Daemon) Status(ctx context.Context) (admin.Status, error) {
	accounts, err := d.keepers.directory.Accounts(ctx)
	if err != nil {
		return admin.Status{}, err
	}
	entries, err := d.house.Queue(ctx)
	if err != nil {
		return admin.Status{}, err
	}
	s := admin.Status{
		Version: cmp.Or(d.o.Version, "devel"), Hostname: d.o.Config.Hostname, Data: d.o.Config.Data, PID: os.Getpid(),
		Started: d.started, Ready: d.ready.Load(), Accounts: len(accounts), Queue: len(entries),
	}
	if s.SendingOff, err = d.house.SendingOff(ctx); err != nil {
		return admin.Status{}, err
	}
	for _, x := range d.doors {
		s.Listeners = append(s.Listeners, admin.Listener{Service: x.service.Name, Address: x.service.Listener.Addr().String()})
	}
	return s, nil
}
