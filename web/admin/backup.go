package admin

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"strconv"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/backup"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// BackupSettings is how a house makes backups where a request does not say otherwise.
type BackupSettings struct {
	To       string // empty: a request must name a folder
	Secrets  func() (backup.Secrets, error)
	Keep     backup.Retention
	Share    float64 // of the time that copying works; 0: all
	Settings string  // the settings file
	Temp     string  // folder for the tables of a backup while it is made or open
	Program  string  // version
	Metrics  *backup.Metrics
	Progress func(backup.Progress)
}

// BackupRequest asks for a backup. What is empty is as the settings say.
type BackupRequest struct {
	To         string            `json:"to,omitempty"`
	Recipients []string          `json:"recipients,omitempty"`
	Passphrase string            `json:"passphrase,omitempty"`
	Identities string            `json:"identities,omitempty"`
	Keep       *backup.Retention `json:"keep,omitempty"`
}

// SetBackup changes how backups are made from now on.
func (h *House) SetBackup(s BackupSettings) { h.backups.Store(&s) }

func (h *House) backupSettings() BackupSettings {
	if s := h.backups.Load(); s != nil {
		return *s
	}
	return BackupSettings{}
}

// Backup makes one and proves it. One runs at a time.
func (h *House) Backup(ctx context.Context, in BackupRequest) (backup.Report, error) {
	return h.makeBackup(ctx, in, h.backupSettings().Progress)
}

func (h *House) makeBackup(ctx context.Context, in BackupRequest, progress func(backup.Progress)) (backup.Report, error) {
	s := h.backupSettings()
	o := backup.Options{
		To: in.To, DB: h.o.DB, Store: h.o.Store, Keep: s.Keep, Accounts: h.backupAccounts, Settings: s.Settings, Share: s.Share, Temp: s.Temp,
		Logger: h.o.Logger, Metrics: s.Metrics, Program: s.Program, Progress: progress,
	}
	if o.To == "" {
		o.To = s.To
	}
	if o.To == "" {
		return backup.Report{}, invalid("where to? Name a folder, or set backup.to in the settings file")
	}
	if !filepath.IsAbs(o.To) {
		return backup.Report{}, invalid("the folder of backups must be named from the root: " + o.To)
	}
	if in.Keep != nil {
		o.Keep = *in.Keep
	}
	o.Secrets = backup.Secrets{Recipients: in.Recipients, Passphrase: in.Passphrase, Identities: in.Identities}
	if len(in.Recipients) == 0 && in.Passphrase == "" && s.Secrets != nil {
		var err error
		if o.Secrets, err = s.Secrets(); err != nil {
			return backup.Report{}, translateBackup("backup", err)
		}
	}
	if !h.backing.TryLock() {
		return backup.Report{}, conflict("a backup is running already; try again when it is done")
	}
	defer h.backing.Unlock()
	rep, err := backup.Run(ctx, o)
	if err == nil {
		h.done(ctx, "backup", o.To)
	}
	return rep, translateBackup("backup", err)
}

// backupAccounts names the accounts in a picture of the tables.
func (h *House) backupAccounts(ctx context.Context, pic *kv.DB, s *store.Store) ([]backup.Account, error) {
	accounts, err := auth.New(pic, auth.Options{}).Accounts(ctx)
	if err != nil {
		return nil, err
	}
	var out []backup.Account
	for _, a := range accounts {
		u, err := s.Usage(ctx, a.ID)
		if err != nil {
			return nil, err
		}
		out = append(out, backup.Account{ID: uint32(a.ID), Address: main(a), Messages: u.Messages, Bytes: u.Bytes})
	}
	return out, nil
}

func main(a auth.Account) string {
	if len(a.Addresses) == 0 {
		return a.Login
	}
	return a.Addresses[0].String()
}

// Source names a generation of a backup and what opens it.
type Source struct {
	From       string    `json:"from"`
	Store      string    `json:"store,omitempty"` // of several houses in one folder
	At         time.Time `json:"at,omitzero"`     // the newest one taken then or before; zero: the newest
	Passphrase string    `json:"passphrase,omitempty"`
	Identities string    `json:"identities,omitempty"`
}

// Open opens the generation.
func (s Source) Open(ctx context.Context) (*backup.Reader, error) {
	g, err := s.Find()
	if err != nil {
		return nil, err
	}
	r, err := g.Open(ctx, s.Secrets())
	return r, translateBackup(g.Name, err)
}

// Secrets is what opens the backup.
func (s Source) Secrets() backup.Secrets {
	return backup.Secrets{Passphrase: s.Passphrase, Identities: s.Identities}
}

// Find finds the generation.
func (s Source) Find() (*backup.Generation, error) {
	list, err := s.Generations()
	if err != nil {
		return nil, err
	}
	g, err := backup.Find(list, s.Store, s.At)
	return g, translateBackup(s.From, err)
}

// Generations lists all there are, oldest first.
func (s Source) Generations() ([]*backup.Generation, error) {
	list, err := backup.Generations(nil, s.From)
	return list, translateBackup(s.From, err)
}

// BringBack asks for what one account had.
type BringBack struct {
	Source
	Account string `json:"account"`
	Mailbox string `json:"mailbox,omitempty"` // empty: all
	Message string `json:"message,omitempty"` // EMAILID, or uid in the mailbox; empty: all
}

// BroughtBack is what came of it.
type BroughtBack struct {
	Generation string `json:"generation"`
	Account    string `json:"account"`
	Made       bool   `json:"made,omitempty"` // the account, because it was missing
	backup.Brought
}

// BringBack appends what a backup has of an account, and the house has not, to the mailboxes of the same names. An account that is
// missing is made again, with its addresses and its password.
func (h *House) BringBack(ctx context.Context, in BringBack) (BroughtBack, error) {
	if in.Account == "" {
		return BroughtBack{}, invalid("whose mail? Name the account")
	}
	if _, err := strconv.ParseUint(in.Message, 10, 32); err == nil && in.Mailbox == "" {
		return BroughtBack{}, invalid("a uid means a message of one mailbox: name that too")
	}
	g, err := in.Find()
	if err != nil {
		return BroughtBack{}, err
	}
	g.Temp = h.backupSettings().Temp
	r, err := g.Open(ctx, in.Secrets())
	if err != nil {
		return BroughtBack{}, translateBackup(g.Name, err)
	}
	out, err := h.bringBack(ctx, r, in)
	if err = errors.Join(err, r.Close()); err != nil {
		return out, translateBackup(in.Account, err)
	}
	h.done(ctx, "restore", out.Account)
	return out, nil
}

func (h *House) bringBack(ctx context.Context, r *backup.Reader, in BringBack) (BroughtBack, error) {
	out := BroughtBack{Generation: r.Name, Account: in.Account}
	if err := r.Legible(); err != nil {
		return out, err
	}
	was := auth.New(r.DB, auth.Options{})
	from, err := was.FindAccount(ctx, in.Account)
	if err != nil {
		return out, missing(in.Account + " is not in that backup; posthouse backup show " + in.From + " lists its accounts")
	}
	out.Account = main(from)
	to, err := h.o.Directory.FindAccount(ctx, in.Account)
	if anyOf(err, auth.ErrNoAccount, auth.ErrNoAddress) {
		out.Made = true
		to.ID, err = h.makeAgain(ctx, r, was, from)
	}
	if err != nil {
		return out, err
	}
	if err = h.noted(ctx, "restore", out.Account, "from "+r.Name); err != nil {
		return out, err
	}
	out.Brought, err = r.Into(ctx, h.o.Store, backup.Selection{From: from.ID, To: to.ID, Mailbox: in.Mailbox, Message: in.Message}, nil)
	return out, err
}

// BackupAccount finds an account in a backup, by any of its names.
func BackupAccount(ctx context.Context, r *backup.Reader, user string) (mail.AccountID, error) {
	a, err := auth.New(r.DB, auth.Options{}).FindAccount(ctx, user)
	if err != nil {
		return 0, missing(user + " is not in that backup")
	}
	return a.ID, nil
}

// makeAgain makes an account as it was in the backup, in one transaction.
func (h *House) makeAgain(ctx context.Context, r *backup.Reader, was *auth.Directory, a auth.Account) (mail.AccountID, error) {
	secret, err := was.Secret(ctx, a.ID)
	if err != nil {
		return 0, err
	}
	usage, err := r.Store.Usage(ctx, a.ID)
	if err != nil {
		return 0, err
	}
	domains, err := h.o.Directory.Domains(ctx)
	if err != nil {
		return 0, err
	}
	id := mail.AccountID(0)
	a.ID = 0 // it gets a new one: what is gone never comes back under its old number
	c := &alteration{verb: "restore", on: subject{kind: OfAccount, object: main(a)}, note: "made again from " + r.Name}
	c.on.read = func(tx *kv.Tx) (any, error) { return h.accountIn(tx, id) }
	c.do = func(tx *kv.Tx) (err error) {
		if id, err = h.o.Directory.CreateAccount(tx, a, secret); err != nil {
			return err
		}
		c.on.account = id
		if err := h.o.Store.CreateAccount(tx, id, usage.Limit); err != nil {
			return err
		}
		return h.o.Store.JoinPool(tx, id, poolOf(&a, domains))
	}
	return id, h.change(ctx, c)
}

// HoldQueue keeps all mail that waits from being sent: after a restore some of it may have been sent since the backup.
func (h *House) HoldQueue(ctx context.Context) (int, error) {
	list, err := h.Queue(ctx)
	if err != nil || len(list) == 0 {
		return 0, err
	}
	return h.QueueAction(ctx, "hold", nil)
}

// BackupError is an error of a backup as an operator reads it; what names what it was about.
func BackupError(what string, err error) error {
	if !anyOf(err, backup.ErrNone, backup.ErrBusy, backup.ErrKey, backup.ErrDamaged, backup.ErrNotEmpty, backup.ErrNewer, backup.ErrOlder) {
		return err
	}
	return translateBackup(what, err)
}

// translateBackup gives errors of backups their class.
func translateBackup(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, backup.ErrBusy):
		return &Error{Conflict, plain(what, err), err}
	case anyOf(err, backup.ErrNone, fs.ErrNotExist):
		return &Error{Missing, plain(what, err), err}
	case anyOf(err, backup.ErrKey, backup.ErrNotEmpty, backup.ErrNewer, backup.ErrOlder, backup.ErrPlace):
		return &Error{Invalid, plain(what, err), err}
	case errors.Is(err, store.ErrOverQuota):
		return &Error{Conflict, what + ": the quota is used up; posthouse account set ACCOUNT --quota gives more", err}
	}
	return translate(what, err)
}
