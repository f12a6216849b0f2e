package admin

import (
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// The states are everything of an object that verbs change and that is no secret. The audit log compares them before and after, an undo
// and `posthouse directory apply` write them, and versions are made of them.

// DomainState is a domain.
type DomainState struct {
	AliasOf  string     `json:"alias_of,omitempty" toml:"alias_of,omitempty"`
	CatchAll string     `json:"catch_all,omitempty" toml:"catch_all,omitempty"`
	Bytes    uint64     `json:"quota_bytes,omitempty" toml:"quota_bytes,omitempty"` // of all accounts together; 0: no limit
	Messages uint64     `json:"quota_messages,omitempty" toml:"quota_messages,omitempty"`
	Limits   SendChange `json:"limits,omitempty" toml:"limits,omitempty"`
}

// AccountState is an account without its secrets.
type AccountState struct {
	Addresses []string   `json:"addresses" toml:"addresses"` // the first is the main one
	Name      string     `json:"name,omitempty" toml:"name,omitempty"`
	Login     string     `json:"login,omitempty" toml:"login,omitempty"`
	Doors     []string   `json:"doors" toml:"doors,omitempty"`
	Disabled  bool       `json:"disabled,omitempty" toml:"disabled,omitempty"`
	Operator  bool       `json:"operator,omitempty" toml:"operator,omitempty"`
	WebOnly   bool       `json:"web_only,omitempty" toml:"web_only,omitempty"`
	Forward   []string   `json:"forward,omitempty" toml:"forward,omitempty"`
	Keep      bool       `json:"keep,omitempty" toml:"keep,omitempty"`
	Hold      string     `json:"hold,omitempty" toml:"hold,omitempty"`
	SentCopy  string     `json:"sent_copy,omitempty" toml:"sent_copy,omitempty"`
	SendOff   string     `json:"send_off,omitempty" toml:"send_off,omitempty"`
	SpamOff   bool       `json:"spam_off,omitempty" toml:"spam_off,omitempty"`
	SpamLine  float64    `json:"spam_line,omitempty" toml:"spam_line,omitempty"`
	Bytes     uint64     `json:"quota_bytes,omitempty" toml:"quota_bytes,omitempty"`
	Messages  uint64     `json:"quota_messages,omitempty" toml:"quota_messages,omitempty"`
	Limits    SendChange `json:"limits,omitempty" toml:"limits,omitempty"`
}

// AliasState is an alias.
type AliasState struct {
	Members []string `json:"members" toml:"members"`
	SendAs  bool     `json:"send_as,omitempty" toml:"send_as,omitempty"`
}

// ListState is a mailing list; its members by address, those that get no mail besides in Paused.
type ListState struct {
	Name    string   `json:"name,omitempty" toml:"name,omitempty"`
	Owners  []string `json:"owners" toml:"owners"`
	Post    string   `json:"post" toml:"post,omitempty"`
	Posters []string `json:"posters,omitempty" toml:"posters,omitempty"`
	Replies string   `json:"replies" toml:"replies,omitempty"`
	Tag     string   `json:"tag,omitempty" toml:"tag,omitempty"`
	MaxSize int64    `json:"max_size,omitempty" toml:"max_size,omitempty"`
	Members []string `json:"members,omitempty" toml:"members,omitempty"`
	Paused  []string `json:"paused,omitempty" toml:"paused,omitempty"`
}

// limitsOf is the limits that are set, by name.
func limitsOf(l auth.SendLimits) SendChange {
	out := SendChange{}
	for _, name := range limitNames() {
		if n := *limitOf(&l, name); n != 0 {
			out[name] = n
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// all is the limits as c says them, the others as the house has them.
func (c SendChange) all() (l auth.SendLimits, err error) {
	err = c.apply(&l)
	return l, err
}

func stateOfDomain(d auth.Domain, q store.Quota) DomainState {
	return DomainState{AliasOf: string(d.AliasOf), CatchAll: d.CatchAll.String(), Bytes: q.Bytes, Messages: q.Messages, Limits: limitsOf(d.Settings.Limits)}
}

func stateOfAccount(a auth.Account, q store.Quota) AccountState {
	s := a.Settings
	return AccountState{
		Addresses: texts(a.Addresses), Name: a.Name, Login: a.Login, Doors: doorNames(a.Doors), Disabled: a.Disabled,
		Operator: s.Operator, WebOnly: s.WebOnly, Forward: texts(s.Forward), Keep: s.Keep, Hold: holdOf(s), SentCopy: sentCopyOf(s),
		SendOff: s.SendOff, SpamOff: s.JunkOff, SpamLine: float64(s.JunkLine) / 10, Bytes: q.Bytes, Messages: q.Messages, Limits: limitsOf(s.Limits),
	}
}

func stateOfAlias(a auth.Alias) AliasState {
	return AliasState{Members: texts(a.Members), SendAs: a.SendAs}
}

func stateOfList(l auth.List, members []auth.Member) ListState {
	out := ListState{
		Name: l.Name, Owners: texts(l.Owners), Post: postWord(l.Posting), Posters: texts(l.Posters), Replies: replyWord(l.Replies), Tag: l.Tag, MaxSize: l.MaxSize,
	}
	for _, m := range members {
		out.Members = append(out.Members, m.Address.String())
		if m.State != auth.MemberActive {
			out.Paused = append(out.Paused, m.Address.String())
		}
	}
	slices.Sort(out.Members)
	slices.Sort(out.Paused)
	return out
}

func postWord(p auth.Posting) string {
	return map[auth.Posting]string{auth.PostMembers: "members", auth.PostNamed: "named", auth.PostAnyone: "anyone"}[p]
}

func replyWord(r auth.Replies) string {
	return map[auth.Replies]string{auth.ReplyUntouched: "author", auth.ReplyList: "list"}[r]
}

// putDomain writes a domain as s says it; key signs for a new one.
func (h *House) putDomain(tx *kv.Tx, name mail.Domain, s DomainState, key *auth.DKIMKey) error {
	d := auth.Domain{Name: name}
	var err error
	if s.AliasOf != "" {
		if d.AliasOf, err = domain(s.AliasOf); err != nil {
			return err
		}
	}
	if s.CatchAll != "" {
		if d.CatchAll, err = address(s.CatchAll); err != nil {
			return err
		}
	}
	limits, err := s.Limits.all()
	if err != nil {
		return err
	}
	if d.AliasOf != "" && (s.Bytes != 0 || s.Messages != 0 || limits != auth.SendLimits{}) {
		return conflict(string(name) + " is an alias of " + s.AliasOf + ": its accounts are there, and so are their quota and limits")
	}
	if err := h.o.Directory.PutDomain(tx, d); err != nil {
		return err
	}
	if err := h.o.Directory.ConfigureDomain(tx, name, func(x *auth.DomainSettings) error { x.Limits = limits; return nil }); err != nil {
		return err
	}
	if key != nil {
		if err := h.o.Directory.PutKey(tx, *key); err != nil {
			return err
		}
	}
	return h.putPool(tx, name, store.Quota{Bytes: s.Bytes, Messages: s.Messages})
}

// putPool sets the common quota of a domain's accounts, where it is another one.
func (h *House) putPool(tx *kv.Tx, name mail.Domain, q store.Quota) error {
	is, err := h.o.Store.PoolIn(tx, pool(name))
	if err != nil || is == q {
		return err
	}
	all, err := h.o.Directory.EverythingIn(tx)
	if err != nil {
		return err
	}
	var members []mail.AccountID
	for _, a := range all.Accounts {
		if poolOf(&a, all.Domains) == pool(name) {
			members = append(members, a.ID)
		}
	}
	return h.o.Store.SetPool(tx, pool(name), q, members)
}

// putAccount writes an account that is there as s says it.
func (h *House) putAccount(tx *kv.Tx, id mail.AccountID, s AccountState) error {
	a, err := h.o.Directory.AccountIn(tx, id)
	if err != nil {
		return err
	}
	a.Name, a.Login, a.Disabled = s.Name, s.Login, s.Disabled
	if a.Addresses, err = addresses(s.Addresses); err != nil {
		return err
	}
	if a.Doors, err = parseDoors(s.Doors); err != nil {
		return err
	}
	if len(s.Doors) == 0 {
		a.Doors = 0
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
	if err := h.o.Directory.Configure(tx, id, s.settings); err != nil {
		return err
	}
	if err := h.putForward(tx, id, s); err != nil {
		return err
	}
	return h.o.Store.SetQuota(tx, id, store.Quota{Bytes: s.Bytes, Messages: s.Messages})
}

// putForward sets where mail goes on to, where that is another place: an address that it leads to may be gone meanwhile, and that is
// the business of who changes this, not of who changes something else.
func (h *House) putForward(tx *kv.Tx, id mail.AccountID, s AccountState) error {
	a, err := h.o.Directory.AccountIn(tx, id)
	if err != nil || slices.Equal(texts(a.Settings.Forward), s.Forward) && a.Settings.Keep == s.Keep || len(s.Forward) == 0 && len(a.Settings.Forward) == 0 {
		return err
	}
	to, err := addresses(s.Forward)
	if err != nil {
		return err
	}
	return h.o.Directory.SetForward(tx, id, to, s.Keep)
}

// settings is the part of s that stands in an account's settings.
func (s *AccountState) settings(x *auth.AccountSettings) error {
	limits, err := s.Limits.all()
	if err != nil {
		return err
	}
	hold, sent := s.Hold, s.SentCopy
	if hold == "" {
		hold = AsHouse
	}
	if sent == "" {
		sent = AsHouse
	}
	c := Change{Hold: &hold, SentCopy: &sent, Operator: &s.Operator, WebOnly: &s.WebOnly}
	if err := c.settings(x); err != nil {
		return err
	}
	if s.SpamLine != 0 && (s.SpamLine < 1 || s.SpamLine > 100) {
		return invalid("a line is a score from 1 to 100; 0 is the line of the house")
	}
	if len(s.SendOff) > maxReason {
		return invalid("the reason why nothing may be sent is too long")
	}
	x.JunkOff, x.JunkLine, x.Limits = s.SpamOff, int32(s.SpamLine*10+0.5), limits
	switch {
	case s.SendOff == "":
		x.SendOffSince = 0
	case x.SendOff == "":
		x.SendOffSince = time.Now().Unix()
	}
	x.SendOff = s.SendOff
	return nil
}

// putAlias writes an alias as s says it.
func (h *House) putAlias(tx *kv.Tx, a mail.Address, s AliasState) error {
	members, err := addresses(s.Members)
	if err != nil {
		return err
	}
	if len(members) == 0 {
		return invalid(a.String() + ": an alias needs at least one member")
	}
	return h.o.Directory.PutAlias(tx, auth.Alias{Address: a, Members: members, SendAs: s.SendAs})
}

// putListState writes a list with its members as s says them.
func (h *House) putListState(tx *kv.Tx, a mail.Address, s ListState) error {
	l := auth.List{Address: a}
	if is, err := h.o.Directory.ListIn(tx, a); err == nil {
		l = is
	} else if !errors.Is(err, auth.ErrNoAddress) {
		return err
	}
	c := ListChange{Name: &s.Name, Owners: &s.Owners, Post: &s.Post, Posters: &s.Posters, Replies: &s.Replies, Tag: &s.Tag, MaxSize: &s.MaxSize}
	l, err := changedList(l, c)
	if err != nil {
		return err
	}
	id, err := h.o.Directory.PutList(tx, l)
	if err != nil {
		return err
	}
	return h.putMembers(tx, a, id, s)
}

func (h *House) putMembers(tx *kv.Tx, a mail.Address, id auth.ListID, s ListState) error {
	want := map[string]mail.Address{}
	for _, text := range s.Members {
		m, err := address(text)
		if err != nil {
			return err
		}
		want[m.Key()] = m
	}
	paused := map[string]bool{}
	for _, text := range s.Paused {
		m, err := address(text)
		if err != nil {
			return err
		}
		if _, ok := want[m.Key()]; !ok {
			return invalid(text + " is paused and no member of " + a.String())
		}
		paused[m.Key()] = true
	}
	var gone []mail.Address
	state := map[string]auth.MemberState{}
	for _, m := range h.o.Directory.MembersIn(tx, id) {
		if _, ok := want[m.Address.Key()]; !ok {
			gone = append(gone, m.Address)
			continue
		}
		state[m.Address.Key()] = m.State
	}
	if len(gone) > 0 {
		if err := h.o.Directory.RemoveMembers(tx, a, gone); err != nil {
			return err
		}
	}
	keys := slices.Sorted(maps.Keys(want))
	var add []mail.Address
	for _, key := range keys {
		if _, ok := state[key]; !ok {
			add = append(add, want[key])
		}
	}
	if len(add) > 0 {
		if _, err := h.o.Directory.AddMembers(tx, a, add); err != nil {
			return err
		}
	}
	for _, key := range keys {
		if now := state[key]; paused[key] != (now != auth.MemberActive) {
			to := auth.MemberActive
			if paused[key] {
				to = auth.MemberPaused
			}
			if err := h.o.Directory.SetMember(tx, a, want[key], to); err != nil {
				return err
			}
		}
	}
	return nil
}
