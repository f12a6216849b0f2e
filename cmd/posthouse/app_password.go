package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/posthouse-mail/posthouse/internal/config"
	"github.com/posthouse-mail/posthouse/web/admin"
)

// factorVerbs is what else than a password an account is opened with.
type factorVerbs interface {
	certificateVerbs
	AppPasswords(ctx context.Context, user string) ([]admin.AppPassword, error)
	AddAppPassword(ctx context.Context, user string, in admin.NewAppPassword) (admin.MadeAppPassword, error)
	RemoveAppPassword(ctx context.Context, user string, number uint32) (admin.AppPassword, error)
	SetPasswordHash(ctx context.Context, user, hash string) error
	SecondFactor(ctx context.Context, user string) (admin.SecondFactor, error)
	RemoveSecondFactor(ctx context.Context, user string) (admin.SecondFactor, error)
}

func (p *program) appPassword(o *options) *cobra.Command {
	cmd := &cobra.Command{Use: "app-password", Short: "App passwords: one for each program of an account", RunE: noSubcommand}
	cmd.AddCommand(p.appPasswordAdd(o), p.appPasswordList(o), p.appPasswordRemove(o))
	return cmd
}

func (p *program) appPasswordAdd(o *options) *cobra.Command {
	var in admin.NewAppPassword
	var expires string
	cmd := &cobra.Command{
		Use:   "add ACCOUNT NAME",
		Short: "Make an app password for the program called NAME; it is shown this once",
		Args:  args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			in.Name = argv[1]
			if expires != "" {
				at, err := end(expires, time.Now())
				if err != nil {
					return wrongUsage(cmd, err)
				}
				in.Expires = &at
			}
			return p.with(cmd.Context(), o, func(v verbs) error {
				made, err := v.AddAppPassword(cmd.Context(), argv[0], in)
				if err != nil || o.json {
					return p.answer(o, made, err)
				}
				return p.say("%s", made.Password)
			})
		},
	}
	cmd.Flags().StringSliceVar(&in.Doors, "doors", nil, "services it opens: imap, pop3, submission (default all three)")
	cmd.Flags().StringVar(&expires, "expires", "", "when it ends: a `DATE` as 2027-01-31, or a time from now as 90d (default never)")
	return cmd
}

// end reads a day, whose last moment is meant, or a time from now.
func end(s string, now time.Time) (time.Time, error) {
	if day, err := time.ParseInLocation(time.DateOnly, s, time.Local); err == nil {
		return day.AddDate(0, 0, 1).Add(-time.Second), nil
	}
	var d config.Duration
	if err := d.UnmarshalText([]byte(s)); err != nil || d.Duration <= 0 {
		return time.Time{}, fmt.Errorf("%q is no end: write a day as 2027-01-31, or a time from now as 90d", s)
	}
	return now.Add(d.Duration), nil
}

func (p *program) appPasswordList(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "list ACCOUNT",
		Short: "List the app passwords of an account",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			return p.with(cmd.Context(), o, func(v verbs) error {
				all, err := v.AppPasswords(cmd.Context(), argv[0])
				if err != nil || o.json {
					return p.answer(o, all, err)
				}
				var rows [][]string
				for _, a := range all {
					rows = append(rows, []string{strconv.FormatUint(uint64(a.Number), 10), a.Name, strings.Join(a.Doors, " "), moment(a.Created), endOf(a), lastUse(a)})
				}
				return table(p.stdout, "no app passwords", []string{"NUMBER", "NAME", "SERVICES", "MADE", "ENDS", "LAST USED"}, rows)
			})
		},
	}
}

func endOf(a admin.AppPassword) string {
	switch {
	case a.Expires == nil:
		return "never"
	case a.Expired:
		return "has ended"
	}
	return moment(*a.Expires)
}

func lastUse(a admin.AppPassword) string {
	if a.Last == nil {
		return "never"
	}
	return strings.TrimSpace(moment(a.Last.At) + " " + a.Last.Door + " " + a.Last.From)
}

func (p *program) appPasswordRemove(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "remove ACCOUNT NUMBER",
		Short: "Revoke an app password; what it has opened ends at once",
		Args:  args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			n, err := strconv.ParseUint(argv[1], 10, 32)
			if err != nil {
				return wrongUsage(cmd, fmt.Errorf("%q is no number of an app password: posthouse account app-password list %s shows them", argv[1], argv[0]))
			}
			return p.with(cmd.Context(), o, func(v verbs) error {
				a, err := v.RemoveAppPassword(cmd.Context(), argv[0], uint32(n))
				if err != nil || o.json {
					return p.answer(o, a, err)
				}
				return p.say("app password %d (%s) is revoked", a.Number, a.Name)
			})
		},
	}
}
