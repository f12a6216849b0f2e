package daemon

import (
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/config"
	rooms "github.com/posthouse-mail/posthouse/web"
)

// TestOutside: what the settings say of a helper and a provider comes to those who ask them; without it nobody is asked.
func TestOutside(t *testing.T) {
	c, err := config.Parse("/etc/posthouse/posthouse.toml", []byte("hostname = \"mail.example.org\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	d, k := &Daemon{}, &keepers{}
	if got := k.askElsewhere(c); got != nil || k.external != nil || d.provider(c) != nil {
		t.Errorf("without settings: %+v, %+v", got, d.provider(c))
	}
	c, err = config.Parse("/etc/posthouse/posthouse.toml", []byte(`hostname = "mail.example.org"
[auth.external]
socket = "helper"
domains = ["Example.ORG"]
except = ["admin@example.org"]
[web.oidc]
issuer = "https://login.example.org"
client_id = "posthouse"
password = false
`))
	if err != nil {
		t.Fatal(err)
	}
	x, p := k.askElsewhere(c), d.provider(c)
	defer k.external.Close()
	if c.Auth.External.Socket != "/etc/posthouse/helper" || len(x.Domains) != 1 || x.Domains[0] != "example.org" || len(x.Except) != 1 || x.Remember != 5*time.Minute {
		t.Errorf("helper: %+v at %s", x, c.Auth.External.Socket)
	}
	if p.Password || p.OIDC.Redirect() != "https://mail.example.org/sign-in/provider/back" || rooms.ProviderBack != config.OIDCPath {
		t.Errorf("provider: %+v, back to %s", p, p.OIDC.Redirect())
	}
}
