package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/posthouse-mail/posthouse/web/admin"
)

// auditVerbs are who changed what.
type auditVerbs interface {
	Audit(ctx context.Context, f admin.AuditFilter) (admin.AuditPage, error)
	Undo(ctx context.Context, u admin.Undo) (admin.AuditEntry, error)
}

func (p *program) auditCommand(o *options) *cobra.Command {
	var f admin.AuditFilter
	var since string
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Show who changed what, and take changes back",
		Long: `Shows the changes of this house, the last one first: its number, when, who and through which door
(command, socket, web, token, house), what he did to what, and the fields that are others since.
Secrets are not written down, only that they were changed.`,
		Example: `  posthouse audit
  posthouse audit --object anna@example.org --since 7d
  posthouse audit undo 17`,
		Args: args(noCommand),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if since != "" {
				if f.Since, err = pastMoment(since, time.Now()); err != nil {
					return wrongUsage(cmd, err)
				}
			}
			return p.with(cmd.Context(), o, func(v verbs) error { return p.showAudit(cmd.Context(), o, v, f) })
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&since, "since", "", "changes since then: 2h, 3d, 2026-05-01 or \"2026-05-01 14:30\"")
	flags.StringVar(&f.Who, "who", "", "changes by this user of the machine or account")
	flags.StringVar(&f.Object, "object", "", "changes of this account, address, list, or of all in this domain")
	flags.IntVar(&f.Limit, "limit", 50, "so many changes")
	cmd.AddCommand(p.auditUndo(o))
	return cmd
}

// showAudit asks for pages until there is enough: one page looks at a bounded part of the log.
func (p *program) showAudit(ctx context.Context, o *options, v verbs, f admin.AuditFilter) error {
	if f.Limit < 1 {
		return fmt.Errorf("--limit is a number from 1 on")
	}
	all := []admin.AuditEntry{}
	for want := f.Limit; ; {
		f.Limit = min(want-len(all), 1000)
		page, err := v.Audit(ctx, f)
		if err != nil {
			return err
		}
		all = append(all, page.Entries...)
		if page.Next == 0 || len(all) >= want {
			break
		}
		f.Before = page.Next
	}
	if o.json {
		return writeJSON(p.stdout, all)
	}
	if len(all) == 0 {
		return p.say("no changes")
	}
	for i := range all {
		if err := p.sayEntry(&all[i]); err != nil {
			return err
		}
	}
	return nil
}

// sayEntry is a line for the change and one for each field.
func (p *program) sayEntry(e *admin.AuditEntry) error {
	who := e.Actor.Name + " (" + e.Actor.Door + ")"
	if e.Actor.Remote != "" {
		who = e.Actor.Name + " (" + e.Actor.Door + ", " + e.Actor.Remote + ")"
	}
	lines := []string{strings.TrimSpace(fmt.Sprintf("%d  %s  %s  %s  %s", e.Number, moment(e.At), who, e.Verb, e.Object))}
	if e.Note != "" {
		lines = append(lines, "      "+e.Note)
	}
	for _, c := range e.Changes() {
		switch {
		case c.Was == "":
			lines = append(lines, fmt.Sprintf("      %s: %s", c.Name, c.Is))
		case c.Is == "":
			lines = append(lines, fmt.Sprintf("      %s: none, was %s", c.Name, c.Was))
		default:
			lines = append(lines, fmt.Sprintf("      %s: %s, was %s", c.Name, c.Is, c.Was))
		}
	}
	if e.Undoes != 0 {
		lines = append(lines, fmt.Sprintf("      takes back change %d", e.Undoes))
	}
	if e.Undone != 0 {
		lines = append(lines, fmt.Sprintf("      taken back by change %d", e.Undone))
	}
	return p.sayAll(lines)
}

func (p *program) auditUndo(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "undo NUMBER",
		Short: "Take a change back",
		Long: `Takes a change of the audit log back: the fields that it changed are as they were before, what it
made goes, what it removed is made again. Nothing is done where one of those fields was changed
again since. Passwords and keys do not come back, since they were never written down; neither does
mail, which posthouse undelete and posthouse restore bring back.`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			n, err := strconv.ParseUint(argv[0], 10, 64)
			if err != nil {
				return wrongUsage(cmd, fmt.Errorf("%q is no number of a change: posthouse audit shows them", argv[0]))
			}
			return p.with(cmd.Context(), o, func(v verbs) error {
				e, err := v.Undo(cmd.Context(), admin.Undo{Number: n})
				if err != nil || o.json {
					return p.answer(o, e, err)
				}
				return p.sayEntry(&e)
			})
		},
	}
}
