package main

import (
	"context"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/posthouse-mail/posthouse/smtp/report"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/api"
)

// reportVerbs is what these commands need of a house.
type reportVerbs interface {
	DMARCReports(context.Context, admin.ReportsRequest) ([]report.DMARCDigest, error)
	TLSReports(context.Context, admin.ReportsRequest) ([]report.TLSDigest, error)
}

func (p *program) reportsCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{Use: "reports", Short: "What other hosts report of your mail: who sends as you, how TLS goes"}
	cmd.AddCommand(p.reportsDMARC(o), p.reportsTLS(o), p.reportsLetter(o))
	return cmd
}

// reportArgs reads what both commands take.
func reportArgs(cmd *cobra.Command, r *admin.ReportsRequest) {
	cmd.Args = args(cobra.MaximumNArgs(1))
	cmd.Flags().IntVar(&r.Days, "days", 30, "of the last so many days, at most 90")
}

func (p *program) reportsDMARC(o *options) *cobra.Command {
	var r admin.ReportsRequest
	cmd := &cobra.Command{
		Use:   "dmarc [DOMAIN]",
		Short: "Tell who sends mail in a domain's name, what of it is proven, and what to do",
		RunE: func(cmd *cobra.Command, argv []string) error {
			r.Domain = strings.Join(argv, "")
			return p.with(cmd.Context(), o, func(v verbs) error {
				all, err := v.DMARCReports(cmd.Context(), r)
				if err != nil || o.json {
					return p.answer(o, all, err)
				}
				return eachApart(p, all, p.showDMARC)
			})
		},
	}
	reportArgs(cmd, &r)
	return cmd
}

// eachApart shows all, with an empty line between them.
func eachApart[T any](p *program, all []T, show func(T) error) error {
	for i, d := range all {
		if i > 0 {
			if err := p.say(""); err != nil {
				return err
			}
		}
		if err := show(d); err != nil {
			return err
		}
	}
	return nil
}

func (p *program) showDMARC(d report.DMARCDigest) error {
	if err := p.say("%s: %s", d.Domain, d.String()); err != nil {
		return err
	}
	for _, r := range d.Reporters[:min(len(d.Reporters), 10)] {
		if err := p.say("  reported by %s (%s): %s", printable(r.Name), printable(r.Sender), number(r.Messages, "message")); err != nil {
			return err
		}
	}
	if len(d.Sources) > 0 {
		var rows [][]string
		for _, s := range d.Sources {
			name := s.Name
			if s.Ours {
				name += " (this host)"
			}
			rows = append(rows, []string{s.Address, printable(strings.TrimSpace(name)), count(s.Count), count(s.DKIM), count(s.SPF), count(s.Failed), count(s.Refused)})
		}
		if err := table(p.stdout, "", []string{"source", "name", "messages", "DKIM", "SPF", "failed", "refused"}, rows); err != nil {
			return err
		}
	}
	if d.Other > 0 {
		if err := p.say("and %s of more sources", number(d.Other, "message")); err != nil {
			return err
		}
	}
	for _, s := range d.Sources {
		if s.Advice != "" {
			if err := p.say("%s: %s", s.Address, printable(s.Advice)); err != nil {
				return err
			}
		}
	}
	return p.sayAll(d.Advice)
}

func (p *program) sayAll(lines []string) error {
	for _, l := range lines {
		if err := p.say("%s", printable(l)); err != nil {
			return err
		}
	}
	return nil
}

func count(n int64) string { return strconv.FormatInt(n, 10) }

func (p *program) reportsTLS(o *options) *cobra.Command {
	var r admin.ReportsRequest
	cmd := &cobra.Command{
		Use:   "tls [DOMAIN]",
		Short: "Tell how TLS goes when others send mail to a domain, and what to do",
		RunE: func(cmd *cobra.Command, argv []string) error {
			r.Domain = strings.Join(argv, "")
			return p.with(cmd.Context(), o, func(v verbs) error {
				all, err := v.TLSReports(cmd.Context(), r)
				if err != nil || o.json {
					return p.answer(o, all, err)
				}
				return eachApart(p, all, p.showTLS)
			})
		},
	}
	reportArgs(cmd, &r)
	return cmd
}

func (p *program) showTLS(d report.TLSDigest) error {
	if err := p.say("%s: %s", d.Domain, d.String()); err != nil {
		return err
	}
	if len(d.Reporters) > 0 {
		if err := p.say("  reported by %s", printable(strings.Join(d.Reporters, ", "))); err != nil {
			return err
		}
	}
	for _, f := range d.Failures {
		words := count(f.Count) + " " + f.Type
		if f.Host != "" {
			words += " at " + f.Host
		}
		if f.Advice != "" {
			words += ": " + f.Advice
		}
		if err := p.say("  %s", printable(words)); err != nil {
			return err
		}
	}
	return p.sayAll(d.Advice)
}

func (p *program) reportsLetter(o *options) *cobra.Command {
	send := false
	cmd := &cobra.Command{
		Use:   "letter",
		Short: "Show the weekly letter to the postmaster as it would be now",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.running(cmd.Context(), o, func(c *api.Client) error {
				l, err := c.Letter(cmd.Context(), send)
				if err != nil || o.json {
					return p.answer(o, l, err)
				}
				if err := p.say("Subject: %s\n\n%s", printable(l.Subject), strings.TrimSuffix(l.Text, "\n")); err != nil {
					return err
				}
				if len(l.To) > 0 {
					return p.say("\nSent to %s.", printable(strings.Join(l.To, ", ")))
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&send, "send", false, "send it too, besides the one that is due")
	return cmd
}
