package auth

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// snapshot is the whole directory as one immutable value: RCPT, MAIL and logins
// are answered from it without a transaction. An account costs about 1 KB.
type snapshot struct {
	made         uint64 // value of view.changes it holds for
	domains      map[mail.Domain]Domain
	accounts     map[mail.AccountID]*record
	order        []mail.AccountID                     // ascending
	owners       map[string]mail.AccountID            // by address key
	aliases      map[string]Alias                     // by address key
	lists        map[string]List                      // by address key
	masks        map[string]Mask                      // by address key; removed ones too
	logins       map[string]mail.AccountID            // by folded login name
	certificates map[[sha256.Size]byte]mail.AccountID // by public key
	handles      map[string]mail.AccountID            // by what devices with passkeys call the account
	keys         map[mail.Domain][]DKIMKey
	tokens       map[[sha256.Size]byte]*storedToken
	parsed       map[string]DKIMKey // by row, key and value: to read a private key costs as much as to sign with it
	// byPrograms: a token opens a service of programs.
	byPrograms bool
	broken     []string // rows that cannot be read, in words: their account or name is missing, the others work
}

// view keeps the newest snapshot.
type view struct {
	db      *kv.DB
	log     *slog.Logger
	changes atomic.Uint64 // commits that touched the directory
	current atomic.Pointer[snapshot]
	mu      sync.Mutex // one rebuild at a time
}

// changed is called after the commit. The next reader rebuilds: a bulk import does not pay for each of its steps.
func (v *view) changed() { v.changes.Add(1) }

func (d *Directory) snapshot(ctx context.Context) (*snapshot, error) { return d.view.get(ctx) }

func (v *view) get(ctx context.Context) (*snapshot, error) {
	if s := v.current.Load(); s != nil && s.made == v.changes.Load() {
		return s, nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	made := v.changes.Load() // before the read: what commits meanwhile makes another rebuild
	if s := v.current.Load(); s != nil && s.made == made {
		return s, nil
	}
	var s *snapshot
	err := v.db.View(ctx, func(tx *kv.Tx) (err error) {
		s, err = readSnapshot(tx, v.current.Load())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("auth: read the directory: %w", err)
	}
	s.made = made
	v.tell(s)
	v.current.Store(s)
	return s, nil
}

// tell logs rows that cannot be read, once.
func (v *view) tell(s *snapshot) {
	old := v.current.Load()
	for _, text := range s.broken {
		if old == nil || !slices.Contains(old.broken, text) {
			v.log.Error(logx.DirectoryBroken, "error", text)
		}
	}
}

// Broken names what of the directory cannot be read, in words.
func (d *Directory) Broken(ctx context.Context) ([]string, error) {
	s, err := d.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	return slices.Clone(s.broken), nil
}

// maxBroken ends the list of rows that cannot be read.
const maxBroken = 100

// readSnapshot reads the directory. A row that cannot be read costs its account or name, not the house: the others log in and
// get their mail.
func readSnapshot(tx *kv.Tx, old *snapshot) (*snapshot, error) {
	if old == nil {
		old = &snapshot{}
	}
	s := &snapshot{
		domains: make(map[mail.Domain]Domain), accounts: make(map[mail.AccountID]*record),
		owners: make(map[string]mail.AccountID), aliases: make(map[string]Alias), lists: make(map[string]List), masks: make(map[string]Mask), logins: make(map[string]mail.AccountID),
		certificates: make(map[[sha256.Size]byte]mail.AccountID), handles: make(map[string]mail.AccountID), keys: make(map[mail.Domain][]DKIMKey), parsed: make(map[string]DKIMKey),
	}
	bad := func(err error) {
		if len(s.broken) < maxBroken {
			s.broken = append(s.broken, err.Error())
		}
	}
	for key, value := range tx.Scan(tableAccounts, nil, nil) {
		if len(key) != 4 {
			bad(fmt.Errorf("%w: account key %x", ErrBadRecord, key))
			continue
		}
		id := mail.AccountID(binary.BigEndian.Uint32(key))
		if id == 0 {
			continue // the counter
		}
		r, err := decodeAccount(id, value)
		if err != nil {
			bad(err)
			continue
		}
		s.accounts[id] = r
		s.order = append(s.order, id)
		if h := r.passkeys.handle; len(h) > 0 {
			s.handles[string(h)] = id
		}
		for i := range r.certificates {
			s.certificates[r.certificates[i].Key] = id
		}
	}
	for key, value := range tx.Scan(tableNames, nil, nil) {
		if err := s.addRow(key, value); err != nil {
			bad(err)
		}
	}
	brokenMembers(tx, bad)
	s.readTokens(tx, bad)
	for key, value := range tx.Scan(tableKeys, nil, nil) {
		row := string(key) + string(value)
		k, known := old.parsed[row]
		if !known {
			var err error
			if k, err = decodeKey(key, value); err != nil {
				bad(err)
				continue
			}
		}
		s.parsed[row] = k
		s.keys[k.Domain] = append(s.keys[k.Domain], k)
	}
	for _, all := range s.keys {
		sortKeys(all)
	}
	return s, nil
}

func (s *snapshot) addRow(key, value []byte) error {
	r, err := decodeRow(key, value)
	if err != nil {
		return err
	}
	switch r.kind {
	case rowAddress:
		s.owners[string(key)] = r.owner
	case rowLogin:
		s.logins[string(key)] = r.owner
	case rowAlias:
		s.aliases[string(key)] = r.alias
	case rowList:
		s.lists[string(key)] = r.list
	case rowMask:
		s.masks[string(key)] = r.mask
	case rowDomain:
		s.domains[r.domain.Name] = r.domain
	}
	return nil
}

// sorted copies the values of a map in the order of by.
func sorted[K comparable, V any](m map[K]V, by func(V) string) []V {
	return slices.SortedFunc(maps.Values(m), func(a, b V) int { return cmp.Compare(by(a), by(b)) })
}
