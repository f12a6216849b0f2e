package accountui

import (
	"net/http"

	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/page"
)

// overview is the first page: addresses, how full the mailbox is, what programs are told.
type overview struct {
	Account admin.Account
	Percent int // of the octets; 0 without a limit
	Programs
	Ways []way
}

// way is one line of the table of servers.
type way struct {
	What, Protocol string
	Port           int
	Security       string
}

func (m *room) overview(w http.ResponseWriter, r *http.Request) error {
	a, err := m.o.House.Account(r.Context(), who(r).Identity.Main.String())
	if err != nil {
		return err
	}
	o := overview{Account: a, Programs: m.o.Programs, Ways: ways(m.o.Programs)}
	if a.Quota.Bytes > 0 {
		o.Percent = int(min(100, a.Usage.Bytes*100/a.Quota.Bytes))
	}
	return m.show(w, r, page.View{Page: "overview", Title: "My account", Data: o})
}

// ways lists what is open, the best first: TLS from the first octet (RFC 8314), then STARTTLS.
func ways(p Programs) []way {
	var all []way
	for _, x := range []way{
		{"Receive", "IMAP", p.IMAPS, "SSL/TLS"},
		{"Receive", "POP3", p.POP3S, "SSL/TLS"},
		{"Send", "SMTP", p.Submissions, "SSL/TLS"},
		{"Receive", "IMAP", p.IMAP, "STARTTLS"},
		{"Receive", "POP3", p.POP3, "STARTTLS"},
		{"Send", "SMTP", p.Submission, "STARTTLS"},
	} {
		if x.Port > 0 {
			all = append(all, x)
		}
	}
	return all
}
