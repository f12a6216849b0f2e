package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/hook"
)

// webhookVerbs are who is told of events.
type webhookVerbs interface {
	AddWebhook(ctx context.Context, in admin.NewWebhook) (admin.MadeWebhook, error)
	Webhooks(ctx context.Context) ([]admin.Webhook, error)
	RemoveWebhook(ctx context.Context, id string) error
	RotateWebhook(ctx context.Context, id string) (admin.MadeWebhook, error)
	TestWebhook(ctx context.Context, id string) (admin.WebhookTest, error)
}

func (p *program) webhookCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{Use: "webhook", Short: "Programs elsewhere that are told what happens to mail", RunE: noSubcommand}
	cmd.AddCommand(p.webhookAdd(o), p.webhookList(o), p.webhookRotate(o), p.webhookRemove(o), p.webhookTest(o))
	return cmd
}

func (p *program) webhookAdd(o *options) *cobra.Command {
	var in admin.NewWebhook
	cmd := &cobra.Command{
		Use:   "add URL",
		Short: "Send events to an address",
		Long: `Has the house send a POST with JSON to URL for each event: ` + strings.Join(hook.Events()[:3], ", ") + `,
` + strings.Join(hook.Events()[3:], ", ") + `. Each is signed as the Standard Webhooks specification
says, with the secret that is shown now and never again. What is not taken is tried again for three
days. Addresses in private networks and on this host are refused unless --private allows them.`,
		Example: `  posthouse webhook add https://hooks.example.org/mail --events bounced,complaint`,
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			in.URL = argv[0]
			return p.with(cmd.Context(), o, func(v verbs) error {
				w, err := v.AddWebhook(cmd.Context(), in)
				if err != nil || o.json {
					return p.answer(o, w, err)
				}
				lines := []string{
					"webhook  " + w.ID, "events   " + strings.Join(w.Events, ", "), "secret   " + w.Secret,
					"It is shown this once. To see that it works: posthouse webhook test " + w.ID,
				}
				if w.Note != "" {
					lines = append(lines, "note     "+w.Note)
				}
				return p.sayAll(lines)
			})
		},
	}
	cmd.Flags().StringSliceVar(&in.Events, "events", nil, "which (default all)")
	cmd.Flags().BoolVar(&in.Private, "private", false, "the address may be in a private network or on this host, and http")
	return cmd
}

func (p *program) webhookList(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List webhooks, and how they do",
		Args:  args(noCommand),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.with(cmd.Context(), o, func(v verbs) error {
				all, err := v.Webhooks(cmd.Context())
				if err != nil || o.json {
					return p.answer(o, all, err)
				}
				var rows [][]string
				for _, w := range all {
					how := "nothing was sent yet"
					switch {
					case w.Error != "":
						how = "failed at " + moment(w.Bad) + ": " + w.Error
					case !w.Good.IsZero():
						how = "taken at " + moment(w.Good)
					}
					if w.Note != "" {
						how += "; " + w.Note
					}
					if w.Lost > 0 {
						how += fmt.Sprintf(" (%d given up)", w.Lost)
					}
					rows = append(rows, []string{w.ID, strconv.Itoa(w.Waiting), strings.Join(w.Events, " "), w.URL, how})
				}
				return table(p.stdout, "no webhooks", []string{"WEBHOOK", "WAITING", "EVENTS", "ADDRESS", "LAST"}, rows)
			})
		},
	}
}

func (p *program) webhookRotate(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "rotate ID",
		Short: "Give a webhook a new secret",
		Long: `Makes a new secret for the signatures of a webhook, and shows it, this once. For a day the former
one signs too (each event has both signatures), so that the other side can change in between.`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			return p.with(cmd.Context(), o, func(v verbs) error {
				w, err := v.RotateWebhook(cmd.Context(), argv[0])
				if err != nil || o.json {
					return p.answer(o, w, err)
				}
				return p.sayAll([]string{"webhook  " + w.ID, "secret   " + w.Secret, "It is shown this once. The former one signs too for a day."})
			})
		},
	}
}

func (p *program) webhookRemove(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "remove ID",
		Short: "Send an address no events any more; what waits for it is dropped",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			return p.with(cmd.Context(), o, func(v verbs) error {
				if err := v.RemoveWebhook(cmd.Context(), argv[0]); err != nil || o.json {
					return p.answer(o, struct{}{}, err)
				}
				return p.say("webhook %s removed", argv[0])
			})
		},
	}
}

func (p *program) webhookTest(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "test ID",
		Short: "Send a test event now, and say what the other side answers",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			return p.with(cmd.Context(), o, func(v verbs) error {
				t, err := v.TestWebhook(cmd.Context(), argv[0])
				if err != nil {
					return err
				}
				if o.json {
					err = writeJSON(p.stdout, t)
				}
				switch {
				case err != nil:
					return err
				case t.Error != "":
					return fmt.Errorf("webhook %s: %s", argv[0], t.Error)
				case o.json:
					return nil
				}
				return p.say("webhook %s took it (%d)", argv[0], t.Status)
			})
		},
	}
}
