package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// options are the flags that every subcommand takes.
type options struct {
	config string
	data   string
	json   bool
}

// root is the command tree, made anew for each run: nothing is shared between two.
func (p *program) root() *cobra.Command {
	c := &options{}
	root := &cobra.Command{
		Use:           "posthouse",
		Short:         "A mail server in one binary: SMTP, IMAP, POP3",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          args(noCommand),
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(p.stdin)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	root.SetFlagErrorFunc(wrongUsage)
	root.CompletionOptions.HiddenDefaultCmd = false
	flags := root.PersistentFlags()
	flags.StringVar(&c.config, "config", "", "settings file (default "+defaultConfig+" where it exists)")
	flags.StringVar(&c.data, "data", "", "data folder, for a house without a settings file")
	flags.BoolVar(&c.json, "json", false, "answer in JSON, for machines")
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if c.config != "" && c.data != "" {
			return wrongUsage(cmd, errors.New("--config names the data folder already: say one of --config and --data"))
		}
		return nil
	}
	root.AddCommand(
		p.setupCommand(c), p.serveCommand(c), p.demoCommand(c), p.domainCommand(c), p.accountCommand(c), p.aliasCommand(c), p.listCommand(c), p.maskCommand(c), p.tokenCommand(c), p.queueCommand(c), p.suppressionCommand(c), p.traceCommand(c), p.logCommand(c), p.topCommand(c), p.connectionsCommand(c), p.certificatesCommand(c), p.settingsCommand(c), p.reportsCommand(c), p.spamCommand(c),
		p.undeleteCommand(c), p.backupCommand(c), p.restoreCommand(c),
		p.importCommand(c), p.exportCommand(c),
		p.auditCommand(c), p.directoryCommand(c), p.webhookCommand(c), p.checkCommand(c), p.configCommand(c), p.reloadCommand(c), p.restartCommand(c), p.statusCommand(c), p.sendmailCommand(c), p.manCommand(), p.rollbackCommand(c), p.repairCommand(c), p.versionCommand(c),
	)
	return root
}

// defaultConfig is where the settings of a packaged house are.
const defaultConfig = "/etc/posthouse/posthouse.toml"

// noCommand refuses a word that is no subcommand, and names the nearest ones.
func noCommand(cmd *cobra.Command, argv []string) error {
	if len(argv) == 0 {
		return nil
	}
	near := cmd.SuggestionsFor(argv[0])
	if len(near) == 0 {
		return fmt.Errorf("no command %q", argv[0])
	}
	return fmt.Errorf("no command %q; did you mean %s?", argv[0], strings.Join(near, " or "))
}

// noSubcommand is what a command that only groups others does when it is called alone.
func noSubcommand(cmd *cobra.Command, argv []string) error {
	if len(argv) > 0 {
		return wrongUsage(cmd, noCommand(cmd, argv))
	}
	return wrongUsage(cmd, errors.New("say what to do: "+strings.Join(names(cmd), ", ")))
}

func names(cmd *cobra.Command) []string {
	var all []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			all = append(all, c.Name())
		}
	}
	return all
}
