package auth

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

const (
	maxAddresses = 1000 // of an account
	maxMembers   = 5000 // of an alias
	maxName      = 255  // octets of a person's name
	maxLogin     = 64   // octets of a login name
)

// The verbs; web/admin calls them inside one Update with the store's. Each looks
// at what the transaction itself has changed before.

// PutDomain makes or changes a domain. The settings of one that is there stay as they are.
func (d *Directory) PutDomain(tx *kv.Tx, dom Domain) error {
	if dom.Name == "" || strings.HasPrefix(string(dom.Name), "[") {
		return fmt.Errorf("%w: %q is no domain name", ErrInvalid, dom.Name)
	}
	if dom.AliasOf != "" {
		if err := checkAliasOf(tx, dom); err != nil {
			return err
		}
	}
	if !dom.CatchAll.IsNull() {
		if err := d.checkMember(tx, dom.CatchAll); err != nil {
			return fmt.Errorf("catch-all of %s: %w", dom.Name, err)
		}
	}
	if before, err := findRow(tx, domainKey(dom.Name)); err == nil && before.kind == rowDomain {
		dom.Settings = before.domain.Settings
	}
	tx.Put(tableNames, domainKey(dom.Name), dom.encode())
	tx.OnCommit(d.view.changed)
	return nil
}

func checkAliasOf(tx *kv.Tx, dom Domain) error {
	target, err := findRow(tx, domainKey(dom.AliasOf))
	switch {
	case err != nil:
		return err
	case target.kind != rowDomain:
		return fmt.Errorf("%w: %s", ErrNoDomain, dom.AliasOf)
	case target.domain.AliasOf != "" || dom.AliasOf == dom.Name:
		return fmt.Errorf("%w: %s is an alias itself: name the domain it stands for", ErrInvalid, dom.AliasOf)
	case !dom.CatchAll.IsNull():
		return fmt.Errorf("%w: %s is an alias: set the catch-all of %s", ErrInvalid, dom.Name, dom.AliasOf)
	}
	return whoUses(tx, dom.Name)
}

// RemoveDomain takes a domain out of the house; ErrInUse names what still uses it.
func (d *Directory) RemoveDomain(tx *kv.Tx, name mail.Domain) error {
	found, err := findRow(tx, domainKey(name))
	if err != nil {
		return err
	}
	if found.kind != rowDomain {
		return ErrNoDomain
	}
	if err := whoUses(tx, name); err != nil {
		return err
	}
	tx.Delete(tableNames, domainKey(name))
	removeKeys(tx, name)
	tx.OnCommit(d.view.changed)
	return nil
}

// whoUses is ErrInUse with the addresses, aliases and domains that need the domain. A member
// or catch-all in it is no use: it would be an address like any other outside.
func whoUses(tx *kv.Tx, name mail.Domain) error {
	const shown = 5
	var users []string
	more := 0
	for key, value := range tx.Scan(tableNames, nil, nil) {
		r, err := decodeRow(key, value)
		if err != nil {
			continue // told by the snapshot; it must not stop the others
		}
		uses := r.kind == rowDomain && r.domain.AliasOf == name ||
			(r.kind == rowAddress || r.kind == rowAlias || r.kind == rowList || r.kind == rowMask && r.mask.State != MaskRemoved) && strings.HasSuffix(string(key), "@"+string(name))
		switch {
		case uses && len(users) < shown:
			users = append(users, strings.TrimPrefix(string(key), "@"))
		case uses:
			more++
		}
	}
	if len(users) == 0 {
		return nil
	}
	text := strings.Join(users, ", ")
	if more > 0 {
		text = fmt.Sprintf("%s and %d more", text, more)
	}
	return fmt.Errorf("%w: %s by %s", ErrInUse, name, text)
}

// CreateAccount gives a new account its id and its addresses. With the zero Secret nobody can log in until SetSecret.
func (d *Directory) CreateAccount(tx *kv.Tx, a Account, secret Secret) (mail.AccountID, error) {
	if a.ID != 0 {
		return 0, fmt.Errorf("%w: a new account cannot bring its id", ErrInvalid)
	}
	var last uint32
	if value := tx.Get(tableAccounts, accountKey(0)); len(value) == 4 {
		last = binary.BigEndian.Uint32(value)
	}
	a.ID = mail.AccountID(last + 1)
	if a.Created.IsZero() {
		a.Created = d.options.Now()
	}
	if err := d.claim(tx, a, nil); err != nil {
		return 0, err
	}
	tx.Put(tableAccounts, accountKey(0), accountKey(a.ID))
	d.putRecord(tx, &record{Account: a, Secret: secret})
	return a.ID, nil
}

// UpdateAccount changes everything but the password and the settings. Addresses that are not given any more are free for others.
func (d *Directory) UpdateAccount(tx *kv.Tx, a Account) error {
	r, err := findRecord(tx, a.ID)
	if err != nil {
		return err
	}
	if a.Created.IsZero() {
		a.Created = r.Created
	}
	if err := d.claim(tx, a, r); err != nil {
		return err
	}
	a.Settings = r.Settings
	d.putRecord(tx, &record{Account: a, Secret: r.Secret})
	return nil
}

// claim checks an account and gives it its names, taking those of before that it has no more.
func (d *Directory) claim(tx *kv.Tx, a Account, before *record) error {
	if err := checkAccount(a); err != nil {
		return err
	}
	wanted := map[string]bool{}
	for _, address := range a.Addresses {
		key := addressKey(address)
		if wanted[string(key)] {
			return fmt.Errorf("%w: %s is named twice", ErrInvalid, address)
		}
		wanted[string(key)] = true
		if err := checkHome(tx, address); err != nil {
			return err
		}
		if err := checkFree(tx, key, a.ID); err != nil {
			return err
		}
		if taken, err := ofList(tx, address); err != nil || taken {
			return errors.Join(err, fmt.Errorf("%w: %s belongs to a list", ErrExists, address))
		}
	}
	if a.Login != "" {
		wanted[string(loginKey(a.Login))] = true
		if err := checkFree(tx, loginKey(a.Login), a.ID); err != nil {
			return err
		}
	}
	if err := d.release(tx, before, wanted); err != nil {
		return err
	}
	for _, address := range a.Addresses {
		tx.Put(tableNames, addressKey(address), encodeOwner(rowAddress, a.ID))
	}
	if a.Login != "" {
		tx.Put(tableNames, loginKey(a.Login), encodeOwner(rowLogin, a.ID))
	}
	return nil
}

// release frees the names of before that are not wanted any more.
func (d *Directory) release(tx *kv.Tx, before *record, wanted map[string]bool) error {
	if before == nil {
		return nil
	}
	var dropped []mail.Address
	for _, a := range before.Addresses {
		if !wanted[a.Key()] {
			dropped = append(dropped, a)
		}
	}
	if len(dropped) > 0 {
		if err := d.forget(tx, dropped); err != nil {
			return err
		}
	}
	for _, key := range before.names() {
		if !wanted[string(key)] {
			tx.Delete(tableNames, key)
		}
	}
	return nil
}

// names are the keys of the account's rows in l.
func (r *record) names() [][]byte {
	var keys [][]byte
	for _, a := range r.Addresses {
		keys = append(keys, addressKey(a))
	}
	if r.Login != "" {
		keys = append(keys, loginKey(r.Login))
	}
	return keys
}

func checkAccount(a Account) error {
	control := func(r rune) bool { return unicode.IsControl(r) || r == unicode.ReplacementChar }
	switch {
	case len(a.Addresses) == 0:
		return fmt.Errorf("%w: an account needs an address", ErrInvalid)
	case len(a.Addresses) > maxAddresses:
		return fmt.Errorf("%w: more than %d addresses", ErrInvalid, maxAddresses)
	case len(a.Name) > maxName || strings.ContainsFunc(a.Name, control):
		return fmt.Errorf("%w: a name has up to %d octets and no control characters", ErrInvalid, maxName)
	case len(a.Login) > maxLogin || strings.ContainsFunc(a.Login, func(r rune) bool { return r == '@' || unicode.IsSpace(r) || control(r) }):
		return fmt.Errorf("%w: a login name has up to %d octets, no @, no space and no control characters", ErrInvalid, maxLogin)
	}
	return nil
}

// checkHome: an address stands in a domain of ours, and in the real one of an alias.
func checkHome(tx *kv.Tx, a mail.Address) error {
	r, err := findRow(tx, domainKey(a.Domain))
	switch {
	case err != nil:
		return err
	case a.Local == "" || r.kind != rowDomain:
		return fmt.Errorf("%w: %q of %s", ErrNoDomain, a.Domain, a)
	case r.domain.AliasOf != "":
		return fmt.Errorf("%w: %s is an alias of %s: give the address there", ErrInvalid, a.Domain, r.domain.AliasOf)
	}
	return nil
}

func checkFree(tx *kv.Tx, key []byte, id mail.AccountID) error {
	r, err := findRow(tx, key)
	switch {
	case err != nil:
		return err
	case (r.kind == rowAddress || r.kind == rowLogin) && r.owner == id:
		return nil
	case r.kind == rowMask:
		return fmt.Errorf("%w: %s is a masked address, or was one", ErrExists, key)
	case r.kind == 0:
		return nil
	}
	return fmt.Errorf("%w: %s", ErrExists, key)
}

// RemoveAccount frees its names and takes its addresses out of aliases. An alias that would
// be left without a member, or a catch-all that leads here, is ErrInUse.
func (d *Directory) RemoveAccount(tx *kv.Tx, id mail.AccountID) error {
	r, err := findRecord(tx, id)
	if err != nil {
		return err
	}
	masks := masksOf(tx, id)
	gone := slices.Clone(r.Addresses)
	for _, m := range masks {
		gone = append(gone, m.Address)
	}
	if err := d.forget(tx, gone); err != nil {
		return err
	}
	for _, key := range r.names() {
		tx.Delete(tableNames, key)
	}
	buryMasks(tx, id, masks)
	dropTokens(tx, id)
	tx.OnCommit(func() { d.options.TokenUses.forget(id) })
	tx.OnCommit(func() {
		d.options.Uses.forget(id)
		d.options.CertificateUses.forget(id)
		d.options.Devices.forget(id)
	})
	tx.Delete(tableAccounts, accountKey(id))
	d.told(tx, id)
	return nil
}

// forget takes addresses that go away out of the aliases they are members of, so that
// who gets such an address later does not get the mail of a group he was never put into.
// An alias left without a member, or a catch-all that leads there, is ErrInUse.
func (d *Directory) forget(tx *kv.Tx, addresses []mail.Address) error {
	g := going{d: d, tx: tx, keys: map[string]bool{}}
	for _, a := range addresses {
		g.keys[a.Key()] = true
	}
	var changed []Alias
	var lists []List
	for key, value := range tx.Scan(tableNames, nil, nil) {
		found, err := decodeRow(key, value)
		if err != nil {
			continue
		}
		if found.kind == rowDomain && g.has(found.domain.CatchAll) {
			return fmt.Errorf("%w: %s is the catch-all of %s", ErrInUse, found.domain.CatchAll, found.domain.Name)
		}
		if found.kind == rowList && !g.keys[found.list.Address.Key()] {
			left, err := g.fromList(found.list)
			if err != nil {
				return err
			}
			if left != nil {
				lists = append(lists, *left)
			}
		}
		if found.kind != rowAlias || g.keys[found.alias.Address.Key()] {
			continue
		}
		left := slices.DeleteFunc(slices.Clone(found.alias.Members), g.has)
		switch {
		case g.err != nil:
			return g.err
		case len(left) == 0:
			return fmt.Errorf("%w: the alias %s has no other member: remove it first", ErrInUse, found.alias.Address)
		case len(left) < len(found.alias.Members):
			found.alias.Members = left
			changed = append(changed, found.alias)
		}
	}
	for _, alias := range changed {
		tx.Put(tableNames, addressKey(alias.Address), alias.encode())
	}
	for _, l := range lists {
		tx.Put(tableNames, addressKey(l.Address), l.encode())
	}
	dropMembers(tx, g.has)
	g.endForwards()
	return g.err
}

// fromList is the list without the addresses that go, nil when it names none.
func (g *going) fromList(l List) (*List, error) {
	owners := slices.DeleteFunc(slices.Clone(l.Owners), g.has)
	posters := slices.DeleteFunc(slices.Clone(l.Posters), g.has)
	if len(owners) == 0 {
		return nil, fmt.Errorf("%w: the list %s has no other owner: give it one, or remove it", ErrInUse, l.Address)
	}
	if len(owners) == len(l.Owners) && len(posters) == len(l.Posters) {
		return nil, nil
	}
	l.Owners, l.Posters = owners, posters
	return &l, nil
}

// endForwards takes the addresses that go out of what accounts forward to. Where none is left, the mail stays.
func (g *going) endForwards() {
	var changed []*record
	for key, value := range g.tx.Scan(tableAccounts, nil, nil) {
		if len(key) != 4 {
			continue
		}
		r, err := decodeAccount(mail.AccountID(binary.BigEndian.Uint32(key)), value)
		if err != nil || r.ID == 0 {
			continue
		}
		left := slices.DeleteFunc(slices.Clone(r.Settings.Forward), g.has)
		if len(left) < len(r.Settings.Forward) {
			r.Settings.Forward = left
			changed = append(changed, r)
		}
	}
	for _, r := range changed {
		g.d.putRecord(g.tx, r)
	}
}

// going is addresses that are still there and go away.
type going struct {
	d    *Directory
	tx   *kv.Tx
	keys map[string]bool
	err  error // the first
}

// has tells whether mail for a goes to one of them, also as a subaddress or by the name of an alias domain.
func (g *going) has(a mail.Address) bool {
	if a.IsNull() || g.keys[a.Key()] {
		return !a.IsNull()
	}
	_, at, err := g.d.lead(g.tx, a)
	if err != nil && g.err == nil {
		g.err = err
	}
	return err == nil && g.keys[at.Key()]
}

// SetSecret changes the password; logins remembered with the old one are forgotten with the commit. App passwords, certificates, passkeys and the second factor stay.
func (d *Directory) SetSecret(tx *kv.Tx, id mail.AccountID, secret Secret) error {
	r, err := findRecord(tx, id)
	if err != nil {
		return err
	}
	secret.apps, secret.lastApp, secret.factor, secret.passkeys = r.apps, r.lastApp, r.factor, r.passkeys
	secret.certificates, secret.lastCertificate = r.certificates, r.lastCertificate
	r.Secret = secret
	d.putRecord(tx, r)
	return nil
}

func (d *Directory) putRecord(tx *kv.Tx, r *record) {
	r.Created = r.Created.UTC().Truncate(time.Second)
	tx.Put(tableAccounts, accountKey(r.ID), r.encode())
	d.told(tx, r.ID)
}

// PutAlias makes or changes an alias. Members in our domains must exist; an alias must not lead back to itself.
func (d *Directory) PutAlias(tx *kv.Tx, a Alias) error {
	if err := checkHome(tx, a.Address); err != nil {
		return err
	}
	if len(a.Members) == 0 || len(a.Members) > maxMembers {
		return fmt.Errorf("%w: an alias has 1 to %d members", ErrInvalid, maxMembers)
	}
	found, err := findRow(tx, addressKey(a.Address))
	if err != nil {
		return err
	}
	if found.kind != 0 && found.kind != rowAlias {
		return fmt.Errorf("%w: %s", ErrExists, a.Address)
	}
	if taken, err := ofList(tx, a.Address); err != nil || taken {
		return errors.Join(err, fmt.Errorf("%w: %s belongs to a list", ErrExists, a.Address))
	}
	below := d.loopAt(tx, a.Address)
	for _, member := range a.Members {
		if err := below.check(member); err != nil {
			return err
		}
		if err := d.checkMember(tx, member); err != nil {
			return err
		}
	}
	tx.Put(tableNames, addressKey(a.Address), a.encode())
	tx.OnCommit(d.view.changed)
	return nil
}

// checkMember: an address of ours that mail is sent on to must exist.
func (d *Directory) checkMember(tx *kv.Tx, a mail.Address) error {
	if a.Local == "" || a.Domain == "" {
		return fmt.Errorf("%w: %q is no address", ErrInvalid, a)
	}
	r, at, err := d.lead(tx, a)
	if err != nil {
		return err
	}
	if !at.IsNull() && r.kind == 0 && !isRole(a.Local) {
		return fmt.Errorf("%w: %s", ErrNoAddress, a)
	}
	return nil
}

// lead finds the row an address leads to, subaddresses taken off, and the address of that row; it is zero when the
// domain is not ours.
func (d *Directory) lead(tx *kv.Tx, a mail.Address) (r row, at mail.Address, err error) {
	home, err := homeOf(tx, a)
	if err != nil || home.Domain == "" {
		return row{}, mail.Address{}, err
	}
	if r, err = findRow(tx, addressKey(home)); err != nil || r.kind != 0 {
		return r, home, err
	}
	base, _, ok := strings.Cut(home.Local, d.separator)
	if !ok || base == "" {
		return row{}, home, nil
	}
	at = mail.Address{Local: base, Domain: home.Domain}
	r, err = findRow(tx, addressKey(at))
	return r, at, err
}

// homeOf is the address in its real domain; the zero Address when the domain is not ours.
func homeOf(tx *kv.Tx, a mail.Address) (mail.Address, error) {
	r, err := findRow(tx, domainKey(a.Domain))
	if err != nil || r.kind != rowDomain {
		return mail.Address{}, err
	}
	if r.domain.AliasOf != "" {
		a.Domain = r.domain.AliasOf
	}
	return a, nil
}

// RemoveAlias removes an alias, and it from the aliases that name it, as RemoveAccount does.
func (d *Directory) RemoveAlias(tx *kv.Tx, a mail.Address) error {
	found, err := findRow(tx, addressKey(a))
	if err != nil {
		return err
	}
	if found.kind != rowAlias {
		return fmt.Errorf("%w: %s is no alias", ErrNoAddress, a)
	}
	if err := d.forget(tx, []mail.Address{found.alias.Address}); err != nil {
		return err
	}
	tx.Delete(tableNames, addressKey(a))
	tx.OnCommit(d.view.changed)
	return nil
}

// findRow reads a row of l; kind 0: there is none.
func findRow(tx *kv.Tx, key []byte) (row, error) {
	value := tx.Get(tableNames, key)
	if value == nil {
		return row{}, nil
	}
	return decodeRow(key, value)
}

func findRecord(tx *kv.Tx, id mail.AccountID) (*record, error) {
	value := tx.Get(tableAccounts, accountKey(id))
	if value == nil || id == 0 {
		return nil, ErrNoAccount
	}
	return decodeAccount(id, value)
}
