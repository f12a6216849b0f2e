package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/posthouse-mail/posthouse/internal/handover"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/api"
)

// restartWait is for a house that begins anew: a large one that was not closed well looks through its files.
const restartWait = 5 * time.Minute

func (p *program) restartCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "restart",
		Short: "Let the running house begin anew, with the program that is installed now; no connection is refused meanwhile",
		Long: `Let the running house begin anew: with the program that stands in its file now, and the settings as they are now. The listening sockets stay open:
who connects meanwhile waits a moment. Connections that are open are told to come again; a message on its way in is taken first.
When the settings are wrong, nothing happens. The systemd unit's own settings are not read again: that is systemctl restart, which keeps the sockets too.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.running(cmd.Context(), o, func(c *api.Client) error { return p.restart(cmd.Context(), o, c) })
		},
	}
}

// restarted is what a restart came to.
type restarted struct {
	Version string        `json:"version"`
	PID     int           `json:"pid"`
	Took    time.Duration `json:"took_ns"`
}

func (p *program) restart(ctx context.Context, o *options, c *api.Client) error {
	began := time.Now()
	before, err := c.Restart(ctx)
	if err != nil {
		return err
	}
	now, err := awaitNext(ctx, c, before)
	r := restarted{now.Version, now.PID, time.Since(began)}
	if err != nil || o.json {
		return p.answer(o, r, err)
	}
	return p.say("restarted in %s: posthouse %s, process %d", r.Took.Round(time.Millisecond), r.Version, r.PID)
}

// awaitNext asks until another house answers than the one that ended.
func awaitNext(ctx context.Context, c *api.Client, before admin.Restarting) (now admin.Status, err error) {
	ctx, cancel := context.WithTimeout(ctx, restartWait)
	defer cancel()
	for {
		now, err = c.Status(ctx)
		if err == nil && now.Ready && !now.Started.Equal(before.Started) {
			return now, nil
		}
		select {
		case <-ctx.Done():
			return now, errors.Join(errors.New("the house does not come back: its log says why"), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// successor finds the program for a restart, and lets it look at the settings.
func successor(file string) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		path, err := handover.Program()
		if err != nil {
			return "", err
		}
		said := &bytes.Buffer{}
		check := exec.CommandContext(ctx, path, "check", "config", "--config", file)
		check.Stdout, check.Stderr = said, said
		if err := check.Run(); err != nil {
			return "", fmt.Errorf("%s check config: %w: %s", path, err, strings.TrimSpace(said.String()))
		}
		return path, nil
	}
}
