package daemon

import (
	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/auth/external"
	"github.com/posthouse-mail/posthouse/internal/config"
	"github.com/posthouse-mail/posthouse/internal/mail"
)

// askElsewhere is whose passwords another program knows, by the settings; nil: nobody's.
func (k *keepers) askElsewhere(c *config.Config) *auth.External {
	x := c.Auth.External
	if x.Socket == "" {
		return nil
	}
	k.external = external.New(external.Options{Socket: x.Socket, Timeout: x.Timeout.Duration, Connections: x.Connections})
	out := &auth.External{Helper: k.external, Accounts: mailboxes(x.Accounts), Except: mailboxes(x.Except), Remember: x.Remember.Duration}
	for _, d := range x.Domains {
		out.Domains = append(out.Domains, d.Domain)
	}
	return out
}

func mailboxes(all []config.Mailbox) (out []mail.Address) {
	for _, m := range all {
		out = append(out, m.Address)
	}
	return out
}
