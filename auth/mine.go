package auth

import (
	"context"
	"slices"
	"strings"

	"github.com/posthouse-mail/posthouse/internal/mail"
)

// Names is every name under which mail reaches an account.
type Names struct {
	Own      []mail.Address // the first is the main one
	Masks    []Mask         // newest first
	Aliases  []NameAlias    // by address
	Domains  []NameDomain   // other names of the domains of Own
	CatchAll []mail.Domain  // domains whose remaining addresses lead here
}

// NameAlias is an alias that leads to an account, at once or through others.
type NameAlias struct {
	Address mail.Address
	SendAs  bool // the account may write as it
	Others  int  // who gets it beside the account
}

// NameDomain is a domain that is another name of one.
type NameDomain struct{ Name, Of mail.Domain }

// Separator is what stands between an address and what a subaddress adds to it.
func (d *Directory) Separator() string { return d.separator }

// NamesOf lists them. It costs no transaction.
func (d *Directory) NamesOf(ctx context.Context, id mail.AccountID) (Names, error) {
	s, err := d.snapshot(ctx)
	if err != nil {
		return Names{}, err
	}
	r := s.accounts[id]
	if r == nil {
		return Names{}, ErrNoAccount
	}
	n := Names{Own: slices.Clone(r.Addresses)}
	if n.Masks, err = d.Masks(ctx, id); err != nil {
		return Names{}, err
	}
	mine := map[string]bool{} // keys of what leads here
	for _, a := range n.Own {
		mine[a.Key()] = true
	}
	for _, m := range n.Masks {
		mine[m.Address.Key()] = m.State == MaskOn
	}
	for _, a := range d.aliasesTo(s, mine) {
		sends := d.sends(s, id, a.Address, make(map[string]bool))
		w := d.walk(s)
		w.address(a.Address, "")
		others := len(w.taken) + len(w.route.Remote) - len(w.route.Forwards)
		if w.taken[id] {
			others--
		}
		n.Aliases = append(n.Aliases, NameAlias{Address: a.Address, SendAs: sends, Others: others})
	}
	for _, x := range sorted(s.domains, func(x Domain) string { return string(x.Name) }) {
		if slices.ContainsFunc(n.Own, func(a mail.Address) bool { return a.Domain == x.AliasOf }) {
			n.Domains = append(n.Domains, NameDomain{x.Name, x.AliasOf})
		}
		if !x.CatchAll.IsNull() && mine[s.inMainDomain(x.CatchAll).Key()] {
			n.CatchAll = append(n.CatchAll, x.Name)
		}
	}
	return n, nil
}

// inMainDomain is an address under the name that its domain has in the tables.
func (s *snapshot) inMainDomain(a mail.Address) mail.Address {
	a.Domain, _ = s.home(a.Domain)
	return a
}

// aliasesTo lists the aliases that lead to one of the keys, and adds theirs.
func (d *Directory) aliasesTo(s *snapshot, mine map[string]bool) []Alias {
	var found []Alias
	all := sorted(s.aliases, func(x Alias) string { return string(x.Address.Domain) + " " + x.Address.Key() })
	for again := true; again; {
		again = false
		for _, a := range all {
			leads := func(m mail.Address) bool { return mine[s.inMainDomain(m).Key()] }
			if !mine[a.Address.Key()] && slices.ContainsFunc(a.Members, leads) {
				mine[a.Address.Key()], again = true, true
				found = append(found, a)
			}
		}
	}
	slices.SortFunc(found, func(a, b Alias) int { return strings.Compare(a.Address.Key(), b.Address.Key()) })
	return found
}
