package auth

import (
	"encoding/binary"
	"fmt"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// AccountIn and its fellows read what a transaction has, for who changes something and compares it with what was.
func (d *Directory) AccountIn(tx *kv.Tx, id mail.AccountID) (Account, error) {
	r, err := findRecord(tx, id)
	if err != nil {
		return Account{}, err
	}
	return r.clone(), nil
}

// AccountAt is the account that has an address.
func (d *Directory) AccountAt(tx *kv.Tx, a mail.Address) (Account, error) {
	found, err := findRow(tx, addressKey(a))
	switch {
	case err != nil:
		return Account{}, err
	case found.kind != rowAddress:
		return Account{}, fmt.Errorf("%w: %s", ErrNoAccount, a)
	}
	return d.AccountIn(tx, found.owner)
}

// DomainIn is one domain with its settings.
func (d *Directory) DomainIn(tx *kv.Tx, name mail.Domain) (Domain, error) {
	found, err := findRow(tx, domainKey(name))
	switch {
	case err != nil:
		return Domain{}, err
	case found.kind != rowDomain:
		return Domain{}, fmt.Errorf("%w: %s", ErrNoDomain, name)
	}
	return found.domain, nil
}

// AliasIn is one alias.
func (d *Directory) AliasIn(tx *kv.Tx, a mail.Address) (Alias, error) {
	found, err := findRow(tx, addressKey(a))
	switch {
	case err != nil:
		return Alias{}, err
	case found.kind != rowAlias:
		return Alias{}, fmt.Errorf("%w: %s is no alias", ErrNoAddress, a)
	}
	return found.alias, nil
}

// ListIn is one list, MembersIn its members.
func (d *Directory) ListIn(tx *kv.Tx, a mail.Address) (List, error) { return findList(tx, a) }

// MembersIn is the members of a list.
func (d *Directory) MembersIn(tx *kv.Tx, id ListID) []Member { return membersIn(tx, id) }

// MaskIn is one mask, of whatever state.
func (d *Directory) MaskIn(tx *kv.Tx, a mail.Address) (Mask, error) {
	found, err := findRow(tx, addressKey(a))
	switch {
	case err != nil:
		return Mask{}, err
	case found.kind != rowMask:
		return Mask{}, fmt.Errorf("%w: %s is no masked address", ErrNoAddress, a)
	}
	return found.mask, nil
}

// Everything is all that has a name of its own.
type Everything struct {
	Domains  []Domain
	Accounts []Account
	Aliases  []Alias
	Lists    []List
}

// EverythingIn reads it; a row that cannot be read is an error here, since who compares must not take it for one that is gone.
func (d *Directory) EverythingIn(tx *kv.Tx) (all Everything, err error) {
	for key, value := range tx.Scan(tableNames, nil, nil) {
		r, err := decodeRow(key, value)
		if err != nil {
			return all, err
		}
		switch r.kind {
		case rowDomain:
			all.Domains = append(all.Domains, r.domain)
		case rowAlias:
			all.Aliases = append(all.Aliases, r.alias)
		case rowList:
			all.Lists = append(all.Lists, r.list)
		}
	}
	for key, value := range tx.Scan(tableAccounts, accountKey(1), nil) {
		if len(key) != 4 {
			continue
		}
		r, err := decodeAccount(mail.AccountID(binary.BigEndian.Uint32(key)), value)
		if err != nil {
			return all, err
		}
		all.Accounts = append(all.Accounts, r.clone())
	}
	return all, nil
}

// DomainsIn is all domains.
func (d *Directory) DomainsIn(tx *kv.Tx) (all []Domain, err error) {
	for key, value := range tx.Scan(tableNames, []byte("@"), []byte("A")) { // domainKey
		r, err := decodeRow(key, value)
		if err != nil {
			return nil, err
		}
		if r.kind == rowDomain {
			all = append(all, r.domain)
		}
	}
	return all, nil
}

// Kept is the hash of the password as it stands, for an export with secrets; empty: there is no password.
func (s Secret) Kept() string { return s.phc }
