package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/posthouse-mail/posthouse/web/admin"
)

// listVerbs is mailing lists, masked addresses and forwarding.
type listVerbs interface {
	Lists(context.Context) ([]admin.List, error)
	AddList(context.Context, admin.NewList) (admin.List, error)
	List(context.Context, string) (admin.ListDetail, error)
	SetList(context.Context, string, admin.ListChange) (admin.List, error)
	RemoveList(context.Context, string) error
	ChangeMembers(context.Context, string, admin.MemberChange) (admin.ListDetail, error)
	Masks(context.Context, string) ([]admin.Mask, error)
	AddMask(context.Context, string, admin.NewMask) (admin.Mask, error)
	SetMask(context.Context, string, admin.MaskChange) (admin.Mask, error)
	Forwarding(context.Context, string) (admin.Forwarding, error)
	SetForwarding(context.Context, string, admin.Forwarding) (admin.Forwarding, error)
}

func (p *program) listCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "Mailing lists", RunE: noSubcommand}
	cmd.AddCommand(p.listAdd(o), p.listRemove(o), p.listShow(o), p.listSettings(o), p.listMembers(o))
	return cmd
}

// listFlags are the settings of a list.
type listFlags struct {
	name, post, replies, tag, size string
	owners, posters                []string
}

func (f *listFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.name, "name", "", "name for people")
	cmd.Flags().StringSliceVar(&f.owners, "owner", nil, "who has LIST-owner@ and hears of members that are paused; may stand several times")
	cmd.Flags().StringVar(&f.post, "post", "members", "who may post: members, named or anyone")
	cmd.Flags().StringSliceVar(&f.posters, "poster", nil, "who may post besides; with named: who may post")
	cmd.Flags().StringVar(&f.replies, "replies", "author", "where answers go: author (the header is not touched) or list")
	cmd.Flags().StringVar(&f.tag, "tag", "", "what stands in front of each subject; it breaks the author's signature")
	cmd.Flags().StringVar(&f.size, "size", "", "largest message, as 1MiB; 0B is the house's limit")
}

func (f *listFlags) bytes(cmd *cobra.Command) (int64, error) {
	if f.size == "" {
		return 0, nil
	}
	n, err := octets(f.size)
	if err != nil {
		return 0, wrongUsage(cmd, err)
	}
	return int64(n), nil
}

func (p *program) listAdd(o *options) *cobra.Command {
	var f listFlags
	cmd := &cobra.Command{
		Use:   "add LIST [MEMBER...]",
		Short: "Make a list",
		Args:  args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			size, err := f.bytes(cmd)
			if err != nil {
				return err
			}
			in := admin.NewList{Address: argv[0], Name: f.name, Owners: f.owners, Post: f.post, Posters: f.posters, Replies: f.replies, Tag: f.tag, MaxSize: size}
			return p.with(cmd.Context(), o, func(v verbs) error {
				l, err := v.AddList(cmd.Context(), in)
				if err == nil && len(argv) > 1 {
					var d admin.ListDetail
					d, err = v.ChangeMembers(cmd.Context(), l.Address, admin.MemberChange{Action: "add", Members: argv[1:]})
					if err != nil {
						return fmt.Errorf("the list is made, without members: %w", err)
					}
					l = d.List
				}
				if err != nil || o.json {
					return p.answer(o, l, err)
				}
				return p.say("list %s made with %s", l.Address, number(int64(l.Members), "member"))
			})
		},
	}
	f.add(cmd)
	_ = cmd.MarkFlagRequired("owner") // it fails only for a flag that does not exist
	return cmd
}

func (p *program) listRemove(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "remove LIST",
		Short: "Remove a list with its members",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			return p.with(cmd.Context(), o, func(v verbs) error {
				if err := v.RemoveList(cmd.Context(), argv[0]); err != nil || o.json {
					return p.answer(o, struct{}{}, err)
				}
				return p.say("list %s removed", argv[0])
			})
		},
	}
}

func (p *program) listShow(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "show [LIST]",
		Short: "List the lists, or show one with its members",
		Args:  args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			return p.with(cmd.Context(), o, func(v verbs) error {
				if len(argv) == 1 {
					d, err := v.List(cmd.Context(), argv[0])
					return p.showList(o, d, err)
				}
				all, err := v.Lists(cmd.Context())
				if err != nil || o.json {
					return p.answer(o, all, err)
				}
				var rows [][]string
				for _, l := range all {
					rows = append(rows, []string{l.Address, strconv.Itoa(l.Members), strconv.Itoa(l.Paused), l.Post, strings.Join(l.Owners, ", ")})
				}
				return table(p.stdout, "no lists", []string{"LIST", "MEMBERS", "PAUSED", "POST", "OWNERS"}, rows)
			})
		},
	}
}

func (p *program) showList(o *options, d admin.ListDetail, err error) error {
	if err != nil || o.json {
		return p.answer(o, d, err)
	}
	rows := [][]string{{"name", d.Name}, {"owners", strings.Join(d.Owners, ", ")}, {"may post", mayPost(d.List)}, {"answers go to", "the " + d.Replies}, {"tag", d.Tag}}
	if d.MaxSize > 0 {
		rows = append(rows, []string{"largest message", amount(uint64(d.MaxSize))})
	}
	if err := table(p.stdout, "", []string{"list", d.Address}, rows); err != nil {
		return err
	}
	if err := p.say(""); err != nil {
		return err
	}
	rows = nil
	for _, m := range d.All {
		bounces := ""
		if m.Bounces > 0 && m.Last != nil {
			bounces = fmt.Sprintf("%s, last %s: %s", number(int64(m.Bounces), "day"), moment(*m.Last), m.Said)
		}
		rows = append(rows, []string{m.Address, m.State, moment(m.Since), bounces})
	}
	return table(p.stdout, "no members", []string{"MEMBER", "STATE", "SINCE", "CAME BACK ON"}, rows)
}

func mayPost(l admin.List) string {
	switch {
	case l.Post == "anyone":
		return "anyone"
	case l.Post == "named":
		return strings.Join(append([]string{"owners"}, l.Posters...), ", ")
	}
	return strings.Join(append([]string{"members", "owners"}, l.Posters...), ", ")
}

func (p *program) listSettings(o *options) *cobra.Command {
	var f listFlags
	cmd := &cobra.Command{
		Use:   "settings LIST",
		Short: "Change the settings of a list",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			given := cmd.Flags().Changed
			bytes, err := f.bytes(cmd)
			if err != nil {
				return err
			}
			var c admin.ListChange
			for name, set := range map[string]func(){
				"name": func() { c.Name = &f.name }, "owner": func() { c.Owners = &f.owners }, "post": func() { c.Post = &f.post },
				"poster": func() { c.Posters = &f.posters }, "replies": func() { c.Replies = &f.replies }, "tag": func() { c.Tag = &f.tag },
				"size": func() { c.MaxSize = &bytes },
			} {
				if given(name) {
					set()
				}
			}
			return p.with(cmd.Context(), o, func(v verbs) error {
				if _, err := v.SetList(cmd.Context(), argv[0], c); err != nil {
					return p.answer(o, admin.List{}, err)
				}
				d, err := v.List(cmd.Context(), argv[0])
				return p.showList(o, d, err)
			})
		},
	}
	f.add(cmd)
	return cmd
}

func (p *program) listMembers(o *options) *cobra.Command {
	cmd := &cobra.Command{Use: "members", Short: "Members of a list", RunE: noSubcommand}
	for action, short := range map[string]string{
		"add": "Add members; those who are there stay as they are", "remove": "Take members out of a list",
		"pause": "Keep members, and send them nothing", "resume": "Send to paused members again; what came back is forgotten",
	} {
		cmd.AddCommand(p.changeMembers(o, action, short))
	}
	return cmd
}

func (p *program) changeMembers(o *options, action, short string) *cobra.Command {
	return &cobra.Command{
		Use:   action + " LIST MEMBER...",
		Short: short,
		Args:  args(cobra.MinimumNArgs(2)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			return p.with(cmd.Context(), o, func(v verbs) error {
				d, err := v.ChangeMembers(cmd.Context(), argv[0], admin.MemberChange{Action: action, Members: argv[1:]})
				if err != nil || o.json {
					return p.answer(o, d, err)
				}
				return p.say("list %s has %s, %d paused", d.Address, number(int64(d.Members), "member"), d.Paused)
			})
		},
	}
}
