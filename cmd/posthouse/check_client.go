package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/check"
)

func (p *program) checkClient(o *options) *cobra.Command {
	var program string
	cmd := &cobra.Command{
		Use:   "client ADDRESS",
		Short: "Try what a mail program does for an address: find the settings, connect, and look at the certificate",
		Long: `Try what a mail program does for an address: find the settings, connect, and look at the certificate. The page /clients/ of the web
house has a button that does the same. Exit codes are those of posthouse check.`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			if !slices.Contains(check.ProgramNames(), program) {
				return wrongUsage(cmd, fmt.Errorf("there is no program %q; we know %s", program, strings.Join(check.ProgramNames(), ", ")))
			}
			return p.with(cmd.Context(), o, func(v verbs) error {
				r, err := v.CheckClient(cmd.Context(), admin.ClientCheck{Address: argv[0], Program: program})
				if err != nil {
					return err
				}
				if o.json {
					err = writeJSON(p.stdout, r)
				} else {
					err = writeSteps(p.stdout, r)
				}
				return errors.Join(err, verdictOfSteps(r.Steps))
			})
		},
	}
	cmd.Flags().StringVar(&program, "program", check.Other, "the `PROGRAM`: "+strings.Join(check.ProgramNames(), ", "))
	return cmd
}

func writeSteps(w io.Writer, r admin.ClientReport) error {
	var b strings.Builder
	for _, s := range r.Steps {
		fmt.Fprintf(&b, "%-8s %-10s %s\n", stateWord(s.State), s.Step, s.Found)
		if s.Advice != "" && s.State != check.OK {
			fmt.Fprintf(&b, "%-8s %-10s -> %s\n", "", "", s.Advice)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// verdictOfSteps is the exit code of a test.
func verdictOfSteps(steps []check.Step) error {
	count := func(state check.State) (n int) {
		for _, s := range steps {
			if s.State == state {
				n++
			}
		}
		return n
	}
	switch n, warnings := count(check.Wrong), count(check.Warning); {
	case n > 0:
		return &codedError{exitError, fmt.Errorf("it does not work: %d of %d steps fail", n, len(steps))}
	case warnings > 0:
		return &codedError{exitWarnings, fmt.Errorf("it works, with %s", number(int64(warnings), "warning"))}
	}
	return nil
}
