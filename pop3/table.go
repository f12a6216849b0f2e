package pop3

import (
	"context"
	"strings"
)

// state is where a session stands (RFC 1939 section 3); UPDATE is the moment of QUIT.
type state uint8

const (
	authorization state = 1 << iota
	transaction
)

// command is a row of the table. A command with raw takes the rest of its line as
// one argument, spaces and all; the others take words.
type command struct {
	name     string
	states   state
	raw      bool
	min, max int // words
	run      func(c *session, ctx context.Context, args []string) error
}

var table = [...]command{
	{"CAPA", authorization | transaction, false, 0, 0, (*session).capa},
	{"QUIT", authorization | transaction, false, 0, 0, (*session).quit},
	{"STLS", authorization, false, 0, 0, (*session).stls},
	{"UTF8", authorization, false, 0, 0, (*session).enableUTF8},
	{"USER", authorization, true, 1, 1, (*session).userName},
	{"PASS", authorization, true, 1, 1, (*session).password},
	{"AUTH", authorization, false, 0, 2, (*session).auth},
	{"STAT", transaction, false, 0, 0, (*session).stat},
	{"LIST", transaction, false, 0, 1, (*session).list},
	{"UIDL", transaction, false, 0, 1, (*session).uidl},
	{"RETR", transaction, false, 1, 1, (*session).retr},
	{"TOP", transaction, false, 2, 2, (*session).top},
	{"DELE", transaction, false, 1, 1, (*session).dele},
	{"NOOP", transaction, false, 0, 0, (*session).noop},
	{"RSET", transaction, false, 0, 0, (*session).rset},
}

// find knows keywords in any case (RFC 1939 section 3).
func find(word []byte) *command {
	for i := range table {
		if strings.EqualFold(table[i].name, string(word)) {
			return &table[i]
		}
	}
	return nil
}

func (cmd *command) arguments(rest string, given bool) ([]string, error) {
	if cmd.raw {
		if !given || rest == "" {
			return nil, refuse(cmd.name + " needs an argument")
		}
		return []string{rest}, nil
	}
	args := strings.Fields(rest)
	switch {
	case len(args) < cmd.min:
		return nil, refuse(cmd.name + " needs an argument")
	case len(args) > cmd.max:
		return nil, refuse("too many arguments")
	}
	return args, nil
}
