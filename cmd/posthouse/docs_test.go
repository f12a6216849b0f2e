package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/posthouse-mail/posthouse/auth/authtest"
	"github.com/posthouse-mail/posthouse/internal/config"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/storetest"
	"github.com/posthouse-mail/posthouse/web/api"
)

// manuals are the documents whose commands people copy.
var manuals = []string{"README.md", "docs/operations.md", "docs/performance.md", "docs/user.md"}

// printed says of a command that a manual prints what the test does about it; one that is not here is run as it stands, with its
// paths in a folder of the test's, and must end with 0.
type printed struct {
	before string // is run first
	also   string // what is added to it
	stdin  string
	page   string // a page of testdata that runs it: it needs a house of its own
	not    string // why nothing here can run it
}

const (
	needsRoot    = "changes the machine"
	byDeployTest = "make deploy-test does the same"
)

func printedCommands() map[string]printed {
	const server = " --ca $DIR/ca.pem"
	return map[string]printed{
		"posthouse setup you@example.org": {not: "TestSetup makes one in a folder of its own"},
		"posthouse check":                 {page: "checkup.txt"},
		"make demo":                       {not: "TestDemo runs the same"},
		"make test":                       {not: "it runs this"},
		"make build":                      {not: "make crash, interop and siege begin with it"},
		"make package":                    {not: byDeployTest}, "apt-get install ./bin/posthouse_*.deb": {not: byDeployTest},
		"podman run -d --name posthouse --hostname mail.example.org --sysctl net.ipv4.ip_unprivileged_port_start=0 -p 25:25 -p 465:465 -p 587:587 -p 993:993 -v posthouse:/var/lib/posthouse -v /etc/posthouse:/etc/posthouse:ro posthouse": {not: byDeployTest},
		"podman exec posthouse posthouse status --ready":                                     {not: byDeployTest},
		"posthouse serve --config posthouse.toml":                                            {not: "TestSignals runs it, and it would not end"},
		"posthouse account add you@example.org --config posthouse.toml":                      {also: " --password-stdin", stdin: "secret\n"},
		"useradd --system --home-dir /var/lib/posthouse --shell /usr/sbin/nologin posthouse": {not: needsRoot},
		"install -m 0755 bin/posthouse /usr/bin/posthouse":                                   {not: needsRoot},
		"install -d /etc/posthouse":                                                          {not: needsRoot},
		"install -m 0644 deploy/posthouse.service /etc/systemd/system/posthouse.service":     {not: needsRoot},
		"install -d -o posthouse -m 0700 /var/lib/posthouse":                                 {not: needsRoot},
		"install -m 0755 posthouse-old /usr/bin/posthouse":                                   {not: needsRoot},
		"systemctl daemon-reload":                                                            {not: needsRoot},
		"systemctl enable --now posthouse":                                                   {not: needsRoot},
		"systemctl start posthouse":                                                          {not: needsRoot},
		"systemctl restart posthouse":                                                        {not: byDeployTest},
		"posthouse restart":                                                                  {not: "TestRestart runs it on a process of its own"},
		"systemctl stop posthouse":                                                           {not: needsRoot},
		`install -o posthouse -m 0400 "$RENEWED_LINEAGE/fullchain.pem" "$RENEWED_LINEAGE/privkey.pem" /etc/posthouse/`: {not: needsRoot},

		"posthouse account add you@example.org":                     {also: " --password-stdin", stdin: "secret\n"},
		"posthouse backup verify /mnt/backup --identity backup.key": {before: "posthouse backup $DIR/encrypted --recipient $KEY"},
		"posthouse rollback":                                        {page: "rollback.txt"},
		"posthouse connections end 3f":                              {page: "machine-running.txt"},
		"posthouse certificates renew mail.example.org":             {page: "machine-running.txt"},
		"posthouse settings undo":                                   {page: "machine-running.txt"},
		"posthouse repair":                                          {page: "repair.txt"},
		"posthouse repair --dry-run":                                {page: "repair.txt"},

		"posthouse import imap --account anna@example.org --from imaps://anna@old.example.net --password-file old-password":                                          {also: server},
		"posthouse import imap --account anna@example.org --from imaps://anna@old.example.net --password-file old-password --pop3-uidl-from pop3s://old.example.net": {also: server},
		"posthouse import pop3 --account anna@example.org --from pop3s://anna@old.example.net --password-file old-password":                                          {also: server},
	}
}

// TestManuals runs every command that the manuals print in blocks of their own, in their order, against a running house and an
// old server.
func TestManuals(t *testing.T) {
	dir, put := manualHouse(t)
	table := printedCommands()
	used := map[string]bool{}
	ran := 0
	for _, line := range blocks(t) {
		line = strings.TrimPrefix(strings.TrimPrefix(line, "runuser -u posthouse -- "), "bin/")
		step := table[line]
		used[line] = true
		switch {
		case step.not != "":
		case step.page != "":
			text, err := os.ReadFile(filepath.Join("testdata", step.page))
			if err != nil || !strings.Contains(string(text), "\n$ "+line+"\n") {
				t.Errorf("%s does not run %q (%v)", step.page, line, err)
			}
		case !strings.HasPrefix(line, "posthouse "):
			t.Errorf("%q: nothing runs it; say in printedCommands what does, or why not", line)
		default:
			ran++
			for _, c := range []string{step.before, line + step.also} {
				if c == "" {
					continue
				}
				out := typed(t, dir, put.Replace(c), step.stdin, false)
				t.Logf("$ %s\n%s", c, out)
				if strings.Contains(out, "\n= ") || strings.HasPrefix(out, "= ") || strings.HasPrefix(out, "! posthouse:") {
					t.Errorf("%s: %s", c, out)
				}
			}
		}
	}
	for line := range table {
		if !used[line] {
			t.Errorf("no manual prints %q any more", line)
		}
	}
	if ran < 20 {
		t.Errorf("only %d commands ran", ran)
	}
}

// blocks are the commands in the shell blocks of the manuals, without what is said behind them.
func blocks(t *testing.T) []string {
	var out []string
	for _, name := range manuals {
		text, err := os.ReadFile(filepath.Join("../..", name))
		if err != nil {
			t.Fatal(err)
		}
		in := false
		for line := range strings.Lines(string(text)) {
			if fence, ok := strings.CutPrefix(strings.TrimSpace(line), "```"); ok {
				in = fence == "sh"
				continue
			}
			line, _, _ = strings.Cut(line, " #")
			line, _, _ = strings.Cut(line, " > ")
			for command := range strings.SplitSeq(line, " && ") {
				if command = strings.TrimSpace(command); in && command != "" {
					out = append(out, command)
				}
			}
		}
	}
	return out
}

// manualHouse is the house of the manuals: example.org with anna, her mail, what she deleted, what other programs left behind, and
// the server that she comes from. put brings their names to where they are here.
func manualHouse(t *testing.T) (dir string, put *strings.Replacer) {
	dir = t.TempDir()
	for _, house := range []string{"data", "old"} {
		folder := filepath.Join(dir, house)
		if err := os.Mkdir(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, line := range []string{"posthouse domain add example.org", "posthouse account add anna@example.org --password-stdin"} {
			if house == "old" {
				line = strings.ReplaceAll(line, "example.org", "old.test") + " --data " + folder
			}
			if out := typed(t, dir, line, "secret\n", false); strings.Contains(out, "= ") {
				t.Fatal(out)
			}
		}
		h := storetest.Start(t, storetest.Options{KV: kv.Options{Dir: folder}})
		for _, name := range []string{"Archive/2025", "Work"} {
			if _, err := h.Store.CreateMailbox(t.Context(), 1, name, 0); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 9 {
			for _, box := range []string{"INBOX", "Archive", "Work"} {
				storetest.Message(t, h.Store, 1, box, fmt.Sprintf("From: bob@far.test\r\nSubject: %s %s %d\r\n\r\nx\r\n", house, box, i))
			}
		}
		deleted(t, h.Store, "INBOX", "Subject: gone\r\n\r\nx\r\n")
		deleted(t, h.Store, "Archive/2025", "Subject: gone too\r\n\r\nx\r\n")
		h.Close()
	}
	seedOldMail(t, dir)
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	startHouse(t, filepath.Join(dir, "data"))
	loopback := []config.Address{{HostPort: "127.0.0.1:0"}}
	authority := startHouseWith(t, filepath.Join(dir, "old"), func(c *config.Config) { c.Listen = config.Listen{IMAPS: loopback, POP3S: loopback} })
	pem, err := os.ReadFile(authority)
	if err != nil {
		t.Fatal(err)
	}
	const settings = "hostname = \"mx.example.org\"\ndata = \"data\"\nlisten = {submissions = [], pop3s = [], imaps = []}\n"
	for name, text := range map[string]string{"backup.key": key.String() + "\n", "old-password": "secret\n", "ca.pem": string(pem), "posthouse.toml": settings, "cert.pem": authtest.PEM(authtest.Certificate(t, nil, nil))} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ports := doors(t, dir)
	return dir, strings.NewReplacer(
		"domain add example.org --config posthouse.toml", "domain add example.com", "domain add example.org", "domain add example.net",
		"account add you@example.org --config posthouse.toml", "account add you@example.com", "--config posthouse.toml", "--config $DIR/posthouse.toml",
		"$KEY", key.Recipient().String(),
		"/mnt/backup --identity backup.key", "$DIR/encrypted --identity $DIR/backup.key",
		"/mnt/backup", "$DIR/backup", "/var/lib/posthouse", "$DIR/restored", "--at 3d", "--at 0h",
		"/home/anna/Maildir", "$DIR/maildir", "~/Mail/archive.mbox", "$DIR/mail.mbox", "~/letters", "$DIR/eml",
		"imaps://anna@old.example.net", "imaps://anna%40old.test@localhost:"+ports["imaps"], "pop3s://anna@old.example.net", "pop3s://anna%40old.test@localhost:"+ports["pop3s"],
		"pop3s://old.example.net", "pop3s://localhost:"+ports["pop3s"], "old-password", "$DIR/old-password", "cert.pem", "$DIR/cert.pem", "/var/tmp/", "$DIR/",
	)
}

// doors are the ports of the old server, by name.
func doors(t *testing.T, dir string) map[string]string {
	c, err := api.Dial(t.Context(), filepath.Join(dir, "old"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, d := range s.Listeners {
		_, port, err := net.SplitHostPort(d.Address)
		if err != nil {
			t.Fatal(err)
		}
		out[d.Service] = port
	}
	return out
}

var inline = regexp.MustCompile("`(posthouse [^`]+)`")

// TestManualsName: the commands that the manuals name in a sentence are there, with the flags that they are said to have.
func TestManualsName(t *testing.T) {
	named := 0
	for _, name := range append(manuals, "docs/security.md", "docs/testing.md") {
		text, err := os.ReadFile(filepath.Join("../..", name))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range inline.FindAllStringSubmatch(string(text), -1) {
			line, _, _ := strings.Cut(m[1], " > ")
			argv := strings.Fields(line)[1:]
			p := &program{getenv: func(string) string { return "" }}
			root := p.root()
			root.InitDefaultCompletionCmd(argv...)
			cmd, rest, err := root.Find(argv)
			if err != nil || cmd.HasSubCommands() && !cmd.Runnable() || !cmd.HasParent() && argv[0] != "..." {
				t.Errorf("%s: `%s`: no such command (%v)", name, m[1], err)
				continue
			}
			named++
			for _, word := range rest {
				flag, ok := strings.CutPrefix(word, "--")
				if flag, _, _ = strings.Cut(flag, "="); ok && flag != "help" && cmd.Flag(flag) == nil && cmd.InheritedFlags().Lookup(flag) == nil {
					t.Errorf("%s: `%s`: %s has no flag --%s", name, m[1], cmd.CommandPath(), flag)
				}
			}
		}
	}
	if named < 30 {
		t.Errorf("only %d commands are named", named)
	}
}
