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

// ownVerbs is what a user's own pages show of an account.
type ownVerbs interface {
	MailNames(ctx context.Context, user string) (admin.MailNames, error)
	Space(ctx context.Context, user string) (admin.Space, error)
	Devices(ctx context.Context, user string) ([]admin.Device, error)
	ForgetDevice(ctx context.Context, user, id string) error
	Outbox(ctx context.Context, user string) ([]admin.OutboxMessage, error)
	SendWaiting(ctx context.Context, user string, uid uint32) error
	TakeBack(ctx context.Context, user string, uid uint32) error
	ChangePassword(ctx context.Context, user string, in admin.NewPassword) (admin.ChangedPassword, error)
	OwnStories(ctx context.Context, user string, q admin.OwnQuery) (admin.OwnStories, error)
	OwnStory(ctx context.Context, user, id string) (admin.OwnTraced, error)
}

// passwdAlone changes a password so that nothing else opens the account.
func (p *program) passwdAlone(ctx context.Context, o *options, v verbs, user, password string) error {
	c, err := v.ChangePassword(ctx, user, admin.NewPassword{Password: password, EndApps: true})
	if err != nil || o.json {
		return p.answer(o, c, err)
	}
	return p.say("password of %s changed, %s taken back", user, number(int64(c.Ended), "app password"))
}

func (p *program) accountDevices(o *options) *cobra.Command {
	var forget string
	cmd := &cobra.Command{
		Use:   "devices USER",
		Short: "List what has logged in to an account, or tried to",
		Long: `Lists a line for each device or program: what it calls itself, when and from where it was let in
last, and when it was turned away last and why. Times are exact to ten minutes.`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			return p.with(cmd.Context(), o, func(v verbs) error {
				if forget != "" {
					if err := v.ForgetDevice(cmd.Context(), argv[0], forget); err != nil || o.json {
						return p.answer(o, struct{}{}, err)
					}
					return p.say("device %s is out of the list; when it logs in again, it comes back", forget)
				}
				all, err := v.Devices(cmd.Context(), argv[0])
				if err != nil || o.json {
					return p.answer(o, all, err)
				}
				var rows [][]string
				for _, d := range all {
					rows = append(rows, []string{d.ID, d.Door, printable(d.Name), provedBy(d), lastGood(d), lastFailed(d)})
				}
				return table(p.stdout, "nothing has logged in", []string{"ID", "SERVICE", "NAME", "PASSWORD", "LET IN", "TURNED AWAY"}, rows)
			})
		},
	}
	cmd.Flags().StringVar(&forget, "forget", "", "take the device with this `ID` out of the list; it keeps nobody out")
	return cmd
}

func provedBy(d admin.Device) string {
	switch {
	case d.Seen.IsZero():
		return ""
	case d.App == 0:
		return "own"
	case d.AppIs == "":
		return fmt.Sprintf("app %d (taken back)", d.App)
	}
	return fmt.Sprintf("app %d (%s)", d.App, printable(d.AppIs))
}

func lastGood(d admin.Device) string {
	if d.Seen.IsZero() {
		return "never"
	}
	return strings.TrimSpace(moment(d.Seen) + " " + d.From)
}

func lastFailed(d admin.Device) string {
	if d.Failed.IsZero() {
		return "never"
	}
	why := map[string]string{"password": "wrong password", "door": "not allowed there", "code": "no code"}[d.FailedWhy]
	return strings.TrimSpace(moment(d.Failed)+" "+d.FailedFrom) + ": " + why
}

func (p *program) accountSpace(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "space USER",
		Short: "Tell what takes how much of an account, by mailbox",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			return p.with(cmd.Context(), o, func(v verbs) error {
				s, err := v.Space(cmd.Context(), argv[0])
				if err != nil || o.json {
					return p.answer(o, s, err)
				}
				rows := [][]string{{"all", amount(s.Usage.Bytes), strconv.FormatUint(s.Usage.Messages, 10)}}
				for _, b := range s.Mailboxes {
					rows = append(rows, []string{printable(b.Name), amount(b.Bytes), strconv.FormatUint(b.Messages, 10)})
				}
				return table(p.stdout, "", []string{"MAILBOX", "SPACE", "MESSAGES"}, rows)
			})
		},
	}
}

func (p *program) accountNames(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "names USER",
		Short: "List every name under which mail reaches an account",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			return p.with(cmd.Context(), o, func(v verbs) error {
				n, err := v.MailNames(cmd.Context(), argv[0])
				if err != nil || o.json {
					return p.answer(o, n, err)
				}
				var rows [][]string
				for _, a := range n.Addresses {
					rows = append(rows, []string{a, "own"})
				}
				for _, a := range n.Aliases {
					what := "alias"
					if a.Others > 0 {
						what = fmt.Sprintf("alias, with %d more", a.Others)
					}
					rows = append(rows, []string{a.Address, what})
				}
				for _, d := range n.Domains {
					rows = append(rows, []string{"@" + d, "other name of the domain"})
				}
				for _, d := range n.CatchAll {
					rows = append(rows, []string{"@" + d, "what nobody there has"})
				}
				return table(p.stdout, "", []string{"ADDRESS", "WHAT"}, rows)
			})
		},
	}
}

func (p *program) accountOutbox(o *options) *cobra.Command {
	var back, send uint32
	cmd := &cobra.Command{
		Use:   "outbox USER",
		Short: "List what waits in the Outbox of an account, take it back or send it",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			return p.with(cmd.Context(), o, func(v verbs) error {
				switch {
				case back != 0 && send != 0:
					return wrongUsage(cmd, errors.New("take it back or send it, not both"))
				case back != 0:
					if err := v.TakeBack(cmd.Context(), argv[0], back); err != nil || o.json {
						return p.answer(o, struct{}{}, err)
					}
					return p.say("message %d is a draft again", back)
				case send != 0:
					if err := v.SendWaiting(cmd.Context(), argv[0], send); err != nil || o.json {
						return p.answer(o, struct{}{}, err)
					}
					return p.say("message %d leaves now", send)
				}
				all, err := v.Outbox(cmd.Context(), argv[0])
				if err != nil || o.json {
					return p.answer(o, all, err)
				}
				var rows [][]string
				for _, m := range all {
					leaves := moment(m.Due)
					if m.Held {
						leaves = "held"
					}
					rows = append(rows, []string{strconv.FormatUint(uint64(m.UID), 10), strings.Join(m.To, " "), printable(m.Subject), leaves})
				}
				return table(p.stdout, "nothing waits", []string{"UID", "TO", "SUBJECT", "LEAVES"}, rows)
			})
		},
	}
	cmd.Flags().Uint32Var(&back, "take-back", 0, "take the message with this `UID` back: it is a draft then")
	cmd.Flags().Uint32Var(&send, "send", 0, "let the message with this `UID` go now")
	return cmd
}
