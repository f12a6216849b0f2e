package daemon

import (
	"context"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/auth/external"
	"github.com/posthouse-mail/posthouse/auth/oidc"
	"github.com/posthouse-mail/posthouse/internal/config"
	"github.com/posthouse-mail/posthouse/internal/mail"
	rooms "github.com/posthouse-mail/posthouse/web"
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

// provider is who signs people in beside us, by the settings; nil: nobody.
func (d *Daemon) provider(c *config.Config) *rooms.Provider {
	x := c.Web.OIDC
	if x.Issuer == "" {
		return nil
	}
	o := oidc.Options{
		Issuer: x.Issuer, ClientID: x.ClientID, Redirect: c.ReturnTo(), Scopes: x.Scopes, Claim: x.Claim, ACR: x.ACR, AMR: x.AMR, Now: d.o.Now,
	}
	if x.SecretFile != "" {
		o.Secret = func() (string, error) { return secretOf(x.SecretFile) }
	}
	return &rooms.Provider{
		OIDC: oidc.New(o), Button: x.Button, Password: x.Password,
		Noted: func(ctx context.Context, id auth.Identity, who oidc.Person) error {
			return d.house.NoteProvider(ctx, id.Account, x.Issuer, who)
		},
	}
}

func mailboxes(all []config.Mailbox) (out []mail.Address) {
	for _, m := range all {
		out = append(out, m.Address)
	}
	return out
}
