package admin

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/web/check"
)

// Find says which part of a list is wanted.
type Find struct {
	Text   string `json:"text,omitempty"`   // that an address or a name has, in any case
	Domain string `json:"domain,omitempty"` // of an address
	Only   string `json:"only,omitempty"`   // of accounts: operators, closed, silent (may not send); empty: all
	Page   int    `json:"page,omitempty"`   // from 1
	Size   int    `json:"size,omitempty"`   // rows of a page; 50, at most 500
}

// Found is that part.
type Found[T any] struct {
	All   []T `json:"all"`
	Total int `json:"total"` // of what was looked for, on all pages
	Page  int `json:"page"`
	Pages int `json:"pages"` // 1 at least
}

// DomainLine is a domain in a list: what is in it, and what the last check found.
type DomainLine struct {
	Domain
	Accounts int `json:"accounts"` // with an address in it
	Aliases  int `json:"aliases"`
	Lists    int `json:"lists"`
	Wrong    int `json:"wrong"`
	Warnings int `json:"warnings"`
}

// OwnedMask is a masked address with its account.
type OwnedMask struct {
	Mask
	Account string `json:"account"`
}

// cut is the page of all that was asked for; a page behind the last is the last.
func cut[T any](all []T, f Find) Found[T] {
	size := f.Size
	if size <= 0 || size > 500 {
		size = 50
	}
	pages := max(1, (len(all)+size-1)/size)
	page := min(max(1, f.Page), pages)
	first := (page - 1) * size
	return Found[T]{All: all[first:min(first+size, len(all))], Total: len(all), Page: page, Pages: pages}
}

// shownAs makes the rows of a page from what they stand for.
func shownAs[T, R any](in Found[T], show func(T) (R, error)) (Found[R], error) {
	out := Found[R]{All: make([]R, 0, len(in.All)), Total: in.Total, Page: in.Page, Pages: in.Pages}
	for _, x := range in.All {
		row, err := show(x)
		if err != nil {
			return out, err
		}
		out.All = append(out.All, row)
	}
	return out, nil
}

// sieve tells whether something with these names and addresses is looked for.
type sieve struct {
	text   string
	domain mail.Domain
}

func (f Find) sieve() (s sieve, err error) {
	s.text = strings.ToLower(strings.TrimSpace(f.Text))
	if f.Domain != "" {
		s.domain, err = domain(f.Domain)
	}
	return s, err
}

func (s sieve) fits(addrs []mail.Address, names ...string) bool {
	if s.domain != "" && !slices.ContainsFunc(addrs, func(a mail.Address) bool { return a.Domain == s.domain }) {
		return false
	}
	has := func(text string) bool { return strings.Contains(strings.ToLower(text), s.text) }
	return s.text == "" || slices.ContainsFunc(names, has) ||
		slices.ContainsFunc(addrs, func(a mail.Address) bool { return has(a.String()) || has(a.Unicode()) })
}

// inOrder is how addresses stand in lists: by domain, then by local part.
func inOrder(a, b mail.Address) int {
	return cmp.Or(cmp.Compare(a.Domain, b.Domain), cmp.Compare(a.Key(), b.Key()))
}

// FindAccounts is a page of the accounts, by their main address.
func (h *House) FindAccounts(ctx context.Context, f Find) (out Found[Account], err error) {
	s, err := f.sieve()
	if err != nil {
		return out, err
	}
	all, err := h.o.Directory.Accounts(ctx)
	if err != nil {
		return out, translate("accounts", err)
	}
	all = slices.DeleteFunc(all, func(a auth.Account) bool { return !s.fits(a.Addresses, a.Name, a.Login) })
	only := map[string]func(auth.Account) bool{
		"": nil, "operators": func(a auth.Account) bool { return a.Settings.Operator }, "closed": func(a auth.Account) bool { return a.Disabled },
		"silent": func(a auth.Account) bool { return a.Settings.SendOff != "" },
	}
	keep, known := only[f.Only]
	switch {
	case !known:
		return out, invalid("accounts can be narrowed to operators, closed or silent")
	case keep != nil:
		all = slices.DeleteFunc(all, func(a auth.Account) bool { return !keep(a) })
	}
	slices.SortFunc(all, func(a, b auth.Account) int { return inOrder(a.Addresses[0], b.Addresses[0]) })
	return shownAs(cut(all, f), func(a auth.Account) (Account, error) { return h.show(ctx, a) })
}

// FindAliases is a page of the aliases.
func (h *House) FindAliases(ctx context.Context, f Find) (out Found[Alias], err error) {
	s, err := f.sieve()
	if err != nil {
		return out, err
	}
	all, err := h.o.Directory.Aliases(ctx)
	if err != nil {
		return out, translate("aliases", err)
	}
	all = slices.DeleteFunc(all, func(a auth.Alias) bool { return !s.fits([]mail.Address{a.Address}, texts(a.Members)...) })
	return shownAs(cut(all, f), func(a auth.Alias) (Alias, error) { return showAlias(a), nil })
}

// FindAlias shows one.
func (h *House) FindAlias(ctx context.Context, addr string) (Alias, error) {
	want, err := address(addr)
	if err != nil {
		return Alias{}, err
	}
	all, err := h.o.Directory.Aliases(ctx)
	if err != nil {
		return Alias{}, translate(addr, err)
	}
	for _, a := range all {
		if a.Address.Key() == want.Key() {
			return showAlias(a), nil
		}
	}
	return Alias{}, missing(addr + " is no alias")
}

// FindLists is a page of the mailing lists, without versions and the number of those that get no mail: for these all members are read.
func (h *House) FindLists(ctx context.Context, f Find) (out Found[List], err error) {
	s, err := f.sieve()
	if err != nil {
		return out, err
	}
	all, err := h.o.Directory.Lists(ctx)
	if err != nil {
		return out, translate("lists", err)
	}
	all = slices.DeleteFunc(all, func(l auth.List) bool { return !s.fits([]mail.Address{l.Address}, l.Name) })
	return shownAs(cut(all, f), func(l auth.List) (List, error) {
		n, err := h.o.Directory.CountMembers(ctx, l.ID)
		return List{
			Address: l.Address.String(), Name: l.Name, Owners: texts(l.Owners), Post: postWord(l.Posting), Posters: texts(l.Posters), Replies: replyWord(l.Replies),
			Tag: l.Tag, MaxSize: l.MaxSize, Created: l.Created, Members: n,
		}, translate(l.Address.String(), err)
	})
}

// FindMasks is a page of the masked addresses of all accounts.
func (h *House) FindMasks(ctx context.Context, f Find) (out Found[OwnedMask], err error) {
	s, err := f.sieve()
	if err != nil {
		return out, err
	}
	all, err := h.o.Directory.AllMasks(ctx)
	if err != nil {
		return out, translate("masked addresses", err)
	}
	accounts, err := h.o.Directory.Accounts(ctx)
	if err != nil {
		return out, translate("masked addresses", err)
	}
	owner := make(map[mail.AccountID]string, len(accounts))
	for _, a := range accounts {
		owner[a.ID] = a.Addresses[0].String()
	}
	all = slices.DeleteFunc(all, func(m auth.Mask) bool { return !s.fits([]mail.Address{m.Address}, m.Note, owner[m.Account]) })
	page := cut(all, f)
	uses, err := h.o.Masks.Uses(ctx, page.All)
	if err != nil {
		return out, translate("masked addresses", err)
	}
	return shownAs(page, func(m auth.Mask) (OwnedMask, error) {
		return OwnedMask{showMask(m, uses[m.Address]), owner[m.Account]}, nil
	})
}

// FindDomains is a page of the domains.
func (h *House) FindDomains(ctx context.Context, f Find) (out Found[DomainLine], err error) {
	text := strings.ToLower(strings.TrimSpace(f.Text))
	all, err := h.o.Directory.Domains(ctx)
	if err != nil {
		return out, translate("domains", err)
	}
	all = slices.DeleteFunc(all, func(d auth.Domain) bool {
		return !strings.Contains(string(d.Name), text) && !strings.Contains(strings.ToLower(d.Name.Unicode()), text)
	})
	lines, err := h.inhabitants(ctx)
	if err != nil {
		return out, translate("domains", err)
	}
	return shownAs(cut(all, f), func(d auth.Domain) (DomainLine, error) {
		line := lines[d.Name]
		var err error
		if line.Domain, err = h.showDomain(ctx, d); err != nil {
			return line, translate("domains", err)
		}
		for _, x := range h.Looked(string(d.Name)).Results {
			switch x.State {
			case check.Wrong:
				line.Wrong++
			case check.Warning:
				line.Warnings++
			}
		}
		return line, nil
	})
}

// inhabitants counts what stands in each domain.
func (h *House) inhabitants(ctx context.Context) (map[mail.Domain]DomainLine, error) {
	lines := make(map[mail.Domain]DomainLine)
	count := func(d mail.Domain, add func(*DomainLine)) {
		x := lines[d]
		add(&x)
		lines[d] = x
	}
	accounts, err := h.o.Directory.Accounts(ctx)
	if err != nil {
		return nil, err
	}
	for _, a := range accounts {
		in := make([]mail.Domain, 0, len(a.Addresses))
		for _, x := range a.Addresses {
			if !slices.Contains(in, x.Domain) {
				in = append(in, x.Domain)
				count(x.Domain, func(l *DomainLine) { l.Accounts++ })
			}
		}
	}
	aliases, err := h.o.Directory.Aliases(ctx)
	if err != nil {
		return nil, err
	}
	for _, a := range aliases {
		count(a.Address.Domain, func(l *DomainLine) { l.Aliases++ })
	}
	lists, err := h.o.Directory.Lists(ctx)
	for _, a := range lists {
		count(a.Address.Domain, func(l *DomainLine) { l.Lists++ })
	}
	return lines, err
}
