package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/posthouse-mail/posthouse/cmd/posthouse/internal/daemon"
	"github.com/posthouse-mail/posthouse/internal/config"
	"github.com/posthouse-mail/posthouse/internal/handover"
	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/web/admin"
)

// Memory of a small machine: the collector runs a little more often than Go's default, and works hard before the
// process passes the soft limit. GOGC and GOMEMLIMIT in the environment win.
const (
	collectAt   = 75
	memoryLimit = 256 << 20
)

func (p *program) serveCommand(o *options) *cobra.Command {
	var damage bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the mail server until SIGTERM; SIGHUP reads the settings again, SIGUSR2 begins anew",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := o.settings()
			if err != nil {
				return err
			}
			if o.data != "" {
				return wrongUsage(cmd, errors.New("serve needs a settings file: --config FILE"))
			}
			return p.serve(admin.ByHouse(cmd.Context()), c, serveOptions{file: o.file(), acceptDamage: damage})
		},
	}
	cmd.Flags().BoolVar(&damage, "accept-damage", false, "start although mail that was accepted cannot be read: it is named in the log, and its files are kept in damaged/")
	return cmd
}

// serveOptions is what the command line says.
type serveOptions struct {
	file         string // of the settings
	acceptDamage bool
}

// serve runs the house of c.
func (p *program) serve(ctx context.Context, c *config.Config, o serveOptions) error {
	p.tuneMemory()
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	level := new(slog.LevelVar)
	l, err := logx.ParseLevel(c.Log.Level)
	if err != nil {
		return err
	}
	level.Set(l)
	log := logx.New(p.stderr, logx.Options{Format: c.Log.Format, Level: level, Plain: p.getenv("JOURNAL_STREAM") != ""})
	sockets, err := handover.Inherited()
	if err != nil {
		log.WarnContext(ctx, logx.HouseSocketLeft, "error", err)
	}
	d, err := daemon.New(ctx, daemon.Options{
		Config: c, File: o.file, AcceptDamage: o.acceptDamage, Logger: log, Level: level, Version: thisBuild().Version, Sockets: sockets, Successor: successor(o.file),
	})
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGUSR2)
	defer signal.Stop(signals)
	done := make(chan struct{})
	defer close(done)
	go heed(ctx, d, signals, done)
	err = d.Run(ctx)
	next := d.Next()
	if next == nil || ctx.Err() != nil { // or somebody wants it to end for good
		return err
	}
	if err != nil {
		log.Error(logx.HouseStopped, "error", err)
	}
	return becomeNext(next)
}

// becomeNext makes this process the program that stands in its file now.
func becomeNext(next *handover.Next) error {
	path, err := handover.Program()
	if err != nil {
		return err
	}
	return next.Become(path)
}

// heed answers SIGHUP with a reload and SIGUSR2 with a restart until done is closed; what comes of it is in the log.
func heed(ctx context.Context, d *daemon.Daemon, signals <-chan os.Signal, done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		case s := <-signals:
			var err error
			if s == syscall.SIGUSR2 {
				_, err = d.Restart(ctx)
			} else {
				_, err = d.Reload(ctx)
			}
			if err != nil {
				continue // logged there, the house is as it was
			}
		}
	}
}

// tuneMemory sets the collector for a small machine.
func (p *program) tuneMemory() {
	if p.getenv("GOGC") == "" {
		debug.SetGCPercent(collectAt)
	}
	if p.getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
}
