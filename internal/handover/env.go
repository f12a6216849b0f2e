package handover

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// Variables of a process that is given sockets: those of sd_listen_fds(3), and ours, which names each descriptor, because the
// numbers from 3 on are taken in a program that runs.
const (
	listenPID   = "LISTEN_PID"
	listenCount = "LISTEN_FDS"
	listenNames = "LISTEN_FDNAMES"
	ownPID      = "POSTHOUSE_SOCKETS_PID"
	ownSockets  = "POSTHOUSE_SOCKETS"
)

// firstDescriptor of socket activation (SD_LISTEN_FDS_START).
const firstDescriptor = 3

// Inherited takes the sockets that were left for this process, and removes their variables: programs that it starts are not meant.
// What was left and cannot be used is in the error; the rest is there all the same.
func Inherited() (*Sockets, error) {
	s := New()
	var errs []error
	for _, x := range descriptors(os.Getenv, os.Getpid()) {
		syscall.CloseOnExec(x.number)
		if err := s.add(os.NewFile(uintptr(x.number), x.name), x.name); err != nil {
			errs = append(errs, fmt.Errorf("socket %d (%s) cannot be used: %w", x.number, x.name, err))
		}
	}
	for _, name := range []string{listenPID, listenCount, listenNames, ownPID, ownSockets} {
		errs = append(errs, os.Unsetenv(name))
	}
	return s, errors.Join(errs...)
}

// descriptor is one that was left, by its number.
type descriptor struct {
	number int
	name   string
}

// maxDescriptors bounds what is believed of the environment.
const maxDescriptors = 1024

// descriptors reads the variables of the process with this id; those of another are not for us.
func descriptors(env func(string) string, pid int) (all []descriptor) {
	if env(listenPID) == strconv.Itoa(pid) {
		n, err := strconv.Atoi(env(listenCount))
		if err != nil || n > maxDescriptors {
			n = 0
		}
		names := strings.Split(env(listenNames), ":")
		for i := range n {
			x := descriptor{number: firstDescriptor + i, name: "unknown"}
			if i < len(names) && names[i] != "" {
				x.name = names[i]
			}
			all = append(all, x)
		}
	}
	if env(ownPID) != strconv.Itoa(pid) {
		return all
	}
	for word := range strings.FieldsSeq(env(ownSockets)) {
		number, name, _ := strings.Cut(word, ":")
		name, wrong := url.PathUnescape(name)
		n, err := strconv.Atoi(number)
		if err == nil && wrong == nil && n >= firstDescriptor && len(all) < maxDescriptors {
			all = append(all, descriptor{n, name})
		}
	}
	return all
}
