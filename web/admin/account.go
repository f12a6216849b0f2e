package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// Account is one account as the operator sees it.
type Account struct {
	ID        uint32    `json:"id"`
	Name      string    `json:"name,omitempty"`
	Addresses []string  `json:"addresses"` // the first is the main one
	Login     string    `json:"login,omitempty"`
	Doors     []string  `json:"doors"`
	Disabled  bool      `json:"disabled,omitempty"`
	Operator  bool      `json:"operator,omitempty"` // may run the house from the web pages
	WebOnly   bool      `json:"web_only,omitempty"` // its own password opens the web pages only
	SendOff   string    `json:"send_off,omitempty"` // why it may send nothing
	Since     time.Time `json:"send_off_since,omitzero"`
	Hold      string    `json:"hold,omitempty"`      // how long its messages wait in the Outbox: a duration or off; empty: as the house has it
	SentCopy  string    `json:"sent_copy,omitempty"` // whether they are put into Sent: on or off; likewise
	Created   time.Time `json:"created"`
	Forward   []string  `json:"forward,omitempty"` // where its mail goes on to
	Keep      bool      `json:"keep,omitempty"`    // and a copy stays
	Usage     Amount    `json:"usage"`
	Quota     Amount    `json:"quota"`             // 0: no limit
	Version   string    `json:"version,omitempty"` // for Change.If
}

// Amount is octets and messages.
type Amount struct {
	Bytes    uint64 `json:"bytes"`
	Messages uint64 `json:"messages"`
}

// NewAccount is what an account is made of. Quota nil: the house's default; Doors nil: all.
type NewAccount struct {
	Addresses []string `json:"addresses"`
	Name      string   `json:"name,omitempty"`
	Login     string   `json:"login,omitempty"`
	Doors     []string `json:"doors,omitempty"`
	Password  string   `json:"password,omitempty"`
	Hash      string   `json:"hash,omitempty"` // in place of the password: what another server has kept of it
	Quota     *Amount  `json:"quota,omitempty"`
}

// Change is what SetAccount changes; nil and empty fields stay as they are.
type Change struct {
	Name     *string  `json:"name,omitempty"`
	Login    *string  `json:"login,omitempty"`
	Doors    []string `json:"doors,omitempty"`
	Disabled *bool    `json:"disabled,omitempty"`
	Add      []string `json:"add_addresses,omitempty"`
	Remove   []string `json:"remove_addresses,omitempty"`
	Main     string   `json:"main_address,omitempty"`
	Bytes    *uint64  `json:"quota_bytes,omitempty"`
	Messages *uint64  `json:"quota_messages,omitempty"`
	Hold     *string  `json:"hold,omitempty"`      // a duration, off, or house
	SentCopy *string  `json:"sent_copy,omitempty"` // on, off, or house
	Operator *bool    `json:"operator,omitempty"`
	WebOnly  *bool    `json:"web_only,omitempty"`
	If       string   `json:"if,omitempty"` // the Account.Version that is changed; another one by now: a Conflict (ErrChanged)
}

// AddAccount makes identity and mailboxes in one transaction: there is never one without the other.
func (h *House) AddAccount(ctx context.Context, in NewAccount) (Account, error) {
	addrs, err := addresses(in.Addresses)
	if err != nil {
		return Account{}, err
	}
	if len(addrs) == 0 {
		return Account{}, invalid("an account needs an address")
	}
	secret, err := h.secret(ctx, in)
	if err != nil {
		return Account{}, translate(addrs[0].String(), err)
	}
	doors, err := parseDoors(in.Doors)
	if err != nil {
		return Account{}, err
	}
	quota := *h.quota.Load()
	if in.Quota != nil {
		quota = store.Quota{Bytes: in.Quota.Bytes, Messages: in.Quota.Messages}
	}
	a := auth.Account{Name: strings.TrimSpace(in.Name), Addresses: addrs, Login: in.Login, Doors: doors}
	domains, err := h.o.Directory.Domains(ctx)
	if err != nil {
		return Account{}, translate(addrs[0].String(), err)
	}
	var id mail.AccountID
	c := &alteration{verb: "account add", on: subject{kind: OfAccount, object: addrs[0].String()}}
	c.on.read = func(tx *kv.Tx) (any, error) { return h.accountIn(tx, id) }
	c.do = func(tx *kv.Tx) error {
		made, err := h.o.Directory.CreateAccount(tx, a, secret)
		if err != nil {
			return err
		}
		id, c.on.account = made, made
		if err := h.o.Store.CreateAccount(tx, id, quota); err != nil {
			return err
		}
		return h.o.Store.JoinPool(tx, id, poolOf(&a, domains))
	}
	err = h.change(ctx, c)
	if err != nil {
		return Account{}, translate(addrs[0].String(), err)
	}
	h.done(ctx, "account add", addrs[0].String())
	return h.account(ctx, id)
}

func (h *House) secret(ctx context.Context, in NewAccount) (auth.Secret, error) {
	switch {
	case in.Hash == "":
		return h.o.Directory.Hash(ctx, in.Password)
	case in.Password != "":
		return auth.Secret{}, invalid("a password or a hash, not both")
	}
	return h.o.Directory.ImportHash(ctx, in.Hash)
}

// SetPasswordHash takes what another server has kept of a password; at the first good login it is replaced by our own hash.
func (h *House) SetPasswordHash(ctx context.Context, user, hash string) error {
	a, err := h.o.Directory.FindAccount(ctx, user)
	if err != nil {
		return translate(user, err)
	}
	secret, err := h.o.Directory.ImportHash(ctx, hash)
	if err != nil {
		return translate(user, err)
	}
	return h.setSecret(ctx, a, secret)
}

// setSecret gives an account another password. The log says that, and nothing of either.
func (h *House) setSecret(ctx context.Context, a auth.Account, secret auth.Secret) error {
	err := h.change(ctx, &alteration{
		verb: "account passwd", on: part(a, OfAccount), note: "password changed",
		do: func(tx *kv.Tx) error { return h.o.Directory.SetSecret(tx, a.ID, secret) },
	})
	if err != nil {
		return translate(a.Addresses[0].String(), err)
	}
	h.done(ctx, "account passwd", a.Addresses[0].String())
	return nil
}

// RemoveAccount removes identity, addresses and all mail of the account.
func (h *House) RemoveAccount(ctx context.Context, user string) error {
	a, err := h.o.Directory.FindAccount(ctx, user)
	if err != nil {
		return translate(user, err)
	}
	masks, err := h.o.Directory.Masks(ctx, a.ID)
	if err != nil {
		return translate(user, err)
	}
	if err := h.o.DB.Settle(ctx, uint32(a.ID)); err != nil { // the entry says how many messages went
		return translate(user, err)
	}
	err = h.change(ctx, &alteration{verb: "account remove", on: h.withMail(a), do: func(tx *kv.Tx) error { return h.removeAccount(tx, a) }})
	if err != nil {
		return translate(user, err)
	}
	h.removed(ctx, a.ID, masks)
	h.done(ctx, "account remove", user)
	return nil
}

// withMail is an account that goes: whether it had mail decides whether it can be made again as it was.
func (h *House) withMail(a auth.Account) subject {
	s := h.anAccount(a.ID, a.Addresses[0].String())
	s.read = func(tx *kv.Tx) (any, error) {
		state, err := h.accountIn(tx, a.ID)
		if err != nil {
			return nil, err
		}
		used, err := h.o.Store.UsedIn(tx, a.ID)
		return struct {
			AccountState
			Held uint64 `json:"messages,omitempty"`
		}{state, used.Messages}, err
	}
	return s
}

func (h *House) removeAccount(tx *kv.Tx, a auth.Account) error {
	if err := h.o.Directory.RemoveAccount(tx, a.ID); err != nil {
		return err
	}
	if h.o.Junk.Book != nil {
		h.o.Junk.Book.RemoveAccount(tx, a.ID)
	}
	if err := h.forgetSender(tx, a.Addresses); err != nil {
		return err
	}
	return h.o.Store.DeleteAccount(tx, a.ID)
}

// removed forgets what else was known of an account, once it is gone.
func (h *House) removed(ctx context.Context, id mail.AccountID, masks []auth.Mask) {
	h.forgetJunk(ctx, id)
	h.forgetCounts(ctx, id)
	for _, m := range masks {
		h.o.Masks.Forget(m.Address)
	}
}

// SetPassword changes the password; remembered logins are forgotten, and IMAP sessions end.
func (h *House) SetPassword(ctx context.Context, user, password string) error {
	a, err := h.o.Directory.FindAccount(ctx, user)
	if err != nil {
		return translate(user, err)
	}
	secret, err := h.o.Directory.NewPassword(ctx, a.ID, password)
	if err != nil {
		return translate(user, err)
	}
	return h.setSecret(ctx, a, secret)
}

// SetAccount changes what c names, in one transaction.
func (h *House) SetAccount(ctx context.Context, user string, c Change) (Account, error) {
	a, err := h.o.Directory.FindAccount(ctx, user)
	if err != nil {
		return Account{}, translate(user, err)
	}
	err = h.change(ctx, &alteration{verb: "account set", on: h.anAccount(a.ID, a.Addresses[0].String()), seen: c.If, do: func(tx *kv.Tx) error {
		return h.setAccount(tx, a.ID, c)
	}})
	if err != nil {
		return Account{}, translate(user, err)
	}
	h.done(ctx, "account set", user)
	return h.account(ctx, a.ID)
}

// setAccount makes the changes of c to an account as the transaction has it.
func (h *House) setAccount(tx *kv.Tx, id mail.AccountID, c Change) error {
	a, err := h.o.Directory.AccountIn(tx, id)
	if err != nil {
		return err
	}
	if a, err = changed(a, c); err != nil {
		return err
	}
	quota, err := h.o.Store.QuotaIn(tx, id)
	if err != nil {
		return err
	}
	if c.Bytes != nil {
		quota.Bytes = *c.Bytes
	}
	if c.Messages != nil {
		quota.Messages = *c.Messages
	}
	domains, err := h.o.Directory.DomainsIn(tx)
	if err != nil {
		return err
	}
	if err := h.o.Directory.UpdateAccount(tx, a); err != nil {
		return err
	}
	if err := h.o.Store.JoinPool(tx, id, poolOf(&a, domains)); err != nil {
		return err
	}
	if c.Hold != nil || c.SentCopy != nil || c.Operator != nil || c.WebOnly != nil {
		if err := h.o.Directory.Configure(tx, id, c.settings); err != nil {
			return err
		}
	}
	return h.o.Store.SetQuota(tx, id, quota)
}

// settings sets what c says of the account's settings.
func (c *Change) settings(s *auth.AccountSettings) error {
	if c.Operator != nil {
		s.Operator = *c.Operator
	}
	if c.WebOnly != nil {
		s.WebOnly = *c.WebOnly
	}
	return c.keeping(s)
}

// changed is a with the changes of c that concern the directory.
func changed(a auth.Account, c Change) (auth.Account, error) {
	if c.Name != nil {
		a.Name = strings.TrimSpace(*c.Name)
	}
	if c.Login != nil {
		a.Login = *c.Login
	}
	if c.Disabled != nil {
		a.Disabled = *c.Disabled
	}
	if len(c.Doors) > 0 {
		doors, err := parseDoors(c.Doors)
		if err != nil {
			return a, err
		}
		a.Doors = doors
	}
	add, err := addresses(c.Add)
	if err != nil {
		return a, err
	}
	a.Addresses = append(slices.Clone(a.Addresses), add...)
	for _, s := range c.Remove {
		i, err := indexOf(a, s)
		if err != nil {
			return a, err
		}
		a.Addresses = slices.Delete(a.Addresses, i, i+1)
	}
	if c.Main != "" {
		i, err := indexOf(a, c.Main)
		if err != nil {
			return a, err
		}
		first := a.Addresses[i]
		a.Addresses = slices.Insert(slices.Delete(a.Addresses, i, i+1), 0, first)
	}
	if len(a.Addresses) == 0 {
		return a, conflict("an account needs an address: add another one before you remove the last")
	}
	return a, nil
}

func indexOf(a auth.Account, s string) (int, error) {
	addr, err := address(s)
	if err != nil {
		return 0, err
	}
	i := slices.IndexFunc(a.Addresses, func(x mail.Address) bool { return x.Key() == addr.Key() })
	if i < 0 {
		return 0, missing(s + " is no address of this account")
	}
	return i, nil
}

// Account shows one account by any of its addresses or its login name.
func (h *House) Account(ctx context.Context, user string) (Account, error) {
	a, err := h.o.Directory.FindAccount(ctx, user)
	if err != nil {
		return Account{}, translate(user, err)
	}
	return h.show(ctx, a)
}

// Accounts lists all.
func (h *House) Accounts(ctx context.Context) ([]Account, error) {
	list, err := h.o.Directory.Accounts(ctx)
	if err != nil {
		return nil, translate("accounts", err)
	}
	out := make([]Account, 0, len(list))
	for _, a := range list {
		shown, err := h.show(ctx, a)
		if err != nil {
			return nil, err
		}
		out = append(out, shown)
	}
	return out, nil
}

func (h *House) account(ctx context.Context, id mail.AccountID) (Account, error) {
	a, err := h.o.Directory.Account(ctx, id)
	if err != nil {
		return Account{}, translate(fmt.Sprint("account ", id), err)
	}
	return h.show(ctx, a)
}

func (h *House) show(ctx context.Context, a auth.Account) (Account, error) {
	u, err := h.o.Store.Usage(ctx, a.ID)
	if err != nil && !errors.Is(err, store.ErrNoAccount) { // removed between the two reads
		return Account{}, translate(fmt.Sprint("account ", a.ID), err)
	}
	set, err := h.o.Directory.Settings(ctx, a.ID)
	if err != nil && !errors.Is(err, auth.ErrNoAccount) {
		return Account{}, translate(fmt.Sprint("account ", a.ID), err)
	}
	return Account{
		Operator: set.Operator, WebOnly: set.WebOnly, SendOff: set.SendOff, Since: since(set), Hold: holdOf(set), SentCopy: sentCopyOf(set),
		ID: uint32(a.ID), Name: a.Name, Addresses: texts(a.Addresses), Login: a.Login,
		Doors: doorNames(a.Doors), Disabled: a.Disabled, Created: a.Created,
		Forward: texts(a.Settings.Forward), Keep: a.Settings.Keep,
		Usage: Amount{u.Bytes, u.Messages}, Quota: Amount{u.Limit.Bytes, u.Limit.Messages}, Version: version(stateOfAccount(a, u.Limit)),
	}, nil
}

// doors is the names of the services, in the order they are shown.
func doors() []struct {
	name string
	door auth.Door
} {
	return []struct {
		name string
		door auth.Door
	}{{"imap", auth.DoorIMAP}, {"pop3", auth.DoorPOP3}, {"submission", auth.DoorSubmission}, {"web", auth.DoorWeb}}
}

// parseDoors reads names; none at all is all of them, "none" is none.
func parseDoors(list []string) (auth.Door, error) {
	if len(list) == 0 {
		return auth.DoorAll, nil
	}
	var set auth.Door
	for _, s := range list {
		found := s == "none"
		for _, d := range doors() {
			if d.name == s || s == "all" {
				set |= d.door
				found = true
			}
		}
		if !found {
			return 0, invalid(fmt.Sprintf("%q is no service: write imap, pop3, submission, web, all or none", s))
		}
	}
	return set, nil
}

func doorNames(set auth.Door) []string {
	names := []string{}
	for _, d := range doors() {
		if set&d.door != 0 {
			names = append(names, d.name)
		}
	}
	return names
}
