package page

// Programs is what mail programs connect to; a port of 0 is not open.
type Programs struct {
	Host                                              string
	IMAPS, IMAP, POP3S, POP3, Submissions, Submission int
}

// Way is one server that a program may use.
type Way struct {
	Sends    bool   // else it receives
	Protocol string // "IMAP", "POP3", "SMTP"
	Port     int
	TLS      bool // from the first octet (RFC 8314); else STARTTLS
}

// Security is what programs call it.
func (w Way) Security() string {
	if w.TLS {
		return "SSL/TLS"
	}
	return "STARTTLS"
}

// Ways lists what is open, the best first.
func (p Programs) Ways() []Way {
	var all []Way
	for _, w := range []Way{
		{false, "IMAP", p.IMAPS, true},
		{false, "POP3", p.POP3S, true},
		{true, "SMTP", p.Submissions, true},
		{false, "IMAP", p.IMAP, false},
		{false, "POP3", p.POP3, false},
		{true, "SMTP", p.Submission, false},
	} {
		if w.Port > 0 {
			all = append(all, w)
		}
	}
	return all
}
