package admin

import (
	"context"

	"github.com/posthouse-mail/posthouse/auth"
)

// DomainDetail is all that is known of a domain without asking DNS.
type DomainDetail struct {
	Domain
	AliasedBy []string     `json:"aliased_by,omitempty"` // domains that are aliases of it
	Accounts  int          `json:"accounts"`
	Aliases   int          `json:"aliases"`
	Lists     int          `json:"lists"`
	Keys      []DKIMKey    `json:"keys"`    // nobody looked whether their records are published
	Records   Records      `json:"records"` // that should be there
	Limits    *Sending     `json:"limits,omitempty"`
	Quota     *DomainQuota `json:"quota,omitempty"` // nil, as Limits, of an alias: its accounts are elsewhere
	Looked    Looked       `json:"looked"`          // what the last checkup found
}

// DomainDetail shows it.
func (h *House) DomainDetail(ctx context.Context, name string) (DomainDetail, error) {
	d, of, err := h.localDomain(ctx, name)
	if err != nil {
		return DomainDetail{}, err
	}
	all, err := h.o.Directory.Domains(ctx)
	if err != nil {
		return DomainDetail{}, translate(name, err)
	}
	out := DomainDetail{Looked: h.Looked(string(d))}
	for _, x := range all {
		switch {
		case x.Name == d:
			if out.Domain, err = h.showDomain(ctx, x); err != nil {
				return DomainDetail{}, translate(name, err)
			}
		case x.AliasOf == d:
			out.AliasedBy = append(out.AliasedBy, string(x.Name))
		}
	}
	lines, err := h.inhabitants(ctx)
	if err != nil {
		return DomainDetail{}, translate(name, err)
	}
	out.Accounts, out.Aliases, out.Lists = lines[d].Accounts, lines[d].Aliases, lines[d].Lists
	keys, err := h.o.Directory.Keys(ctx, d)
	if err != nil {
		return DomainDetail{}, translate(name, err)
	}
	for _, k := range keys {
		out.Keys = append(out.Keys, showKey(k, "unknown"))
	}
	if h.o.Site.Hostname != "" {
		if out.Records, err = h.DomainRecords(ctx, name); err != nil {
			return DomainDetail{}, err
		}
	}
	if of != "" {
		return out, nil
	}
	return out, h.bounds(ctx, name, &out)
}

// bounds adds what the accounts of the domain may send and hold together.
func (h *House) bounds(ctx context.Context, name string, out *DomainDetail) error {
	quota, err := h.DomainQuota(ctx, name)
	if err != nil {
		return err
	}
	out.Quota = &quota
	limits, err := h.DomainLimits(ctx, name)
	out.Limits = &limits
	return err
}

func showKey(k auth.DKIMKey, published string) DKIMKey {
	return DKIMKey{
		Domain: string(k.Domain), Selector: k.Selector, Algorithm: k.Algorithm, State: k.State.String(), Since: k.Since,
		Name: k.Name(), Record: k.Record(), Published: published,
	}
}
