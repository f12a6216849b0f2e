package importer

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/posthouse-mail/posthouse/store"
)

// usual are the names that other servers and programs give to the mailboxes which every account here has from the start.
var usual = map[string]string{
	"sent": "Sent", "sent items": "Sent", "sent messages": "Sent", "sent mail": "Sent", "sent-mail": "Sent",
	"drafts": "Drafts", "draft": "Drafts",
	"trash": "Trash", "deleted items": "Trash", "deleted messages": "Trash", "bin": "Trash",
	"junk": "Junk", "spam": "Junk", "junk e-mail": "Junk", "junk email": "Junk", "bulk mail": "Junk",
	"archive": "Archive", "archives": "Archive",
}

// Names says into which mailboxes folders go.
type Names struct {
	Map     map[string]string // by the folder's name; its children follow
	Mailbox string            // INBOX goes here, every other folder below it; empty: to its own name
}

// ParseMap reads OLD=NEW.
func (n *Names) ParseMap(s string) error {
	from, to, ok := strings.Cut(s, "=")
	if !ok || from == "" || to == "" {
		return fmt.Errorf("%q: write OLD=NEW", s)
	}
	if _, err := store.CheckName(to); err != nil {
		return fmt.Errorf("%q: %w", s, err)
	}
	if n.Map == nil {
		n.Map = map[string]string{}
	}
	n.Map[from] = to
	return nil
}

// mapped gives each folder its mailbox. A usual name is translated unless the source has the other one too: two folders never
// become one by our own idea.
func (n *Names) mapped(folders []Folder) map[string]string {
	seen, top := map[string]bool{}, map[string]int{}
	for _, f := range folders {
		name, _, _ := strings.Cut(f.Name, "/")
		if !seen[name] {
			seen[name] = true
			top[usual[strings.ToLower(name)]]++
		}
	}
	out := map[string]string{}
	for _, f := range folders {
		out[f.Name] = n.mailbox(f.Name, top)
		if f.Alone && n.Mailbox != "" {
			out[f.Name] = n.Mailbox
		}
	}
	return out
}

func (n *Names) mailbox(name string, top map[string]int) string {
	for level := name; ; {
		if to, ok := n.Map[level]; ok {
			return cleanName(to + name[len(level):])
		}
		i := strings.LastIndexByte(level, '/')
		if i < 0 {
			break
		}
		level = level[:i]
	}
	first, rest, deep := strings.Cut(name, "/")
	if to := usual[strings.ToLower(first)]; to != "" && top[to] <= 1 {
		first = to
	}
	if deep {
		first += "/" + rest
	}
	switch {
	case n.Mailbox == "":
	case first == store.Inbox:
		first = n.Mailbox
	default:
		first = n.Mailbox + "/" + first
	}
	return cleanName(first)
}

// cleanName makes a name that the store takes: odd characters become "_", levels are cut to their bound.
func cleanName(name string) string {
	name = store.NotBinName(name)
	if ok, err := store.CheckName(name); err == nil {
		return ok
	}
	var levels []string
	for _, l := range strings.Split(name, "/") {
		l = strings.Map(func(r rune) rune {
			if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r == '\ufeff' || r == unicode.ReplacementChar {
				return '_'
			}
			return r
		}, l)
		for len(l) > 200 {
			l = strings.ToValidUTF8(l[:200], "")
		}
		if l != "" && len(levels) < maxDepth {
			levels = append(levels, l)
		}
	}
	if ok, err := store.CheckName(strings.Join(levels, "/")); err == nil {
		return ok
	}
	return "Imported"
}
