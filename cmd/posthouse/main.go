// Command posthouse is a mail server in one binary.
//
// Each subcommand is one file; main.go holds what they share: the streams, the
// exit code (0 done, 1 failed, 2 wrong usage) and the way from an error to a line on stderr.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/posthouse-mail/posthouse/web/admin"
)

// Exit codes.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

// program is what a subcommand may touch of the world, so that tests can give it another.
type program struct {
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
	getenv func(string) string
}

func main() {
	p := &program{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv}
	os.Exit(p.run(context.Background(), os.Args))
}

// run executes argv and returns the exit code.
func (p *program) run(ctx context.Context, argv []string) int {
	argv = asSendmail(argv)
	root := p.root()
	if len(argv) > 1 {
		root.SetArgs(argv[1:])
	} else {
		root.SetArgs(nil)
	}
	err := root.ExecuteContext(admin.As(ctx, operator()))
	if err == nil {
		return exitOK
	}
	fmt.Fprintf(p.stderr, "posthouse: %s\n", printableLines(err.Error()))
	var coded *codedError
	if errors.As(err, &coded) {
		return coded.code
	}
	var usage *usageError
	if errors.As(err, &usage) {
		fmt.Fprintf(p.stderr, "Try %q.\n", usage.command+" --help")
		return exitUsage
	}
	return exitError
}

// operator is who gives this command, for what it changes on files.
func operator() admin.Actor {
	a := admin.Actor{Name: "uid " + strconv.Itoa(os.Getuid()), Door: admin.DoorCommand}
	if u, err := user.Current(); err == nil {
		a.Name = u.Username
	}
	return a
}

// usageError is a command line that says something we do not understand.
type usageError struct {
	command string
	err     error
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// wrongUsage marks err as a mistake in the command line of cmd.
func wrongUsage(cmd *cobra.Command, err error) error {
	if err == nil {
		return nil
	}
	return &usageError{command: cmd.CommandPath(), err: err}
}

// args makes an argument check of cobra a usage error.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, argv []string) error {
		err := check(cmd, argv)
		if err != nil && cmd.HasParent() {
			err = fmt.Errorf("write: %s", strings.TrimSuffix(cmd.UseLine(), " [flags]"))
		}
		return wrongUsage(cmd, err)
	}
}

// calledAs is the name the binary was called by: sendmail, mailq and newaliases are three of them.
func calledAs(argv []string) string {
	if len(argv) == 0 {
		return "posthouse"
	}
	return filepath.Base(argv[0])
}
