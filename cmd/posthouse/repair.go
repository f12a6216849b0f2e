package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/posthouse-mail/posthouse/cmd/posthouse/internal/daemon"
	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/web/admin"
)

func (p *program) repairCommand(o *options) *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "repair",
		Short: "Make lost or broken tables anew from their daily copy and the log; the house must be stopped",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := o.settings()
			if err != nil {
				return err
			}
			if err := mayOpen(c.Data, true); err != nil {
				return err
			}
			if _, err := os.Stat(c.Data); errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("there is no data folder %s", c.Data)
			}
			done, err := daemon.Repair(cmd.Context(), c, logx.New(p.stderr, logx.Options{Level: slog.LevelError}), dryRun)
			if err != nil || o.json {
				if err == nil && len(done.Problems) > 0 {
					err = errProblems
				}
				return p.answerAnyway(o, done, err)
			}
			return p.tellRepair(done)
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be restored, and what not")
	return cmd
}

// answerAnyway writes what was done even when it ended in an error.
func (p *program) answerAnyway(o *options, done admin.Repaired, err error) error {
	if !o.json {
		return err
	}
	return errors.Join(writeJSON(p.stdout, done), err)
}

func (p *program) tellRepair(done admin.Repaired) error {
	var err error
	list := func(title string, lines []string) {
		if len(lines) == 0 {
			return
		}
		err = errors.Join(err, p.say("%s", title))
		for _, line := range lines {
			err = errors.Join(err, p.say("  %s", line))
		}
	}
	list("Not usable:", done.Refused)
	verb := "Restored from "
	if done.DryRun {
		verb = "Would be restored from "
	}
	list(verb+done.Base+":", done.Restored)
	list("Not restored:", done.Lost)
	list("Changed:", done.Changed)
	list("Kept aside:", done.Kept)
	list("Problems that are left:", done.Problems)
	switch {
	case err != nil:
		return err
	case len(done.Problems) > 0:
		return errProblems
	case done.Sound || done.DryRun:
		return nil
	}
	return p.say("The house can be started.")
}
