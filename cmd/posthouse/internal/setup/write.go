package setup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// File is one that setup writes.
type File struct {
	Path string
	Text string
	Mode fs.FileMode
}

// State of a file.
type State string

// States: Differs means that somebody changed it, and it stays as it is.
const (
	Missing State = "missing"
	Same    State = "same"
	Differs State = "differs"
)

// Look says how the file stands, and what is different.
func (f File) Look() (State, string, error) {
	text, err := os.ReadFile(f.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Missing, "", nil
	case err != nil:
		return "", "", err
	case string(text) == f.Text:
		return Same, "", nil
	}
	return Differs, difference(string(text), f.Text), nil
}

// Write makes the file, whole or not at all; one that is there already stays.
func (f File) Write() (err error) {
	if err := os.MkdirAll(filepath.Dir(f.Path), 0o755); err != nil {
		return err
	}
	t, err := os.CreateTemp(filepath.Dir(f.Path), ".posthouse-*")
	if err != nil {
		return err
	}
	defer os.Remove(t.Name())
	_, err = t.WriteString(f.Text)
	err = errors.Join(err, t.Chmod(f.Mode), t.Sync(), t.Close())
	if err != nil {
		return err
	}
	return os.Link(t.Name(), f.Path) // unlike a rename it never replaces
}

// difference shows lines that only one of two texts has, in their order.
func difference(is, would string) string {
	var b strings.Builder
	only := func(mark, of, other string) {
		have := map[string]int{}
		for line := range strings.Lines(other) {
			have[strings.TrimSpace(line)]++
		}
		for line := range strings.Lines(of) {
			line = strings.TrimSpace(line)
			if have[line]--; have[line] < 0 && line != "" {
				b.WriteString(mark + line + "\n")
			}
		}
	}
	only("- ", is, would)
	only("+ ", would, is)
	return b.String()
}

// System does what needs root: it is a value, so that tests can look at the commands.
type System struct {
	Run func(ctx context.Context, name string, args ...string) error
}

// NewSystem runs real commands.
func NewSystem() System {
	return System{Run: func(ctx context.Context, name string, args ...string) error {
		out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
		}
		return nil
	}}
}

// AddUser makes the system's user of the house.
func (s System) AddUser(ctx context.Context, data string) error {
	return s.Run(ctx, "useradd", "--system", "--user-group", "--home-dir", data, "--no-create-home", "--shell", "/usr/sbin/nologin", "posthouse")
}

// Start has systemd run the house now and after each start of the machine.
func (s System) Start(ctx context.Context) error {
	if err := s.Run(ctx, "systemctl", "daemon-reload"); err != nil {
		return err
	}
	return s.Run(ctx, "systemctl", "enable", "--now", "posthouse")
}
