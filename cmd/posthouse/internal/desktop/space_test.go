//go:build desktop

package desktop

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// The addresses of the two houses: two machines with a cable between them.
const (
	oursAt   = "192.0.2.10"
	theirsAt = "198.51.100.20"
)

// homes has the folders of the houses: a place that looks well in pictures, and is ours alone.
const homes = "/srv"

// inside is set in the environment of the process that runs in the name spaces.
const inside = "POSTHOUSE_DESKTOP_INSIDE"

// TestMain runs the tests in name spaces of their own: mounts (our resolv.conf), network (loopback only, every port free) and
// processes (whatever a test started ends with it).
func TestMain(m *testing.M) {
	if os.Getenv(inside) == "" {
		os.Exit(enter())
	}
	if err := furnish(); err != nil {
		fmt.Fprintln(os.Stderr, "desktop:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// enter runs this program again in the name spaces, and returns how it ended.
func enter() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=yes")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	if ended, ok := errors.AsType[*exec.ExitError](err); ok {
		return ended.ExitCode()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "desktop: name spaces are needed (root on Linux):", err)
		return 1
	}
	return 0
}

// furnish makes the name spaces fit to live in.
func furnish() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the mounts our own: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	for path, text := range map[string]string{
		"/etc/resolv.conf":   "nameserver 127.0.0.1\noptions timeout:2 attempts:1\n",
		"/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
		"/etc/hosts":         "127.0.0.1 localhost\n::1 localhost\n",
	} {
		if err := replace(path, text); err != nil {
			return err
		}
	}
	const other = "/run/netns" // where ip keeps its names of name spaces: ours go with us
	for _, folder := range []string{other, homes} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
		if err := unix.Mount("tmpfs", folder, "tmpfs", 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", folder, err)
		}
	}
	for _, line := range []string{
		"link set lo up",
		"netns add theirs",
		"-n theirs link set lo up",
		"link add ours type veth peer name theirs netns theirs",
		"link set ours up", "-n theirs link set theirs up",
		"address add " + oursAt + "/32 dev ours", "-n theirs address add " + theirsAt + "/32 dev theirs",
		"route add " + theirsAt + " dev ours src " + oursAt, "-n theirs route add " + oursAt + " dev theirs src " + theirsAt,
	} {
		if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s (apt-get install iproute2): %w: %s", line, err, out)
		}
	}
	return nil
}

// replace puts a text over a file of this machine, in our name space only.
func replace(path, text string) error {
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	f, err := os.CreateTemp("", "desktop-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	if err := unix.Mount(f.Name(), path, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("put our own text over %s: %w", path, err)
	}
	return nil
}
