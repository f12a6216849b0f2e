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
		Short: "Run the mail server until SIGTERM; SIGHUP reads the settings again",
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
	d, err := daemon.New(ctx, daemon.Options{Config: c, File: o.file, AcceptDamage: o.acceptDamage, Logger: log, Level: level, Version: thisBuild().Version})
	if err != nil {
		return err
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	done := make(chan struct{})
	defer close(done)
	go reloads(ctx, d, hup, done)
	return d.Run(ctx)
}

// reloads answers each SIGHUP until done is closed; what a reload says is in the log.
func reloads(ctx context.Context, d *daemon.Daemon, hup <-chan os.Signal, done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		case <-hup:
			if _, err := d.Reload(ctx); err != nil {
				continue // logged there, the old settings stay
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
