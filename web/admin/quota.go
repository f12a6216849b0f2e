package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// DomainQuota is what all accounts of a domain hold together, and may hold. An account belongs to the domain of its main address.
type DomainQuota struct {
	Domain   string `json:"domain"`
	Accounts int    `json:"accounts"`
	Usage    Amount `json:"usage"`
	Quota    Amount `json:"quota"` // 0: no limit
}

// Recounted is what a recount found.
type Recounted struct {
	Account   string `json:"account"`
	Was       Amount `json:"was"`
	Is        Amount `json:"is"`
	Mailboxes int    `json:"mailboxes_mended"`
}

// DomainQuota shows it.
func (h *House) DomainQuota(ctx context.Context, name string) (DomainQuota, error) {
	d, _, err := h.localDomain(ctx, name)
	if err != nil {
		return DomainQuota{}, err
	}
	members, err := h.members(ctx, d)
	if err != nil {
		return DomainQuota{}, translate(name, err)
	}
	out := DomainQuota{Domain: string(d), Accounts: len(members)}
	for _, id := range members {
		u, err := h.o.Store.Usage(ctx, id)
		if err != nil && !errors.Is(err, store.ErrNoAccount) { // removed between the two reads
			return DomainQuota{}, translate(name, err)
		}
		out.Usage.Bytes += u.Bytes
		out.Usage.Messages += u.Messages
	}
	u, err := h.o.Store.PoolUsage(ctx, pool(d))
	if err != nil && !errors.Is(err, store.ErrNoPool) {
		return DomainQuota{}, translate(name, err)
	}
	out.Quota = Amount{u.Limit.Bytes, u.Limit.Messages}
	return out, nil
}

// SetDomainQuota limits what all accounts of a domain hold together; it holds for the next message. 0 and 0: no limit.
func (h *House) SetDomainQuota(ctx context.Context, name string, q Amount) (DomainQuota, error) {
	d, of, err := h.localDomain(ctx, name)
	if err != nil {
		return DomainQuota{}, err
	}
	if of != "" {
		return DomainQuota{}, conflict(name + " is an alias of " + string(of) + ": its accounts are there, and so is their quota")
	}
	members, err := h.members(ctx, d)
	if err == nil {
		err = h.change(ctx, &alteration{verb: "domain quota", on: h.aDomain(d), do: func(tx *kv.Tx) error {
			return h.o.Store.SetPool(tx, pool(d), store.Quota{Bytes: q.Bytes, Messages: q.Messages}, members)
		}})
	}
	if err != nil {
		return DomainQuota{}, translate(name, err)
	}
	// An account that was made in between belongs to it too.
	again, err := h.members(ctx, d)
	if err == nil && !slices.Equal(again, members) {
		return h.SetDomainQuota(IfVersion(ctx, ""), name, q)
	}
	h.done(ctx, "domain quota", string(d))
	return h.DomainQuota(ctx, name)
}

// pool is how the store calls the accounts of a domain.
func pool(d mail.Domain) string { return string(d) }

// poolOf is the domain whose quota an account shares: that of its main address, or what that domain is an alias of.
func poolOf(a *auth.Account, domains []auth.Domain) string {
	if len(a.Addresses) == 0 {
		return ""
	}
	main := a.Addresses[0].Domain
	for _, d := range domains {
		if d.Name == main && d.AliasOf != "" {
			return pool(d.AliasOf)
		}
	}
	return pool(main)
}

// members are the accounts whose main address is in the domain.
func (h *House) members(ctx context.Context, d mail.Domain) ([]mail.AccountID, error) {
	list, err := h.o.Directory.Accounts(ctx)
	if err != nil {
		return nil, err
	}
	domains, err := h.o.Directory.Domains(ctx)
	if err != nil {
		return nil, err
	}
	var out []mail.AccountID
	for _, a := range list {
		if poolOf(&a, domains) == pool(d) {
			out = append(out, a.ID)
		}
	}
	return out, nil
}

// localDomain finds a domain of the house, and what it is an alias of.
func (h *House) localDomain(ctx context.Context, name string) (d, of mail.Domain, err error) {
	if d, err = domain(name); err != nil {
		return "", "", err
	}
	list, err := h.o.Directory.Domains(ctx)
	if err != nil {
		return "", "", translate(name, err)
	}
	for _, x := range list {
		if x.Name == d {
			return d, x.AliasOf, nil
		}
	}
	return "", "", translate(name, auth.ErrNoDomain)
}

// Recount counts the mail of an account anew, and mends the numbers that were wrong.
func (h *House) Recount(ctx context.Context, user string) (Recounted, error) {
	a, err := h.o.Directory.FindAccount(ctx, user)
	if err != nil {
		return Recounted{}, translate(user, err)
	}
	var r store.Recounted
	err = h.noting(ctx, aboutAccount("account recount", a), func() (words string, err error) {
		r, err = h.o.Store.Recount(ctx, a.ID)
		return fmt.Sprintf("%d mailboxes mended", r.Mailboxes), err
	})
	if err != nil {
		return Recounted{}, translate(user, err)
	}
	h.done(ctx, "account recount", user)
	return Recounted{
		Account: a.Addresses[0].String(), Was: Amount{r.Was.Bytes, r.Was.Messages}, Is: Amount{r.Is.Bytes, r.Is.Messages}, Mailboxes: r.Mailboxes,
	}, nil
}
