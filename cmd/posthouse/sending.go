package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/posthouse-mail/posthouse/web/admin"
)

// sendingVerbs are how much may leave, and to whom.
type sendingVerbs interface {
	AccountLimits(ctx context.Context, user string) (admin.Sending, error)
	SetAccountLimits(ctx context.Context, user string, c admin.SendChange) (admin.Sending, error)
	SetSending(ctx context.Context, user string, s admin.SendSwitch) (admin.Sending, error)
	DomainLimits(ctx context.Context, name string) (admin.Sending, error)
	SetDomainLimits(ctx context.Context, name string, c admin.SendChange) (admin.Sending, error)
	Suppressions(ctx context.Context, watched bool) ([]admin.Suppression, error)
	AddSuppression(ctx context.Context, in admin.Suppress) (admin.Suppression, error)
	RemoveSuppression(ctx context.Context, address string) error
}

// limitFlags are the flags that set limits.
type limitFlags map[string]*string

func (f limitFlags) add(cmd *cobra.Command) {
	for name, text := range map[string]string{
		"messages_per_hour": "messages within an hour", "messages_per_day": "messages within 24 hours", "recipients_per_hour": "recipients outside within an hour",
		"recipients_per_day": "recipients outside within 24 hours", "new_recipients_per_day": "recipients within 24 hours who were never written to before",
	} {
		f[name] = cmd.Flags().String(strings.ReplaceAll(name, "_", "-"), "", "most "+text+": a `NUMBER`, none, or default")
	}
}

// change is what was said.
func (f limitFlags) change(cmd *cobra.Command) (admin.SendChange, error) {
	c := admin.SendChange{}
	for name, value := range f {
		flag := strings.ReplaceAll(name, "_", "-")
		if !cmd.Flags().Changed(flag) {
			continue
		}
		switch *value {
		case "default":
			c[name] = admin.LimitDefault
		case "none":
			c[name] = admin.LimitNone
		default:
			n, err := strconv.ParseInt(*value, 10, 64)
			if err != nil || n < 1 {
				return nil, wrongUsage(cmd, fmt.Errorf("--%s: %q is no limit: write a number from 1 on, none, or default", flag, *value))
			}
			c[name] = n
		}
	}
	return c, nil
}

// limitsCommand shows and sets limits of an account or a domain.
func (p *program) limitsCommand(o *options, cmd *cobra.Command, show func(sendingVerbs, context.Context, string) (admin.Sending, error),
	set func(sendingVerbs, context.Context, string, admin.SendChange) (admin.Sending, error)) *cobra.Command {
	f := limitFlags{}
	f.add(cmd)
	cmd.Args = args(cobra.ExactArgs(1))
	cmd.RunE = func(cmd *cobra.Command, argv []string) error {
		c, err := f.change(cmd)
		if err != nil {
			return err
		}
		return p.with(cmd.Context(), o, func(v verbs) error {
			s, err := show(v, cmd.Context(), argv[0])
			if err == nil && len(c) > 0 {
				s, err = set(v, cmd.Context(), argv[0], c)
			}
			if err != nil || o.json {
				return p.answer(o, s, err)
			}
			return p.showSending(s)
		})
	}
	return cmd
}

func (p *program) accountLimits(o *options) *cobra.Command {
	return p.limitsCommand(o, &cobra.Command{
		Use:   "limits USER",
		Short: "Show or set how much an account may send",
		Long: `Shows what an account has sent, and what it may send, or sets limits for it alone. Those that are
not set are the settings' (sending.*). A limit that is reached opens again by itself: the window slides.`,
	}, sendingVerbs.AccountLimits, sendingVerbs.SetAccountLimits)
}

func (p *program) domainLimits(o *options) *cobra.Command {
	return p.limitsCommand(o, &cobra.Command{
		Use:   "limits DOMAIN",
		Short: "Show or set how much all accounts of a domain may send together",
		Long: `Limits what all accounts of a domain send together, beside the limits of each. There are none
unless they are set here; what is sent is counted from then on.`,
	}, sendingVerbs.DomainLimits, sendingVerbs.SetDomainLimits)
}

func (p *program) showSending(s admin.Sending) error {
	head := []string{"account", s.Account}
	if s.Domain != "" {
		head = []string{"domain", s.Domain}
	}
	var rows [][]string
	if s.Off != "" {
		rows = append(rows, []string{"sending", sendingOff(s.Off, moment(s.Since))})
	}
	for _, l := range s.Limits {
		most := "no limit"
		if l.Most > 0 {
			most = strconv.FormatInt(l.Most, 10)
		}
		if l.Own {
			most += " (its own)"
		}
		rows = append(rows, []string{strings.ReplaceAll(l.Name, "_", " "), strconv.FormatInt(l.Used, 10) + " of " + most})
	}
	if s.Refused > 0 {
		rows = append(rows, []string{"refused within 24 hours", strconv.FormatInt(s.Refused, 10)})
	}
	return table(p.stdout, "", head, rows)
}

func sendingOff(reason, since string) string { return "off since " + since + ": " + reason }

func (p *program) accountSend(o *options) *cobra.Command {
	var s admin.SendSwitch
	cmd := &cobra.Command{
		Use:   "send USER on|off",
		Short: "Keep an account from sending, or let it send again",
		Long: `Keeps an account from sending, on all ways; it goes on receiving and reading. The house does so by
itself when mail looks as if somebody else had the password (sending.suspend_at). Before you let it
send again: a new password (posthouse account passwd), and a look at what waits (posthouse queue list).`,
		Args: args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			if s.On = argv[1] == "on"; !s.On && argv[1] != "off" {
				return wrongUsage(cmd, errors.New("say on or off"))
			}
			return p.with(cmd.Context(), o, func(v verbs) error {
				out, err := v.SetSending(cmd.Context(), argv[0], s)
				if err != nil || o.json {
					return p.answer(o, out, err)
				}
				if out.Off != "" {
					return p.say("%s may not send: %s", out.Account, out.Off)
				}
				return p.say("%s may send", out.Account)
			})
		},
	}
	cmd.Flags().StringVar(&s.Reason, "reason", "", "why not, for its user")
	return cmd
}

func (p *program) suppressionCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{Use: "suppression", Short: "Addresses outside that did not exist when they were tried", RunE: noSubcommand}
	cmd.AddCommand(p.suppressionList(o), p.suppressionAdd(o), p.suppressionRemove(o))
	return cmd
}

func (p *program) suppressionList(o *options) *cobra.Command {
	var watched bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the addresses that are not tried now",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.with(cmd.Context(), o, func(v verbs) error {
				list, err := v.Suppressions(cmd.Context(), watched)
				if err != nil || o.json {
					return p.answer(o, list, err)
				}
				var rows [][]string
				for _, e := range list {
					rows = append(rows, suppressionRow(e))
				}
				return table(p.stdout, "no address is suppressed", []string{"ADDRESS", "FOR", "UNTIL", "TRIED", "WHY"}, rows)
			})
		},
	}
	cmd.Flags().BoolVar(&watched, "watched", false, "those too that failed and are not suppressed yet, or any more")
	return cmd
}

func suppressionRow(e admin.Suppression) []string {
	whom := "its sender"
	if e.Everybody() {
		whom = "everybody"
	}
	until := moment(e.Until)
	if e.Forever() {
		until = "for ever"
	}
	why := strings.TrimSpace(e.Host + ": " + e.Text)
	switch {
	case e.Manual && e.Note != "":
		why = e.Note
	case e.Manual:
		why = "by hand"
	}
	tried := "-"
	if e.Days > 0 {
		tried = moment(e.Last)
	}
	return []string{e.Address, whom, until, tried, why}
}

func (p *program) suppressionAdd(o *options) *cobra.Command {
	var in admin.Suppress
	cmd := &cobra.Command{
		Use:   "add ADDRESS",
		Short: "Let nobody here write to an address outside",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			in.Address = argv[0]
			return p.with(cmd.Context(), o, func(v verbs) error {
				e, err := v.AddSuppression(cmd.Context(), in)
				if err != nil || o.json {
					return p.answer(o, e, err)
				}
				return p.say("%s is suppressed", e.Address)
			})
		},
	}
	cmd.Flags().IntVar(&in.Days, "days", 0, "for so many days; 0 is for ever")
	cmd.Flags().StringVar(&in.Note, "note", "", "why, for those who want to write to it")
	return cmd
}

func (p *program) suppressionRemove(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "remove ADDRESS",
		Short: "Take an address off the list: the next message to it is tried",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			return p.with(cmd.Context(), o, func(v verbs) error {
				if err := v.RemoveSuppression(cmd.Context(), argv[0]); err != nil || o.json {
					return p.answer(o, struct{}{}, err)
				}
				return p.say("%s can be written to again", argv[0])
			})
		},
	}
}
