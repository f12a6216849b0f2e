package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/config"
	"github.com/posthouse-mail/posthouse/internal/dns"
)

// ran is what a command line came to.
type ran struct {
	code        int
	out, errors string
}

func runLine(t *testing.T, stdin string, argv ...string) ran {
	t.Helper()
	var stdout, stderr bytes.Buffer
	p := &program{stdin: strings.NewReader(stdin), stdout: &stdout, stderr: &stderr, getenv: func(string) string { return "" }}
	code := p.run(t.Context(), append([]string{"posthouse"}, argv...))
	return ran{code, stdout.String(), stderr.String()}
}

// recordsIn are the lines of a zone fragment that a DNS server of ours can read, by type.
func recordsIn(t *testing.T, fragment string) map[string]int {
	t.Helper()
	kinds := map[string]int{}
	for line := range strings.Lines(fragment) {
		if strings.HasPrefix(line, ";") || strings.TrimSpace(line) == "" {
			continue
		}
		if _, err := dns.NewZone(line); err != nil {
			t.Errorf("%q: %v", line, err)
		}
		kinds[strings.Fields(line)[2]]++
	}
	return kinds
}

// A rehearsal changes nothing, takes no time, and has every kind of record on standard output.
func TestSetupRehearsal(t *testing.T) {
	dir := t.TempDir()
	file, data := filepath.Join(dir, "etc", "posthouse.toml"), filepath.Join(dir, "data")
	began := time.Now()
	r := runLine(t, "", "setup", "--dry-run", "--address", "192.0.2.1", "--address", "2001:db8::1", "--config", file, "--data", data, "alice@Bücher.example")
	if took := time.Since(began); r.code != 0 || took > 5*time.Second {
		t.Fatalf("exit %d after %s: %s", r.code, took, r.errors)
	}
	kinds := recordsIn(t, r.out)
	for kind, n := range map[string]int{"MX": 1, "A": 1, "AAAA": 1, "TXT": 6, "SRV": 5, "CNAME": 3, "CAA": 1, "TLSA": 1} {
		if kinds[kind] != n {
			t.Errorf("%d records of type %s, want %d, in\n%s", kinds[kind], kind, n, r.out)
		}
	}
	if !strings.Contains(r.out, "xn--bcher-kva.example. IN MX 10 mail.xn--bcher-kva.example.") {
		t.Errorf("an IDN is published in A-labels:\n%s", r.out)
	}
	for _, path := range []string{filepath.Dir(file), data} {
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("%s is there: %v", path, err)
		}
	}
	if !strings.Contains(r.errors, file+" would be written") || !strings.Contains(r.errors, "port25-in") {
		t.Errorf("notes:\n%s", r.errors)
	}
}

// A mistake is told in words, and nothing is half done.
func TestSetupMistakes(t *testing.T) {
	for what, c := range map[string]struct {
		argv []string
		says string
	}{
		"no address":        {[]string{"example.org"}, "example.org"},
		"no name":           {[]string{"you@localhost"}, "needs a name like example.org"},
		"an IP address":     {[]string{"you@[192.0.2.1]"}, "needs a name like example.org"},
		"quotes in domains": {[]string{`you@exa"mple.org`}, "has the character"},
		"blank":             {[]string{"you@exa mple.org"}, "not a"},
		"a bad host":        {[]string{"you@example.org", "--hostname", "mail_"}, "whole name"},
		"a host of blanks":  {[]string{"you@example.org", "--hostname", "a b.example.org"}, "--hostname"},
		"a host's address":  {[]string{"you@example.org", "--hostname", "[192.0.2.1]"}, "whole name"},
		"a bad address":     {[]string{"you@example.org", "--address", "192.0.2.300"}, "is no IP address"},
		"half a pair":       {[]string{"you@example.org", "--cert", "x.pem"}, "--key"},
		"bad authority":     {[]string{"you@example.org", "--email", "nobody"}, "--email"},
		"a label of none":   {[]string{"you@example..org"}, "not a"},
		"a hyphen first":    {[]string{"you@-example.org"}, "not a"},
		"a long label":      {[]string{"you@" + strings.Repeat("a", 64) + ".org"}, "not a"},
		"a broken A-label":  {[]string{"you@xn--0.example"}, "not a"},
		"an open quote":     {[]string{`"you@example.org`}, "not a"},
		"a line end":        {[]string{"you\n@example.org"}, "not a"},
		"two addresses":     {[]string{"you@a.example,me@b.example"}, "not a"},
		"no webroot":        {[]string{"you@example.org", "--webroot", "/nowhere/at/all"}, "name the folder that the other web server shows"},
		"a file as webroot": {[]string{"you@example.org", "--webroot", "/etc/passwd"}, "is no folder"},
		"no authority":      {[]string{"you@example.org", "--webroot", "/", "--no-acme"}, "--no-acme"},
		"no password":       {[]string{"you@example.org"}, "no terminal"},
		"an empty password": {[]string{"you@example.org", "--password-stdin"}, "password"},
	} {
		dir := t.TempDir()
		r := runLine(t, "\n", append([]string{"setup", "--no-system", "--config", filepath.Join(dir, "p.toml"), "--data", filepath.Join(dir, "data")}, c.argv...)...)
		left, err := os.ReadDir(dir)
		if r.code == 0 || !strings.Contains(r.errors, c.says) || err != nil || len(left) != 0 {
			t.Errorf("%s: exit %d, left %v %v, says\n%s\nwant %q", what, r.code, left, err, r.errors, c.says)
		}
	}
}

// Names of other scripts are written as people write them, and published as DNS has them.
func TestSetupOtherScripts(t *testing.T) {
	dir := t.TempDir()
	r := runLine(t, "", "setup", "--dry-run", "--address", "192.0.2.1", "--config", filepath.Join(dir, "p.toml"), "--data", filepath.Join(dir, "data"), "jörg@MÜNCHEN.example")
	if r.code != 0 || !strings.Contains(r.out, "xn--mnchen-3ya.example. IN MX 10 mail.xn--mnchen-3ya.example.") {
		t.Fatalf("exit %d: %s\n%s", r.code, r.errors, r.out)
	}
	for _, c := range r.out {
		if c > '~' {
			t.Fatalf("%q has no place in a zone:\n%s", c, r.out)
		}
	}
	recordsIn(t, r.out)
}

// Settings of another hand are believed; those that cannot be read are told before anything is made. What keeps setup from its end is said,
// and the same command goes on from there.
func TestSetupOverOthers(t *testing.T) {
	dir := t.TempDir()
	file, data, own := filepath.Join(dir, "posthouse.toml"), filepath.Join(dir, "data"), filepath.Join(dir, "own")
	put := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(file, "hostname = mx\n")
	// Nobody listens at port 1: an authority that is down.
	argv := []string{"setup", "--no-system", "--yes", "--address", "192.0.2.1", "--acme-directory", "https://127.0.0.1:1/dir", "--config", file, "--data", data, "you@example.org", "--password-stdin"}
	r := runLine(t, "secret of a test\n", argv...)
	left, err := os.ReadDir(dir)
	if r.code == 0 || !strings.Contains(r.errors, "nothing was changed") || !strings.Contains(r.errors, "posthouse.toml:1:") || err != nil || len(left) != 1 {
		t.Errorf("broken settings: exit %d, left %v %v: %s", r.code, left, err, r.errors)
	}
	mine := "hostname = \"mx.other.example\"\ndata = \"" + own + "\"\nlisten = {submissions = [], imaps = [], pop3s = []}\n"
	put(file, mine)
	put(own, "a file where a folder should be")
	if r = runLine(t, "secret of a test\n", argv...); r.code == 0 || !strings.Contains(r.errors, own) {
		t.Errorf("no room for the folder: exit %d: %s", r.code, r.errors)
	}
	if err := os.Remove(own); err != nil {
		t.Fatal(err)
	}
	r = runLine(t, "secret of a test\n", argv...)
	if r.code != 0 || !strings.Contains(r.out, "IN MX 10 mx.other.example.") || !strings.Contains(r.errors, `- hostname = "mx.other.example"`) || !strings.Contains(r.errors, "clock") {
		t.Errorf("settings of another hand: exit %d: %s\n%s", r.code, r.errors, r.out)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != mine {
		t.Errorf("%v\n%s", err, text)
	}
	if _, err := os.Stat(filepath.Join(own, "meta.db")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(data); !os.IsNotExist(err) {
		t.Errorf("a second data folder: %v", err)
	}
}

// A house is made, and made again: what is there stays, what a person changed is shown.
func TestSetup(t *testing.T) {
	dir := t.TempDir()
	file, data := filepath.Join(dir, "etc", "posthouse.toml"), filepath.Join(dir, "data")
	argv := []string{"setup", "--no-system", "--yes", "--address", "192.0.2.1", "--config", file, "--data", data, `"a b"@example.org`}
	first := runLine(t, "secret of a test\n", append(argv, "--password-stdin")...)
	if first.code != 0 {
		t.Fatalf("exit %d: %s", first.code, first.errors)
	}
	c, err := config.Load(file)
	if err != nil || c.Hostname != "mail.example.org" || c.Data != data || !c.ACME.Enabled {
		t.Fatalf("%+v %v", c, err)
	}
	show := runLine(t, "", "account", "show", `"a b"@example.org`, "--config", file)
	if show.code != 0 || !strings.Contains(show.out, "a b") {
		t.Errorf("%+v", show)
	}
	kinds := recordsIn(t, first.out)
	if kinds["MX"] != 1 || kinds["TXT"] != 6 || kinds["SRV"] != 5 {
		t.Errorf("records:\n%s", first.out)
	}
	again := runLine(t, "", argv...) // the account is there: no password is asked for
	if again.code != 0 || strings.Contains(again.errors, "written") || strings.Contains(again.errors, "made:") {
		t.Errorf("again: exit %d: %s", again.code, again.errors)
	}
	if again.out != first.out {
		t.Errorf("other records:\n%s\n%s", first.out, again.out)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	mine := strings.Replace(string(text), `email = `, "directory = \"https://ca.example/\"\nemail = ", 1)
	if err := os.WriteFile(file, []byte(mine), 0o644); err != nil {
		t.Fatal(err)
	}
	changed := runLine(t, "", argv...)
	if changed.code != 0 || !strings.Contains(changed.errors, `- directory = "https://ca.example/"`) {
		t.Errorf("changed: exit %d: %s", changed.code, changed.errors)
	}
	if now, err := os.ReadFile(file); err != nil || string(now) != mine {
		t.Errorf("the file is not what the person wrote: %v\n%s", err, now)
	}
}
