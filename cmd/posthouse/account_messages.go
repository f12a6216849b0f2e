package main

import (
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/posthouse-mail/posthouse/store/story"
	"github.com/posthouse-mail/posthouse/web/admin"
)

func (p *program) accountMessages(o *options) *cobra.Command {
	q := admin.OwnQuery{Limit: 20}
	var day string
	cmd := &cobra.Command{
		Use:   "messages USER [ID]",
		Short: "Tell what happened to the messages of an account, as its user sees it",
		Long: `Lists what the account has sent and what was for it, the newest first, as the page of its user does;
with an ID, tells what happened to that message. What others alone may know is left out: posthouse
trace has all.`,
		Args: args(cobra.RangeArgs(1, 2)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			if day != "" {
				at, err := time.Parse(time.DateOnly, day)
				if err != nil {
					return wrongUsage(cmd, errors.New("a day is written like 2026-11-22"))
				}
				q.Since, q.Before = at, at.AddDate(0, 0, 1)
			}
			return p.with(cmd.Context(), o, func(v verbs) error {
				if len(argv) == 2 {
					t, err := v.OwnStory(cmd.Context(), argv[0], argv[1])
					if err != nil || o.json {
						return p.answer(o, t, err)
					}
					return p.showTrace(admin.Traced{Story: story.Story{Message: t.Message, Events: t.Events}, Outcome: t.Outcome})
				}
				found, err := v.OwnStories(cmd.Context(), argv[0], q)
				if err != nil || o.json {
					return p.answer(o, found, err)
				}
				var rows [][]string
				for _, m := range found.Messages {
					whom := "from " + m.From
					if m.Sent {
						whom = "to " + strings.Join(m.To, " ")
					}
					rows = append(rows, []string{m.ID, moment(m.At), printable(whom), printable(m.Subject)})
				}
				if err := table(p.stdout, "there is nothing", []string{"ID", "TIME", "WITH", "SUBJECT"}, rows); err != nil || found.Next == "" {
					return err
				}
				return p.say("there may be more: --from %s goes on", found.Next)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&q.With, "with", "", "only with this part of the other one's `ADDRESS`")
	f.StringVar(&q.Subject, "subject", "", "only with this `TEXT` in the subject")
	f.StringVar(&day, "day", "", "only of this `DAY` (UTC), such as 2026-11-22")
	f.StringVar(&q.From, "from", "", "`WHERE` the page before has ended")
	f.IntVar(&q.Limit, "limit", q.Limit, "at most so many")
	return cmd
}
