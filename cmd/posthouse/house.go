package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/posthouse-mail/posthouse/cmd/posthouse/internal/daemon"
	"github.com/posthouse-mail/posthouse/internal/config"
	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/store/backup"
	"github.com/posthouse-mail/posthouse/store/importer"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/api"
)

// verbs is what the operator can do to a house: api.Client does it through the running one, admin.House on its files.
type verbs interface {
	Backup(context.Context, admin.BackupRequest) (backup.Report, error)
	BringBack(context.Context, admin.BringBack) (admin.BroughtBack, error)
	AddDomain(context.Context, admin.Domain) (admin.Domain, error)
	RemoveDomain(context.Context, string) error
	Domains(context.Context) ([]admin.Domain, error)
	AddAccount(context.Context, admin.NewAccount) (admin.Account, error)
	RemoveAccount(context.Context, string) error
	SetPassword(ctx context.Context, user, password string) error
	SetAccount(context.Context, string, admin.Change) (admin.Account, error)
	Account(context.Context, string) (admin.Account, error)
	Accounts(context.Context) ([]admin.Account, error)
	AddAlias(context.Context, admin.Alias) (admin.Alias, error)
	RemoveAlias(context.Context, string) error
	Aliases(context.Context) ([]admin.Alias, error)
	Queue(context.Context) ([]admin.QueueEntry, error)
	FindQueue(context.Context, admin.QueueFilter) (admin.QueuePage, error)
	QueueEntry(context.Context, string) ([]admin.QueueEntry, error)
	QueueAction(ctx context.Context, action string, ids []string) (int, error)
	Trace(ctx context.Context, what string, limit int) ([]admin.Traced, error)
	CheckStore(context.Context, admin.CheckRequest) ([]admin.Finding, error)
	Deleted(context.Context, string, admin.DeletedFilter) (admin.Deleted, error)
	Undelete(context.Context, string, admin.Undelete) (admin.Undeleted, error)
	Recount(context.Context, string) (admin.Recounted, error)
	DomainQuota(context.Context, string) (admin.DomainQuota, error)
	SetDomainQuota(context.Context, string, admin.Amount) (admin.DomainQuota, error)
	StartPull(context.Context, admin.Pull) (admin.PullStatus, error)
	WatchPull(ctx context.Context, id string, revision int) (admin.PullStatus, error)
	Pulls(context.Context) ([]admin.PullStatus, error)
	StopPull(ctx context.Context, id string) error
	dkimVerbs
	sendingVerbs
	auditVerbs
	directoryVerbs
	webhookVerbs
	listVerbs
	factorVerbs
	passkeyVerbs
	ownVerbs
	tokenVerbs
	recordVerbs
	checkupVerbs
	reportVerbs
	spamVerbs
	importer.Target
	Export(ctx context.Context, account, mailbox string, w io.Writer) error
}

// settings is the house that the command line means: a settings file, or the defaults with a data folder.
func (o *options) settings() (*config.Config, error) {
	if o.data != "" {
		folder, err := filepath.Abs(o.data)
		if err != nil {
			return nil, err
		}
		c := config.Default()
		c.Data = folder
		return c, nil
	}
	if o.config != "" {
		return config.Load(o.config)
	}
	if _, err := os.Stat(defaultConfig); errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("which house? There is no " + defaultConfig + ": say --config FILE or --data DIR")
	}
	return config.Load(defaultConfig)
}

// file is the settings file of that house; empty: it has none.
func (o *options) file() string {
	if o.config == "" && o.data == "" {
		return defaultConfig
	}
	return o.config
}

// with calls fn with the verbs of the house: those of the running one, else on the files, which are then closed again.
func (p *program) with(ctx context.Context, o *options, fn func(verbs) error) error {
	c, err := o.settings()
	if err != nil {
		return err
	}
	running, err := api.Dial(ctx, c.Data)
	if err == nil {
		return fn(running)
	}
	if !errors.Is(err, api.ErrNotRunning) {
		return notAllowed(c.Data, err)
	}
	if err := mayOpen(c.Data, o.data != ""); err != nil {
		return err
	}
	files, err := daemon.OpenFiles(ctx, c, logx.New(p.stderr, logx.Options{Level: slog.LevelWarn}))
	if err != nil {
		return err
	}
	files.House.SetBackup(daemon.BackupSettings(c, o.file(), thisBuild().Version, false))
	return errors.Join(fn(files.House), files.Close())
}

// running calls fn with the running house; commands about the process itself need one.
func (p *program) running(ctx context.Context, o *options, fn func(*api.Client) error) error {
	c, err := o.settings()
	if err != nil {
		return err
	}
	client, err := api.Dial(ctx, c.Data)
	if errors.Is(err, api.ErrNotRunning) {
		return fmt.Errorf("no house runs on %s", c.Data)
	}
	if err != nil {
		return notAllowed(c.Data, err)
	}
	return fn(client)
}

// notAllowed says who may, when the system said that we may not.
func notAllowed(folder string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("only root and the user that owns %s may give its house commands", folder)
	}
	return err
}

// mayOpen refuses to work on files of another user: what we would make there, the house could not read.
func mayOpen(folder string, mustExist bool) error {
	info, err := os.Stat(folder)
	if errors.Is(err, fs.ErrNotExist) {
		if mustExist {
			return fmt.Errorf("there is no data folder %s", folder)
		}
		return nil
	}
	if err != nil {
		return err
	}
	if owner, ok := ownerOf(info); ok && owner != os.Geteuid() {
		return &othersFolder{folder, owner}
	}
	return nil
}

// othersFolder: a data folder is another user's.
type othersFolder struct {
	folder string
	owner  int
}

func (o *othersFolder) Error() string {
	return fmt.Sprintf("%s belongs to the user with id %d: run this as that user", o.folder, o.owner)
}
