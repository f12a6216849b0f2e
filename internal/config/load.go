package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// maxFile bounds the settings file; a larger one is a mistake.
const maxFile = 1 << 20

// Error is one mistake in the settings file.
type Error struct {
	File         string
	Line, Column int    // from 1; 0 when the mistake is that something is not there
	Text         string // the line
	Width        int    // of what the caret points at
	Message      string
	Remedy       string
}

// Error has several lines: the place and the mistake, the line, the caret, the remedy.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", e.Line, e.Column)
	}
	b.WriteString(": " + e.Message)
	if e.Line > 0 {
		fmt.Fprintf(&b, "\n%5d | %s\n      | %s%s", e.Line, e.Text, blanks(e.Text, e.Column-1), strings.Repeat("^", max(1, e.Width)))
	}
	if e.Remedy != "" {
		b.WriteString("\n        " + e.Remedy)
	}
	return b.String()
}

// blanks is n octets of text as white space, tabs kept, so that the caret stands below its word.
func blanks(text string, n int) string {
	var b strings.Builder
	for i, r := range text {
		if i >= n {
			break
		}
		if r == '\t' {
			b.WriteByte('\t')
		} else {
			b.WriteByte(' ')
		}
	}
	return b.String()
}

// Load reads and checks a file. Paths in it that are not absolute start at the file's folder.
func Load(path string) (*Config, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("settings: %w", err)
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("settings: %s is larger than 1 MiB", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("settings: %w", err)
	}
	return Parse(path, text)
}

// Parse checks text; name stands in the errors and its folder before relative paths. The error is an *Error, or several joined.
func Parse(name string, text []byte) (*Config, error) {
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	doc := &document{name: name, text: text}
	c := Default()
	d := toml.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(c); err != nil {
		return nil, doc.decodeError(err)
	}
	if err := doc.index(); err != nil {
		return nil, err
	}
	k := &checker{doc: doc, c: c}
	k.check()
	if len(k.errs) > 0 {
		return nil, errors.Join(k.errs...)
	}
	c.absolute(filepath.Dir(name))
	k.sockets()
	if len(k.errs) > 0 {
		return nil, errors.Join(k.errs...)
	}
	return c, nil
}

// Check is for a value that was made without a file (the demo, tests).
func (c *Config) Check() error {
	k := &checker{doc: &document{name: "settings"}, c: c}
	k.check()
	return errors.Join(k.errs...)
}

// absolute joins relative paths to the settings file's folder.
func (c *Config) absolute(folder string) {
	full, err := filepath.Abs(folder)
	if err != nil {
		full = folder
	}
	join := func(p *string) {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(full, *p)
		}
	}
	join(&c.Data)
	join(&c.Listen.LMTP)
	for i := range c.Listen.HTTP {
		if path := c.Listen.HTTP[i].Socket(); path != "" {
			join(&path)
			c.Listen.HTTP[i].HostPort = unixPrefix + path
		}
	}
	join(&c.Submission.Socket)
	join(&c.Backup.To)
	join(&c.Backup.PassphraseFile)
	join(&c.Backup.IdentityFile)
	for i := range c.TLS.Certificates {
		join(&c.TLS.Certificates[i].Cert)
		join(&c.TLS.Certificates[i].Key)
	}
	for i := range c.Remote.SmartHosts {
		join(&c.Remote.SmartHosts[i].PasswordFile)
		join(&c.Remote.SmartHosts[i].CAFile)
	}
	for i := range c.Scanners {
		join(&c.Scanners[i].PasswordFile)
		join(&c.Scanners[i].CAFile)
	}
	join(&c.TLS.Clients.Authority)
	join(&c.ACME.Roots)
	join(&c.ACME.Webroot)
	join(&c.ACME.DNSSecret)
	join(&c.Metrics.Cert)
	join(&c.Metrics.Key)
	join(&c.Metrics.TokenFile)
	join(&c.Auth.External.Socket)
	join(&c.Web.OIDC.SecretFile)
}
