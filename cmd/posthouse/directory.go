package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/posthouse-mail/posthouse/web/admin"
)

// directoryVerbs are the directory as a file.
type directoryVerbs interface {
	ExportDirectory(ctx context.Context, in admin.DirectoryExport) (admin.DirectoryText, error)
	ApplyDirectory(ctx context.Context, in admin.DirectoryApply) (admin.DirectoryApplied, error)
}

func (p *program) directoryCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{Use: "directory", Short: "Domains, accounts, aliases and lists as one file", RunE: noSubcommand}
	cmd.AddCommand(p.directoryExport(o), p.directoryApply(o))
	return cmd
}

func (p *program) directoryExport(o *options) *cobra.Command {
	var in admin.DirectoryExport
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write the directory as a file (TOML)",
		Long: `Writes domains, accounts, aliases and lists with their settings to standard output, always in the
same order and form: two files differ where two houses do. Passwords are not in it; --with-secrets
adds their hashes, for moving to another house: keep such a file as secret as the data folder.`,
		Example: `  posthouse directory export > directory.toml`,
		Args:    args(noCommand),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.with(cmd.Context(), o, func(v verbs) error {
				out, err := v.ExportDirectory(cmd.Context(), in)
				if err != nil || o.json {
					return p.answer(o, out, err)
				}
				_, err = io.WriteString(p.stdout, out.Text)
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&in.Secrets, "with-secrets", false, "with the hashes of the passwords")
	return cmd
}

func (p *program) directoryApply(o *options) *cobra.Command {
	var in admin.DirectoryApply
	cmd := &cobra.Command{
		Use:   "apply FILE",
		Short: "Make the directory like a file",
		Long: `Adds, changes and removes domains, accounts, aliases and lists until the house is like the file, all
of it or nothing, and shows what that was. What is not in the file goes; accounts that have mail
stay, unless --prune says that they go with it. --dry-run shows what would happen. FILE - is
standard input. Passwords of accounts that are there stay; new ones get the hash of the file, or
have no password until posthouse account passwd sets one. Each change is in posthouse audit.`,
		Example: `  posthouse directory apply directory.toml --dry-run
  posthouse directory apply directory.toml`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			text, err := p.readFile(argv[0])
			if err != nil {
				return err
			}
			in.Text = text
			return p.with(cmd.Context(), o, func(v verbs) error {
				out, err := v.ApplyDirectory(cmd.Context(), in)
				var known *admin.Error
				if errors.As(err, &known) && argv[0] != "-" {
					return fmt.Errorf("%s:\n%w", argv[0], err)
				}
				if err != nil || o.json {
					return p.answer(o, out, err)
				}
				return p.sayApplied(out, in.DryRun)
			})
		},
	}
	cmd.Flags().BoolVar(&in.DryRun, "dry-run", false, "show what would be changed, and change nothing")
	cmd.Flags().BoolVar(&in.Prune, "prune", false, "accounts that are not in the file go even with their mail")
	return cmd
}

// readFile reads a file of the command line; "-" is standard input.
func (p *program) readFile(name string) (string, error) {
	if name == "-" {
		text, err := io.ReadAll(io.LimitReader(p.stdin, 64<<20))
		return string(text), err
	}
	text, err := os.ReadFile(name)
	return string(text), err
}

// sayApplied shows changes, each with its fields.
func (p *program) sayApplied(out admin.DirectoryApplied, dry bool) error {
	var lines []string
	for _, c := range out.Changes {
		lines = append(lines, fmt.Sprintf("%-8s %s %s", c.Action, c.Kind, c.Object))
		for _, f := range c.Fields {
			switch c.Action {
			case "added":
				lines = append(lines, fmt.Sprintf("    %s: %s", f.Name, f.Is))
			case "changed":
				lines = append(lines, fmt.Sprintf("    %s: %q becomes %q", f.Name, f.Was, f.Is))
			case "removed":
				if f.Name == "messages" {
					lines = append(lines, fmt.Sprintf("    with %s messages", f.Was))
				}
			}
		}
	}
	for _, name := range out.Kept {
		lines = append(lines, "kept     account "+name+": not in the file, and has mail; --prune removes it")
	}
	for _, name := range out.Closed {
		lines = append(lines, "note     account "+name+" has no password yet: posthouse account passwd "+name)
	}
	word := "changed"
	if dry {
		word = "to change"
	}
	switch n := len(out.Changes); n {
	case 0:
		lines = append(lines, "nothing to do")
	case 1:
		lines = append(lines, "1 thing "+word)
	default:
		lines = append(lines, fmt.Sprintf("%d things %s", n, word))
	}
	return p.sayAll(lines)
}
