package daemon

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/posthouse-mail/posthouse/internal/config"
	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/web/admin"
)

// Reload reads the settings file and the certificates again. What can change while the house runs does; the rest is named
// as waiting for a restart. A wrong file or certificate changes nothing of its own: the old one stays, and the error says why.
func (d *Daemon) Reload(ctx context.Context) (admin.Reloaded, error) {
	d.reload.Lock()
	defer d.reload.Unlock()
	d.tell("RELOADING=1")
	defer d.tell("READY=1")
	out, err := d.reloadSettings()
	if d.certs != nil {
		err = errors.Join(err, d.certs.Reload())
	}
	if err != nil {
		d.log.ErrorContext(ctx, logx.HouseReloadError, "error", err)
		return out, &admin.Error{Class: admin.Invalid, Message: "the old settings stay: " + err.Error()}
	}
	for _, key := range out.Waiting {
		d.log.WarnContext(ctx, logx.HouseNeedRestart, "key", key)
	}
	d.log.InfoContext(ctx, logx.HouseReloaded, "changed", strings.Join(out.Changed, " "))
	return out, nil
}

// reloadSettings swaps in what can change.
func (d *Daemon) reloadSettings() (admin.Reloaded, error) {
	out := admin.Reloaded{Changed: []string{}}
	if d.o.File == "" {
		return out, nil
	}
	next, err := config.Load(d.o.File)
	if err != nil {
		return out, err
	}
	now := *d.settings.Load()
	// What waits for a restart keeps its old value, so that the settings are always those the house works with.
	rebuild := false
	for _, key := range takeOver(&now, next) {
		live, known := liveSettings[key]
		if !known {
			out.Waiting = append(out.Waiting, key)
			continue
		}
		rebuild = rebuild || live == newHandlers
		out.Changed = append(out.Changed, key)
	}
	if d.o.Level != nil {
		level, err := logx.ParseLevel(now.Log.Level)
		if err != nil {
			return out, fmt.Errorf("log.level: %w", err)
		}
		d.o.Level.Set(level)
	}
	if slices.Contains(out.Changed, "log.level") || slices.Contains(out.Changed, "log.levels") {
		if err := d.setLevels(&now); err != nil {
			return out, err
		}
	}
	if rebuild {
		h, err := d.handlers(&now)
		if err != nil {
			return out, err
		}
		d.current.Store(&h)
	}
	d.house.SetDefaultQuota(defaultQuota(&now))
	d.keepers.store.SetKeep(now.Store.KeepDeleted.Duration)
	d.keepers.store.SetWarn(now.Quota.Warn)
	d.keepers.limits.Set(sendSettings(&now))
	d.setBackup(&now)
	d.house.SetAudit(now.Audit.Keep.Duration)
	d.settings.Store(&now)
	return out, nil
}

// How a setting changes while the house runs.
const (
	atOnce      = iota + 1
	newHandlers // connections from now on
)

// liveSettings are those that a reload changes.
var liveSettings = map[string]int{
	"log.level":                           atOnce,
	"log.levels":                          atOnce,
	"limits.shutdown_wait":                atOnce,
	"quota.bytes":                         atOnce, // of accounts made from now on
	"quota.messages":                      atOnce,
	"quota.warn":                          atOnce, // at the next message of an account
	"store.keep_deleted":                  atOnce,
	"audit.keep":                          atOnce,
	"store.disk_low":                      atOnce,
	"store.disk_stop":                     atOnce,
	"backup.to":                           atOnce,
	"backup.at":                           atOnce,
	"backup.every":                        atOnce,
	"backup.recipients":                   atOnce,
	"backup.passphrase_file":              atOnce,
	"backup.identity_file":                atOnce,
	"backup.keep_daily":                   atOnce,
	"backup.keep_weekly":                  atOnce,
	"backup.keep_monthly":                 atOnce,
	"backup.share":                        atOnce,
	"check.every":                         atOnce,
	"check.lists":                         atOnce, // for the next check
	"check.probes":                        atOnce,
	"reports.contact":                     atOnce,
	"reports.letter":                      atOnce,
	"reports.letter_to":                   atOnce,
	"sending.messages_per_hour":           atOnce,
	"sending.messages_per_day":            atOnce,
	"sending.recipients_per_hour":         atOnce,
	"sending.recipients_per_day":          atOnce,
	"sending.new_recipients_per_day":      atOnce,
	"sending.suspend_at":                  atOnce,
	"sending.program_recipients_per_hour": atOnce,
	"sending.program_recipients_per_day":  atOnce,
	"sending.forwards_per_hour":           atOnce,
	"sending.forwards_per_day":            atOnce,
	"sending.all_forwards_per_day":        atOnce,
	"limits.message_size":                 newHandlers,
	"limits.recipients":                   newHandlers,
	"limits.smtp_command_wait":            newHandlers,
	"limits.smtp_data_wait":               newHandlers,
	"limits.pop3_idle":                    newHandlers,
	"limits.imap_idle":                    newHandlers,
	"pop3.exclusive":                      newHandlers,
	"imap.recently_deleted":               newHandlers,
	"submission.trusted":                  newHandlers,
	"submission.hold":                     newHandlers,
	"submission.sent_copy":                newHandlers,
	"submission.schedule":                 newHandlers,
	"scanners":                            newHandlers,
}

// takeOver names the settings in which next is another, and sets those of now that a reload changes.
func takeOver(now, next *config.Config) []string {
	var keys []string
	compare("", reflect.ValueOf(now).Elem(), reflect.ValueOf(next).Elem(), &keys)
	return keys
}

func compare(key string, now, next reflect.Value, keys *[]string) {
	if now.Kind() == reflect.Struct && now.NumField() > 0 && now.Type().Field(0).Tag.Get("toml") != "" {
		for i := range now.NumField() {
			name := now.Type().Field(i).Tag.Get("toml")
			if key != "" {
				name = key + "." + name
			}
			compare(name, now.Field(i), next.Field(i), keys)
		}
		return
	}
	if !reflect.DeepEqual(now.Interface(), next.Interface()) {
		*keys = append(*keys, key)
		if liveSettings[key] != 0 {
			now.Set(next)
		}
	}
}
