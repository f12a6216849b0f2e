package main

import (
	"context"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/api"
)

func (p *program) queueCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{Use: "queue", Short: "Mail that waits to leave", RunE: noSubcommand}
	cmd.AddCommand(p.queueList(o), p.queueShow(o))
	for _, a := range []struct{ action, done, short string }{
		{admin.Retry, "to be tried now", "Try entries now, and their hosts too"},
		{admin.Hold, "held", "Keep entries back until they are released"},
		{admin.Release, "released", "Let held entries go on"},
		{admin.Cancel, "cancelled", "Give entries up: the sender gets the message back"},
		{admin.SendNow, "to be sent now", "Send scheduled messages before their time"},
	} {
		cmd.AddCommand(p.queueAction(o, a.action, a.done, a.short))
	}
	return cmd
}

func (p *program) queueList(o *options) *cobra.Command {
	f := admin.QueueFilter{Limit: 500}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List what waits",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.Domain+f.Address+f.State == "" {
				return p.listQueue(cmd.Context(), o)
			}
			return p.with(cmd.Context(), o, func(v verbs) error {
				list, err := found(cmd.Context(), v, f)
				if err != nil || o.json {
					return p.answer(o, list, err)
				}
				return p.queueTable(list, "nothing waits that fits")
			})
		},
	}
	cmd.Flags().StringVar(&f.Domain, "domain", "", "what goes to this domain")
	cmd.Flags().StringVar(&f.Address, "address", "", "a part of the sender's address, or of a recipient's")
	cmd.Flags().StringVar(&f.State, "state", "", "tried (and to be tried again), held, or scheduled by its sender")
	return cmd
}

// found is all of the queue that fits.
func found(ctx context.Context, v verbs, f admin.QueueFilter) ([]admin.QueueEntry, error) {
	all := []admin.QueueEntry{}
	for {
		part, err := v.FindQueue(ctx, f)
		if err != nil {
			return nil, err
		}
		all = append(all, part.Entries...)
		if f.After = part.Next; f.After == "" {
			return all, nil
		}
	}
}

// listQueue shows what waits, and how much of it no house has seen yet.
func (p *program) listQueue(ctx context.Context, o *options) error {
	err := p.with(ctx, o, func(v verbs) error {
		list, err := v.Queue(ctx)
		if err != nil || o.json {
			return p.answer(o, list, err)
		}
		return p.queueTable(list, "the queue is empty")
	})
	if err != nil || o.json {
		return err
	}
	c, err := o.settings()
	if err != nil {
		return err
	}
	spooled, err := api.Spooled(c.Data)
	switch {
	case err != nil || len(spooled) == 0:
		return err
	case len(spooled) == 1:
		return p.say("1 message was handed in while no house ran; it is taken when one runs")
	}
	return p.say("%d messages were handed in while no house ran; they are taken when one runs", len(spooled))
}

func (p *program) queueTable(list []admin.QueueEntry, none string) error {
	var rows [][]string
	for _, e := range list {
		due := nextOf(e)
		rows = append(rows, []string{
			e.ID, "<" + e.From + ">", e.Domain, strconv.Itoa(len(e.Recipients)), amount(uint64(e.Size)), strconv.Itoa(e.Attempts), due, lastResult(e),
		})
	}
	return table(p.stdout, none, []string{"ID", "FROM", "TO", "RCPTS", "SIZE", "TRIES", "NEXT", "LAST RESULT"}, rows)
}

// nextOf is when an entry is tried next.
func nextOf(e admin.QueueEntry) string {
	switch {
	case e.Held:
		return "held"
	case e.Waits:
		return moment(e.Release) + " (scheduled)"
	}
	return moment(e.Due)
}

// lastResult is the first line of what the last attempt came to.
func lastResult(e admin.QueueEntry) string {
	for _, r := range e.Recipients {
		if r.Result != "" {
			line, _, _ := strings.Cut(r.Result, "\n")
			return line
		}
	}
	return ""
}

func (p *program) queueShow(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "show ID",
		Short: "Show one entry with every recipient",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			return p.with(cmd.Context(), o, func(v verbs) error {
				list, err := v.QueueEntry(cmd.Context(), argv[0])
				if err != nil || o.json {
					return p.answer(o, list, err)
				}
				for _, e := range list {
					if err := p.showEntry(e); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
}

func (p *program) showEntry(e admin.QueueEntry) error {
	due := nextOf(e)
	rows := [][]string{
		{"from", "<" + e.From + ">"},
		{"to", e.Domain},
		{"size", amount(uint64(e.Size))},
		{"created", moment(e.Created)},
		{"tries", strconv.Itoa(e.Attempts) + ", the last " + moment(e.Last)},
		{"next", due},
		{"given up", moment(e.Expires)},
	}
	for _, r := range e.Recipients {
		rows = append(rows, []string{"recipient", r.Address + "  " + printable(strings.ReplaceAll(r.Result, "\n", " "))})
		if r.Advice != "" {
			rows = append(rows, []string{"what to do", r.Advice})
		}
	}
	return table(p.stdout, "", []string{"entry", e.ID}, rows)
}

func (p *program) queueAction(o *options, action, done, short string) *cobra.Command {
	var all, silent bool
	use := action + " ID... | --all"
	if action == admin.SendNow {
		use = action + " ID..."
	}
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		RunE: func(cmd *cobra.Command, argv []string) error {
			if all == (len(argv) > 0) {
				return wrongUsage(cmd, errEither)
			}
			verb := action
			if silent {
				verb = admin.Drop
			}
			return p.with(cmd.Context(), o, func(v verbs) error {
				n, err := v.QueueAction(cmd.Context(), verb, argv)
				if err != nil || o.json {
					return p.answer(o, map[string]int{"entries": n}, err)
				}
				if n == 1 {
					return p.say("1 entry %s", done)
				}
				return p.say("%d entries %s", n, done)
			})
		},
	}
	if action == admin.SendNow {
		cmd.Args = args(cobra.MinimumNArgs(1))
	} else {
		cmd.Flags().BoolVar(&all, "all", false, "every entry")
	}
	if action == admin.Cancel {
		cmd.Flags().BoolVar(&silent, "silent", false, "do not tell the sender")
	}
	return cmd
}
