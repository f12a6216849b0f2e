package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// secret is where a password comes from. It is never an argument: everybody on the machine can read those.
type secret struct {
	stdin bool
	file  string
}

func (s *secret) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&s.stdin, "password-stdin", false, "read the password from the first line of stdin")
	cmd.Flags().StringVar(&s.file, "password-file", "", "read the password from the first line of `FILE`")
	cmd.MarkFlagsMutuallyExclusive("password-stdin", "password-file")
}

// read returns the password; without a flag it asks the person at the terminal, twice.
func (s *secret) read(p *program) (string, error) {
	if s.file != "" {
		f, err := os.Open(s.file)
		if err != nil {
			return "", err
		}
		line, err := firstLine(f)
		return line, errors.Join(err, f.Close())
	}
	if s.stdin {
		return firstLine(p.stdin)
	}
	f, ok := p.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return "", errors.New("no terminal to ask for the password: say --password-stdin or --password-file FILE")
	}
	first, err := p.ask(f, "Password: ")
	if err != nil {
		return "", err
	}
	second, err := p.ask(f, "Again: ")
	if err != nil {
		return "", err
	}
	if first != second {
		return "", errors.New("the two are not the same: nothing was changed")
	}
	return first, nil
}

func (p *program) ask(f *os.File, prompt string) (string, error) {
	fmt.Fprint(p.stderr, prompt)
	b, err := term.ReadPassword(int(f.Fd()))
	fmt.Fprintln(p.stderr)
	return string(b), err
}

// firstLine reads up to the first line end, or 4 KB.
func firstLine(r io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(r, 4096)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return strings.TrimRight(line, "\r\n"), nil
}
