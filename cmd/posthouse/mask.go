package main

import (
	"strconv"

	"github.com/spf13/cobra"

	"github.com/posthouse-mail/posthouse/web/admin"
)

func (p *program) maskCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{Use: "mask", Short: "Masked addresses: to give away, and to switch off", RunE: noSubcommand}
	cmd.AddCommand(p.maskNew(o), p.maskList(o),
		p.maskSet(o, "off", "Refuse mail to a masked address, as if it did not exist"),
		p.maskSet(o, "on", "Take mail to a masked address again"),
		p.maskSet(o, "remove", "Remove a masked address for ever: nobody gets it again"))
	return cmd
}

func (p *program) maskNew(o *options) *cobra.Command {
	var in admin.NewMask
	cmd := &cobra.Command{
		Use:   "new ACCOUNT",
		Short: "Make a masked address for an account",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			return p.with(cmd.Context(), o, func(v verbs) error {
				m, err := v.AddMask(cmd.Context(), argv[0], in)
				if err != nil || o.json {
					return p.answer(o, m, err)
				}
				return p.say("%s", m.Address)
			})
		},
	}
	cmd.Flags().StringVar(&in.Domain, "domain", "", "domain where the account has an address; else that of its main one")
	cmd.Flags().StringVar(&in.Note, "note", "", "what it is for")
	return cmd
}

func (p *program) maskList(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "list ACCOUNT",
		Short: "List the masked addresses of an account",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			return p.with(cmd.Context(), o, func(v verbs) error {
				all, err := v.Masks(cmd.Context(), argv[0])
				if err != nil || o.json {
					return p.answer(o, all, err)
				}
				var rows [][]string
				for _, m := range all {
					state, last := "off", "never"
					if m.On {
						state = "on"
					}
					if m.Last != nil {
						last = moment(*m.Last)
					}
					rows = append(rows, []string{m.Address, state, strconv.FormatUint(m.Used, 10), last, moment(m.Created), m.Note})
				}
				return table(p.stdout, "no masked addresses", []string{"MASK", "STATE", "MAIL", "LAST", "MADE", "FOR"}, rows)
			})
		},
	}
}

func (p *program) maskSet(o *options, state, short string) *cobra.Command {
	return &cobra.Command{
		Use:   state + " ACCOUNT ADDRESS",
		Short: short,
		Args:  args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			return p.with(cmd.Context(), o, func(v verbs) error {
				m, err := v.SetMask(cmd.Context(), argv[0], admin.MaskChange{Address: argv[1], State: state})
				if err != nil || o.json {
					return p.answer(o, m, err)
				}
				if state == "remove" {
					return p.say("%s is removed for ever", m.Address)
				}
				return p.say("%s is %s", m.Address, state)
			})
		},
	}
}
