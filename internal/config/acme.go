package config

import "slices"

// ACME is how certificates are got from an authority.
type ACME struct {
	Enabled   bool     `toml:"enabled"`
	Email     string   `toml:"email"`
	Directory string   `toml:"directory"`
	Roots     string   `toml:"roots"`
	Webroot   string   `toml:"webroot"`
	Forwarded bool     `toml:"forwarded"`
	DNSServer string   `toml:"dns_server"`
	DNSKey    string   `toml:"dns_key"`
	DNSHash   string   `toml:"dns_hash"`
	DNSSecret string   `toml:"dns_secret_file"`
	DNSWait   Duration `toml:"dns_wait"`
}

func acmeFields() []Field {
	const file, word = "Write the path of a file.", "Write true or false."
	return []Field{
		{"acme.enabled", "Get certificates from an authority and renew them (ACME, RFC 8555): for hostname, and for the names of each domain that lead here (mail., imap., pop., smtp., autoconfig., autodiscover., mta-sts.); this agrees to the authority's terms", "Off: certificates of your own stand under tls.certificates. Both can be: files come first.", word, ""},
		{"acme.email", "Where the authority writes to; empty: nowhere", "", `Write an address: "you@example.org".`, ""},
		{"acme.directory", "The authority's directory; empty: Let's Encrypt", "It is free, and mail programs know it.", `Write an address: "https://acme-v02.api.letsencrypt.org/directory".`, ""},
		{"acme.roots", "PEM file of what vouches for the directory itself; empty: what the system trusts", "For an authority of your own.", file, ""},
		{"acme.webroot", "Folder that another web server shows on port 80 for all names: proofs are written there, under .well-known/acme-challenge", "Empty: this house answers on listen.http (port 80) or listen.https (port 443) itself.", "Write the path of a folder.", ""},
		{"acme.forwarded", "Another web server hands /.well-known/acme-challenge/ of port 80 on to listen.http", "Otherwise listen.http must be port 80, or listen.https port 443.", word, ""},
		{"acme.dns_server", "DNS server that takes updates (RFC 2136): proofs are records, and neither port is needed; host:port", "Empty: no records are written.", `Write an address: "192.0.2.53:53".`, ""},
		{"acme.dns_key", "Name of the key that signs updates (TSIG)", "", `Write a name: "posthouse.example.org".`, ""},
		{"acme.dns_hash", "Its algorithm", "What servers make when asked for nothing else.", `Write "hmac-sha256", "hmac-sha384" or "hmac-sha512".`, ""},
		{"acme.dns_secret_file", "File whose first line is its secret, base64", "A secret has no place in a file that is shown around.", file, ""},
		{"acme.dns_wait", "How long after an update the authority is told to look", "Secondaries need some seconds.", `Write a duration: "20s".`, ""},
	}
}

// The algorithms of acme.dns_hash.
var dnsHashes = []string{"hmac-sha256", "hmac-sha384", "hmac-sha512"}

func (k *checker) acme() {
	a := k.c.ACME
	if !a.Enabled {
		return
	}
	if a.Webroot == "" && a.DNSServer == "" && len(k.c.Listen.HTTP) == 0 && len(k.c.Listen.HTTPS) == 0 {
		k.fail("acme.enabled", "no name could be proven", `Open listen.http = [":80"] or listen.https = [":443"], or name acme.webroot or acme.dns_server.`)
	}
	if a.Webroot != "" && a.DNSServer != "" {
		k.fail("acme.webroot", "names are proven by a webroot or by DNS, not both", "Remove acme.webroot or acme.dns_server.")
	}
	if (a.DNSKey == "") != (a.DNSSecret == "") {
		k.fail("acme.dns_key", "a key has a name and a secret", "Name both acme.dns_key and acme.dns_secret_file, or none of them.")
	}
	if a.DNSKey != "" && !slices.Contains(dnsHashes, a.DNSHash) {
		k.fail("acme.dns_hash", "no such algorithm", remedyFor("acme.dns_hash"))
	}
}
