package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is what the linker writes here (-ldflags "-X main.version=v1.2.3"); else the module's version is shown.
var version = "devel"

// build says what this binary is made of.
type build struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Time     string `json:"time,omitempty"`
	Changed  bool   `json:"changed,omitempty"` // built from a tree with uncommitted changes
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// thisBuild reads what the linker wrote down.
func thisBuild() build {
	b := build{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if v := info.Main.Version; b.Version == "devel" && v != "" && v != "(devel)" {
		b.Version = v
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.time":
			b.Time = s.Value
		case "vcs.modified":
			b.Changed = s.Value == "true"
		}
	}
	return b
}

func (p *program) versionCommand(c *options) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Say which posthouse this is",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			b := thisBuild()
			if c.json {
				return writeJSON(p.stdout, b)
			}
			_, err := fmt.Fprintf(p.stdout, "posthouse %s (%s, %s)\n", b.Version, b.Go, b.Platform)
			return err
		},
	}
}
