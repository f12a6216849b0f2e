package admin_test

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/smtp/junkbook"
	"github.com/posthouse-mail/posthouse/smtp/limit"
	"github.com/posthouse-mail/posthouse/smtp/spam"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/storetest"
	"github.com/posthouse-mail/posthouse/web/admin"
)

// readers are the exported methods of House that change nothing, and those that only tell it of its surroundings.
func readers() []string {
	return strings.Fields(`Account Accounts AppPasswords Audit AccountLimits Aliases Attention Backup Check CheckClient CheckStore CheckUp Close DKIMKeys DMARCReports Deleted
		DeliveryLog Domain DomainDetail DomainLimits DomainQuota DomainRecords Domains ExplainSpam ExportDirectory FindAccounts FindAlias FindAliases FindDomains FindLists
		FindMasks FollowLog Forwarding ImportPlace Imported List Lists LogLevels Looked MailNames Masks OwnStories OwnStory Passkeys Pulls Queue QueueEntry SecondFactor SendingOff
		SetAudit SetBackup SetCheckup SetDefaultQuota SetDialogues SetLog SpamRefused SpamSenders SpamSettings SpamStats Suppressions TLSReports Tokens
		DeletedGroups DeletedOf Devices OwnPulls Outbox OutboxPage Space Trace TestWebhook WatchPull Webhooks
		Backups BackupPage Training Certificates ClientCertificates CheckSettings Connections EndWatching Watching FindQueue QueueEntries FindStories History KeptTrace KeptTraces SpamLists FindSuppressions RecentLog ReportsSeen SetMachine Settings SettingsFile Status Vitals`)
}

// private is what users do with their own mail, as they do in a mail program: no business of the log.
func private() []string { return strings.Fields(`ExportZip ForgetDevice SendWaiting TakeBack`) }

// TestEveryVerbNotes: what changes something leads to note, in the source. Whoever adds a verb either notes what it changes
// (House.change, House.noted), or says above that it reads.
func TestEveryVerbNotes(t *testing.T) {
	calls := map[string][]string{} // of each function, by name
	verbs := map[string]bool{}
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if name, ok := receiver(fn); ok && name == "House" && fn.Name.IsExported() {
				verbs[fn.Name.Name] = true
			}
			calls[fn.Name.Name] = append(calls[fn.Name.Name], called(fn)...)
		}
	}
	if len(verbs) < 80 || len(calls["change"]) == 0 {
		t.Fatalf("the source is not read as it is: %d verbs", len(verbs))
	}
	reads := readers()
	for verb := range verbs {
		notes := leads(calls, verb, map[string]bool{})
		switch is := slices.Contains(reads, verb); {
		case is && notes && verb != "CheckUp":
			t.Errorf("%s notes a change: take it out of readers", verb)
		case !is && !notes && !slices.Contains(private(), verb):
			t.Errorf("%s changes something and notes nothing", verb)
		}
	}
}

func receiver(fn *ast.FuncDecl) (string, bool) {
	if fn.Recv == nil {
		return "", false
	}
	star, ok := fn.Recv.List[0].Type.(*ast.StarExpr)
	if !ok {
		return "", false
	}
	id, ok := star.X.(*ast.Ident)
	return id.Name, ok
}

// called is the functions of the package and the methods of h that fn names.
func called(fn *ast.FuncDecl) (all []string) {
	ast.Inspect(fn, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && (x.Name == "h" || x.Name == "a") { // a: an applying
				all = append(all, n.Sel.Name)
			}
			if x, ok := n.X.(*ast.SelectorExpr); ok && x.Sel.Name == "h" {
				all = append(all, n.Sel.Name)
			}
			return true
		case *ast.CallExpr:
			if id, ok := n.Fun.(*ast.Ident); ok {
				all = append(all, id.Name)
			}
		}
		return true
	})
	return all
}

func leads(calls map[string][]string, from string, seen map[string]bool) bool {
	if from == "note" {
		return true
	}
	if seen[from] {
		return false
	}
	seen[from] = true
	return slices.ContainsFunc(calls[from], func(next string) bool { return leads(calls, next, seen) })
}

// TestStatesAreWhole: what is set for an account or a domain is in its state, or the log would not tell of it, nor an undo bring it back.
func TestStatesAreWhole(t *testing.T) {
	known := map[string]string{
		"AccountSettings": "Forward Keep SendOff SendOffSince Limits JunkOff JunkLine Hold SentCopy Operator WebOnly unknown",
		"DomainSettings":  "Limits unknown",
		"Account":         "ID Name Addresses Login Doors Disabled Created Settings",
		"Domain":          "Name AliasOf CatchAll Settings",
		"Alias":           "Address Members SendAs",
		"List":            "ID Address Name Owners Posting Posters Replies Tag MaxSize Created unknown",
	}
	for _, v := range []any{auth.AccountSettings{}, auth.DomainSettings{}, auth.Account{}, auth.Domain{}, auth.Alias{}, auth.List{}} {
		typ := reflect.TypeOf(v)
		for i := range typ.NumField() {
			if name := typ.Field(i).Name; !slices.Contains(strings.Fields(known[typ.Name()]), name) {
				t.Errorf("%s.%s is new: add it to its state (state.go), then here", typ.Name(), name)
			}
		}
	}
}

// furnished is a house with all that verbs may want.
func furnished(t *testing.T) *house {
	t.Helper()
	h := newHouse(t)
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	h.House = admin.New(admin.Options{
		DB: h.db, Directory: h.directory, Store: h.store, Queue: h.queue, Quota: store.Quota{Bytes: 1 << 20}, Now: func() time.Time { now = now.Add(time.Minute); return now },
		Limits: admin.Limits{Suppressed: limit.NewList(limit.ListOptions{DB: h.db})},
		Junk:   admin.Junk{Judge: spam.New(spam.Options{}), Book: junkbook.New(h.db, nil), Enabled: true, Line: 6},
	})
	for _, d := range []string{"one.test", "two.test"} {
		if _, err := h.AddDomain(t.Context(), admin.Domain{Name: d}); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"anna@one.test", "bob@one.test"} {
		if _, err := h.AddAccount(t.Context(), admin.NewAccount{Addresses: []string{name}, Password: "a secret of " + name}); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// last is the newest entry.
func (h *house) last(t *testing.T) admin.AuditEntry {
	t.Helper()
	page, err := h.Audit(t.Context(), admin.AuditFilter{Limit: 1})
	if err != nil || len(page.Entries) == 0 {
		t.Fatal("no entry", err)
	}
	return page.Entries[0]
}

func told(e admin.AuditEntry) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", e.Verb, e.Object)
	for _, f := range e.Changes() {
		fmt.Fprintf(&b, "; %s: %s > %s", f.Name, f.Was, f.Is)
	}
	if e.Note != "" {
		fmt.Fprintf(&b, "; %s", e.Note)
	}
	return b.String()
}

func ptr[T any](v T) *T { return &v }

// TestAudit: what each verb leaves in the log, and what is there after it was taken back.
func TestAudit(t *testing.T) {
	h := furnished(t)
	ctx := admin.As(t.Context(), admin.Actor{Name: "olga@one.test", Door: admin.DoorWeb, Remote: "192.0.2.1"})
	list := func() error {
		_, err := h.AddList(ctx, admin.NewList{Address: "team@one.test", Owners: []string{"anna@one.test"}, Tag: "T"})
		return err
	}
	for _, c := range []struct {
		do   func() error
		want string
		undo string // what undoing it says; empty: it is done
	}{
		{func() error {
			_, err := h.SetAccount(ctx, "anna@one.test", admin.Change{Name: ptr("Anna"), Add: []string{"a@one.test"}, Main: "a@one.test"})
			return err
		},
			"account set anna@one.test; addresses: anna@one.test > a@one.test, anna@one.test; name:  > Anna", ""},
		{func() error {
			_, err := h.SetAccount(ctx, "anna@one.test", admin.Change{Bytes: ptr(uint64(77)), Disabled: ptr(true), Doors: []string{"imap"}, Hold: ptr("10s")})
			return err
		},
			"account set anna@one.test; disabled:  > yes; doors: imap, pop3, submission, web > imap; hold:  > 10s; quota_bytes: 1048576 > 77", ""},
		{func() error { return h.SetPassword(ctx, "anna@one.test", "hush hush") }, "account passwd anna@one.test; password changed", "this cannot be taken back"},
		{func() error {
			_, err := h.SetForwarding(ctx, "anna@one.test", admin.Forwarding{To: []string{"x@far.test"}, Keep: true})
			return err
		},
			"account forward anna@one.test; forward:  > x@far.test; keep:  > yes", ""},
		{func() error {
			_, err := h.SetAccountLimits(ctx, "anna@one.test", admin.SendChange{"messages_per_day": 5})
			return err
		},
			"account limits anna@one.test; limits:  > messages_per_day 5", ""},
		{func() error {
			_, err := h.SetSending(ctx, "anna@one.test", admin.SendSwitch{Reason: "stolen"})
			return err
		}, "account send off anna@one.test; send_off:  > stolen", ""},
		{func() error {
			_, err := h.SetSpam(ctx, "anna@one.test", admin.SpamChange{Off: ptr(true), Line: ptr(7.5)})
			return err
		},
			"spam set anna@one.test; spam_line:  > 7.5; spam_off:  > yes", ""},
		{func() error {
			_, err := h.SetSpamSender(ctx, "anna@one.test", admin.SpamSender{Sender: "Far.test", Blocked: true})
			return err
		},
			"spam block anna@one.test far.test; blocked:  > yes", ""},
		{func() error {
			_, err := h.AddDomain(ctx, admin.Domain{Name: "one.test", CatchAll: "bob@one.test"})
			return err
		},
			"domain add one.test; catch_all:  > bob@one.test", ""},
		{func() error { _, err := h.SetDomainQuota(ctx, "one.test", admin.Amount{Bytes: 9}); return err }, "domain quota one.test; quota_bytes:  > 9", ""},
		{func() error {
			_, err := h.SetDomainLimits(ctx, "one.test", admin.SendChange{"recipients_per_hour": -1})
			return err
		},
			"domain limits one.test; limits:  > recipients_per_hour -1", ""},
		{func() error { return h.RemoveDomain(ctx, "two.test") }, "domain remove two.test", ""},
		{func() error {
			_, err := h.AddDomain(ctx, admin.Domain{Name: "three.test", AliasOf: "one.test"})
			return err
		}, "domain add three.test; alias_of:  > one.test", ""},
		{func() error {
			_, err := h.AddAlias(ctx, admin.Alias{Address: "all@one.test", Members: []string{"anna@one.test"}, SendAs: true})
			return err
		},
			"alias add all@one.test; members:  > anna@one.test; send_as:  > yes", ""},
		{list, "list add team@one.test; owners:  > anna@one.test; post:  > members; replies:  > author; tag:  > T", ""},
		{func() error {
			_, err := h.AddAccount(ctx, admin.NewAccount{Addresses: []string{"eve@one.test"}, Password: "hush hush"})
			return err
		},
			"account add eve@one.test; addresses:  > eve@one.test; doors:  > imap, pop3, submission, web; quota_bytes:  > 1048576", ""},
		{func() error { return h.RemoveAccount(ctx, "bob@one.test") },
			"account remove bob@one.test; addresses: bob@one.test > ; doors: imap, pop3, submission, web > ; quota_bytes: 1048576 > ", ""},
		{func() error {
			_, err := h.AddSuppression(ctx, admin.Suppress{Address: "x@far.test", Days: 3})
			return err
		}, "suppression add x@far.test; for 3 days", "this cannot be taken back"},
	} {
		before := h.everything(t)
		if err := c.do(); err != nil {
			t.Errorf("%s: %v", c.want, err)
			continue
		}
		e := h.last(t)
		if told(e) != c.want {
			t.Errorf("the log has\n %s\nwant\n %s", told(e), c.want)
		}
		if e.Actor != admin.ActorOf(ctx) || e.At.IsZero() {
			t.Errorf("%s: by %+v at %s", c.want, e.Actor, e.At)
		}
		u, err := h.Undo(ctx, admin.Undo{Number: e.Number})
		if c.undo != "" {
			if err == nil || !strings.HasSuffix(err.Error(), c.undo) {
				t.Errorf("%s: undone with %v", c.want, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: not undone: %v", c.want, err)
			continue
		}
		if u.Undoes != e.Number || u.Verb != "undo "+e.Verb {
			t.Errorf("%s: %+v", c.want, u)
		}
		if after := h.everything(t); after != before {
			t.Errorf("%s: taken back, there is\n%s\nwas\n%s", c.want, after, before)
		}
		if _, err := h.Undo(ctx, admin.Undo{Number: e.Number}); err == nil || !strings.Contains(err.Error(), "has taken it back") {
			t.Errorf("%s: undone twice: %v", c.want, err)
		}
	}
}

// everything is all that verbs of this test change, without numbers of accounts.
func (h *house) everything(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	ctx := t.Context()
	domains, err := h.Domains(ctx)
	fmt.Fprintln(&b, domains, err)
	accounts, err := h.Accounts(ctx)
	for _, a := range accounts {
		senders, err := h.SpamSenders(ctx, a.Addresses[0])
		fmt.Fprintln(&b, a.Addresses, a.Version, len(senders), err)
	}
	aliases, err2 := h.Aliases(ctx)
	lists, err3 := h.Lists(ctx)
	fmt.Fprintln(&b, aliases, lists, err, err2, err3)
	return b.String()
}

// TestUndoConflicts: nothing is overwritten that somebody has changed since; what others changed of the same thing stays.
func TestUndoConflicts(t *testing.T) {
	h, ctx := furnished(t), t.Context()
	set := func(c admin.Change) uint64 {
		t.Helper()
		if _, err := h.SetAccount(ctx, "anna@one.test", c); err != nil {
			t.Fatal(err)
		}
		return h.last(t).Number
	}
	named := set(admin.Change{Name: ptr("Anna")})
	set(admin.Change{Disabled: ptr(true)})
	again := set(admin.Change{Name: ptr("Anne")})
	_, err := h.Undo(ctx, admin.Undo{Number: named})
	if !errors.Is(err, admin.ErrChanged) || !strings.Contains(err.Error(), `now it is "Anne"`) {
		t.Errorf("a name that was changed again: %v", err)
	}
	if _, err := h.Undo(ctx, admin.Undo{Number: again}); err != nil {
		t.Error(err)
	}
	back := h.last(t)
	if _, err := h.Undo(ctx, admin.Undo{Number: named}); err != nil {
		t.Errorf("it is as it was left: %v", err)
	}
	if a, err := h.Account(ctx, "anna@one.test"); err != nil || a.Name != "" || !a.Disabled {
		t.Errorf("%+v, %v", a, err)
	}
	if _, err := h.Undo(ctx, admin.Undo{Number: back.Number}); !errors.Is(err, admin.ErrChanged) {
		t.Errorf("an undo of an undo: %v", err)
	}
	if _, err := h.Undo(ctx, admin.Undo{Number: 4711}); err == nil {
		t.Error("an entry that is not there was undone")
	}
	// Mail that came since is not thrown away, nor mail that went promised back.
	if _, err := h.AddAccount(ctx, admin.NewAccount{Addresses: []string{"eve@one.test"}, Password: "x y z"}); err != nil {
		t.Fatal(err)
	}
	made := h.last(t).Number
	h.letter(t, "eve@one.test")
	if _, err := h.Undo(ctx, admin.Undo{Number: made}); err == nil || !strings.Contains(err.Error(), "has 1 messages by now") {
		t.Errorf("an account with mail: %v", err)
	}
	if err := h.RemoveAccount(ctx, "eve@one.test"); err != nil {
		t.Fatal(err)
	}
	if e := h.last(t); !strings.Contains(e.Stays, "posthouse restore BACKUP --account eve@one.test") {
		t.Errorf("%+v", e)
	}
}

// letter puts a message into an account's INBOX.
func (h *house) letter(t *testing.T, user string) {
	t.Helper()
	a, err := h.directory.FindAccount(t.Context(), user)
	if err != nil {
		t.Fatal(err)
	}
	storetest.Deliver(t, h.store, a.ID, "INBOX", "Subject: hello\r\n\r\nhello\r\n")
}

// TestVersions: a change of something that is not as its caller has seen it any more is refused, whichever verb it is.
func TestVersions(t *testing.T) {
	h, ctx := furnished(t), t.Context()
	a, err := h.Account(ctx, "anna@one.test")
	if err != nil || a.Version == "" {
		t.Fatal(a, err)
	}
	stale := a.Version
	if _, err := h.SetAccount(ctx, "anna@one.test", admin.Change{Name: ptr("Anna"), If: stale}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.AddAlias(ctx, admin.Alias{Address: "all@one.test", Members: []string{"anna@one.test"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.AddList(ctx, admin.NewList{Address: "team@one.test", Owners: []string{"anna@one.test"}}); err != nil {
		t.Fatal(err)
	}
	before, old := h.last(t).Number, admin.IfVersion(ctx, stale)
	for name, do := range map[string]func() error{
		"set": func() error {
			_, err := h.SetAccount(ctx, "anna@one.test", admin.Change{Name: ptr("X"), If: stale})
			return err
		},
		"forward": func() error { _, err := h.SetForwarding(ctx, "anna@one.test", admin.Forwarding{If: stale}); return err },
		"limits": func() error {
			_, err := h.SetAccountLimits(old, "anna@one.test", admin.SendChange{"messages_per_day": 1})
			return err
		},
		"remove": func() error { return h.RemoveAccount(old, "anna@one.test") },
		"domain": func() error {
			_, err := h.AddDomain(ctx, admin.Domain{Name: "one.test", CatchAll: "bob@one.test", If: stale})
			return err
		},
		"quota": func() error { _, err := h.SetDomainQuota(old, "one.test", admin.Amount{Bytes: 1}); return err },
		"alias": func() error {
			_, err := h.AddAlias(ctx, admin.Alias{Address: "all@one.test", Members: []string{"bob@one.test"}, If: stale})
			return err
		},
		"list": func() error {
			_, err := h.SetList(ctx, "team@one.test", admin.ListChange{Name: ptr("T"), If: stale})
			return err
		},
	} {
		err := do()
		var e *admin.Error
		if !errors.Is(err, admin.ErrChanged) || !errors.As(err, &e) || e.Class != admin.Conflict {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := h.last(t).Number; n != before {
		t.Errorf("%d changes were made", n-before)
	}
	if a, err = h.Account(ctx, "anna@one.test"); err != nil || a.Version == stale {
		t.Fatal(a, err)
	}
	if err := h.RemoveList(ctx, "team@one.test"); err != nil {
		t.Fatal(err)
	}
	if err := h.RemoveAlias(ctx, "all@one.test"); err != nil {
		t.Fatal(err)
	}
	if err := h.RemoveAccount(admin.IfVersion(ctx, a.Version), "anna@one.test"); err != nil {
		t.Errorf("the version that is there: %v", err)
	}
}

// TestAuditPages: by page, by name, by time; what is old goes with what comes.
func TestAuditPages(t *testing.T) {
	h := furnished(t)
	for i := range 20 {
		who := admin.Actor{Name: fmt.Sprintf("op%d", i%2), Door: admin.DoorSocket}
		if _, err := h.SetAccount(admin.As(t.Context(), who), "anna@one.test", admin.Change{Name: ptr(fmt.Sprint("Anna ", i)), Login: ptr("anna")}); err != nil {
			t.Fatal(err)
		}
	}
	ctx := t.Context()
	count := func(f admin.AuditFilter) (n int, numbers []uint64) {
		t.Helper()
		for {
			page, err := h.Audit(ctx, f)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range page.Entries {
				numbers = append(numbers, e.Number)
			}
			n += len(page.Entries)
			if page.Next == 0 {
				return n, numbers
			}
			f.Before = page.Next
		}
	}
	n, numbers := count(admin.AuditFilter{Limit: 7})
	if n != 24 || !slices.IsSortedFunc(numbers, func(a, b uint64) int { return int(b) - int(a) }) {
		t.Error(n, numbers)
	}
	for name, f := range map[string]struct {
		f    admin.AuditFilter
		want int
	}{
		"who": {admin.AuditFilter{Who: "OP1"}, 10}, "object": {admin.AuditFilter{Object: "ANNA@one.test"}, 21}, "login": {admin.AuditFilter{Object: "anna", Limit: 3}, 21},
		"domain": {admin.AuditFilter{Object: "one.test"}, 23}, "nothing": {admin.AuditFilter{Object: "ne.test"}, 0},
		"since": {admin.AuditFilter{Since: h.last(t).At.Add(-5 * time.Second)}, 1},
	} {
		if n, _ := count(f.f); n != f.want {
			t.Errorf("%s: %d entries, want %d", name, n, f.want)
		}
	}
	h.SetAudit(5 * time.Minute)
	if n, _ := count(admin.AuditFilter{}); n > 5 {
		t.Errorf("%d entries are shown that are too old", n)
	}
	for range 4 {
		if err := h.SetPassword(ctx, "bob@one.test", "another one"); err != nil {
			t.Fatal(err)
		}
	}
	rows := 0
	if err := h.db.View(ctx, func(tx *kv.Tx) error {
		for range tx.Scan("A", nil, nil) {
			rows++
		}
		return nil
	}); err != nil || rows > 10 {
		t.Errorf("%d rows are kept, %v", rows, err)
	}
	h.SetAudit(0)
	if err := h.SetPassword(ctx, "bob@one.test", "no log"); err != nil {
		t.Error(err)
	}
	if n, _ := count(admin.AuditFilter{}); n != 0 {
		t.Error("a log that is switched off shows something")
	}
}

// TestAuditIsWhole: a change that fails leaves no entry, and an entry that cannot be read is told and harms nobody.
func TestAuditIsWhole(t *testing.T) {
	h, ctx := furnished(t), t.Context()
	before := h.last(t).Number
	if _, err := h.SetAccount(ctx, "anna@one.test", admin.Change{Add: []string{"x@far.test"}}); err == nil {
		t.Error("an address elsewhere")
	}
	if _, err := h.SetAccount(ctx, "anna@one.test", admin.Change{}); err != nil {
		t.Error(err)
	}
	if n := h.last(t).Number; n != before {
		t.Error("what changed nothing was noted")
	}
	if err := h.db.Update(ctx, func(tx *kv.Tx) error {
		tx.Put("A", []byte{0, 0, 0, 0, 0, 0, 0, 2}, []byte("{"))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	page, err := h.Audit(ctx, admin.AuditFilter{})
	if err != nil || len(page.Entries) != 4 || page.Entries[2].Note != "this entry cannot be read" {
		t.Error(page, err)
	}
	if _, err := h.Undo(ctx, admin.Undo{Number: 2}); err == nil {
		t.Error("what cannot be read was undone")
	}
	found, err := h.CheckStore(ctx, admin.CheckRequest{})
	if err != nil || !slices.ContainsFunc(found, func(f admin.Finding) bool { return strings.HasPrefix(f.Problem, "audit log:") }) {
		t.Error(found, err)
	}
}

// looker looks into the audit log while a verb works.
type looker struct {
	h    *house
	t    *testing.T
	seen string
	err  error
}

func (l *looker) Read([]byte) (int, error) {
	e := l.h.last(l.t)
	l.seen = e.Verb + " " + e.Object + ": " + e.Note
	return 0, l.err
}

// TestNotedAhead: what is no single transaction stands in the log before it is done, so that a kill leaves no change without an entry;
// then the entry says what came of it.
func TestNotedAhead(t *testing.T) {
	h, ctx := furnished(t), t.Context()
	for _, c := range []struct {
		err        error
		ahead, was string
	}{
		{io.EOF, "import anna@one.test: begun", "0 messages"},
		{io.ErrUnexpectedEOF, "import anna@one.test: begun", "0 messages, then it failed"},
	} {
		l := &looker{h: h, t: t, err: c.err}
		_, err := h.Import(ctx, "anna@one.test", l)
		if e := h.last(t); l.seen != c.ahead || e.Note != c.was || e.Verb != "import" || (err == nil) != (c.err == io.EOF) {
			t.Errorf("%v: ahead %q, then %q, %v", c.err, l.seen, e.Note, err)
		}
	}
	before := h.last(t).Number
	if _, err := h.QueueAction(ctx, "burn", nil); err == nil || h.last(t).Number != before {
		t.Error("what is no action was noted", err)
	}
	if n, err := h.QueueAction(ctx, admin.Hold, nil); n != 0 || err != nil || h.last(t).Note != "0 entries" || h.last(t).Object != "all" {
		t.Error(n, err, h.last(t))
	}
}

// TestAuditIsNotFlooded: a user who changes his own things all the time pushes nobody out of the log; operators, and he an hour later,
// go on.
func TestAuditIsNotFlooded(t *testing.T) {
	h := newHouse(t)
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	h.House = admin.New(admin.Options{DB: h.db, Directory: h.directory, Store: h.store, Queue: h.queue, Now: func() time.Time { return now }})
	must(h.AddDomain(t.Context(), admin.Domain{Name: "one.test"}))(t)
	must(h.AddAccount(t.Context(), admin.NewAccount{Addresses: []string{"anna@one.test"}, Password: "a secret of anna"}))(t)
	own := admin.As(t.Context(), admin.Actor{Name: "anna@one.test", Door: admin.DoorToken})
	rename := func(ctx context.Context, i int) error {
		name := fmt.Sprint("Anna ", i)
		_, err := h.SetAccount(ctx, "anna@one.test", admin.Change{Name: &name})
		return err
	}
	made := 0
	for i := range 600 {
		if err := rename(own, i); err != nil {
			var e *admin.Error
			if !errors.As(err, &e) || e.Class != admin.Refused {
				t.Fatal(err)
			}
			break
		}
		made++
	}
	if made != 500 || must(h.Account(t.Context(), "anna@one.test"))(t).Name != "Anna 499" {
		t.Errorf("%d changes were taken", made)
	}
	if err := rename(admin.As(t.Context(), admin.Actor{Name: "root", Door: admin.DoorSocket}), 1); err != nil {
		t.Error(err)
	}
	now = now.Add(time.Hour)
	if err := rename(own, 2); err != nil {
		t.Error(err)
	}
}

// TestAuditClock: an entry that was stamped by a wrong clock hides none of those before it.
func TestAuditClock(t *testing.T) {
	h := newHouse(t)
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	h.House = admin.New(admin.Options{DB: h.db, Directory: h.directory, Store: h.store, Queue: h.queue, Now: func() time.Time { return now }})
	right := now
	for i, at := range []time.Time{right, time.Unix(0, 0), right.Add(time.Hour)} {
		now = at
		must(h.AddDomain(t.Context(), admin.Domain{Name: fmt.Sprintf("d%d.test", i)}))(t)
	}
	var names []string
	for _, e := range must(h.Audit(t.Context(), admin.AuditFilter{}))(t).Entries {
		names = append(names, e.Object)
	}
	if !slices.Equal(names, []string{"d2.test", "d0.test"}) {
		t.Error(names)
	}
}
