package smtp

import (
	"github.com/prometheus/client_golang/prometheus"
)

// state is what the connection has come to.
type state uint16

const (
	greeted     state = 1 << iota // EHLO, HELO or LHLO was taken
	inMail                        // MAIL was taken
	inRcpt                        // and at least one RCPT
	inBDAT                        // a BDAT sequence failed before its last chunk and waits for RSET (RFC 3030 section 2)
	inTLS                         // the connection is encrypted
	authed                        // AUTH was taken
	transaction = inMail | inRcpt | inBDAT
)

// command is one row of the table: when it may be said, and what it does.
type command struct {
	run     func(c *conn, args string)
	needs   state
	forbids state
	noArgs  bool // an argument is a syntax error
	junk    bool // brings no message nearer; only so many are answered between two messages
	stray   bool // of another protocol: counted together
	between chunkRole
	count   prometheus.Counter
	name    string // the verb
}

// chunkRole is what a command means between two BDAT chunks.
type chunkRole uint8

const (
	chunkRefused chunkRole = iota // 503, the sequence goes on
	chunkSame                     // as always, the sequence goes on
	chunkAborts                   // the sequence ends without a message
	chunkNext                     // BDAT itself
)

// table is the commands of a flavour (RFC 5321 section 4.1; LMTP: RFC 2033 section 4).
func table(lmtp bool) map[string]command {
	t := map[string]command{
		"MAIL":     {run: (*conn).mail, needs: greeted, forbids: inMail},
		"RCPT":     {run: (*conn).rcpt, needs: greeted | inMail, forbids: inBDAT},
		"DATA":     {run: (*conn).data, needs: greeted | inMail | inRcpt, forbids: inBDAT, noArgs: true},
		"BDAT":     {run: (*conn).bdat, between: chunkNext}, // looks at the state itself: its octets are skipped first
		"RSET":     {run: (*conn).rset, noArgs: true, between: chunkAborts, junk: true},
		"NOOP":     {run: (*conn).noop, between: chunkSame, junk: true},
		"QUIT":     {run: (*conn).quit, noArgs: true, between: chunkAborts},
		"VRFY":     {run: (*conn).vrfy, between: chunkSame, junk: true},
		"EXPN":     {run: (*conn).expn, between: chunkSame, junk: true},
		"HELP":     {run: (*conn).help, between: chunkSame, junk: true},
		"STARTTLS": {run: (*conn).starttls, needs: greeted, forbids: inTLS | inMail, noArgs: true},
		"AUTH":     {run: (*conn).auth, needs: greeted, forbids: authed | inMail},
	}
	if lmtp {
		t["LHLO"] = command{run: (*conn).ehlo, between: chunkAborts, junk: true}
		return t
	}
	t["EHLO"] = command{run: (*conn).ehlo, between: chunkAborts, junk: true}
	t["HELO"] = command{run: (*conn).helo, between: chunkAborts, junk: true}
	// A browser that was sent here by a hostile page: nothing of what it says may become a command.
	for _, verb := range []string{"GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT"} {
		t[verb] = command{run: (*conn).http, between: chunkAborts, stray: true}
	}
	return t
}

// missing explains a state that a command needs, first things first.
func (s state) missing(lmtp bool) string {
	switch {
	case s&greeted != 0 && lmtp:
		return "Say LHLO first"
	case s&greeted != 0:
		return "Say EHLO or HELO first"
	case s&inMail != 0:
		return "Say MAIL first"
	}
	return "No valid recipients"
}

// present explains a state that a command forbids.
func (s state) present() string {
	switch {
	case s&inBDAT != 0:
		return "The BDAT sequence has failed, say RSET"
	case s&inTLS != 0:
		return "TLS is on already"
	case s&authed != 0:
		return "Already authenticated"
	}
	return "A transaction is open already"
}

// run checks the state and runs the command.
func (c *conn) run(cmd spoken) {
	if lack := cmd.needs &^ c.state; lack != 0 {
		c.bad(503, code(5, 5, 1), lack.missing(c.s.o.LMTP))
		return
	}
	if over := cmd.forbids & c.state; over != 0 {
		c.bad(503, code(5, 5, 1), over.present())
		return
	}
	if cmd.noArgs && cmd.args != "" {
		c.bad(501, code(5, 5, 4), "No argument is allowed here")
		return
	}
	cmd.command.run(c, cmd.args)
}
