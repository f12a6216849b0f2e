package imap

import (
	"context"
	"strings"

	goimap "github.com/emersion/go-imap/v2"
)

// states is a bit set of the states of a connection (RFC 9051 section 3).
type states uint8

const (
	notAuthenticated states = 1 << iota
	authenticated
	selected

	anyState = notAuthenticated | authenticated | selected
	loggedIn = authenticated | selected
)

// updates says what a command's answer may tell of the selected mailbox besides.
type updates uint8

const (
	tellAll     updates = iota
	tellNoGone          // RFC 9051 section 7.5.1: no EXPUNGE while sequence numbers are in use; the UID form tells all
	tellNothing         // the mailbox was just selected, or is not any more
)

// command is one row of the table.
type command struct {
	name    string
	states  states
	uid     bool // has a UID form
	writes  bool // refused in a mailbox opened by EXAMINE
	takes   bool // writes, but only takes messages out
	waits   bool // for the client in its middle, or takes long; its context ends at a shutdown
	updates updates
	run     func(c *conn, ctx context.Context, r *request) error
}

// request is one command as it is being answered.
type request struct {
	*command
	tag   string
	byUID bool
	code  string                          // response code of the OK, without brackets
	text  string                          // text of the OK; empty: "NAME completed"
	after func(ctx context.Context) error // runs behind the OK
}

// commandTable lists every command once. A name that has a UID form only stands under "UID NAME".
func commandTable() map[string]*command {
	all := []command{
		{name: "CAPABILITY", states: anyState, run: (*conn).capability},
		{name: "NOOP", states: anyState, run: (*conn).noop},
		{name: "LOGOUT", states: anyState, updates: tellNothing, run: (*conn).logout},
		{name: "ID", states: anyState, run: (*conn).id},

		{name: "STARTTLS", states: notAuthenticated, run: (*conn).startTLS},
		{name: "AUTHENTICATE", states: notAuthenticated, waits: true, run: (*conn).authenticate},
		{name: "LOGIN", states: notAuthenticated, run: (*conn).login},

		{name: "UNAUTHENTICATE", states: loggedIn, updates: tellNothing, run: (*conn).unauthenticate},
		{name: "ENABLE", states: loggedIn, run: (*conn).enable},
		{name: "SELECT", states: loggedIn, updates: tellNothing, run: (*conn).selectMailbox},
		{name: "EXAMINE", states: loggedIn, updates: tellNothing, run: (*conn).examine},
		{name: "CREATE", states: loggedIn, run: (*conn).create},
		{name: "DELETE", states: loggedIn, run: (*conn).delete},
		{name: "RENAME", states: loggedIn, run: (*conn).rename},
		{name: "SUBSCRIBE", states: loggedIn, run: (*conn).subscribe},
		{name: "UNSUBSCRIBE", states: loggedIn, run: (*conn).unsubscribe},
		{name: "LIST", states: loggedIn, run: (*conn).list},
		{name: "LSUB", states: loggedIn, run: (*conn).lsub},
		{name: "NAMESPACE", states: loggedIn, run: (*conn).namespace},
		{name: "STATUS", states: loggedIn, run: (*conn).status},
		{name: "APPEND", states: loggedIn, run: (*conn).append},
		{name: "IDLE", states: loggedIn, waits: true, run: (*conn).idle},

		{name: "CHECK", states: selected, run: (*conn).check},
		{name: "CLOSE", states: selected, updates: tellNothing, run: (*conn).closeMailbox},
		{name: "UNSELECT", states: selected, updates: tellNothing, run: (*conn).unselect},
		{name: "EXPUNGE", states: selected, uid: true, writes: true, run: (*conn).expunge},
		{name: "STORE", states: selected, uid: true, writes: true, updates: tellNoGone, run: (*conn).storeFlags},
		{name: "COPY", states: selected, uid: true, run: (*conn).copy},
		{name: "MOVE", states: selected, uid: true, writes: true, takes: true, run: (*conn).move},
		{name: "FETCH", states: selected, uid: true, updates: tellNoGone, run: (*conn).fetch},
		{name: "SEARCH", states: selected, uid: true, waits: true, updates: tellNoGone, run: (*conn).search},
	}
	table := make(map[string]*command, len(all)*2)
	for i := range all {
		cmd := &all[i]
		table[cmd.name] = cmd
		if cmd.uid {
			table["UID "+cmd.name] = cmd
		}
	}
	return table
}

// lookup finds the command of a name that Next has read, and takes the second word of UID.
func (c *conn) lookup(tag, name string) (*request, error) {
	r := &request{tag: tag}
	if name == "UID" {
		c.d.SP()
		name += " " + c.d.Keyword()
		r.byUID = true
		if err := c.d.Err(); err != nil {
			return nil, err
		}
	}
	r.command = c.s.commands[name]
	if r.command == nil {
		return nil, bad("unknown command")
	}
	if r.states&c.state == 0 {
		return nil, bad(r.name + " is not possible " + r.wrongState(c.state))
	}
	if r.writes && c.box.readOnly && !(r.takes && c.box.giving) {
		if c.box.giving {
			return nil, no(goimap.ResponseCodeCannot, textDeletedOut)
		}
		return nil, no("", "the mailbox is open read-only (EXAMINE)")
	}
	return r, nil
}

// wrongState says for people why a command is not possible now.
func (cmd *command) wrongState(now states) string {
	switch {
	case cmd.states == notAuthenticated:
		return "after login"
	case now == notAuthenticated:
		return "before login"
	}
	return "without a selected mailbox"
}

// label is the command's name for metrics.
func (r *request) label() string {
	if r == nil || r.command == nil {
		return "unknown"
	}
	return strings.ToLower(r.name)
}
