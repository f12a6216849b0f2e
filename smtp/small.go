package smtp

func (c *conn) rset(string) {
	c.endTransaction()
	c.answer(250, code(2, 0, 0), "Reset")
}

func (c *conn) noop(string) { c.answer(250, code(2, 0, 0), "OK") }

func (c *conn) quit(string) {
	c.farewell("quit", 221, code(2, 0, 0), c.s.o.Hostname+" closes, good-bye")
}

// vrfy tells nobody who has a mailbox here (RFC 5321 section 7.3).
func (c *conn) vrfy(args string) {
	if args == "" {
		c.bad(501, code(5, 5, 4), "Give an address")
		return
	}
	c.answer(252, code(2, 0, 0), "Cannot verify, but will take the message and try")
}

func (c *conn) expn(string) { c.bad(502, code(5, 5, 1), "EXPN is not offered") }

func (c *conn) help(string) {
	hello := "EHLO HELO"
	if c.s.o.LMTP {
		hello = "LHLO"
	}
	c.answer(214, code(2, 0, 0), "Commands: "+hello+" MAIL RCPT DATA BDAT RSET NOOP QUIT VRFY HELP STARTTLS AUTH", "The protocol is RFC 5321")
}

func (c *conn) http(string) { c.farewell("http", 421, code(4, 7, 0), "This is a mail server") }
