package main

import (
	"errors"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/posthouse-mail/posthouse/web/admin"
)

func (p *program) accountCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{Use: "account", Short: "Accounts: people and machines with a mailbox", RunE: noSubcommand}
	cmd.AddCommand(p.accountAdd(o), p.accountList(o), p.accountShow(o), p.accountSet(o), p.accountPasswd(o), p.appPassword(o), p.clientCertificate(o), p.secondFactor(o), p.passkey(o), p.accountForward(o), p.accountRemove(o), p.accountRecount(o), p.accountLimits(o), p.accountSend(o),
		p.accountDevices(o), p.accountSpace(o), p.accountNames(o), p.accountOutbox(o), p.accountMessages(o))
	return cmd
}

func (p *program) accountAdd(o *options) *cobra.Command {
	var in admin.NewAccount
	var from secret
	var quota string
	var hash bool
	cmd := &cobra.Command{
		Use:   "add ADDRESS...",
		Short: "Make an account; the first address is its main one",
		Args:  args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) (err error) {
			in.Addresses = argv
			if quota != "" {
				n, err := octets(quota)
				if err != nil {
					return wrongUsage(cmd, err)
				}
				in.Quota = &admin.Amount{Bytes: n}
			}
			if in.Password, err = from.read(p); err != nil {
				return err
			}
			if hash {
				in.Hash, in.Password = in.Password, ""
			}
			return p.with(cmd.Context(), o, func(v verbs) error {
				a, err := v.AddAccount(cmd.Context(), in)
				if err != nil || o.json {
					return p.answer(o, a, err)
				}
				return p.say("account %s added", a.Addresses[0])
			})
		},
	}
	from.flags(cmd)
	hashFlag(cmd, &hash)
	cmd.Flags().StringVar(&in.Name, "name", "", "full name, for people")
	cmd.Flags().StringVar(&in.Login, "login", "", "login name beside the addresses")
	cmd.Flags().StringSliceVar(&in.Doors, "doors", nil, "services it may use: imap, pop3, submission, web, all, none (default all)")
	cmd.Flags().StringVar(&quota, "quota", "", "most it may hold, as 5GiB; 0B is no limit (default: the setting quota.bytes)")
	return cmd
}

func (p *program) accountList(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the accounts",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.with(cmd.Context(), o, func(v verbs) error {
				list, err := v.Accounts(cmd.Context())
				if err != nil || o.json {
					return p.answer(o, list, err)
				}
				var rows [][]string
				for _, a := range list {
					rows = append(rows, []string{a.Addresses[0], strconv.FormatUint(a.Usage.Messages, 10), amount(a.Usage.Bytes), limit(a.Quota.Bytes), doorsOf(a)})
				}
				return table(p.stdout, "no accounts yet: posthouse account add ADDRESS", []string{"ACCOUNT", "MESSAGES", "SIZE", "QUOTA", "SERVICES"}, rows)
			})
		},
	}
}

// doorsOf is the services of an account for people.
func doorsOf(a admin.Account) string {
	switch {
	case a.Disabled:
		return "disabled"
	case len(a.Doors) == 0:
		return "none"
	}
	return strings.Join(a.Doors, " ")
}

func (p *program) accountShow(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "show USER",
		Short: "Show one account, by any of its addresses or its login name",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			return p.with(cmd.Context(), o, func(v verbs) error {
				a, err := v.Account(cmd.Context(), argv[0])
				if err != nil || o.json {
					return p.answer(o, a, err)
				}
				return p.showAccount(a)
			})
		},
	}
}

func (p *program) showAccount(a admin.Account) error {
	messages := "no limit"
	if a.Quota.Messages > 0 {
		messages = strconv.FormatUint(a.Quota.Messages, 10)
	}
	rows := [][]string{
		{"addresses", strings.Join(a.Addresses, ", ")},
		{"name", orNone(a.Name)},
		{"login", orNone(a.Login)},
		{"services", doorsOf(a)},
		{"messages", strconv.FormatUint(a.Usage.Messages, 10) + " of " + messages},
		{"size", amount(a.Usage.Bytes) + " of " + limit(a.Quota.Bytes)},
		{"created", moment(a.Created)},
	}
	if a.Operator {
		rows = append(rows, []string{"operator", "yes"})
	}
	if a.WebOnly {
		rows = append(rows, []string{"own password", "opens the web pages only"})
	}
	if a.SendOff != "" {
		rows = append(rows, []string{"sending", sendingOff(a.SendOff, moment(a.Since))})
	}
	if a.Hold != "" {
		rows = append(rows, []string{"waits in Outbox", a.Hold})
	}
	if a.SentCopy != "" {
		rows = append(rows, []string{"copy to Sent", a.SentCopy})
	}
	if len(a.Forward) > 0 {
		rows = append(rows, []string{"goes on to", forwards(a)})
	}
	return table(p.stdout, "", []string{"account", strconv.FormatUint(uint64(a.ID), 10)}, rows)
}

func orNone(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func (p *program) accountSet(o *options) *cobra.Command {
	var c admin.Change
	var name, login, quota, hold, sentCopy string
	var messages uint64
	var disabled, operator, webOnly bool
	cmd := &cobra.Command{
		Use:   "set USER",
		Short: "Change an account",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			given := cmd.Flags().Changed
			if given("name") {
				c.Name = &name
			}
			if given("login") {
				c.Login = &login
			}
			if given("disabled") {
				c.Disabled = &disabled
			}
			if given("operator") {
				c.Operator = &operator
			}
			if given("web-only") {
				c.WebOnly = &webOnly
			}
			if given("hold") {
				c.Hold = &hold
			}
			if given("sent-copy") {
				c.SentCopy = &sentCopy
			}
			if given("quota-messages") {
				c.Messages = &messages
			}
			if given("quota") {
				n, err := octets(quota)
				if err != nil {
					return wrongUsage(cmd, err)
				}
				c.Bytes = &n
			}
			return p.with(cmd.Context(), o, func(v verbs) error {
				a, err := v.SetAccount(cmd.Context(), argv[0], c)
				if err != nil || o.json {
					return p.answer(o, a, err)
				}
				return p.showAccount(a)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&name, "name", "", "full name, for people")
	f.StringVar(&login, "login", "", "login name beside the addresses; empty: none")
	f.StringSliceVar(&c.Doors, "doors", nil, "services it may use: imap, pop3, submission, web, all, none")
	f.BoolVar(&disabled, "disabled", false, "no login at all; mail still arrives")
	f.BoolVar(&operator, "operator", false, "may run the house from the web pages, after a second factor")
	f.BoolVar(&webOnly, "web-only", false, "its own password opens the web pages only: programs need app passwords")
	f.StringSliceVar(&c.Add, "add-address", nil, "`ADDRESS` to add")
	f.StringSliceVar(&c.Remove, "remove-address", nil, "`ADDRESS` to remove")
	f.StringVar(&c.Main, "main", "", "`ADDRESS` that becomes the main one")
	f.StringVar(&quota, "quota", "", "most it may hold, as 5GiB; 0B is no limit")
	f.StringVar(&hold, "hold", "", "how long each of its messages waits in the Outbox before it is sent: `DURATION` as 30s, off, or house (as the setting submission.hold)")
	f.StringVar(&sentCopy, "sent-copy", "", "whether what it sends is put into Sent: `WHETHER`, on, off, or house (as the setting submission.sent_copy)")
	f.Uint64Var(&messages, "quota-messages", 0, "most messages it may hold; 0 is no limit")
	return cmd
}

func (p *program) accountPasswd(o *options) *cobra.Command {
	var from secret
	var hash, apps bool
	cmd := &cobra.Command{
		Use:   "passwd USER",
		Short: "Change the password of an account",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			if hash && apps {
				return wrongUsage(cmd, errors.New("app passwords are ended with a new password, not with a hash"))
			}
			password, err := from.read(p)
			if err != nil {
				return err
			}
			return p.with(cmd.Context(), o, func(v verbs) error {
				if apps {
					return p.passwdAlone(cmd.Context(), o, v, argv[0], password)
				}
				set := v.SetPassword
				if hash {
					set = v.SetPasswordHash
				}
				if err := set(cmd.Context(), argv[0], password); err != nil || o.json {
					return p.answer(o, struct{}{}, err)
				}
				return p.say("password of %s changed", argv[0])
			})
		},
	}
	from.flags(cmd)
	hashFlag(cmd, &hash)
	cmd.Flags().BoolVar(&apps, "end-app-passwords", false, "take all its app passwords back too: they go on to be good otherwise")
	return cmd
}

// hashFlag is for passwords of another server.
func hashFlag(cmd *cobra.Command, hash *bool) {
	cmd.Flags().BoolVar(hash, "hash", false, "what is read is no password but a hash of another server: $6$, $5$, $2b$, $argon2id$, {SSHA}, {SSHA256}, {SSHA512}")
}

func (p *program) accountRemove(o *options) *cobra.Command {
	var sure bool
	cmd := &cobra.Command{
		Use:   "remove USER",
		Short: "Remove an account with all its mail",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			return p.with(cmd.Context(), o, func(v verbs) error {
				if err := p.confirm(cmd, v, argv[0], sure); err != nil {
					return err
				}
				if err := v.RemoveAccount(cmd.Context(), argv[0]); err != nil || o.json {
					return p.answer(o, struct{}{}, err)
				}
				return p.say("account %s removed with its mail", argv[0])
			})
		},
	}
	cmd.Flags().BoolVar(&sure, "yes", false, "remove it even when it holds mail")
	return cmd
}

// confirm refuses to remove mail unless that was said.
func (p *program) confirm(cmd *cobra.Command, v verbs, user string, sure bool) error {
	a, err := v.Account(cmd.Context(), user)
	if err != nil || sure || a.Usage.Messages == 0 {
		return err
	}
	held := "1 message: say --yes to remove it for ever"
	if n := a.Usage.Messages; n > 1 {
		held = strconv.FormatUint(n, 10) + " messages: say --yes to remove them for ever"
	}
	return &admin.Error{Class: admin.Conflict, Message: user + " holds " + held}
}
