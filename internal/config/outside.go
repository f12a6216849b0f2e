package config

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// External is the program that knows passwords which are not ours. Without a socket there is none.
type External struct {
	Socket      string    `toml:"socket"`
	Domains     []Domain  `toml:"domains"`
	Accounts    []Mailbox `toml:"accounts"`
	Except      []Mailbox `toml:"except"`
	Timeout     Duration  `toml:"timeout"`
	Connections int       `toml:"connections"`
	Remember    Duration  `toml:"remember"`
}

// OIDC is the provider that signs people in at the web pages. Without an issuer there is none.
type OIDC struct {
	Issuer     string   `toml:"issuer"`
	ClientID   string   `toml:"client_id"`
	SecretFile string   `toml:"secret_file"`
	Button     string   `toml:"button"`
	Scopes     []string `toml:"scopes"`
	Claim      string   `toml:"claim"`
	ACR        []string `toml:"acr"`
	AMR        []string `toml:"amr"`
	Password   bool     `toml:"password"`
	Redirect   string   `toml:"redirect"`
}

// OIDCPath is where the provider leads back to.
const OIDCPath = "/sign-in/provider/back"

// ReturnTo is the redirect URI, as the provider has to know it.
func (c *Config) ReturnTo() string {
	if c.Web.OIDC.Redirect != "" {
		return c.Web.OIDC.Redirect
	}
	return "https://" + c.Hostname + OIDCPath
}

func authFields() []Field {
	return []Field{
		{"auth.default_domain", "Domain of user names without one", "Empty: a bare name is refused, so that it never means another person after a second domain came.", `Write a domain: "example.org".`, ""},
		{"auth.separator", "Character before the detail of a subaddress: bob+news@ is bob@", "The usual one (RFC 5233).", `Write one character: "+".`, ""},
		{"auth.clear_loopback", "Take passwords without TLS from this machine itself", "No password travels in clear, not even where nobody listens.", "Write true or false.", ""},
		{"auth.scram", "Keep SCRAM-SHA-256 keys and offer the mechanism", "It cannot serve imported password hashes, and TLS protects the password already.", "Write true or false.", ""},
		{"auth.postmaster", "Receives postmaster@ and abuse@ where nobody has them", "Empty: the first account of the house.", `Write an address: "admin@example.org".`, ""},
		{"auth.external.socket", "Unix socket on which the program listens; empty: all passwords are ours", "Off. The rights of its folder decide who may stand there, and read passwords.", "Write the path of a socket.", ""},
		{"auth.external.domains", "Domains whose accounts have their passwords there: those with their main address in one of them", "None.", `Write a list of domains: ["example.org"].`, ""},
		{"auth.external.accounts", "And accounts that have one of these addresses", "None.", `Write a list of addresses: ["bob@example.org"].`, ""},
		{"auth.external.except", "But not accounts that have one of these: their passwords stay ours", "None. Name an operator here, who can sign in when the other program is down.", `Write a list of addresses: ["admin@example.org"].`, ""},
		{"auth.external.timeout", "How long a login waits for the answer", "Programs give up after 20 s at the earliest. No answer is a temporary error, never a wrong password.", `Write a duration: "10s".`, ""},
		{"auth.external.connections", "How many logins are asked about at once, each on a connection of its own", "A directory answers in milliseconds: eight are hundreds of logins a second.", "Write a whole number.", ""},
		{"auth.external.remember", "How long a good answer holds; 0s: each login asks", "A mail program that comes each minute asks every fifth time. A password that was changed there works here so long.", `Write a duration: "5m".`, ""},
	}
}

func oidcFields() []Field {
	const words = `Write a list: ["mfa"].`
	return []Field{
		{"web.oidc.issuer", "The provider's issuer, exactly as it names itself; empty: there is none", "Off: accounts need nobody else.", `Write an address: "https://login.example.org/realms/main".`, ""},
		{"web.oidc.client_id", "What we are called there", "The provider gives it when the house is registered.", "Write a text.", ""},
		{"web.oidc.secret_file", "File with the client's secret; empty: it has none, and PKCE alone protects the way", "A secret does not stand in a file that is shown around. It is read at each use.", "Write the path of a file.", ""},
		{"web.oidc.redirect", "Where the provider leads back to, exactly as it is registered there; empty: https://HOSTNAME/sign-in/provider/back", "Another name or port only where the pages have one.", `Write an address: "https://mail.example.org/sign-in/provider/back".`, ""},
		{"web.oidc.button", "What the button says", "People know their organisation, not the protocol.", "Write a text.", ""},
		{"web.oidc.scopes", "What the provider is asked for", "The address is all that we need.", `Write a list: ["openid", "email"].`, ""},
		{"web.oidc.claim", "The claim that has the mail address of the account", "email is taken only with email_verified. Another claim is taken as it is: name none that people can change themselves.", `Write a name: "email".`, ""},
		{"web.oidc.acr", "Values of acr that stand for a second factor", "Empty: the provider's word is none; who has a second factor here gives it here, and operators need it.", words, ""},
		{"web.oidc.amr", "Values of amr that stand for a second factor (RFC 8176); one is enough", "As above.", words, ""},
		{"web.oidc.password", "Whether the pages take passwords beside it", "The provider may be down. False: only from web.admin_from, so that the operator can still come in; passkeys go on.", "Write true or false.", ""},
	}
}

// outside checks those who know our users beside us.
func (k *checker) outside() {
	x := k.c.Auth.External
	k.duration("auth.external.timeout", x.Timeout, "100ms", "1m")
	k.duration("auth.external.remember", x.Remember, "0s", "1h")
	if x.Connections < 1 || x.Connections > 1000 {
		k.fail("auth.external.connections", "out of bounds", "Write 1 to 1000.")
	}
	if x.Socket != "" && k.c.Auth.SCRAM {
		k.fail("auth.scram", "accounts whose passwords are kept elsewhere have no SCRAM keys, and programs take the strongest mechanism that they see", "Write scram = false, or auth.external.socket = \"\".")
	}
	if x.Socket != "" && len(x.Domains)+len(x.Accounts) == 0 {
		k.fail("auth.external.socket", "no account is said to have its password there", "Write domains = [...] or accounts = [...] below it.")
	}
	o := k.c.Web.OIDC
	if o.Issuer == "" {
		if !o.Password {
			k.fail("web.oidc.password", "without a provider nobody could sign in", "Write password = true, or an issuer.")
		}
		return
	}
	if !secureURL(o.Issuer) || strings.ContainsAny(o.Issuer, "?#") {
		k.fail("web.oidc.issuer", "this is no address of a provider over https", remedyFor("web.oidc.issuer"))
	}
	if to := k.c.ReturnTo(); !secureURL(to) || !strings.HasSuffix(to, OIDCPath) || strings.Count(to, "/") != strings.Count(OIDCPath, "/")+2 {
		k.fail("web.oidc.redirect", "nobody would find the way back there", remedyFor("web.oidc.redirect"))
	}
	if o.ClientID == "" {
		k.fail("web.oidc.client_id", "the provider would not know who asks", remedyFor("web.oidc.client_id"))
	}
	if !slices.Contains(o.Scopes, "openid") {
		k.fail("web.oidc.scopes", "without openid the provider signs nobody in", remedyFor("web.oidc.scopes"))
	}
	if o.Claim == "" {
		k.fail("web.oidc.claim", "nothing says whose account it is", remedyFor("web.oidc.claim"))
	}
	if strings.TrimSpace(o.Button) == "" {
		k.fail("web.oidc.button", "a button needs a name", `Write button = "Sign in with Example".`)
	}
}

// secureURL takes https, and http on this machine itself.
func secureURL(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil {
		return false
	}
	a, err := netip.ParseAddr(u.Hostname())
	local := u.Hostname() == "localhost" || err == nil && a.IsLoopback()
	return u.Scheme == "https" || u.Scheme == "http" && local
}
