package admin

import (
	"context"
	"errors"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// Domain is a domain of the house.
type Domain struct {
	Name     string `json:"name"`
	AliasOf  string `json:"alias_of,omitempty"`
	CatchAll string `json:"catch_all,omitempty"`
	Version  string `json:"version,omitempty"` // shown
	If       string `json:"if,omitempty"`      // the version that AddDomain changes; another one by now: a Conflict (ErrChanged)
}

// AddDomain makes a domain, or changes what it is an alias of and its catch-all.
func (h *House) AddDomain(ctx context.Context, in Domain) (Domain, error) {
	name, err := domain(in.Name)
	if err != nil {
		return Domain{}, err
	}
	d := auth.Domain{Name: name}
	if in.AliasOf != "" {
		if d.AliasOf, err = domain(in.AliasOf); err != nil {
			return Domain{}, err
		}
	}
	if in.CatchAll != "" {
		if d.CatchAll, err = address(in.CatchAll); err != nil {
			return Domain{}, err
		}
	}
	key, err := h.firstKey(ctx, name)
	if err != nil {
		return Domain{}, translate(in.Name, err)
	}
	err = h.change(ctx, &alteration{verb: "domain add", on: h.aDomain(name), seen: in.If, do: func(tx *kv.Tx) error {
		if err := h.o.Directory.PutDomain(tx, d); err != nil || key == nil {
			return err
		}
		return h.o.Directory.PutKey(tx, *key)
	}})
	if err != nil {
		return Domain{}, translate(in.Name, err)
	}
	h.done(ctx, "domain add", string(name))
	return h.Domain(ctx, string(name))
}

// Domain shows one.
func (h *House) Domain(ctx context.Context, name string) (out Domain, err error) {
	d, err := domain(name)
	if err != nil {
		return Domain{}, err
	}
	var is auth.Domain
	err = h.o.DB.View(ctx, func(tx *kv.Tx) (err error) {
		is, err = h.o.Directory.DomainIn(tx, d)
		return err
	})
	if err == nil {
		out, err = h.showDomain(ctx, is)
	}
	return out, translate(name, err)
}

// RemoveDomain is refused while addresses use the domain.
func (h *House) RemoveDomain(ctx context.Context, name string) error {
	d, err := domain(name)
	if err != nil {
		return err
	}
	err = h.change(ctx, &alteration{verb: "domain remove", on: h.aDomain(d), do: func(tx *kv.Tx) error { return h.removeDomain(tx, d) }})
	if err != nil {
		if errors.Is(err, auth.ErrNoDomain) { // who removes a domain does not want to hear how to add it
			return &Error{Missing, plain(name, err), err}
		}
		return translate(name, err)
	}
	h.done(ctx, "domain remove", string(d))
	return nil
}

// Domains lists all.
func (h *House) Domains(ctx context.Context) ([]Domain, error) {
	list, err := h.o.Directory.Domains(ctx)
	if err != nil {
		return nil, translate("domains", err)
	}
	out := make([]Domain, 0, len(list))
	for _, d := range list {
		shown, err := h.showDomain(ctx, d)
		if err != nil {
			return nil, translate("domains", err)
		}
		out = append(out, shown)
	}
	return out, nil
}

func (h *House) removeDomain(tx *kv.Tx, d mail.Domain) error {
	if err := h.o.Directory.RemoveDomain(tx, d); err != nil {
		return err
	}
	return h.o.Store.SetPool(tx, pool(d), store.Quota{}, nil)
}

func (h *House) showDomain(ctx context.Context, d auth.Domain) (Domain, error) {
	var q store.Quota
	err := h.o.DB.View(ctx, func(tx *kv.Tx) (err error) {
		q, err = h.o.Store.PoolIn(tx, pool(d.Name))
		return err
	})
	return Domain{Name: string(d.Name), AliasOf: string(d.AliasOf), CatchAll: d.CatchAll.String(), Version: version(stateOfDomain(d, q))}, err
}

// Alias is an address that leads to others.
type Alias struct {
	Address string   `json:"address"`
	Members []string `json:"members"`
	SendAs  bool     `json:"send_as,omitempty"` // members may send as it
	Version string   `json:"version,omitempty"` // shown
	If      string   `json:"if,omitempty"`      // the version that AddAlias replaces; another one by now: a Conflict (ErrChanged)
}

// AddAlias makes an alias, or replaces its members.
func (h *House) AddAlias(ctx context.Context, in Alias) (Alias, error) {
	a, err := address(in.Address)
	if err != nil {
		return Alias{}, err
	}
	members, err := addresses(in.Members)
	if err != nil {
		return Alias{}, err
	}
	if len(members) == 0 {
		return Alias{}, invalid(in.Address + ": an alias needs at least one member")
	}
	alias := auth.Alias{Address: a, Members: members, SendAs: in.SendAs}
	err = h.change(ctx, &alteration{verb: "alias add", on: h.anAlias(a), seen: in.If, do: func(tx *kv.Tx) error { return h.o.Directory.PutAlias(tx, alias) }})
	if err != nil {
		return Alias{}, translate(in.Address, err)
	}
	h.done(ctx, "alias add", a.String())
	return showAlias(alias), nil
}

// RemoveAlias removes it with all members.
func (h *House) RemoveAlias(ctx context.Context, addr string) error {
	a, err := address(addr)
	if err != nil {
		return err
	}
	err = h.change(ctx, &alteration{verb: "alias remove", on: h.anAlias(a), do: func(tx *kv.Tx) error { return h.o.Directory.RemoveAlias(tx, a) }})
	if err != nil {
		return translate(addr, err)
	}
	h.done(ctx, "alias remove", a.String())
	return nil
}

// Aliases lists all.
func (h *House) Aliases(ctx context.Context) ([]Alias, error) {
	list, err := h.o.Directory.Aliases(ctx)
	if err != nil {
		return nil, translate("aliases", err)
	}
	out := make([]Alias, 0, len(list))
	for _, a := range list {
		out = append(out, showAlias(a))
	}
	return out, nil
}

func showAlias(a auth.Alias) Alias {
	return Alias{Address: a.Address.String(), Members: texts(a.Members), SendAs: a.SendAs, Version: version(stateOfAlias(a))}
}

func texts(list []mail.Address) []string {
	out := make([]string, 0, len(list))
	for _, a := range list {
		out = append(out, a.String())
	}
	return out
}
