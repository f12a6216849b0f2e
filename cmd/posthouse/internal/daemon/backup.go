package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/internal/config"
	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/backup"
	"github.com/posthouse-mail/posthouse/web/admin"
)

// BackupSettings is [backup] of a settings file as the verbs take it. online: mail goes on beside it.
func BackupSettings(c *config.Config, file, version string, online bool) admin.BackupSettings {
	b := c.Backup
	s := admin.BackupSettings{
		To: b.To, Keep: backup.Retention{Daily: b.KeepDaily, Weekly: b.KeepWeekly, Monthly: b.KeepMonthly}, Settings: file, Program: version,
		Secrets: func() (backup.Secrets, error) { return backupSecrets(b) },
	}
	if _, err := os.Stat(file); err != nil {
		s.Settings = ""
	}
	if online {
		s.Share, s.Temp = float64(b.Share)/100, temporary(c.Data)
	}
	return s
}

// backupSecrets reads the files anew for each backup: a key that was changed holds at once.
func backupSecrets(b config.Backup) (s backup.Secrets, err error) {
	s.Recipients = b.Recipients
	if s.Passphrase, err = secretOf(b.PassphraseFile); err != nil {
		return s, fmt.Errorf("backup.passphrase_file: %w", err)
	}
	if b.IdentityFile == "" {
		return s, nil
	}
	text, err := os.ReadFile(b.IdentityFile)
	if err != nil {
		return s, fmt.Errorf("backup.identity_file: %w", err)
	}
	s.Identities = string(text)
	return s, nil
}

const (
	backupRetry   = time.Hour // after one that failed
	backupLetter  = 2         // failures before the postmaster is told
	backupLookout = time.Minute
)

// runBackups makes the backups of the settings, also one that was missed while the house did not run, until ctx ends.
func (d *Daemon) runBackups(ctx context.Context) {
	last := d.lastBackup()
	retry := cmp.Or(d.o.BackupRetry, backupRetry)
	var failures int
	var failed time.Time
	told := false
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		t.Reset(min(backupLookout, retry))
		now, b := d.o.Now(), d.settings.Load().Backup
		if b.To == "" || !backupDue(b, last, now) || failures > 0 && now.Sub(failed) < retry {
			continue
		}
		rep, err := d.house.Backup(ctx, admin.BackupRequest{})
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			last = now
		}
		if err == nil && rep.Verified != nil {
			failures, told = 0, false
			continue
		}
		d.log.ErrorContext(ctx, logx.BackupFailed, "to", b.To, "problems", rep.Problems, "error", err)
		failed = d.o.Now()
		if failures++; failures >= backupLetter && !told {
			told = d.backupLetter(ctx, b.To, rep, err) == nil
		}
	}
}

// lastBackup is when the newest backup of this house was taken; it sets the metric too.
func (d *Daemon) lastBackup() (last time.Time) {
	to := d.settings.Load().Backup.To
	if to == "" {
		return last
	}
	list, err := backup.Generations(nil, to)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			d.log.Warn(logx.BackupFailed, "to", to, "error", err)
		}
		return last
	}
	name := backup.StoreName(d.keepers.db.UUID())
	d.backups.Seed(list, name)
	for _, g := range list {
		if g.Manifest.Store == name {
			last = g.Manifest.Taken
		}
	}
	return last
}

// backupDue says whether it is time. A last one from the future was taken under a clock that ran ahead, perhaps by years: it says nothing.
func backupDue(b config.Backup, last, now time.Time) bool {
	return last.After(now) || !now.Before(nextBackup(b, last))
}

// nextBackup is when the one after last is due.
func nextBackup(b config.Backup, last time.Time) time.Time {
	if b.Every.Duration > 0 {
		return last.Add(b.Every.Duration)
	}
	at, err := time.Parse("15:04", b.At)
	if err != nil || last.IsZero() {
		return last // the first one at once: until it is there, nothing is safe
	}
	y, m, day := last.Local().Date()
	next := time.Date(y, m, day, at.Hour(), at.Minute(), 0, 0, time.Local)
	if !next.After(last) {
		next = time.Date(y, m, day+1, at.Hour(), at.Minute(), 0, 0, time.Local)
	}
	return next
}

// backupLetter tells the postmaster that backups fail; the log and the metric say it too.
func (d *Daemon) backupLetter(ctx context.Context, to string, rep backup.Report, cause error) error {
	reason := strings.Join(rep.Problems[:min(len(rep.Problems), 20)], "\n    ")
	if cause != nil {
		reason = strings.Join(strings.Fields(cause.Error()), " ")
	}
	text := "The last backups to " + to + " failed or could not be verified:\n\n    " + reason + "\n\n" +
		"Older backups are as they were. The server tries again every hour; to try now:\n\n    posthouse backup\n"
	return d.sendNotice(ctx, notice{
		to: mail.Address{Local: "postmaster"}, subject: "Backups of " + d.o.Config.Hostname + " fail", text: text,
	}, nil)
}

// setBackup gives the verbs the settings that hold from now on.
func (d *Daemon) setBackup(c *config.Config) {
	s := BackupSettings(c, d.o.File, d.o.Version, true)
	s.Metrics = d.backups
	d.house.SetBackup(s)
}
