package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// Clients is where mail programs are asked for a certificate of theirs.
type Clients struct {
	Services  []string `toml:"services"`
	Names     []Domain `toml:"names"`
	Authority string   `toml:"authority"`
	Refused   []string `toml:"refused"`
}

// clientServices are the services that may ask: where users log in. Port 25 is not one: other hosts break off, or show what they have.
func clientServices() []string {
	return []string{"submission", "submissions", "imap", "imaps", "pop3", "pop3s"}
}

func clientFields() []Field {
	return []Field{
		{"tls.clients.services", "Where programs are asked for a certificate, so that they can log in with it (EXTERNAL, RFC 4422): submission, submissions, imap, imaps, pop3, pop3s; over TLS 1.3 only",
			"Nobody is asked: some programs stop and ask their user which certificate to show.", `Write a list of services: ["imaps", "submissions"].`, ""},
		{"tls.clients.names", "Ask only programs that came for one of these names (SNI); empty: all of them", "A name of its own for those with certificates leaves all others as they are.", `Write a list of names: ["cert.example.org"].`, ""},
		{"tls.clients.authority", "PEM file of your own authority: a certificate of its making opens the account whose address it names (rfc822Name)",
			"Empty: only certificates that accounts have registered open anything. Never name a public authority here.", "Write the path of a PEM file.", ""},
		{"tls.clients.refused", "SHA-256 of public keys that open nothing any more, in hex: certificates of the authority that were lost", "What accounts have registered is removed there.", `Write a list of 64 hex digits each.`, ""},
	}
}

// Keys are the public keys that are refused.
func (c Clients) Keys() (map[[sha256.Size]byte]bool, error) {
	all := make(map[[sha256.Size]byte]bool)
	for _, text := range c.Refused {
		raw, err := hex.DecodeString(strings.ReplaceAll(text, ":", ""))
		if err != nil || len(raw) != sha256.Size {
			return nil, fmt.Errorf("%q is no SHA-256 of a key", text)
		}
		all[[sha256.Size]byte(raw)] = true
	}
	return all, nil
}

func (k *checker) clients() {
	c := k.c.TLS.Clients
	for _, s := range c.Services {
		if !slices.Contains(clientServices(), s) {
			k.fail("tls.clients.services", fmt.Sprintf("%q asks nobody for a certificate", s), `Write "`+strings.Join(clientServices(), `", "`)+`", or some of them.`)
		}
	}
	for _, n := range c.Names {
		if !strings.Contains(string(n.Domain), ".") && n.Domain != "localhost" {
			k.fail("tls.clients.names", fmt.Sprintf("%q is no full host name", n.Domain), remedyFor("tls.clients.names"))
		}
	}
	if _, err := c.Keys(); err != nil {
		k.fail("tls.clients.refused", err.Error(), remedyFor("tls.clients.refused"))
	}
	if c.Authority != "" && len(c.Services) == 0 {
		k.fail("tls.clients.authority", "nobody is asked for a certificate", `Name the services that ask: tls.clients.services = ["imaps", "submissions"].`)
	}
}
