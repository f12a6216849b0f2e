package main

import (
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// manCommand writes the man pages; packages call it when they are built.
func (p *program) manCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "man DIR",
		Short: "Write the man pages into a folder",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			if err := os.MkdirAll(argv[0], 0o755); err != nil {
				return err
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true
			day := time.Unix(0, 0).UTC() // the pages of one version are the same bytes whenever they are made
			return doc.GenManTree(root, &doc.GenManHeader{
				Title: "POSTHOUSE", Section: "1", Source: "posthouse", Manual: "posthouse", Date: &day,
			}, argv[0])
		},
	}
}
