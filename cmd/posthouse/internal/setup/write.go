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
	if err := openFolders(filepath.Dir(f.Path)); err != nil {
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

// openFolders makes a folder, and those above it that are missing, for everybody to read, whatever umask root has: the service runs as
// another user.
func openFolders(path string) error {
	if _, err := os.Stat(path); err == nil || !errors.Is(err, fs.ErrNotExist) || path == filepath.Dir(path) {
		return err
	}
	if err := openFolders(filepath.Dir(path)); err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o755); errors.Is(err, fs.ErrExist) {
		return nil
	} else if err != nil {
		return err
	}
	return os.Chmod(path, 0o755)
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

// GiveFolder makes a folder and all in it a user's. Who has it already may change it meanwhile: no link leads out of it.
func GiveFolder(folder string, uid, gid int) error {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return err
	}
	defer root.Close()
	return fs.WalkDir(root.FS(), ".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return root.Lchown(path, uid, gid)
	})
}

// OpenWebroot makes the folder of the proofs in a webroot, for the house's user to write and for everybody to read. Below the webroot no
// link is followed out of it: the web server's account may have put one there. What is there already stays as it is; made is false then.
func OpenWebroot(webroot string, uid, gid int) (made bool, err error) {
	root, err := os.OpenRoot(webroot)
	if err != nil {
		return false, err
	}
	defer root.Close()
	if _, err := root.Lstat(ChallengeFolder); err == nil {
		return false, nil
	}
	for _, path := range []string{filepath.Dir(ChallengeFolder), ChallengeFolder} {
		if err := root.Mkdir(path, 0o755); errors.Is(err, fs.ErrExist) {
			continue
		} else if err != nil {
			return false, err
		}
		if err := root.Chmod(path, 0o755); err != nil { // whatever the umask is
			return false, err
		}
	}
	return true, root.Lchown(ChallengeFolder, uid, gid)
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
