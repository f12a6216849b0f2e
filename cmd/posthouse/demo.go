package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/posthouse-mail/posthouse/cmd/posthouse/internal/demo"
	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/web/admin"
)

// sampleWait is how long the demo's own message may take; it takes well under a second.
const sampleWait = 30 * time.Second

func (p *program) demoCommand(o *options) *cobra.Command {
	var offset int
	var verbose bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run a mail server on loopback, send a message through it, and show how to read it",
		Long: `Runs a house for alpha.test (alice, bob) and beta.test (carol), all on this machine:
its own certificate authority, its own DNS, ports above 1024. It sends a message
from alice to carol, shows it arriving, and runs until it is interrupted.
Without --data everything is in a temporary folder, which is removed at the end.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.config != "" {
				return wrongUsage(cmd, errors.New("the demo makes its own settings: --config is not for it"))
			}
			level := slog.LevelWarn
			if verbose {
				level = slog.LevelInfo
			}
			return p.demo(admin.ByHouse(cmd.Context()), demo.Options{
				Data: o.data, Offset: offset, Version: thisBuild().Version, Logger: logx.New(p.stderr, logx.Options{Level: level}),
			})
		},
	}
	cmd.Flags().IntVar(&offset, "port-offset", 0, "move every port by `N`")
	cmd.Flags().BoolVar(&verbose, "verbose", false, "log every event, not only warnings")
	return cmd
}

func (p *program) demo(ctx context.Context, o demo.Options) (err error) {
	p.tuneMemory()
	if o.Data == "" {
		if o.Data, err = os.MkdirTemp("", "posthouse-demo-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(o.Data)) }()
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	h, err := demo.New(ctx, o)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w; --port-offset N moves every port of the demo", err)
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	shown := make(chan error, 1)
	go func() {
		err := p.showDemo(ctx, h)
		if err != nil {
			cancel(err)
		}
		shown <- err
	}()
	err = h.Run(ctx)
	return errors.Join(err, <-shown)
}

// showDemo tells what there is, sends the sample, and shows how to read it. A house that ends meanwhile is no mistake of it.
func (p *program) showDemo(ctx context.Context, h *demo.House) error {
	if err := p.say("%s", h.Describe()); err != nil {
		return err
	}
	sendCtx, cancel := context.WithTimeout(ctx, sampleWait)
	defer cancel()
	s, err := h.Try(sendCtx)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	return p.say("alice has sent carol a message: %q\nIt is in carol's INBOX, %v after it was submitted. Checked: %s. Read it:\n\n  %s\n\nInterrupt (Ctrl-C) ends the demo.",
		s.Subject, s.Took.Round(time.Millisecond), strings.Join(s.Checks, ", "), h.Curl(s))
}
