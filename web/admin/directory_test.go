package admin_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/web/admin"
)

// must ends the test where a verb fails.
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func (h *house) export(t *testing.T, secrets bool) string {
	t.Helper()
	return must(h.ExportDirectory(t.Context(), admin.DirectoryExport{Secrets: secrets}))(t).Text
}

// changes is what applying a file came to, a line each.
func (h *house) changes(t *testing.T, in admin.DirectoryApply) string {
	t.Helper()
	out, err := h.ApplyDirectory(t.Context(), in)
	if err != nil {
		var e *admin.Error
		if !errors.As(err, &e) {
			t.Fatalf("no class: %v", err)
		}
		return string(e.Class) + ": " + e.Message
	}
	var lines []string
	for _, c := range out.Changes {
		line := c.Action + " " + c.Kind + " " + c.Object
		if c.Action == "changed" {
			for _, f := range c.Fields {
				line += fmt.Sprintf(" %s=%s", f.Name, f.Is)
			}
		}
		lines = append(lines, line)
	}
	for _, k := range out.Kept {
		lines = append(lines, "kept "+k)
	}
	for _, c := range out.Closed {
		lines = append(lines, "no password "+c)
	}
	return strings.Join(lines, "\n")
}

const directoryFile = `version = 1

[domain."one.test"]
catch_all = "bob@one.test"
quota_bytes = 1000000
limits = { messages_per_day = 100, recipients_per_hour = -1 }

[domain."uno.test"]
alias_of = "one.test"

[account."anna@one.test"]
addresses = [
  "a@one.test",
  "anna.b@one.test",
]
name = "Anna \"B\" \\ Ö"
login = "anna"
doors = ["imap", "submission"]
operator = true
forward = ["all@one.test"]
keep = true
hold = "10s"
sent_copy = "on"
spam_line = 7.5
quota_bytes = 5000
quota_messages = 7
limits = { messages_per_hour = 3 }

[account."bob@one.test"]
disabled = true
web_only = true
send_off = "stolen"
spam_off = true
quota_bytes = 0
quota_messages = 0

[alias."all@one.test"]
members = [
  "bob@one.test",
  "x@far.test",
]
send_as = true

[list."team@one.test"]
name = "The team"
owners = ["anna@one.test"]
post = "named"
posters = ["x@far.test"]
replies = "list"
tag = "T"
max_size = 100000
members = [
  "anna@one.test",
  "x@far.test",
]
paused = ["x@far.test"]
`

// TestDirectory: a file makes a house, the house writes the same file, and each change of the file is one of the house.
func TestDirectory(t *testing.T) {
	h := newHouse(t)
	h.House = admin.New(admin.Options{DB: h.db, Directory: h.directory, Store: h.store, Queue: h.queue})
	all := "added account anna@one.test\nadded account bob@one.test\nadded alias all@one.test\nadded domain one.test\nadded domain uno.test\nadded list team@one.test\nno password anna@one.test\nno password bob@one.test"
	if got := h.changes(t, admin.DirectoryApply{Text: directoryFile, DryRun: true}); got != all {
		t.Errorf("a trial: %s", got)
	}
	if n := len(must(h.Accounts(t.Context()))(t)); n != 0 {
		t.Error("a trial made something")
	}
	if got := h.changes(t, admin.DirectoryApply{Text: directoryFile}); got != all {
		t.Errorf("made: %s", got)
	}
	for _, d := range []mail.Domain{"one.test", "uno.test"} {
		if keys := must(h.directory.Keys(t.Context(), d))(t); len(keys) != 1 || keys[0].State != auth.KeyActive {
			t.Errorf("%s signs with %v", d, keys)
		}
	}
	text := h.export(t, false)
	if _, body, _ := strings.Cut(text, "version = 1\n"); "version = 1\n"+body != directoryFile {
		t.Errorf("written back:\n%s", text)
	}
	if n := len(must(h.Audit(t.Context(), admin.AuditFilter{}))(t).Entries); n != 6 {
		t.Errorf("%d entries in the audit log", n)
	}
	for _, c := range []struct{ old, new, want string }{
		{"", "", ""},
		{`name = "The team"`, `name = "A team"`, "changed list team@one.test name=A team"},
		{`members = [
  "bob@one.test",
  "x@far.test",
]`, `members = ["anna@one.test"]
`, "conflict: line 37: alias all@one.test: leads back to itself: through all@one.test, through anna@one.test"},
		{`post = "named"`, `post = "nobody"`, `invalid: line 47: list team@one.test: "nobody" does not say who may post: write members, named or anyone`},
		{`hold = "10s"`, `hold = "10y"`, "conflict: line 11: account anna@one.test: hold is a duration from 1s to 24h, off, or house"},
		{`disabled = true`, `dissabled = true`, "invalid: line 30: there is no setting account.bob@one.test.dissabled here"},
		{`login = "anna"`, `login = anna`, "invalid: line 17: *"},
		{`"a@one.test",`, `"bob@one.test",`, "invalid: line 29: account bob@one.test: bob@one.test is an address of anna@one.test too"},
		{`"a@one.test",`, `"nonsense",`, "invalid: line 12: account anna@one.test: *"},
		{`version = 1`, `version = 2`, "invalid: line 1: this is no directory file that we know: it begins with version = 1"},
		{`[account."anna@one.test"]
addresses = [
  "a@one.test",`, `[account."a@one.test"]
addresses = [
  "anna@one.test",`, "changed account a@one.test addresses=a@one.test, anna@one.test, anna.b@one.test"},
		{`[domain."uno.test"]
alias_of = "one.test"
`, "", "removed domain uno.test"},
		{`[account."bob@one.test"]`, `[account."ben@one.test"]
addresses = ["bob@one.test"]`, "changed account ben@one.test addresses=ben@one.test, bob@one.test"},
		{`"anna@one.test",
  "x@far.test",
]
paused`, `"y@far.test",
  "x@far.test",
]
paused`, "changed list team@one.test members=x@far.test, y@far.test"},
	} {
		t.Run(c.want, func(t *testing.T) {
			h := newHouse(t)
			h.House = admin.New(admin.Options{DB: h.db, Directory: h.directory, Store: h.store, Queue: h.queue})
			h.changes(t, admin.DirectoryApply{Text: directoryFile})
			before := h.export(t, false)
			got := h.changes(t, admin.DirectoryApply{Text: strings.Replace(directoryFile, c.old, c.new, 1)})
			if want, part := strings.CutSuffix(c.want, "*"); got != c.want && !(part && strings.HasPrefix(got, want)) {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if after := h.export(t, false); (strings.Contains(c.want, ": line") || c.want == "") != (after == before) {
				t.Errorf("there is now:\n%s", after)
			}
		})
	}
}

// TestDirectoryKeeps: what has mail stays until --prune says otherwise, and passwords of who is there stay as they are.
func TestDirectoryKeeps(t *testing.T) {
	h := newHouse(t)
	ctx := t.Context()
	must(h.AddDomain(ctx, admin.Domain{Name: "one.test"}))(t)
	for _, name := range []string{"anna", "bob", "carl"} {
		must(h.AddAccount(ctx, admin.NewAccount{Addresses: []string{name + "@one.test"}, Password: "secret of " + name}))(t)
	}
	h.letter(t, "anna@one.test")
	with, without := h.export(t, true), h.export(t, false)
	if strings.Count(with, "hash = \"$argon2id$") != 3 || strings.Contains(without, "hash") {
		t.Errorf("secrets:\n%s\n%s", with, without)
	}
	id := func() auth.Account { return must(h.directory.FindAccount(ctx, "bob@one.test"))(t) }
	bob := id()
	if got := h.changes(t, admin.DirectoryApply{Text: strings.ReplaceAll(with, "argon2id$v=19", "argon2id$v=19")}); got != "" {
		t.Errorf("export and apply: %s", got)
	}
	none := "version = 1\n[domain.\"one.test\"]\n"
	want := "removed account bob@one.test\nremoved account carl@one.test\nkept anna@one.test (1 messages)"
	if got := h.changes(t, admin.DirectoryApply{Text: none}); got != want {
		t.Errorf("without accounts: %s", got)
	}
	if got := h.changes(t, admin.DirectoryApply{Text: "version = 1\n"}); !strings.HasPrefix(got, "conflict: domain one.test: still in use") {
		t.Errorf("without the domain: %s", got)
	}
	if got := h.changes(t, admin.DirectoryApply{Text: none, Prune: true}); got != "removed account anna@one.test" {
		t.Errorf("pruned: %s", got)
	}
	if e := h.last(t); !strings.Contains(e.Stays, "posthouse restore") {
		t.Errorf("%+v", e)
	}
	// The hashes bring the passwords into another house.
	if got := h.changes(t, admin.DirectoryApply{Text: with}); strings.Contains(got, "no password") || strings.Count(got, "added") != 3 {
		t.Errorf("brought back: %s", got)
	}
	if now := id(); now.ID == bob.ID {
		t.Error("an account came back under its old number")
	}
	if got := must(h.directory.Login(ctx, auth.Client{Door: auth.DoorIMAP, TLS: &tls.ConnectionState{}}, "bob@one.test", "secret of bob"))(t); got.Account != id().ID {
		t.Error(got)
	}
}

// TestDirectoryInOtherWords: a file says the same in many ways. It is taken, and what the house writes of it is the same house.
func TestDirectoryInOtherWords(t *testing.T) {
	const one, anna = "version = 1\n[domain.\"one.test\"]\n", "[account.\"anna@one.test\"]\n"
	for _, c := range []struct{ text, says string }{
		{one + "limits = { messages_per_day = 0 }\n", "[domain.\"one.test\"]\n"},
		{one + "[domain.\"two.test\"]\nalias_of = \"One.TEST\"\n", `alias_of = "one.test"`},
		{one + "catch_all = \"Anna@One.Test\"\n" + anna, `catch_all = "`},
		{one + "[account.\"anna@ONE.test\"]\naddresses = [\"A@One.Test\"]\n", `[account."anna@one.test"]`},
		{one + anna + "hold = \"10000ms\"\nspam_line = 7.55\nsend_off = \" a   b \"\n", `hold = "10s"`},
		{one + anna + "forward = [\"X@FAR.test\"]\nkeep = true\nlimits = { messages_per_hour = 0 }\n", "keep = true"},
		{one + anna + "doors = []\n", "doors = []"},
		{one + anna + "[alias.\"b@one.test\"]\nmembers = [\"ANNA@one.test\", \"x@Far.test\"]\n", "x@far.test"},
		{one + anna + "[list.\"L@one.test\"]\nowners = [\"Anna@One.test\"]\nmembers = [\"x@Far.test\", \"x@far.test\"]\ntag = \" x \"\nname = \" y  z\"\n", "x@far.test"},
		{"version = 1\n[domain.\"xn--mnchen-3ya.test\"]\n[account.\"anna@münchen.test\"]\nhash = \"$2y$05$abcdefghijklmnopqrstuuYbqeNFGBLyyKyIQUOTVwFTNrUn9wM6G\"\n", `[account."anna@`},
	} {
		h := newHouse(t)
		h.House = admin.New(admin.Options{DB: h.db, Directory: h.directory, Store: h.store, Queue: h.queue})
		for _, trial := range []bool{true, false} {
			got := h.changes(t, admin.DirectoryApply{Text: c.text, DryRun: trial})
			if strings.Contains(got, "conflict") || strings.Contains(got, "invalid") || strings.Contains(c.text, "hash") && strings.Contains(got, "no password") {
				t.Fatalf("%s\n%s", c.text, got)
			}
		}
		out := h.export(t, false)
		if !strings.Contains(out, c.says) {
			t.Errorf("%s\nis written as\n%s", c.text, out)
		}
		for _, again := range []string{c.text, out} {
			if got := h.changes(t, admin.DirectoryApply{Text: again}); strings.Contains(strings.ReplaceAll(got, "no password", ""), " ") {
				t.Errorf("%s\nagain: %s", again, got)
			}
		}
	}
}

// TestDirectoryHostile: files that are made to cost much are refused.
func TestDirectoryHostile(t *testing.T) {
	h := newHouse(t)
	for name, text := range map[string]string{
		"arrays": "version = 1\nx = " + strings.Repeat("[", 1<<20) + strings.Repeat("]", 1<<20), "tables": "version = 1\nx = " + strings.Repeat("{a=", 1<<20) + "1" + strings.Repeat("}", 1<<20),
		"dots": "version = 1\n" + strings.Repeat("a.", 1<<20) + "a = 1\n", "heads": "version = 1\n[" + strings.Repeat("a.", 1<<20) + "a]\n",
		"members": "version = 1\n[alias.\"a@one.test\"]\nmembers = " + strings.Repeat("[", 1<<20) + strings.Repeat("]", 1<<20), "large": strings.Repeat("#", 33<<20),
		"name": "version = 1\n[domain.\"one.test\\u001b[2J\"]\n",
	} {
		if got := h.changes(t, admin.DirectoryApply{Text: text}); !strings.HasPrefix(got, "invalid: ") || strings.Contains(got, "\x1b") || len(got) > 1000 {
			t.Errorf("%s: %.300q", name, got)
		}
	}
}

// TestDirectoryAnyHouse: whatever a house has, applying what it exports changes nothing, an empty house becomes like it, and like any
// other house from there.
func TestDirectoryAnyHouse(t *testing.T) {
	a, b := newHouse(t), newHouse(t)
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 1))
		text := anyDirectory(r)
		for _, h := range []*house{a, b} {
			if got := h.changes(t, admin.DirectoryApply{Text: text, Prune: true}); strings.HasPrefix(got, "conflict") || strings.HasPrefix(got, "invalid") {
				t.Fatalf("seed %d: %s\n%s", seed, got, text)
			}
			out := h.export(t, false)
			for _, again := range []string{text, out} {
				if got := h.changes(t, admin.DirectoryApply{Text: again}); strings.ReplaceAll(got, "\n", "") != "" {
					t.Fatalf("seed %d: not the same again: %s", seed, got)
				}
			}
		}
		if x, y := a.export(t, false), b.export(t, false); x != y {
			t.Fatalf("seed %d: two houses from one file:\n%s\n%s", seed, x, y)
		}
		if seed%3 == 2 { // the next house begins where this one is, b from nothing
			if got := b.changes(t, admin.DirectoryApply{Text: "version = 1", Prune: true}); strings.HasPrefix(got, "conflict") {
				t.Fatal(got)
			}
		}
	}
}

// anyDirectory is a file of few names, so that they move between things from one file to the next.
func anyDirectory(r *rand.Rand) string {
	var b strings.Builder
	b.WriteString("version = 1\n")
	domains := []string{"one.test", "two.test"}[:1+r.IntN(2)]
	yes := func() bool { return r.IntN(2) == 0 }
	for _, d := range domains {
		fmt.Fprintf(&b, "[domain.%q]\n", d)
		if yes() {
			fmt.Fprintf(&b, "quota_bytes = %d\nlimits = { messages_per_day = %d }\n", r.IntN(9), 1+r.IntN(9))
		}
	}
	free := []string{}
	for _, d := range domains {
		for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i"} {
			free = append(free, name+"@"+d)
		}
	}
	r.Shuffle(len(free), func(i, j int) { free[i], free[j] = free[j], free[i] })
	take := func() string { x := free[0]; free = free[1:]; return x }
	var targets []string
	for i := range 1 + r.IntN(3) {
		main := take()
		targets = append(targets, main)
		fmt.Fprintf(&b, "[account.%q]\n", main)
		if yes() {
			fmt.Fprintf(&b, "addresses = [%q]\nname = \"Person %d\"\n", take(), i)
		}
		if yes() {
			fmt.Fprintf(&b, "doors = [\"imap\"]\nforward = [\"x%d@far.test\"]\nspam_line = %d.5\n", i, 1+r.IntN(8))
		}
	}
	for range r.IntN(3) {
		alias := take()
		fmt.Fprintf(&b, "[alias.%q]\nmembers = [%q, \"y@far.test\"]\n", alias, targets[r.IntN(len(targets))])
		targets = append(targets, alias)
	}
	if yes() {
		fmt.Fprintf(&b, "[list.%q]\nowners = [%q]\nmembers = [%q, \"z@far.test\"]\npaused = [\"z@far.test\"]\n", take(), targets[0], targets[len(targets)-1])
	}
	return b.String()
}

// FuzzDirectory: no file makes the reader fail but with words and, where it is read, the same again.
func FuzzDirectory(f *testing.F) {
	f.Add(directoryFile)
	f.Add("version = 1\n[account.x]\n")
	f.Add("version = 1\n[[alias]]\n")
	f.Add("\"a\" = 1\n[a.\"b.c\".d]\n'e' = 2")
	f.Fuzz(func(t *testing.T, text string) {
		h := admin.LinesOf(text)
		if slices.ContainsFunc(h, func(n int) bool { return n < 1 || n > 1+strings.Count(text, "\n") }) {
			t.Errorf("a line that is not there: %v", h)
		}
	})
}
