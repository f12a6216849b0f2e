package auth

import (
	"context"
	"fmt"
	"strings"

	"github.com/posthouse-mail/posthouse/internal/mail"
)

// maxVisited is how many aliases and outside addresses one recipient may expand to.
const maxVisited = 20000

// Resolve finds who receives for an address: ErrNotLocal, ErrNoAddress, or a Route that is not empty. <Postmaster> without
// domain, and postmaster@ and abuse@ of every domain, always resolve (RFC 5321 section 4.5.1, RFC 2142).
func (d *Directory) Resolve(ctx context.Context, a mail.Address) (Route, error) {
	s, err := d.snapshot(ctx)
	if err != nil {
		return Route{}, err
	}
	w := d.walk(s)
	if a.Domain == "" {
		if !strings.EqualFold(a.Local, rolePostmaster) {
			return Route{}, ErrNotLocal
		}
		w.role(a)
		return w.result()
	}
	home, ours := s.home(a.Domain)
	if !ours {
		return Route{}, ErrNotLocal
	}
	a.Domain = home
	switch {
	case w.address(a, ""):
	case w.closed: // a mask that is off is nobody's, the catch-all's neither
	case isRole(a.Local):
		w.role(a)
	default:
		if catchAll := s.domains[home].CatchAll; !catchAll.IsNull() {
			w.address(catchAll, "")
			for i := range w.route.Local {
				w.route.Local[i].Address = a
			}
		}
	}
	return w.result()
}

// IsLocal reports whether the domain is ours.
func (d *Directory) IsLocal(ctx context.Context, domain mail.Domain) (bool, error) {
	s, err := d.snapshot(ctx)
	if err != nil {
		return false, err
	}
	_, ours := s.home(domain)
	return ours, nil
}

// home is the domain itself, or the one it is an alias of.
func (s *snapshot) home(domain mail.Domain) (mail.Domain, bool) {
	found, ours := s.domains[domain]
	if ours && found.AliasOf != "" {
		return found.AliasOf, true
	}
	return domain, ours
}

const rolePostmaster = "postmaster"

func isRole(local string) bool {
	return strings.EqualFold(local, rolePostmaster) || strings.EqualFold(local, "abuse")
}

// walk expands one address.
type walk struct {
	d       *Directory
	s       *snapshot
	route   Route
	visited map[string]bool // address keys on the way, and remote ones
	taken   map[mail.AccountID]bool
	full    bool // more than maxVisited: nobody gets it, rather than some
	closed  bool // the address is a mask that is off
}

func (d *Directory) walk(s *snapshot) *walk {
	return &walk{d: d, s: s, visited: make(map[string]bool), taken: make(map[mail.AccountID]bool)}
}

func (w *walk) result() (Route, error) {
	if w.full {
		return Route{}, fmt.Errorf("auth: an alias expands to more than %d addresses", maxVisited)
	}
	if w.reached() == 0 {
		return Route{}, ErrNoAddress
	}
	return w.route, nil
}

// address adds what a leads to and tells whether somebody has it. A member that was there before counts as had.
func (w *walk) address(a mail.Address, detail string) bool {
	home, ours := w.s.home(a.Domain)
	if !ours {
		w.remote(a)
		return true
	}
	a.Domain = home
	if w.exact(a, detail) {
		return true
	}
	if w.closed {
		return false
	}
	base, sub, ok := strings.Cut(a.Local, w.d.separator)
	if ok && base != "" && (w.exact(mail.Address{Local: base, Domain: home}, sub) || w.closed) {
		return !w.closed
	}
	return w.listName(a, base, sub)
}

// reached counts where the mail goes so far.
func (w *walk) reached() int { return len(w.route.Local) + len(w.route.Remote) + len(w.route.Lists) }

// account adds an account, or where its mail goes on to. What would lead nowhere but in a circle stays with it.
func (w *walk) account(to Destination) {
	if w.taken[to.Account] {
		return
	}
	w.taken[to.Account] = true
	r := w.s.accounts[to.Account]
	if r == nil || len(r.Settings.Forward) == 0 {
		w.route.Local = append(w.route.Local, to)
		return
	}
	before, outside := w.reached(), len(w.route.Remote)
	for _, a := range r.Settings.Forward {
		w.address(a, "")
		w.closed = false
	}
	for _, a := range w.route.Remote[outside:] {
		w.route.Forwards = append(w.route.Forwards, Forward{From: to, To: a})
	}
	if r.Settings.Keep || w.reached() == before {
		w.route.Local = append(w.route.Local, to)
	}
}

// listName adds one of a list's other names: LIST-bounces+TOKEN@ and its like. local is in front of the separator.
func (w *walk) listName(a mail.Address, local, token string) bool {
	if len(w.s.lists) == 0 {
		return false
	}
	for _, s := range listSuffixes() {
		base := len(local) - len(s.suffix)
		if base <= 0 || !strings.EqualFold(local[base:], s.suffix) {
			continue
		}
		l, ok := w.s.lists[mail.Address{Local: local[:base], Domain: a.Domain}.Key()]
		if !ok {
			return false
		}
		if s.role == listOwner {
			for _, owner := range l.Owners {
				w.address(owner, "")
				w.closed = false
			}
			return true
		}
		w.list(ListMail{List: l, Role: s.role, Token: token, Address: a})
		return true
	}
	return false
}

func (w *walk) list(m ListMail) {
	if w.visit(m.Address.Key()) {
		w.route.Lists = append(w.route.Lists, m)
	}
}

func (w *walk) exact(a mail.Address, detail string) bool {
	key := a.Key()
	if owner, ok := w.s.owners[key]; ok {
		if !w.taken[owner] {
			w.account(Destination{Account: owner, Address: w.s.written(owner, key), Detail: detail})
		}
		return true
	}
	if m, ok := w.s.masks[key]; ok {
		if w.closed = m.State != MaskOn; w.closed {
			return false
		}
		w.account(Destination{Account: m.Account, Address: m.Address, Detail: detail, Masked: true})
		return true
	}
	if l, ok := w.s.lists[key]; ok {
		w.list(ListMail{List: l, Role: ListPost, Token: detail, Address: l.Address})
		return true
	}
	alias, ok := w.s.aliases[key]
	if !ok {
		return false
	}
	if !w.visit(key) {
		return true
	}
	for _, member := range alias.Members {
		if !w.address(member, detail) && isRole(member.Local) {
			w.role(member)
		}
		w.closed = false // a member's, not the address's
	}
	return true
}

func (w *walk) remote(a mail.Address) {
	if w.visit(a.Key()) {
		w.route.Remote = append(w.route.Remote, a)
	}
}

// visit tells whether key is seen for the first time.
func (w *walk) visit(key string) bool {
	if w.visited[key] {
		return false
	}
	w.full = w.full || len(w.visited) >= maxVisited
	w.visited[key] = true
	return !w.full
}

// written is the address of an account as it was given.
func (s *snapshot) written(id mail.AccountID, key string) mail.Address {
	r := s.accounts[id]
	if r == nil {
		return mail.Address{}
	}
	for _, a := range r.Addresses {
		if a.Key() == key {
			return a
		}
	}
	return r.Addresses[0]
}

// role sends what nobody has under postmaster and abuse to the setting's address, else to the first account of the house.
func (w *walk) role(a mail.Address) {
	if set := w.d.options.Postmaster; !set.IsNull() && set.Key() != a.Key() && w.address(set, "") {
		return
	}
	if len(w.s.order) > 0 && !w.taken[w.s.order[0]] {
		first := w.s.accounts[w.s.order[0]]
		if a.Domain == "" {
			a = first.Addresses[0]
		}
		w.account(Destination{Account: first.ID, Address: a})
	}
}

// MaySendAs reports whether the account may use a as MAIL FROM or From: its own
// addresses, with any subaddress; aliases with SendAs that it is a member of; role addresses that it receives.
func (d *Directory) MaySendAs(ctx context.Context, id mail.AccountID, a mail.Address) (bool, error) {
	s, err := d.snapshot(ctx)
	if err != nil {
		return false, err
	}
	home, ours := s.home(a.Domain)
	if !ours || s.accounts[id] == nil {
		return false, nil
	}
	a.Domain = home
	if d.sends(s, id, a, make(map[string]bool)) {
		return true, nil
	}
	if _, alias := s.aliases[a.Key()]; isRole(a.Local) && !alias && s.owners[a.Key()] == 0 {
		w := d.walk(s)
		w.role(a)
		return w.taken[id], nil
	}
	return false, nil
}

// sender is the account whose own address or mask a key is. A mask that is off is nobody's: an answer would not arrive.
func (s *snapshot) sender(key string) (mail.AccountID, bool) {
	if owner, ok := s.owners[key]; ok {
		return owner, true
	}
	m, ok := s.masks[key]
	if m.State != MaskOn {
		return 0, ok
	}
	return m.Account, ok
}

// sends looks through aliases in aliases, each of which must allow it.
func (d *Directory) sends(s *snapshot, id mail.AccountID, a mail.Address, visited map[string]bool) bool {
	key := a.Key()
	owner, owned := s.sender(key)
	alias, aliased := s.aliases[key]
	if base, _, ok := strings.Cut(a.Local, d.separator); !owned && !aliased && ok && base != "" {
		key = mail.Address{Local: base, Domain: a.Domain}.Key()
		owner, owned = s.sender(key)
		alias, aliased = s.aliases[key]
	}
	if owned {
		return owner == id
	}
	if !aliased || !alias.SendAs || visited[key] || len(visited) >= maxVisited {
		return false
	}
	visited[key] = true
	for _, member := range alias.Members {
		home, ours := s.home(member.Domain)
		if ours && d.sends(s, id, mail.Address{Local: member.Local, Domain: home}, visited) {
			return true
		}
	}
	return false
}
