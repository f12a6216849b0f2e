package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/posthouse-mail/posthouse/web/admin"
)

// spamVerbs are how mail from outside is judged.
type spamVerbs interface {
	SpamStats(context.Context) (admin.SpamStats, error)
	ExplainSpam(context.Context, admin.SpamQuestion) (admin.SpamExplained, error)
	SpamSettings(context.Context, string) (admin.SpamSettings, error)
	SetSpam(context.Context, string, admin.SpamChange) (admin.SpamSettings, error)
	SpamRefused(context.Context, string) ([]admin.Refusal, error)
	SpamSenders(context.Context, string) ([]admin.SpamSender, error)
	SetSpamSender(context.Context, string, admin.SpamSender) (admin.SpamSender, error)
	RemoveSpamSender(ctx context.Context, user, sender string) error
	TrainSpam(ctx context.Context, user string, anew bool) (admin.SpamTrained, error)
}

func (p *program) spamCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "spam",
		Short: "How mail from outside is judged: why, whom to let in, what was learned",
		RunE:  noSubcommand,
	}
	cmd.AddCommand(p.spamExplain(o), p.spamRefused(o), p.spamSender(o, false), p.spamSender(o, true), p.spamForget(o), p.spamSenders(o),
		p.spamTrain(o), p.spamSet(o), p.spamStats(o))
	return cmd
}

// maxExplained is how much of a file is looked at: the judge looks at less.
const maxExplained = 512 << 10

func (p *program) spamExplain(o *options) *cobra.Command {
	var account string
	cmd := &cobra.Command{
		Use:   "explain MESSAGE | MAILBOX/UID | FILE | -",
		Short: "Judge a message again and tell every reason",
		Long: `Judges a message as it would be judged now, and tells every reason with its score. The message
is named by the id of its transaction (as in the log and in its Received field) or its Message-ID,
with --account by mailbox and uid, or it is read from a file or from standard input.`,
		Example: `  posthouse spam explain "<20260102.abc@shop.example>"
  posthouse spam explain --account alice@example.org Junk/17
  posthouse spam explain --account alice@example.org message.eml`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			q, err := p.spamQuestion(account, argv[0])
			if err != nil {
				return err
			}
			return p.with(cmd.Context(), o, func(v verbs) error {
				e, err := v.ExplainSpam(cmd.Context(), q)
				if err != nil || o.json {
					return p.answer(o, e, err)
				}
				return p.showExplained(e)
			})
		},
	}
	cmd.Flags().StringVar(&account, "account", "", "whose message it is; what this `ACCOUNT` knows counts")
	return cmd
}

// spamQuestion reads the file that is named, if there is one.
func (p *program) spamQuestion(account, name string) (admin.SpamQuestion, error) {
	q := admin.SpamQuestion{Account: account, Message: name}
	var in io.Reader = p.stdin
	if name != "-" {
		f, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) || err != nil && strings.HasPrefix(name, "<") {
			return q, nil
		}
		if err != nil {
			return q, err
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, maxExplained))
	if err == nil && len(text) == 0 {
		err = errors.New("the message is empty")
	}
	q.Message, q.Text = "", text
	return q, err
}

func (p *program) showExplained(e admin.SpamExplained) error {
	rows := [][]string{{"subject", e.Subject}}
	if e.Account != "" {
		rows = append(rows, []string{"account", e.Account})
	}
	if e.Mailbox != "" {
		rows = append(rows, []string{"mailbox", fmt.Sprintf("%s, uid %d", e.Mailbox, e.UID)})
	}
	verdict := fmt.Sprintf("%s: %.1f, and the line is %.1f", e.Class, e.Score, e.Line)
	if e.Off {
		verdict += "; the account's mail is not judged"
	}
	if e.Unjudged != "" {
		verdict += "; it was not judged when it came: " + e.Unjudged
	}
	rows = append(rows, []string{"verdict", verdict})
	for _, x := range []struct {
		is   bool
		name string
		text string
	}{
		{e.Known, "sender", "a known correspondent"}, {e.FirstContact, "sender", "never seen before"}, {e.Phishing, "pretends", "to be somebody else"},
		{e.LetIn != "", "let in", e.LetIn}, {e.KeptOut != "", "shut out", e.KeptOut}, {e.Learned != "", "learned", "as " + e.Learned},
	} {
		if x.is {
			rows = append(rows, []string{x.name, x.text})
		}
	}
	if err := table(p.stdout, "", []string{"author", e.Author}, rows); err != nil {
		return err
	}
	rows = rows[:0]
	for _, s := range e.Signals {
		rows = append(rows, []string{fmt.Sprintf("%+.1f", s.Score), s.Name, s.Text})
	}
	if err := p.say(""); err != nil {
		return err
	}
	if err := table(p.stdout, "Nothing speaks for junk, and nothing against.", []string{"SCORE", "SIGNAL", "WHY"}, rows); err != nil {
		return err
	}
	return p.showTokens(e)
}

func (p *program) showTokens(e admin.SpamExplained) error {
	k := e.Knowledge
	if e.Account == "" {
		return nil
	}
	if err := p.say("\nThe account has taught %s as good and %s as junk.", number(int64(k.Good), "message"), number(int64(k.Junk), "message")); err != nil || len(e.Tokens) == 0 {
		return err
	}
	var rows [][]string
	for _, t := range e.Tokens {
		rows = append(rows, []string{t.Text, strconv.Itoa(t.Good), strconv.Itoa(t.Junk), fmt.Sprintf("%.0f %%", t.Chance*100)})
	}
	return table(p.stdout, "", []string{"WORD", "IN GOOD", "IN JUNK", "JUNK WITH IT"}, rows)
}

func (p *program) spamRefused(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "refused ACCOUNT",
		Short: "List who was refused in the last days, or had to come again, and why",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			return p.with(cmd.Context(), o, func(v verbs) error {
				list, err := v.SpamRefused(cmd.Context(), argv[0])
				if err != nil || o.json {
					return p.answer(o, list, err)
				}
				var rows [][]string
				for _, r := range list {
					state := ""
					if r.LetIn {
						state = "let in from now on"
					}
					rows = append(rows, []string{moment(r.Last), strconv.Itoa(r.Count), r.Sender, short(r.Subject, 40), short(r.Reason, 60), state})
				}
				if err := table(p.stdout, "Nobody was refused in the last days.", []string{"LAST", "TIMES", "SENDER", "SUBJECT", "WHY", ""}, rows); err != nil || len(rows) == 0 {
					return err
				}
				return p.say("To let one in: posthouse spam allow %s SENDER", argv[0])
			})
		},
	}
}

func (p *program) spamSender(o *options, block bool) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "allow ACCOUNT SENDER | DOMAIN ...",
		Short: "Let mail of senders in, as far as it is proven to be theirs",
		Args:  args(cobra.MinimumNArgs(2)),
	}
	says := "mail of %s is let in"
	if block {
		cmd.Use, cmd.Short, says = "block ACCOUNT SENDER | DOMAIN ...", "Put mail of senders into Junk", "mail of %s goes to Junk"
	}
	cmd.RunE = func(cmd *cobra.Command, argv []string) error {
		return p.with(cmd.Context(), o, func(v verbs) error {
			done := []admin.SpamSender{}
			for _, sender := range argv[1:] {
				s, err := v.SetSpamSender(cmd.Context(), argv[0], admin.SpamSender{Sender: sender, Blocked: block})
				if err != nil {
					return err
				}
				done = append(done, s)
				if !o.json {
					if err := p.say(says, s.Sender); err != nil {
						return err
					}
				}
			}
			return p.answer(o, done, nil)
		})
	}
	return cmd
}

func (p *program) spamForget(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "forget ACCOUNT SENDER | DOMAIN",
		Short: "Take back what allow or block said of a sender",
		Args:  args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			return p.with(cmd.Context(), o, func(v verbs) error {
				return p.answer(o, struct{}{}, v.RemoveSpamSender(cmd.Context(), argv[0], argv[1]))
			})
		},
	}
}

func (p *program) spamSenders(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "senders ACCOUNT",
		Short: "List whom the account lets in and shuts out",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			return p.with(cmd.Context(), o, func(v verbs) error {
				list, err := v.SpamSenders(cmd.Context(), argv[0])
				if err != nil || o.json {
					return p.answer(o, list, err)
				}
				var rows [][]string
				for _, s := range list {
					what := "let in"
					if s.Blocked {
						what = "shut out"
					}
					rows = append(rows, []string{s.Sender, what, moment(s.Made)})
				}
				return table(p.stdout, "Nothing is said of any sender.", []string{"SENDER", "IS", "SINCE"}, rows)
			})
		},
	}
}

func (p *program) spamTrain(o *options) *cobra.Command {
	var anew bool
	cmd := &cobra.Command{
		Use:   "train ACCOUNT",
		Short: "Learn from the mail that is there: Junk, and what was read and filed",
		Long: `Teaches the judge from the account's mailboxes, up to 2,000 messages of a kind, the newest: what is
in Junk is junk; what was read in INBOX or filed elsewhere is good. What was learned before is not
learned twice. It is of use for mail that was imported, and after side.db was lost.`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			return p.with(cmd.Context(), o, func(v verbs) error {
				t, err := v.TrainSpam(cmd.Context(), argv[0], anew)
				if err != nil || o.json {
					return p.answer(o, t, err)
				}
				return p.say("%s read as good, %s as junk; in all, %d good and %d junk are learned", number(int64(t.Good), "message"), number(int64(t.Junk), "message"), t.State.Good, t.State.Junk)
			})
		},
	}
	cmd.Flags().BoolVar(&anew, "anew", false, "forget what was learned of the account before, its correspondents too")
	return cmd
}

func (p *program) spamSet(o *options) *cobra.Command {
	var off, on bool
	var line float64
	cmd := &cobra.Command{
		Use:   "set ACCOUNT",
		Short: "Show or change how an account's mail is judged",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			if on && off {
				return wrongUsage(cmd, errors.New("say one of --on and --off"))
			}
			var c admin.SpamChange
			if on || off {
				c.Off = &off
			}
			if cmd.Flags().Changed("line") {
				c.Line = &line
			}
			return p.with(cmd.Context(), o, func(v verbs) (err error) {
				var s admin.SpamSettings
				if c == (admin.SpamChange{}) {
					s, err = v.SpamSettings(cmd.Context(), argv[0])
				} else {
					s, err = v.SetSpam(cmd.Context(), argv[0], c)
				}
				if err != nil || o.json {
					return p.answer(o, s, err)
				}
				return p.say("%s", spamWords(s))
			})
		},
	}
	f := cmd.Flags()
	f.BoolVar(&on, "on", false, "judge the account's mail")
	f.BoolVar(&off, "off", false, "do not judge it: all of it goes to INBOX")
	f.Float64Var(&line, "line", 0, "score from which it goes to Junk; 0: the line of the house")
	return cmd
}

func spamWords(s admin.SpamSettings) string {
	switch {
	case !s.Enabled:
		return "nobody's mail is judged in this house (junk.enabled)"
	case s.Off:
		return "mail is not judged"
	case s.Own:
		return fmt.Sprintf("mail is judged, and goes to Junk from %.1f on", s.Line)
	}
	return fmt.Sprintf("mail is judged, and goes to Junk from %.1f on, as for all", s.Line)
}

func (p *program) spamStats(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "stats",
		Short: "Show what was learned for each account, and how the lists of the DNS do",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.with(cmd.Context(), o, func(v verbs) error {
				s, err := v.SpamStats(cmd.Context())
				if err != nil || o.json {
					return p.answer(o, s, err)
				}
				return p.showSpamStats(s)
			})
		},
	}
}

func (p *program) showSpamStats(s admin.SpamStats) error {
	var rows [][]string
	for _, a := range s.Accounts {
		line := fmt.Sprintf("%.1f", a.Line)
		if a.Off {
			line = "off"
		}
		rows = append(rows, []string{a.Account, line, strconv.Itoa(a.Good), strconv.Itoa(a.Junk), strconv.Itoa(a.Known), strconv.Itoa(a.LetIn), strconv.Itoa(a.Blocked), strconv.Itoa(a.Refused)})
	}
	if !s.Enabled {
		if err := p.say("Nobody's mail is judged in this house (junk.enabled)."); err != nil {
			return err
		}
	}
	if err := table(p.stdout, "There are no accounts.", []string{"ACCOUNT", "LINE", "GOOD", "JUNK", "KNOWN", "LET IN", "SHUT OUT", "REFUSED"}, rows); err != nil {
		return err
	}
	if len(s.Lists) == 0 {
		return nil
	}
	rows = rows[:0]
	for _, l := range s.Lists {
		state := "on"
		if !l.On {
			state = "off: " + l.Reason
		}
		rows = append(rows, []string{l.Name, l.Zone, state})
	}
	if err := p.say(""); err != nil {
		return err
	}
	return table(p.stdout, "", []string{"LIST", "ZONE", "STATE"}, rows)
}
