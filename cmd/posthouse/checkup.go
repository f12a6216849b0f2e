package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/check"
)

// exitWarnings: nothing is wrong, and something should be looked at.
const exitWarnings = 3

// checkupVerbs is what this command needs of a house.
type checkupVerbs interface {
	CheckUp(context.Context, admin.CheckupRequest) (check.Report, error)
	CheckClient(context.Context, admin.ClientCheck) (admin.ClientReport, error)
}

func (p *program) checkup(o *options) *cobra.Command {
	var quiet bool
	cmd := &cobra.Command{
		Use:   "check [DOMAIN...]",
		Short: "Look whether DNS, certificates, ports and this machine are as they should be, and say what to do",
		Long: `Look whether DNS, certificates, ports and this machine are as they should be, for all domains or those that are named, and say what to do.
It takes 20 seconds at most, and changes nothing.

Exit codes: 0 nothing is wrong, 1 something is, 2 wrong usage, 3 there are warnings only. What could not be seen (no network, DNS that does
not answer) is said and changes no code.`,
		Args: args(cobra.ArbitraryArgs),
		RunE: func(cmd *cobra.Command, argv []string) error {
			for _, word := range argv {
				if !strings.Contains(word, ".") {
					return wrongUsage(cmd, fmt.Errorf("%w, and that is no domain name", noCommand(cmd, []string{word})))
				}
			}
			return p.with(cmd.Context(), o, func(v verbs) error {
				r, err := v.CheckUp(cmd.Context(), admin.CheckupRequest{Domains: argv})
				if err != nil {
					return err
				}
				if o.json {
					err = writeJSON(p.stdout, r)
				} else {
					err = writeReport(p.stdout, r, quiet)
				}
				return errors.Join(err, verdict(r))
			})
		},
	}
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "say only what is wrong, and nothing when nothing is: for cron")
	return cmd
}

// verdict is the exit code of a report.
func verdict(r check.Report) error {
	switch wrong, warnings := r.Count(check.Wrong), r.Count(check.Warning); {
	case wrong > 0:
		return &codedError{exitError, fmt.Errorf("%d of %d checks found something wrong", wrong, len(r.Results))}
	case warnings > 0:
		verb := "are"
		if warnings == 1 {
			verb = "is"
		}
		return &codedError{exitWarnings, fmt.Errorf("nothing is wrong, and there %s %s", verb, number(int64(warnings), "warning"))}
	}
	return nil
}

// writeReport prints what each check found, below whom it is about.
func writeReport(w io.Writer, r check.Report, quiet bool) error {
	var b strings.Builder
	last := "\x00"
	for _, x := range r.Results {
		if quiet && (x.State == check.OK || x.State == check.Unseen) {
			continue
		}
		if x.Domain != last {
			last = x.Domain
			title := x.Domain
			if title == "" {
				title = r.Hostname + ", this machine"
			}
			if b.Len() > 0 {
				b.WriteByte('\n')
			}
			fmt.Fprintf(&b, "%s\n", title)
		}
		fmt.Fprintf(&b, "%-8s %-18s %s\n", stateWord(x.State), x.Check, x.Found)
		if x.Advice != "" && x.State != check.OK {
			fmt.Fprintf(&b, "%-8s %-18s -> %s\n", "", "", x.Advice)
		}
	}
	if !quiet {
		fmt.Fprintf(&b, "\n%d ok, %d wrong, %s, %d could not be seen\n", r.Count(check.OK), r.Count(check.Wrong), number(int64(r.Count(check.Warning)), "warning"), r.Count(check.Unseen))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// stateWord is a state as the list shows it: what is wrong is seen at once.
func stateWord(s check.State) string {
	switch s {
	case check.Wrong:
		return "WRONG"
	case check.Unseen:
		return "?"
	}
	return string(s)
}
