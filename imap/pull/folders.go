package pull

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/posthouse-mail/posthouse/store"
)

// Bounds of what a server may list.
const (
	maxFolders    = 10_000
	maxFolderName = 1000
	maxSpaces     = 20
)

// listing is a folder as the server lists it.
type listing struct {
	raw        string // its name as the server wrote it
	name       string // UTF-8, levels parted by "/", without the prefix of the namespace
	full       string // the same with the prefix, for patterns that name it so
	delimiter  string
	use        store.SpecialUse
	virtual    bool // attribute says that its messages are those of other folders
	closed     bool // it cannot be selected
	subscribed bool
	foreign    bool // of somebody else (RFC 2342)
	messages   int
}

// namespaces are the prefixes of RFC 2342, each with its delimiter.
type namespaces struct {
	personal string
	foreign  []string
}

// plan asks for the folders and decides what becomes of each.
func (p *puller) plan(ctx context.Context) error {
	list, err := p.list()
	if err != nil {
		return err
	}
	boxes, err := p.o.Store.Mailboxes(ctx, p.o.Account)
	if err != nil {
		return err
	}
	m := newMapping(p, boxes)
	gmail := p.c.caps["X-GM-EXT-1"]
	slices.SortStableFunc(list, func(a, b listing) int { return rank(a) - rank(b) })
	for _, l := range list {
		f := &folder{p: p, listing: l, gmail: gmail, report: Folder{From: l.name, There: l.messages}}
		switch {
		case l.closed, strings.ContainsAny(l.raw, "\r\n\x00"):
			continue
		case !chosen(p.o.Folders, l.name) && !chosen(p.o.Folders, l.full):
			continue
		case l.foreign && len(p.o.Folders) == 0:
			f.report.Why = "it belongs to somebody else; name it with --folders to bring it"
		case l.use == store.UseAll && l.virtual && !gmail, l.virtual && l.use&(store.UseFlagged|store.UseImportant) != 0:
			f.report.Why = "its messages are those of the other folders"
		case l.name == store.BinName && len(p.o.Folders) == 0 && p.o.Map[l.name] == "":
			f.report.Why = "it holds what was deleted there; name it with --folders to bring it"
		default:
			m.give(f)
		}
		p.folders = append(p.folders, f)
	}
	if err := p.status(); err != nil {
		return err
	}
	for _, f := range p.folders {
		if f.report.To != "" {
			p.shown.Folders++
			f.expected = f.report.There
			p.shown.Messages += f.expected
		}
	}
	if len(p.folders) == 0 {
		return fmt.Errorf("%w: the server has no folder that was asked for (%d in all)", errPlan, len(list))
	}
	p.tell()
	return nil
}

// rank brings INBOX first and what holds everything last.
func rank(l listing) int {
	switch {
	case l.name == store.Inbox:
		return 0
	case l.use == store.UseAll:
		return 3
	case l.use != 0: // it takes the special-use mailbox before those that only have a fitting name
		return 1
	}
	return 2
}

// list asks for all folders.
func (p *puller) list() ([]listing, error) {
	spaces, err := p.namespaces()
	if err != nil {
		return nil, err
	}
	var list []listing
	found := func(r *response) error {
		switch {
		case r.name != "LIST" || len(r.args) < 3:
		case len(r.args[2].text) > maxFolderName || len(r.args[1].text) > 10:
			p.warn("a folder with a name of more than 1000 octets is not brought: " + words(r.args[2].text))
		case len(list) == maxFolders:
			p.warn(fmt.Sprintf("the server has more than %d folders: what comes after them is not brought", maxFolders))
		default:
			list = append(list, p.listed1(r, spaces))
		}
		return nil
	}
	extended := p.c.caps["LIST-EXTENDED"] && p.c.caps["SPECIAL-USE"]
	if extended {
		_, err = p.c.do(`LIST "" "*" RETURN (SPECIAL-USE SUBSCRIBED)`, found)
	}
	if !extended || err != nil && !isLost(err) {
		list = nil
		if _, err = p.c.do(`LIST "" "*"`, found); err == nil {
			err = p.subscriptions(list)
		}
	}
	if err != nil {
		return nil, err
	}
	for _, prefix := range spaces.foreign { // some servers list them only when asked for
		if prefix == "" || slices.ContainsFunc(list, func(l listing) bool { return strings.HasPrefix(l.raw, prefix) }) {
			continue
		}
		if _, err := p.c.do("LIST "+quote(prefix)+` "*"`, found); isLost(err) {
			return nil, err
		}
	}
	slices.SortStableFunc(list, func(a, b listing) int { return strings.Compare(a.raw, b.raw) })
	list = slices.CompactFunc(list, func(a, b listing) bool { return a.raw == b.raw })
	if !slices.ContainsFunc(list, func(l listing) bool { return l.subscribed }) {
		for i := range list { // who subscribed to nothing sees everything
			list[i].subscribed = true
		}
	}
	return withoutInboxPrefix(list, spaces), nil
}

// listed1 is one LIST response: (attributes) delimiter name.
func (p *puller) listed1(r *response, spaces namespaces) listing {
	l := listing{delimiter: r.args[1].text, raw: r.args[2].text}
	for _, a := range r.args[0].list {
		switch strings.ToLower(a.text) {
		case `\noselect`, `\nonexistent`:
			l.closed = true
		case `\subscribed`:
			l.subscribed = true
		}
		if u := useOf(a.text); u != 0 {
			l.use = u
			l.virtual = u&(store.UseAll|store.UseFlagged|store.UseImportant) != 0
		}
	}
	l.foreign = slices.ContainsFunc(spaces.foreign, func(prefix string) bool { return prefix != "" && strings.HasPrefix(l.raw, prefix) })
	decoded := decodeName(l.raw, p.c.utf8)
	l.full = levels(decoded, l.delimiter)
	bare := decoded
	if personal := decodeName(spaces.personal, p.c.utf8); personal != "" && len(bare) > len(personal) && strings.EqualFold(bare[:len(personal)], personal) {
		bare = bare[len(personal):]
	}
	l.name = inboxCase(levels(bare, l.delimiter))
	l.full = inboxCase(l.full)
	return l
}

// inboxCase writes INBOX as we do (RFC 9051 section 5.1).
func inboxCase(name string) string {
	if len(name) >= len(store.Inbox) && strings.EqualFold(name[:len(store.Inbox)], store.Inbox) && (len(name) == len(store.Inbox) || name[len(store.Inbox)] == '/') {
		return store.Inbox + name[len(store.Inbox):]
	}
	return name
}

// withoutInboxPrefix is for servers without NAMESPACE that keep every folder below INBOX.
func withoutInboxPrefix(list []listing, spaces namespaces) []listing {
	if spaces.personal != "" || len(list) < 2 {
		return list
	}
	for _, l := range list {
		if l.name != store.Inbox && !strings.HasPrefix(l.name, store.Inbox+"/") {
			return list
		}
	}
	known := slices.ContainsFunc(list, func(l listing) bool {
		return l.use != 0 || wellKnownUse(strings.TrimPrefix(l.name, store.Inbox+"/")) != 0
	})
	if !known { // real folders of the user's, below INBOX
		return list
	}
	for i := range list {
		list[i].name = strings.TrimPrefix(list[i].name, store.Inbox+"/")
	}
	return list
}

// namespaces asks which folders are ours.
func (p *puller) namespaces() (namespaces, error) {
	var out namespaces
	if !p.c.caps["NAMESPACE"] {
		return out, nil
	}
	_, err := p.c.do("NAMESPACE", func(r *response) error {
		if r.name != "NAMESPACE" {
			return nil
		}
		for i, v := range r.args {
			for _, space := range v.list {
				if len(space.list) == 0 {
					continue
				}
				if prefix := space.list[0].text; i > 0 && (len(prefix) > maxFolderName || len(out.foreign) == maxSpaces) {
					continue
				} else if i > 0 {
					out.foreign = append(out.foreign, prefix)
				} else if out.personal == "" && len(prefix) <= maxFolderName {
					out.personal = prefix
				}
			}
		}
		return nil
	})
	if isLost(err) {
		return out, err
	}
	return out, nil
}

// subscriptions asks the old way (RFC 3501 section 6.3.9).
func (p *puller) subscriptions(list []listing) error {
	at := map[string]int{}
	for i := range list {
		at[list[i].raw] = i
	}
	_, err := p.c.do(`LSUB "" "*"`, func(r *response) error {
		if r.name == "LSUB" && len(r.args) >= 3 {
			if i, ok := at[r.args[2].text]; ok {
				list[i].subscribed = true
			}
		}
		return nil
	})
	if isLost(err) {
		return err
	}
	return nil
}

// status asks how many messages there are: for the progress only, so that a NO does not matter.
func (p *puller) status() error {
	for _, f := range p.folders {
		if f.report.To == "" {
			continue
		}
		_, err := p.c.do("STATUS "+quote(f.raw)+" (MESSAGES)", func(r *response) error {
			if r.name == "STATUS" && len(r.args) == 2 && len(r.args[1].list) >= 2 {
				if n, err := strconv.Atoi(r.args[1].list[1].text); err == nil {
					f.report.There = min(max(n, 0), maxExists)
				}
			}
			return nil
		})
		if isLost(err) {
			return err
		}
	}
	return nil
}

// mapping gives each folder its mailbox.
type mapping struct {
	p     *puller
	uses  map[store.SpecialUse]string // the account's special-use mailboxes
	taken map[string]bool             // lower case: names that a folder has
}

func newMapping(p *puller, boxes []store.Mailbox) *mapping {
	m := &mapping{p: p, uses: map[store.SpecialUse]string{}, taken: map[string]bool{}}
	for _, b := range boxes {
		if b.Use != 0 && b.ID != 0 {
			m.uses[b.Use] = b.Name
		}
	}
	return m
}

// give finds the mailbox of a folder: what the operator said, else the special-use mailbox, else its own name.
func (m *mapping) give(f *folder) {
	name := m.special(f)
	said, ok := m.said(f.name)
	if !ok {
		said, ok = m.said(f.full)
	}
	switch {
	case ok:
		name = said
	case name == "":
		name = m.free(f.name)
	}
	name, err := store.CheckName(store.NotBinName(name))
	if err != nil {
		f.report.Why = err.Error() + "; give it another with --map"
		return
	}
	m.taken[strings.ToLower(name)] = true
	f.report.To = name
}

// special is the account's mailbox for the folder's use, when no other folder has it.
func (m *mapping) special(f *folder) string {
	use := f.use
	switch {
	case use == store.UseAll && f.gmail:
		use = store.UseArchive // what has no label is what was archived
	case use == 0 && f.name != store.Inbox:
		use = wellKnownUse(f.name)
	}
	name := m.uses[use]
	if use == 0 || name == "" || m.taken[strings.ToLower(name)] {
		return ""
	}
	return name
}

// said is what --map says of a folder, or of one above it.
func (m *mapping) said(name string) (string, bool) {
	for from, to := range m.p.o.Map {
		from = inboxCase(strings.Trim(from, "/"))
		if name == from {
			return to, true
		}
		if below, ok := strings.CutPrefix(name, from+"/"); ok && from != store.Inbox {
			return to + "/" + below, true
		}
	}
	return "", false
}

// free is the folder's own name, with a number when another folder has it, or when it is that of a special-use mailbox which
// another folder is for.
func (m *mapping) free(name string) string {
	own := name
	for n := 2; m.taken[strings.ToLower(own)]; n++ {
		own = name + " " + strconv.Itoa(n)
	}
	return own
}

// destination finds or makes the mailbox here.
func (p *puller) destination(ctx context.Context, f *folder) (store.Mailbox, error) {
	box, err := p.o.Store.Mailbox(ctx, p.o.Account, f.report.To)
	if errors.Is(err, store.ErrNoMailbox) {
		box, err = p.o.Store.CreateMailbox(ctx, p.o.Account, f.report.To, 0)
	}
	if err != nil {
		return box, err
	}
	if f.subscribed && !box.Subscribed {
		err = p.o.Store.Subscribe(ctx, p.o.Account, box.Name, true)
	}
	return box, err
}
