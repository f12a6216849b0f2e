package daemon

import (
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/config"
)

// TestNextBackup: once a day at the time of the settings, a missed one at once, the first one at once, or so long after the last.
func TestNextBackup(t *testing.T) {
	at := func(day, hour, minute int) time.Time { return time.Date(2026, 11, day, hour, minute, 0, 0, time.Local) }
	hours := func(n int) (d config.Duration) {
		d.Duration = time.Duration(n) * time.Hour
		return d
	}
	for _, c := range []struct {
		name       string
		b          config.Backup
		last, want time.Time
	}{
		{"the next night", config.Backup{At: "03:00"}, at(22, 3, 1), at(23, 3, 0)},
		{"taken just before", config.Backup{At: "03:00"}, at(22, 2, 59), at(22, 3, 0)},
		{"taken at that time", config.Backup{At: "03:00"}, at(22, 3, 0), at(23, 3, 0)},
		{"by hand in the evening", config.Backup{At: "03:00"}, at(22, 20, 0), at(23, 3, 0)},
		{"the end of a month", config.Backup{At: "23:30"}, at(30, 23, 45), at(31, 23, 30)},
		{"never yet", config.Backup{At: "03:00"}, time.Time{}, time.Time{}},
		{"every six hours", config.Backup{At: "03:00", Every: hours(6)}, at(22, 4, 0), at(22, 10, 0)},
		{"never yet, every hour", config.Backup{Every: hours(1)}, time.Time{}, time.Time{}.Add(time.Hour)},
	} {
		if got := nextBackup(c.b, c.last); !got.Equal(c.want) {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// TestBackupDue: a backup that a clock which ran ahead has dated into the future puts off none.
func TestBackupDue(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.Local)
	for _, b := range []config.Backup{{At: "03:00"}, {Every: config.Duration{Duration: time.Hour}}} {
		for age, want := range map[time.Duration]bool{-10 * 365 * 24 * time.Hour: true, 0: false, time.Minute: false, 48 * time.Hour: true} {
			if got := backupDue(b, now.Add(-age), now); got != want {
				t.Errorf("%+v, %v ago: %v", b, age, got)
			}
		}
	}
}
