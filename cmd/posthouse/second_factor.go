package main

import (
	"github.com/spf13/cobra"
)

func (p *program) secondFactor(o *options) *cobra.Command {
	cmd := &cobra.Command{Use: "second-factor", Short: "The code that the web pages ask an account for besides the password", RunE: noSubcommand}
	cmd.AddCommand(p.secondFactorShow(o), p.secondFactorRemove(o))
	return cmd
}

func (p *program) secondFactorShow(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "show ACCOUNT",
		Short: "Show whether an account has a second factor",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			return p.with(cmd.Context(), o, func(v verbs) error {
				f, err := v.SecondFactor(cmd.Context(), argv[0])
				if err != nil || o.json {
					return p.answer(o, f, err)
				}
				if !f.On {
					return p.say("%s has no second factor", argv[0])
				}
				if !f.Authenticator {
					return p.say("%s is asked for a passkey since %s, %d recovery codes are left", argv[0], moment(*f.Since), f.Recovery)
				}
				return p.say("%s has an authenticator since %s, %d recovery codes are left", argv[0], moment(*f.Since), f.Recovery)
			})
		},
	}
}

func (p *program) secondFactorRemove(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "remove ACCOUNT",
		Short: "End the second factor of an account whose owner has lost his device",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			return p.with(cmd.Context(), o, func(v verbs) error {
				f, err := v.RemoveSecondFactor(cmd.Context(), argv[0])
				if err != nil || o.json {
					return p.answer(o, f, err)
				}
				return p.say("the web pages ask %s for the password only", argv[0])
			})
		},
	}
}
