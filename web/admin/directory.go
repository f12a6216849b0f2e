package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/queue"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// DirectoryText is the directory as a file.
type DirectoryText struct {
	Text string `json:"text"`
}

// DirectoryExport says what the file has.
type DirectoryExport struct {
	Secrets bool `json:"secrets,omitempty"` // hashes of the passwords too
}

// DirectoryApply is a file that the directory is to be like.
type DirectoryApply struct {
	Text   string `json:"text"`
	DryRun bool   `json:"dry_run,omitempty"` // try it, and change nothing
	Prune  bool   `json:"prune,omitempty"`   // accounts that are not in the file go even with their mail
}

// DirectoryApplied is what was changed, or would be.
type DirectoryApplied struct {
	Changes []DirectoryChange `json:"changes"`
	Kept    []string          `json:"kept"`        // accounts that are not in the file and have mail
	Closed  []string          `json:"no_password"` // accounts that were made without a password
}

// DirectoryChange is one thing that is added, changed or removed.
type DirectoryChange struct {
	Action string       `json:"action"` // added, changed, removed
	Kind   string       `json:"kind"`
	Object string       `json:"object"`
	Fields []AuditField `json:"fields"`
}

// directoryHead stands above every file.
const directoryHead = `# Domains, accounts, aliases and lists of a house: "posthouse directory export" wrote this, "posthouse directory apply"
# makes a house like it. What has no table here is removed by that; accounts that have mail only with --prune.
# Accounts are named by their main address. Left out: doors (all), quota (the house's for new accounts), other settings
# (as the house has them). Passwords, app passwords, masked addresses and what users say of senders are not in here.
version = 1
`

// ExportDirectory writes it down.
func (h *House) ExportDirectory(ctx context.Context, in DirectoryExport) (DirectoryText, error) {
	var w tomlWriter
	w.WriteString(directoryHead)
	hashes := map[mail.AccountID]string{}
	if in.Secrets {
		all, err := h.o.Directory.Accounts(ctx)
		if err != nil {
			return DirectoryText{}, translate("directory", err)
		}
		for _, a := range all {
			secret, err := h.o.Directory.Secret(ctx, a.ID)
			if err != nil {
				return DirectoryText{}, translate("directory", err)
			}
			hashes[a.ID] = secret.Kept()
		}
	}
	err := h.o.DB.View(ctx, func(tx *kv.Tx) error {
		all, err := h.whole(tx)
		if err != nil {
			return err
		}
		for _, kind := range []string{OfDomain, OfAccount, OfAlias, OfList} {
			for _, x := range all {
				if x.kind == kind {
					x.write(&w, hashes[x.account])
				}
			}
		}
		return nil
	})
	return DirectoryText{w.String()}, translate("directory", err)
}

// standing is a thing of the directory as it stands.
type standing struct {
	subject
	key    string
	state  any
	fields Fields
}

func (x *standing) write(w *tomlWriter, hash string) {
	switch s := x.state.(type) {
	case DomainState:
		w.domain(x.object, s)
	case AccountState:
		w.account(s, hash)
	case AliasState:
		w.alias(x.object, s)
	case ListState:
		w.list(x.object, s)
	}
}

// whole is all things of the directory, by name.
func (h *House) whole(tx *kv.Tx) ([]standing, error) {
	all, err := h.o.Directory.EverythingIn(tx)
	if err != nil {
		return nil, err
	}
	var subjects []subject
	for _, d := range all.Domains {
		subjects = append(subjects, h.aDomain(d.Name))
	}
	for _, a := range all.Accounts {
		subjects = append(subjects, h.anAccount(a.ID, a.Addresses[0].String()))
	}
	for _, a := range all.Aliases {
		subjects = append(subjects, h.anAlias(a.Address))
	}
	for _, l := range all.Lists {
		subjects = append(subjects, h.aList(l.Address))
	}
	out := make([]standing, 0, len(subjects))
	for _, s := range subjects {
		x := standing{subject: s, key: s.key()}
		if x.state, err = s.read(tx); err != nil {
			return nil, err
		}
		if x.fields, _, err = s.fields(tx); err != nil {
			return nil, err
		}
		out = append(out, x)
	}
	slices.SortFunc(out, func(a, b standing) int {
		return strings.Compare(a.kind+" "+domainFirst(a.object), b.kind+" "+domainFirst(b.object))
	})
	return out, nil
}

// key is the same for the same thing, whatever it is called.
func (s *subject) key() string {
	if s.account != 0 {
		return fmt.Sprint(s.kind, " ", s.account)
	}
	return s.kind + " " + s.object
}

// domainFirst orders addresses by their domain.
func domainFirst(name string) string {
	local, domain, _ := strings.Cut(name, "@")
	return domain + " " + local
}

// applying is a file on its way into the directory.
type applying struct {
	h     *House
	in    DirectoryApply
	file  *DirectoryFile
	keys  map[string]*auth.DKIMKey // of new domains
	known map[string]auth.Secret   // by the name of the account
	left  map[string]Fields        // how things stood when their steps were made, by their key
	kept  []string
}

// errDry ends the transaction of a trial.
var errDry = errors.New("admin: nothing is kept of a trial")

// ApplyDirectory makes the directory like a file, all of it or nothing. Every thing that changes is an entry of the audit log.
func (h *House) ApplyDirectory(ctx context.Context, in DirectoryApply) (DirectoryApplied, error) {
	file, err := readDirectory(in.Text)
	if err != nil {
		return DirectoryApplied{}, err
	}
	a := &applying{h: h, in: in, file: file, left: map[string]Fields{}}
	if err := a.prepare(ctx); err != nil {
		return DirectoryApplied{}, translate("directory", err)
	}
	var out DirectoryApplied
	var entries []AuditEntry
	err = h.o.DB.Update(ctx, func(tx *kv.Tx) (err error) {
		if out, entries, err = a.apply(ctx, tx); err == nil && in.DryRun {
			return errDry
		}
		return err
	})
	if err != nil && !errors.Is(err, errDry) {
		return DirectoryApplied{}, translate("directory", err)
	}
	if in.DryRun {
		return out, nil
	}
	for i := range entries {
		h.applied(ctx, &entries[i])
	}
	h.done(ctx, "directory apply", fmt.Sprintf("%d changes", len(out.Changes)))
	return out, nil
}

// prepare does what takes time, before the transaction that holds up all others.
func (a *applying) prepare(ctx context.Context) error {
	a.keys, a.known = map[string]*auth.DKIMKey{}, map[string]auth.Secret{}
	there, err := a.h.o.Directory.Domains(ctx)
	if err != nil {
		return err
	}
	for _, name := range sortedKeys(a.file.Domains) {
		if a.in.DryRun || slices.ContainsFunc(there, func(d auth.Domain) bool { return string(d.Name) == name }) {
			continue
		}
		if a.keys[name], err = a.h.firstKey(ctx, mail.Domain(name)); err != nil {
			return err
		}
	}
	var wrong []string
	for _, name := range sortedKeys(a.file.Accounts) {
		if hash := a.file.Accounts[name].Hash; hash != "" {
			if a.known[name], err = a.h.o.Directory.ImportHash(ctx, hash); err != nil {
				wrong = append(wrong, a.file.at(OfAccount, name, "hash", err))
			}
		}
	}
	if len(wrong) > 0 {
		return invalid(listed(wrong))
	}
	return a.h.o.DB.SettleAll(ctx) // whether an account has mail
}

// step is something that is not as the file has it.
type step struct {
	kind, name string // in the file, for its line
	do         func(tx *kv.Tx) (subject, error)
}

// adder takes a step; do makes it, and says of what. A thing that is taken away is none.
type adder func(kind, name string, do func(tx *kv.Tx) (subject, error))

// rounds is how often the steps are tried: one may need what another one makes or takes away.
const rounds = 50

// apply makes the steps, and compares what was with what is.
func (a *applying) apply(ctx context.Context, tx *kv.Tx) (DirectoryApplied, []AuditEntry, error) {
	before, err := a.h.whole(tx)
	if err != nil {
		return DirectoryApplied{}, nil, err
	}
	mail, err := a.withMail(tx, before)
	if err != nil {
		return DirectoryApplied{}, nil, err
	}
	for range rounds {
		a.kept = []string{}
		steps, err := a.steps(tx)
		if err != nil {
			return DirectoryApplied{}, nil, err
		}
		if len(steps) == 0 {
			return a.compare(ctx, tx, before, mail)
		}
		var wrong []string
		for _, s := range steps {
			if err := a.make(tx, s); err != nil {
				wrong = append(wrong, a.file.at(s.kind, s.name, "", err))
			}
		}
		if len(wrong) == len(steps) {
			slices.SortFunc(wrong, byLine)
			return DirectoryApplied{}, nil, conflict(listed(wrong))
		}
	}
	return DirectoryApplied{}, nil, conflict("the file contradicts itself: what it says of one thing undoes what it says of another")
}

// make makes a step, and remembers how the thing stands since.
func (a *applying) make(tx *kv.Tx, s step) error {
	on, err := s.do(tx)
	if err == nil && on.read != nil {
		a.left[on.key()], _, err = on.fields(tx)
	}
	return err
}

// like tells whether something is as it is to be: as the file says it, or as it was left when that was done. A file says the same in
// many ways: a domain in capitals, a limit of 0, a line of 7.55, 10000ms.
func (a *applying) like(want any, x standing) bool {
	left := a.left[x.key]
	return sameState(want, x.fields) || left != nil && x.fields != nil && alike(left, x.fields)
}

// withMail is how many messages accounts have, by their key.
func (a *applying) withMail(tx *kv.Tx, all []standing) (map[string]uint64, error) {
	out := map[string]uint64{}
	for _, x := range all {
		if x.kind == OfAccount {
			used, err := a.h.o.Store.UsedIn(tx, x.account)
			if err != nil {
				return nil, err
			}
			out[x.key] = used.Messages
		}
	}
	return out, nil
}

// steps is what is not as the file has it, in an order in which most of it works.
func (a *applying) steps(tx *kv.Tx) (steps []step, err error) {
	all, err := a.h.whole(tx)
	if err != nil {
		return nil, err
	}
	is := map[string]standing{}
	for _, x := range all {
		is[x.kind+" "+nameKey(x.object)] = x
	}
	wanted := map[string]bool{}
	add := func(kind, name string, do func(tx *kv.Tx) (subject, error)) {
		steps = append(steps, step{kind, name, do})
	}
	for _, second := range []bool{false, true} { // an alias needs the domain that it stands for
		for _, name := range sortedKeys(a.file.Domains) {
			s, x := a.file.Domains[name], is["domain "+name]
			wanted[x.key] = true
			if (s.AliasOf != "") == second && !a.like(s, x) {
				add(OfDomain, name, func(tx *kv.Tx) (subject, error) {
					return a.h.aDomain(mail.Domain(name)), a.putDomain(tx, name, s, x.fields == nil)
				})
			}
		}
	}
	a.accounts(all, wanted, add)
	for _, name := range sortedKeys(a.file.Aliases) {
		s, x := a.file.Aliases[name], is["alias "+nameKey(name)]
		wanted[x.key] = true
		if !a.like(s, x) {
			add(OfAlias, name, func(tx *kv.Tx) (subject, error) {
				at, err := address(name)
				if err != nil {
					return subject{}, err
				}
				return a.h.anAlias(at), a.h.putAlias(tx, at, s)
			})
		}
	}
	for _, name := range sortedKeys(a.file.Lists) {
		s, x := a.file.Lists[name].settled(), is["list "+nameKey(name)]
		wanted[x.key] = true
		if !a.like(s, x) {
			add(OfList, name, func(tx *kv.Tx) (subject, error) {
				at, err := address(name)
				if err != nil {
					return subject{}, err
				}
				return a.h.aList(at), a.h.putListState(tx, at, s)
			})
		}
	}
	return steps, a.removals(tx, all, wanted, add)
}

// settled is a list with what is left out filled in, members in the order of the export.
func (s ListState) settled() ListState {
	if s.Post == "" {
		s.Post = postWord(auth.PostMembers)
	}
	if s.Replies == "" {
		s.Replies = replyWord(auth.ReplyUntouched)
	}
	s.Members, s.Paused = slices.Sorted(slices.Values(s.Members)), slices.Sorted(slices.Values(s.Paused))
	return s
}

// nameKey is an address as the directory compares it; a domain as it is.
func nameKey(name string) string {
	if a, err := address(name); err == nil {
		return a.Key()
	}
	return name
}

// sameState tells whether something is as it is to be.
func sameState(want any, is Fields) bool {
	s := subject{read: func(*kv.Tx) (any, error) { return want, nil }}
	fields, _, err := s.fields(nil)
	if err != nil || is == nil {
		return false
	}
	return alike(fields, is)
}

func alike(a, b Fields) bool {
	was, now := differ(a, b)
	return len(was)+len(now) == 0
}

func (a *applying) putDomain(tx *kv.Tx, name string, s DomainState, isNew bool) error {
	var key *auth.DKIMKey
	if isNew {
		made, ok := a.keys[name]
		if !ok && !a.in.DryRun { // nothing signs its mail
			return conflict(name + " was removed by somebody else meanwhile: nothing was done; try again")
		}
		key = made
	}
	err := a.h.putDomain(tx, mail.Domain(name), s, key)
	if err == nil || s.CatchAll == "" || !errors.Is(err, auth.ErrNoAddress) {
		return err
	}
	s.CatchAll = "" // its address may come later
	return errors.Join(a.h.putDomain(tx, mail.Domain(name), s, key), auth.ErrNoAddress)
}

// accounts finds those of the file in the house, by the main address, else by another one: who gets a new main address stays the same.
func (a *applying) accounts(all []standing, wanted map[string]bool, add adder) {
	byMain, byAny := map[string]standing{}, map[string]standing{}
	for _, x := range all {
		if s, ok := x.state.(AccountState); ok {
			byMain[nameKey(s.Addresses[0])] = x
			for _, other := range s.Addresses {
				byAny[nameKey(other)] = x
			}
		}
	}
	found := map[string]standing{}
	names := sortedKeys(a.file.Accounts)
	for _, name := range names {
		if x, ok := byMain[nameKey(name)]; ok {
			found[name], wanted[x.key] = x, true
		}
	}
	for _, name := range names {
		f := a.file.Accounts[name]
		for _, other := range append([]string{name}, f.Others...) {
			if x, ok := byAny[nameKey(other)]; ok && found[name].key == "" && !wanted[x.key] {
				found[name], wanted[x.key] = x, true
			}
		}
		s, x := f.state(name, *a.h.quota.Load()), found[name]
		switch {
		case x.key == "":
			add(OfAccount, name, func(tx *kv.Tx) (subject, error) {
				id, err := a.h.makeAccount(tx, s, a.known[name])
				return a.h.anAccount(id, name), err
			})
		case !a.like(s, x):
			add(OfAccount, name, func(tx *kv.Tx) (subject, error) { return x.subject, a.h.putAccount(tx, x.account, s) })
		}
	}
}

// removals takes away what the file does not have.
func (a *applying) removals(tx *kv.Tx, all []standing, wanted map[string]bool, add adder) error {
	mail, err := a.withMail(tx, all)
	if err != nil {
		return err
	}
	for _, kind := range []string{OfList, OfAlias, OfAccount, OfDomain} {
		for _, x := range all {
			switch {
			case x.kind != kind || wanted[x.key]:
			case mail[x.key] > 0 && !a.in.Prune:
				a.kept = append(a.kept, fmt.Sprintf("%s (%d messages)", x.object, mail[x.key]))
			default:
				add(kind, x.object, func(tx *kv.Tx) (subject, error) { return subject{}, a.remove(tx, x) })
			}
		}
	}
	return nil
}

func (a *applying) remove(tx *kv.Tx, x standing) error {
	if x.kind == OfDomain {
		return a.h.removeDomain(tx, mail.Domain(x.object))
	}
	if x.kind == OfAccount {
		account, err := a.h.o.Directory.AccountIn(tx, x.account)
		if err != nil {
			return err
		}
		return a.h.removeAccount(tx, account)
	}
	at, err := address(x.object)
	if err != nil {
		return err
	}
	if x.kind == OfList {
		return a.h.o.Directory.RemoveList(tx, at)
	}
	return a.h.o.Directory.RemoveAlias(tx, at)
}

// compare notes what is another thing than before, and tells of it.
func (a *applying) compare(ctx context.Context, tx *kv.Tx, before []standing, mail map[string]uint64) (DirectoryApplied, []AuditEntry, error) {
	out := DirectoryApplied{Changes: []DirectoryChange{}, Kept: a.kept, Closed: []string{}}
	after, err := a.h.whole(tx)
	if err != nil {
		return out, nil, err
	}
	was := map[string]standing{}
	for _, x := range before {
		was[x.key] = x
	}
	hashed := map[string]bool{}
	for name, f := range a.file.Accounts {
		hashed[nameKey(name)] = f.Hash != ""
	}
	var entries []AuditEntry
	note := func(action string, x standing, from, to Fields) error {
		e := AuditEntry{Verb: "directory apply", Kind: x.kind, Object: x.object, Account: uint32(x.account), Was: from, Is: to}
		if n := mail[x.key]; to == nil && n > 0 {
			e.Was["messages"] = fmt.Append(nil, n)
		}
		out.Changes = append(out.Changes, DirectoryChange{action, x.kind, x.object, e.Changes()})
		entries = append(entries, e)
		_, err := a.h.note(ctx, tx, e)
		return err
	}
	for _, x := range after {
		old, there := was[x.key]
		delete(was, x.key)
		if !there {
			if err := note("added", x, nil, x.fields); err != nil {
				return out, nil, err
			}
			if name := x.object; x.kind == OfAccount && !hashed[nameKey(name)] {
				out.Closed = append(out.Closed, name)
			}
			continue
		}
		if from, to := differ(old.fields, x.fields); len(from)+len(to) > 0 {
			if err := note("changed", x, from, to); err != nil {
				return out, nil, err
			}
		}
	}
	for _, x := range before {
		if _, gone := was[x.key]; gone {
			if err := note("removed", x, x.fields, nil); err != nil {
				return out, nil, err
			}
		}
	}
	return out, entries, nil
}

// applied is what follows a change that a file made.
func (h *House) applied(ctx context.Context, e *AuditEntry) {
	id := mail.AccountID(e.Account)
	if e.Kind != OfAccount {
		return
	}
	if e.Is == nil {
		h.removed(ctx, id, nil)
		return
	}
	switch off, was := e.Is["send_off"], e.Was["send_off"]; {
	case off == nil && was != nil:
		h.o.Limits.Book.Trust(ctx, id)
	case off != nil && was == nil:
		if _, err := h.o.Queue.Hold(ctx, queue.Filter{Outbox: id}); err != nil {
			h.done(ctx, "directory apply", "what waits in the Outbox of "+e.Object+" is not held: "+err.Error())
		}
	}
}
