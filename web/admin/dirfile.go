package admin

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/posthouse-mail/posthouse/store"
)

// directoryVersion begins a directory file; a reader refuses what it does not know.
const directoryVersion = 1

// maxDirectory bounds a directory file.
const maxDirectory = 32 << 20

// DirectoryFile is the directory as a file: what it has no table for is not in the house.
type DirectoryFile struct {
	Version  int                    `toml:"version"`
	Domains  map[string]DomainState `toml:"domain"`
	Accounts map[string]fileAccount `toml:"account"` // by the main address
	Aliases  map[string]AliasState  `toml:"alias"`
	Lists    map[string]ListState   `toml:"list"`

	lines map[string]int // where a table or a key of it stands: "account anna@one.test", "account anna@one.test forward"
}

// fileAccount is an account in a file. The main address is its name; doors that are left out are all, a quota that is left out is the
// house's for new accounts.
type fileAccount struct {
	Others   []string   `toml:"addresses"` // besides the main one
	Name     string     `toml:"name"`
	Login    string     `toml:"login"`
	Doors    *[]string  `toml:"doors"`
	Disabled bool       `toml:"disabled"`
	Operator bool       `toml:"operator"`
	WebOnly  bool       `toml:"web_only"`
	Forward  []string   `toml:"forward"`
	Keep     bool       `toml:"keep"`
	Hold     string     `toml:"hold"`
	SentCopy string     `toml:"sent_copy"`
	SendOff  string     `toml:"send_off"`
	SpamOff  bool       `toml:"spam_off"`
	SpamLine float64    `toml:"spam_line"`
	Bytes    *uint64    `toml:"quota_bytes"`
	Messages *uint64    `toml:"quota_messages"`
	Limits   SendChange `toml:"limits"`
	Hash     string     `toml:"hash"` // of the password, for an account that apply makes
}

// state is the account as it is to be.
func (f *fileAccount) state(main string, quota store.Quota) AccountState {
	s := AccountState{
		Addresses: append([]string{main}, f.Others...), Name: strings.TrimSpace(f.Name), Login: f.Login, Disabled: f.Disabled, Operator: f.Operator, WebOnly: f.WebOnly,
		Forward: f.Forward, Keep: f.Keep && len(f.Forward) > 0, Hold: f.Hold, SentCopy: f.SentCopy, SendOff: strings.Join(strings.Fields(f.SendOff), " "),
		SpamOff: f.SpamOff, SpamLine: f.SpamLine, Bytes: quota.Bytes, Messages: quota.Messages, Limits: f.Limits,
	}
	for _, d := range doors() {
		if f.Doors == nil || slices.Contains(*f.Doors, d.name) || slices.Contains(*f.Doors, "all") {
			s.Doors = append(s.Doors, d.name)
		}
	}
	if f.Bytes != nil {
		s.Bytes = *f.Bytes
	}
	if f.Messages != nil {
		s.Messages = *f.Messages
	}
	return s
}

// tomlWriter writes tables whose keys have one order and one form, so that two files differ where two houses do.
type tomlWriter struct{ strings.Builder }

func (w *tomlWriter) head(kind, name string) { fmt.Fprintf(w, "\n[%s.%s]\n", kind, quoted(name)) }

func (w *tomlWriter) text(key, value string) {
	if value != "" {
		fmt.Fprintf(w, "%s = %s\n", key, quoted(value))
	}
}

func (w *tomlWriter) flag(key string, value bool) {
	if value {
		fmt.Fprintf(w, "%s = true\n", key)
	}
}

func (w *tomlWriter) number(key string, value uint64) {
	if value != 0 {
		fmt.Fprintf(w, "%s = %d\n", key, value)
	}
}

// texts writes several, one a line, so that one that comes or goes is one line of difference.
func (w *tomlWriter) texts(key string, all []string) {
	if len(all) == 0 {
		return
	}
	if len(all) == 1 {
		fmt.Fprintf(w, "%s = [%s]\n", key, quoted(all[0]))
		return
	}
	fmt.Fprintf(w, "%s = [\n", key)
	for _, one := range all {
		fmt.Fprintf(w, "  %s,\n", quoted(one))
	}
	w.WriteString("]\n")
}

func (w *tomlWriter) limits(c SendChange) {
	if len(c) == 0 {
		return
	}
	var all []string
	for _, name := range limitNames() {
		if n, ok := c[name]; ok {
			all = append(all, fmt.Sprintf("%s = %d", name, n))
		}
	}
	fmt.Fprintf(w, "limits = { %s }\n", strings.Join(all, ", "))
}

// quoted is a basic string of TOML.
func quoted(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func (w *tomlWriter) domain(name string, s DomainState) {
	w.head("domain", name)
	w.text("alias_of", s.AliasOf)
	w.text("catch_all", s.CatchAll)
	w.number("quota_bytes", s.Bytes)
	w.number("quota_messages", s.Messages)
	w.limits(s.Limits)
}

func (w *tomlWriter) account(s AccountState, hash string) {
	w.head("account", s.Addresses[0])
	w.texts("addresses", s.Addresses[1:])
	w.text("name", s.Name)
	w.text("login", s.Login)
	if len(s.Doors) < len(doors()) {
		names := make([]string, 0, len(s.Doors))
		for _, d := range s.Doors {
			names = append(names, quoted(d))
		}
		fmt.Fprintf(w, "doors = [%s]\n", strings.Join(names, ", "))
	}
	w.flag("disabled", s.Disabled)
	w.flag("operator", s.Operator)
	w.flag("web_only", s.WebOnly)
	w.texts("forward", s.Forward)
	w.flag("keep", s.Keep)
	w.text("hold", s.Hold)
	w.text("sent_copy", s.SentCopy)
	w.text("send_off", s.SendOff)
	w.flag("spam_off", s.SpamOff)
	if s.SpamLine != 0 {
		fmt.Fprintf(w, "spam_line = %s\n", strconv.FormatFloat(s.SpamLine, 'f', 1, 64))
	}
	fmt.Fprintf(w, "quota_bytes = %d\nquota_messages = %d\n", s.Bytes, s.Messages)
	w.limits(s.Limits)
	w.text("hash", hash)
}

func (w *tomlWriter) alias(name string, s AliasState) {
	w.head("alias", name)
	w.texts("members", s.Members)
	w.flag("send_as", s.SendAs)
}

func (w *tomlWriter) list(name string, s ListState) {
	w.head("list", name)
	w.text("name", s.Name)
	w.texts("owners", s.Owners)
	w.text("post", s.Post)
	w.texts("posters", s.Posters)
	w.text("replies", s.Replies)
	w.text("tag", s.Tag)
	w.number("max_size", uint64(max(s.MaxSize, 0)))
	w.texts("members", s.Members)
	w.texts("paused", s.Paused)
}

// readDirectory reads a file; the error names all that is wrong in it, with lines.
func readDirectory(text string) (*DirectoryFile, error) {
	if len(text) > maxDirectory {
		return nil, invalid("the file is too large")
	}
	f := &DirectoryFile{lines: linesOf([]byte(text))}
	d := toml.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	err := d.Decode(f)
	var missing *toml.StrictMissingError
	var wrong *toml.DecodeError
	switch {
	case errors.As(err, &missing):
		var all []string
		for _, e := range missing.Errors {
			line, _ := e.Position()
			all = append(all, fmt.Sprintf("line %d: there is no setting %s here", line, strings.Join(e.Key(), ".")))
		}
		return nil, &Error{Invalid, listed(all), err}
	case errors.As(err, &wrong):
		line, _ := wrong.Position()
		return nil, &Error{Invalid, listed([]string{fmt.Sprintf("line %d: %s", line, strings.TrimPrefix(wrong.Error(), "toml: "))}), err}
	case err != nil:
		return nil, &Error{Invalid, listed([]string{err.Error()}), err}
	case f.Version != directoryVersion:
		return nil, invalid(fmt.Sprintf("line %d: this is no directory file that we know: it begins with version = %d", max(1, f.lines["version"]), directoryVersion))
	}
	return f, f.check()
}

// linesOf finds where tables and their keys stand.
func linesOf(text []byte) map[string]int {
	out := map[string]int{}
	var p unstable.Parser
	p.Reset(text)
	table := ""
	last, line := 0, 1 // positions come in order
	for p.NextExpression() {
		e := p.Expression()
		var words []string
		at := -1
		for it := e.Key(); it.Next(); {
			if at < 0 {
				at = int(it.Node().Raw.Offset)
			}
			words = append(words, string(it.Node().Data))
		}
		if at < last {
			continue
		}
		line += bytes.Count(text[last:at], []byte("\n"))
		last = at
		name := strings.Join(words, " ")
		switch e.Kind {
		case unstable.Table, unstable.ArrayTable:
			table = name + " "
		default:
			name = table + name
		}
		if _, ok := out[name]; !ok {
			out[name] = line
		}
	}
	return out
}

// at is what is wrong with a thing of the file, with its line.
func (f *DirectoryFile) at(kind, name, key string, err error) string {
	text := plain(name, err)
	line := f.lines[kind+" "+name+" "+key]
	if line == 0 {
		line = f.lines[kind+" "+name]
	}
	if line == 0 {
		return fmt.Sprintf("%s %s: %s", kind, name, strings.TrimPrefix(text, name+": "))
	}
	return fmt.Sprintf("line %d: %s %s: %s", line, kind, name, strings.TrimPrefix(text, name+": "))
}

// check looks at what can be told from the file alone.
func (f *DirectoryFile) check() error {
	var all []string
	bad := func(kind, name, key string, err error) {
		if err != nil {
			all = append(all, f.at(kind, name, key, err))
		}
	}
	addrs := func(kind, name, key string, list ...string) {
		_, err := addresses(list)
		bad(kind, name, key, err)
	}
	for _, name := range sortedKeys(f.Domains) {
		s := f.Domains[name]
		d, err := domain(name)
		if err == nil && string(d) != name {
			err = invalid("write it as " + string(d))
		}
		bad("domain", name, "", err)
		_, err = s.Limits.all()
		bad("domain", name, "limits", err)
		if s.CatchAll != "" {
			addrs("domain", name, "catch_all", s.CatchAll)
		}
	}
	owner := map[string]string{}
	for _, name := range sortedKeys(f.Accounts) {
		s := f.Accounts[name]
		addrs("account", name, "addresses", append([]string{name}, s.Others...)...)
		addrs("account", name, "forward", s.Forward...)
		for _, a := range append([]string{name}, s.Others...) {
			if x, err := address(a); err == nil {
				if other, ok := owner[x.Key()]; ok {
					bad("account", name, "addresses", invalid(fmt.Sprintf("%s is an address of %s too", a, other)))
				}
				owner[x.Key()] = name
			}
		}
		if s.Doors != nil && len(*s.Doors) > 0 {
			_, err := parseDoors(*s.Doors)
			bad("account", name, "doors", err)
		}
		_, err := s.Limits.all()
		bad("account", name, "limits", err)
	}
	for _, name := range sortedKeys(f.Aliases) {
		s := f.Aliases[name]
		addrs("alias", name, "members", append([]string{name}, s.Members...)...)
		if len(s.Members) == 0 {
			bad("alias", name, "", invalid("an alias needs at least one member"))
		}
	}
	for _, name := range sortedKeys(f.Lists) {
		s := f.Lists[name]
		addrs("list", name, "members", slices.Concat([]string{name}, s.Owners, s.Posters, s.Members)...)
		_, err := posting(s.Post)
		bad("list", name, "post", err)
		_, err = replies(s.Replies)
		bad("list", name, "replies", err)
	}
	if len(all) == 0 {
		return nil
	}
	slices.SortFunc(all, byLine)
	return invalid(listed(all))
}

// listed is what is wrong with a file, a line each: as many as somebody reads, and without what a hostile file does to his terminal.
func listed(all []string) string {
	const most, longest = 100, 300
	var b strings.Builder
	for i, one := range all {
		if i == most {
			fmt.Fprintf(&b, "\nand %d more", len(all)-most)
			break
		}
		if i > 0 {
			b.WriteByte('\n')
		}
		if len(one) > longest {
			one = strings.ToValidUTF8(one[:longest], "") + " …"
		}
		b.WriteString(strings.Map(func(r rune) rune {
			if unicode.IsPrint(r) {
				return r
			}
			return '?'
		}, one))
	}
	return b.String()
}

// byLine orders what is wrong by its line.
func byLine(a, b string) int {
	number := func(s string) int {
		n, _, _ := strings.Cut(strings.TrimPrefix(s, "line "), ":")
		i, _ := strconv.Atoi(n)
		return i
	}
	if d := number(a) - number(b); d != 0 {
		return d
	}
	return strings.Compare(a, b)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
