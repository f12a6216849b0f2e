package main

import (
	"encoding/json"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/posthouse-mail/posthouse/internal/dialogue"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/api"
)

// dialogueCommand is `posthouse trace protocol`.
func (p *program) dialogueCommand(o *options) *cobra.Command {
	f := admin.DialogueFilter{For: 10 * time.Minute}
	cmd := &cobra.Command{
		Use:   "protocol",
		Short: "Show what a mail program and the house say to each other, live, without secrets",
		Long: `Prints what is said on the SMTP, IMAP and POP3 connections of an account (--account) or of a client
(--address) that begin from now on, TLS and compression taken off. Passwords, the words of AUTH and
lines that are no known command are hidden, and so are messages, unless --bodies is said. A connection
of an account is shown from its beginning, once it has logged in. It ends after --for, or with Ctrl-C.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			return p.running(ctx, o, func(c *api.Client) error {
				stream, err := c.Dialogues(ctx, f)
				if err != nil {
					return err
				}
				return stream.Each(func(l dialogue.Line) error { return p.spoken(o, l) })
			})
		},
	}
	cmd.Flags().StringVar(&f.Account, "account", "", "connections that log in as this account")
	cmd.Flags().StringVar(&f.Address, "address", "", "connections from this address")
	cmd.Flags().DurationVar(&f.For, "for", f.For, "look for so long, at most 24h")
	cmd.Flags().BoolVar(&f.Bodies, "bodies", false, "show messages too")
	return cmd
}

// spoken prints one line of a connection.
func (p *program) spoken(o *options, l dialogue.Line) error {
	if o.json {
		return json.NewEncoder(p.stdout).Encode(l)
	}
	if l.Lost > 0 {
		if err := p.say("(%d lines lost: they came faster than they were read)", l.Lost); err != nil {
			return err
		}
	}
	who := "S:"
	if l.Client {
		who = "C:"
	}
	return p.say("%s %s %s %s %s", l.Time.Local().Format("15:04:05.000"), l.Service, l.Conn, who, printable(l.Text))
}
