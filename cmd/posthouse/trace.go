package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/posthouse-mail/posthouse/store/story"
	"github.com/posthouse-mail/posthouse/web/admin"
)

func (p *program) traceCommand(o *options) *cobra.Command {
	limit := 20
	cmd := &cobra.Command{
		Use:   "trace ID | MESSAGE-ID | ADDRESS",
		Short: "Tell what happened to a message: where it came from, where it is, who said what",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			return p.with(cmd.Context(), o, func(v verbs) error {
				found, err := v.Trace(cmd.Context(), argv[0], limit)
				if err != nil || o.json {
					return p.answer(o, found, err)
				}
				for i, t := range found {
					if i > 0 {
						if err := p.say(""); err != nil {
							return err
						}
					}
					if err := p.showTrace(t); err != nil {
						return err
					}
				}
				if len(found) == limit && limit > 1 {
					return p.say("\nThere may be older ones: --limit shows more.")
				}
				return nil
			})
		},
	}
	cmd.AddCommand(p.dialogueCommand(o))
	cmd.Flags().IntVar(&limit, "limit", limit, "at most so many messages, the newest first")
	return cmd
}

func (p *program) showTrace(t admin.Traced) error {
	rows := [][]string{{"from", "<" + printable(t.From) + ">"}}
	add := func(name, value string) {
		if value != "" {
			rows = append(rows, []string{name, printable(value)})
		}
	}
	if !strings.EqualFold(t.Author, t.From) {
		add("author", t.Author)
	}
	add("subject", t.Subject)
	add("message-id", t.MessageID)
	if t.Size > 0 {
		add("size", amount(uint64(t.Size)))
	}
	for _, r := range t.Outcome {
		rows = append(rows, []string{"to", printable(r.Address) + "  " + stateWords(r)})
	}
	if more := t.Recipients - len(t.To); more > 0 {
		add("to", strconv.Itoa(more)+" more")
	}
	if err := table(p.stdout, "", []string{"message", t.ID}, rows); err != nil {
		return err
	}
	if err := p.say("  %s  %s", moment(t.At), beginning(t)); err != nil {
		return err
	}
	for _, e := range t.Events {
		if err := p.say("  %s  %s", moment(e.At), printable(happened(e))); err != nil {
			return err
		}
		if e.Advice != "" {
			if err := p.say("  %s  What to do: %s", strings.Repeat(" ", len(moment(e.At))), e.Advice); err != nil {
				return err
			}
		}
	}
	return nil
}

// stateWords says where a recipient's copy is.
func stateWords(r admin.TracedRecipient) string {
	words, ok := map[story.Step]string{
		story.Queued: "waits to be sent", story.Attempted: "waits for the next attempt", story.Relayed: "handed over to its mail server",
		story.Failed: "given up", story.Expanded: "passed on to the members", story.Delivered: "delivered", story.Refused: "refused",
	}[r.State]
	if !ok {
		return "not taken"
	}
	return words
}

// beginning is how the message came.
func beginning(t admin.Traced) string {
	words := "came from "
	if t.Direction == story.Out {
		words = "handed in by "
		if t.Account != "" {
			words += printable(t.Account) + " from "
		}
	}
	words += printable(t.Client)
	switch {
	case t.TLS != "":
		words += " over " + t.TLS
	case strings.HasSuffix(t.Client, "]"):
		words += " in clear"
	}
	return words
}

// happened is one event in words.
func happened(e story.Event) string {
	switch e.Step {
	case story.Checked:
		return "checked: " + e.Text
	case story.Scored:
		return with(e.Who, " ") + "judged: " + e.Text
	case story.Signed:
		return "signed with the key " + e.Text
	case story.Refused:
		return with(e.Who, " ") + "refused: " + answerOf(e)
	case story.Delivered:
		words := e.Who + " delivered to " + e.Mailbox
		if e.Text != "" {
			words += " " + e.Text
		}
		return words
	case story.Queued:
		return e.Who + " put into the queue"
	case story.Attempted:
		words := e.Who + " not taken by " + hostOf(e) + ": " + answerOf(e)
		if e.Next != nil {
			words += "; next attempt " + moment(*e.Next)
		}
		return words
	case story.Relayed:
		return e.Who + " taken by " + hostOf(e) + ": " + answerOf(e)
	case story.Failed:
		return e.Who + " given up: " + with(hostOf(e), " said ") + answerOf(e)
	case story.Expanded:
		return e.Who + " passed on to the members of the alias"
	case story.Delayed:
		return e.Who + " was told that it is delayed, by " + e.Text
	case story.Bounced:
		return e.Who + " was told that it was given up, by " + e.Text
	case story.Reported:
		return e.Who + " was told that it arrived, by " + e.Text
	case story.Held:
		return "held by the operator: " + e.Text
	case story.Released:
		return "released by the operator: " + e.Text
	case story.Cancelled:
		return "cancelled by the operator: " + e.Text
	case story.Scheduled:
		if e.Next == nil {
			return "waits for its time"
		}
		return "waits in the Outbox until " + moment(*e.Next)
	case story.LetGo:
		return "its time has come, it leaves the Outbox"
	case story.TakenBack:
		return "taken back by its sender before it was sent"
	case story.Opened:
		return "read by " + e.Who + " with " + e.Client
	}
	return fmt.Sprintf("%s %s %s", e.Step, e.Who, answerOf(e))
}

func with(s, behind string) string {
	if s == "" {
		return ""
	}
	return s + behind
}

// hostOf is who was asked; "us" where nobody was.
func hostOf(e story.Event) string {
	var about []string
	if e.Address != "" {
		about = append(about, e.Address)
	}
	if e.TLS != "" {
		about = append(about, e.TLS)
	}
	if e.Host == "" && len(about) == 0 {
		return "us"
	}
	words := e.Host
	if len(about) > 0 {
		words = strings.TrimSpace(words + " [" + strings.Join(about, ", ") + "]")
	}
	return words
}

// answerOf is a whole reply, on one line.
func answerOf(e story.Event) string {
	text := strings.Join(strings.Fields(e.Text), " ")
	if e.Status != "" && !strings.Contains(text, e.Status) {
		text = e.Status + " " + text
	}
	if e.Code != 0 {
		text = strconv.Itoa(e.Code) + " " + text
	}
	return text
}

// printable takes what would move the cursor out of strangers' words.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c >= 0x7f && c < 0xa0 || c == 0x2028 || c == 0x2029 || c >= 0x202a && c <= 0x202e || c >= 0x2066 && c <= 0x2069 {
			return '?'
		}
		return c
	}, s)
}
