package config

import "net/netip"

// Web is the pages.
type Web struct {
	Redirect  bool           `toml:"redirect"`
	Proxies   []netip.Prefix `toml:"proxies"`
	AdminFrom []netip.Prefix `toml:"admin_from"`
	APIFrom   []netip.Prefix `toml:"api_from"`
	SignIn    Duration       `toml:"sign_in"`
	OIDC      OIDC           `toml:"oidc"`
}

func webFields() []Field {
	const networks = `Write a list of networks: ["127.0.0.1/32", "::1/128"].`
	return append([]Field{
		{"web.redirect", "Answer pages that are asked for in clear with their address over TLS", "A password over a connection in clear can be read on its way. False where a proxy in front does TLS, and tells so.", "Write true or false.", ""},
		{"web.proxies", "Networks of web servers in front of us: their X-Forwarded-For and X-Forwarded-Proto are believed", "Nobody: whoever is believed can claim any address.", networks, ""},
		{"web.admin_from", "Networks from where the pages of operators can be opened; empty: this machine", "Over ssh -L they are reached from anywhere, and nobody else sees that they exist.", networks, ""},
		{"web.api_from", "Networks from where tokens of operators are taken; empty: those of web.admin_from", "A token is a secret in a file: what it may do to the house is done from where operators are. Tokens of accounts work from anywhere.", networks, ""},
		{"web.sign_in", "After how long without use a sign-in at the web ends", "A browser at home stays signed in, one that was left somewhere does not for ever.", `Write a duration: "14d".`, ""},
	}, oidcFields()...)
}
