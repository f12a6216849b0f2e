package admin

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// tableAudit of meta.db: number u64 -> AuditEntry as JSON; key 0 -> the last number that was given, u64.
const tableAudit kv.Table = "A"

// Bounds of the audit log.
const (
	DefaultAuditKeep = 365 * 24 * time.Hour
	maxAudit         = 100_000  // entries
	maxState         = 64 << 10 // octets of what something was or is; what is longer is not kept, and cannot be taken back
	pruneStep        = 8        // entries that go with one that comes
	auditOutline     = 500      // newest entries that survive the loss of all tables (repair)
	auditScan        = 5000     // entries that one page looks at
	auditOld         = 1000     // entries in a row that are too old: the rest is too
	maxOwnChanges    = 500      // that a user makes to what is his in an hour, or he pushes what others did out of the log
	maxAuditPage     = 1000
)

// The kinds of things that entries are about.
const (
	OfDomain  = "domain"
	OfAccount = "account"
	OfAlias   = "alias"
	OfList    = "list"
	OfMask    = "mask"
	OfSender  = "sender" // that an account lets in or shuts out
	OfOther   = "house"
)

// AuditEntry is one change: who made it, of what, what it was before and what it is since. Fields that stayed are in neither; without
// Was it was made, without Is removed. Secrets are in none.
type AuditEntry struct {
	Number  uint64    `json:"number"`
	At      time.Time `json:"at"`
	Actor   Actor     `json:"actor"`
	Verb    string    `json:"verb"`
	Kind    string    `json:"kind"`
	Object  string    `json:"object"`
	Account uint32    `json:"account,omitempty"` // whose thing it is, whatever he is called by now
	Note    string    `json:"note,omitempty"`
	Was     Fields    `json:"was,omitzero"`
	Is      Fields    `json:"is,omitzero"`
	Undoes  uint64    `json:"undoes,omitempty"` // the change that this one takes back
	Undone  uint64    `json:"undone,omitempty"` // the change that takes this one back
	Stays   string    `json:"stays,omitempty"`  // why it cannot be taken back; empty: it can, as long as nothing has changed it again
}

// Fields is a state by the JSON names of its fields.
type Fields map[string]json.RawMessage

// AuditField is one field of a change, in words.
type AuditField struct {
	Name string `json:"name"`
	Was  string `json:"was"`
	Is   string `json:"is"`
}

// AuditFilter says which entries; the newest come first. Empty fields ask nothing.
type AuditFilter struct {
	Since  time.Time `json:"since,omitzero"`
	Who    string    `json:"who,omitempty"`    // name of the actor
	Object string    `json:"object,omitempty"` // a name, or a domain: all of its addresses; an account by any of its addresses
	Before uint64    `json:"before,omitempty"` // entries with smaller numbers: AuditPage.Next
	Limit  int       `json:"limit,omitempty"`  // 100
}

// AuditPage is some entries. Next is for the page after it, 0: there is none; a page may be empty and have one.
type AuditPage struct {
	Entries []AuditEntry `json:"entries"`
	Next    uint64       `json:"next,omitempty"`
}

// SetAudit changes how long entries are kept; 0: none are made.
func (h *House) SetAudit(keep time.Duration) { h.audit.Store(int64(keep)) }

// outlineAudit is what directory records have of the log: the number that must not be given twice, and the newest entries.
func outlineAudit() kv.Outline {
	return kv.Outline{Rows: func(tx *kv.Tx, yield func(t kv.Table, key, value []byte) error) error {
		zero := auditKey(0)
		if value := tx.Get(tableAudit, zero); value != nil {
			if err := yield(tableAudit, zero, value); err != nil {
				return err
			}
		}
		n := 0
		for key, value := range tx.ScanBack(tableAudit, auditKey(1), nil) {
			if n++; n > auditOutline {
				break
			}
			if err := yield(tableAudit, key, value); err != nil {
				return err
			}
		}
		return nil
	}}
}

func auditKey(number uint64) []byte { return binary.BigEndian.AppendUint64(nil, number) }

// note writes an entry into the transaction that makes the change, so that there is neither without the other.
func (h *House) note(ctx context.Context, tx *kv.Tx, e AuditEntry) (uint64, error) {
	keep := time.Duration(h.audit.Load())
	if keep <= 0 {
		return 0, nil
	}
	if value := tx.Get(tableAudit, auditKey(0)); len(value) == 8 {
		e.Number = binary.BigEndian.Uint64(value)
	}
	e.Number++
	e.At, e.Actor = h.now().UTC().Truncate(time.Second), ActorOf(ctx)
	if err := h.notTooBusy(tx, &e); err != nil {
		return 0, err
	}
	value, err := json.Marshal(e)
	if err != nil {
		return 0, err
	}
	if len(value) > maxState {
		e.Was, e.Is, e.Stays = nil, nil, "it was too large to be kept"
		if value, err = json.Marshal(e); err != nil {
			return 0, err
		}
	}
	h.pruneAudit(tx, e.Number, e.At.Add(-keep))
	tx.Put(tableAudit, auditKey(0), auditKey(e.Number))
	tx.Put(tableAudit, auditKey(e.Number), value)
	return e.Number, nil
}

// busyUsers counts what users change of their own, in this hour.
type busyUsers struct {
	mu    sync.Mutex
	hour  int64
	count map[mail.AccountID]int
}

// notTooBusy refuses one change too many of what is the actor's own. The log has room for so many entries; whoever has a user's token or
// password must not make it forget what he did with it.
func (h *House) notTooBusy(tx *kv.Tx, e *AuditEntry) error {
	if e.Account == 0 || e.Actor.Door == DoorHouse {
		return nil
	}
	a, err := h.o.Directory.AccountIn(tx, mail.AccountID(e.Account))
	if err != nil || !slices.Contains(texts(a.Addresses), e.Actor.Name) {
		return nil // he goes, or it is another's
	}
	u := &h.busy
	u.mu.Lock()
	defer u.mu.Unlock()
	if hour := e.At.Unix() / 3600; hour != u.hour || u.count == nil {
		u.hour, u.count = hour, map[mail.AccountID]int{}
	}
	if u.count[a.ID]++; u.count[a.ID] > maxOwnChanges {
		return &Error{Class: Refused, Message: "too many changes of this account within an hour: try again later"}
	}
	return nil
}

// pruneAudit removes some of the entries that are too old, or too many.
func (h *House) pruneAudit(tx *kv.Tx, last uint64, before time.Time) {
	var gone [][]byte
	for key, value := range tx.Scan(tableAudit, auditKey(1), nil) {
		var e AuditEntry
		if json.Unmarshal(value, &e) == nil && !e.At.Before(before) && last-binary.BigEndian.Uint64(key) < maxAudit || len(gone) == pruneStep {
			break
		}
		gone = append(gone, bytes.Clone(key))
	}
	for _, key := range gone {
		tx.Delete(tableAudit, key)
	}
}

// noted writes an entry for a verb that is no single transaction, once it is done.
func (h *House) noted(ctx context.Context, verb, object, what string) error {
	return h.o.DB.Update(ctx, func(tx *kv.Tx) error {
		_, err := h.note(ctx, tx, aboutHouse(verb, object, what))
		return err
	})
}

// noting does what is no single transaction. The entry comes first and says that it was begun, so that a kill or a full disk leaves no
// change without one, at worst one that did not happen; then it gets what came of it, in do's words.
func (h *House) noting(ctx context.Context, e AuditEntry, do func() (string, error)) error {
	said, number := e.Note, uint64(0)
	write := func(tx *kv.Tx, words string) (err error) {
		e.Note = strings.TrimPrefix(said+": "+words, ": ")
		number, err = h.note(ctx, tx, e)
		return err
	}
	if err := h.o.DB.Update(ctx, func(tx *kv.Tx) error { return write(tx, "begun") }); err != nil {
		return err
	}
	words, err := do()
	if err != nil {
		words = strings.TrimPrefix(words+", then it failed", ", ")
	}
	also := h.o.DB.Update(context.WithoutCancel(ctx), func(tx *kv.Tx) error {
		value := tx.Get(tableAudit, auditKey(number))
		if value == nil {
			return nil // none are kept
		}
		var e AuditEntry
		if err := json.Unmarshal(value, &e); err != nil {
			return err
		}
		e.Note = strings.TrimPrefix(said+": "+words, ": ")
		text, err := json.Marshal(e)
		if err == nil {
			tx.Put(tableAudit, auditKey(number), text)
		}
		return err
	})
	if err == nil {
		err = also
	}
	return err
}

// aboutHouse is what an entry about no account in particular begins with, aboutAccount one of an account.
func aboutHouse(verb, object, note string) AuditEntry {
	return AuditEntry{Verb: verb, Kind: OfOther, Object: object, Note: note}
}

func aboutAccount(verb string, a auth.Account) AuditEntry {
	return AuditEntry{Verb: verb, Kind: OfAccount, Object: a.Addresses[0].String(), Account: uint32(a.ID)}
}

// notedOf is noted of an account.
func (h *House) notedOf(ctx context.Context, verb string, a auth.Account, what string) error {
	return h.change(ctx, &alteration{verb: verb, on: part(a, OfAccount), note: what, do: func(*kv.Tx) error { return nil }})
}

// Audit shows what was changed, the newest first.
func (h *House) Audit(ctx context.Context, f AuditFilter) (AuditPage, error) {
	switch {
	case f.Limit == 0:
		f.Limit = 100
	case f.Limit < 0 || f.Limit > maxAuditPage:
		return AuditPage{}, invalid(fmt.Sprintf("a page has 1 to %d entries", maxAuditPage))
	}
	var id mail.AccountID
	if f.Object != "" {
		if a, err := h.o.Directory.FindAccount(ctx, f.Object); err == nil {
			id = a.ID
		}
	}
	oldest := h.now().Add(-time.Duration(h.audit.Load()))
	if f.Since.After(oldest) {
		oldest = f.Since
	}
	out := AuditPage{Entries: []AuditEntry{}}
	err := h.o.DB.View(ctx, func(tx *kv.Tx) error {
		var to []byte
		if f.Before > 0 {
			to = auditKey(f.Before)
		}
		seen, old := 0, 0
		for key, value := range tx.ScanBack(tableAudit, auditKey(1), to) {
			e := readEntry(key, value)
			switch { // numbers go with time, but for a clock that was wrong for a while: what it stamped hides nothing behind it
			case !e.At.Before(oldest):
				if old = 0; f.fits(&e, id) {
					out.Entries = append(out.Entries, e)
				}
			case old == auditOld:
				return nil
			default:
				old++
			}
			if seen++; len(out.Entries) == f.Limit || seen == auditScan {
				out.Next = e.Number
				return nil
			}
		}
		return nil
	})
	if out.Next == 1 {
		out.Next = 0
	}
	return out, translate("audit log", err)
}

// readEntry reads a row; one that cannot be read says so.
func readEntry(key, value []byte) (e AuditEntry) {
	if err := json.Unmarshal(value, &e); err != nil {
		e = AuditEntry{Note: "this entry cannot be read", Stays: "it cannot be read", At: time.Now()}
	}
	e.Number = binary.BigEndian.Uint64(key)
	e.Stays = e.stays()
	return e
}

// stays is why an entry cannot be taken back, as far as the entry itself tells.
func (e *AuditEntry) stays() string {
	switch {
	case e.Stays != "":
		return e.Stays
	case e.Undone != 0:
		return fmt.Sprintf("change %d has taken it back", e.Undone)
	case !slices.Contains([]string{OfDomain, OfAccount, OfAlias, OfList, OfMask, OfSender}, e.Kind) || e.Was == nil && e.Is == nil:
		return "this cannot be taken back"
	case e.Kind == OfMask && (e.Was == nil || e.Is == nil || string(e.Is["state"]) == `"removed"`):
		return "a masked address is given once: it can be switched off and on"
	case e.Kind == OfAccount && e.Is == nil && e.Was["messages"] != nil:
		return "its mail went with it: posthouse restore BACKUP --account " + e.Object + " brings back both"
	}
	return ""
}

// fits tells whether an entry is asked for.
func (f *AuditFilter) fits(e *AuditEntry, id mail.AccountID) bool {
	if f.Who != "" && !strings.EqualFold(e.Actor.Name, f.Who) {
		return false
	}
	if f.Object == "" || id != 0 && e.Account == uint32(id) {
		return true
	}
	object, asked := strings.ToLower(e.Object), strings.ToLower(strings.TrimPrefix(f.Object, "@"))
	return object == asked || slices.ContainsFunc(strings.Fields(object), func(word string) bool {
		return word == asked || strings.HasSuffix(word, "@"+asked)
	})
}

// Changes is the fields of an entry in words, by name.
func (e *AuditEntry) Changes() []AuditField {
	all := maps.Clone(e.Was)
	if all == nil {
		all = Fields{}
	}
	maps.Copy(all, e.Is)
	out := make([]AuditField, 0, len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		out = append(out, AuditField{name, inWords(e.Was[name]), inWords(e.Is[name])})
	}
	return out
}

// inWords is a value of JSON for people.
func inWords(raw json.RawMessage) string {
	var v any
	if raw == nil || json.Unmarshal(raw, &v) != nil {
		return string(raw)
	}
	return said(v)
}

func said(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case bool:
		return map[bool]string{true: "yes", false: "no"}[v]
	case []any:
		words := make([]string, 0, len(v))
		for _, one := range v {
			words = append(words, said(one))
		}
		return strings.Join(words, ", ")
	case map[string]any:
		words := make([]string, 0, len(v))
		for _, name := range slices.Sorted(maps.Keys(v)) {
			words = append(words, name+" "+said(v[name]))
		}
		return strings.Join(words, ", ")
	case float64:
		return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.3f", v), "0"), ".")
	}
	return fmt.Sprint(v)
}

// checkAudit looks for entries that cannot be read.
func (h *House) checkAudit(ctx context.Context) (out []Finding, err error) {
	err = h.o.DB.View(ctx, func(tx *kv.Tx) error {
		for key, value := range tx.Scan(tableAudit, auditKey(1), nil) {
			var e AuditEntry
			if len(key) != 8 || json.Unmarshal(value, &e) != nil {
				out = append(out, Finding{Problem: fmt.Sprintf("audit log: entry %x cannot be read", key), Advice: "the others can; it goes when it is old"})
			}
		}
		return nil
	})
	return out, err
}
