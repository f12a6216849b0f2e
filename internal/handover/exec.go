package handover

import (
	"errors"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Next is what the next program gets: the sockets, open whatever this process closes meanwhile.
type Next struct{ words []string }

// Next makes them ready. From now on they are inherited by every program that this process starts, so it is the last thing before the end.
func (s *Sockets) Next() (*Next, error) {
	n := &Next{}
	if s == nil {
		return n, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.kept {
		fd, err := duplicate(k.socket)
		if err != nil {
			return nil, errors.Join(err, n.Close())
		}
		n.words = append(n.words, strconv.Itoa(fd)+":"+url.PathEscape(k.name))
	}
	s.stays.Store(true)
	return n, nil
}

// Close gives the sockets up.
func (n *Next) Close() error {
	var errs []error
	for _, w := range n.words {
		number, _, _ := strings.Cut(w, ":")
		fd, err := strconv.Atoi(number)
		errs = append(errs, err, unix.Close(fd))
	}
	n.words = nil
	return errors.Join(errs...)
}

// Environ is what the next program finds in its environment, for the process with this id.
func (n *Next) Environ(env []string, pid int) []string {
	return append(env, ownPID+"="+strconv.Itoa(pid), ownSockets+"="+strings.Join(n.words, " "))
}

// Become makes this process the program at path, with the same arguments, working folder and sockets. It returns only with an error.
func (n *Next) Become(path string) error {
	return os.NewSyscallError("execve "+path, syscall.Exec(path, os.Args, n.Environ(os.Environ(), os.Getpid())))
}

// Program is the file of the running program, as it is now: another version may have taken its place.
func Program() (string, error) {
	path, err := os.Executable()
	return strings.TrimSuffix(path, " (deleted)"), err
}
