package backup

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/metrics"
)

// Retention says which generations stay: the newest of each of the last days, weeks and months that have one. All of the last 24
// hours stay too, and the newest that is verified. Zero: all stay.
type Retention struct{ Daily, Weekly, Monthly int }

// keeps picks the names that stay of generations sorted from old to new.
func (r Retention) keeps(list []*Generation, now time.Time) map[string]bool {
	keep := map[string]bool{}
	days, weeks, months := map[string]bool{}, map[string]bool{}, map[string]bool{}
	verified := false
	for i := len(list) - 1; i >= 0; i-- {
		g := list[i]
		at := g.Manifest.Taken.UTC()
		year, week := at.ISOWeek()
		stay := i == len(list)-1 || now.Sub(at) < 24*time.Hour
		stay = newest(days, at.Format("2006-01-02"), r.Daily) || stay
		stay = newest(weeks, fmt.Sprint(year, " ", week), r.Weekly) || stay
		stay = newest(months, at.Format("2006-01"), r.Monthly) || stay
		if g.Manifest.Verified != nil && !verified {
			verified, stay = true, true
		}
		if stay || r == (Retention{}) {
			keep[g.Name] = true
		}
	}
	return keep
}

// newest reports whether this is the first, hence newest, of its period, and one of the last n periods.
func newest(seen map[string]bool, period string, n int) bool {
	if seen[period] || len(seen) >= n {
		return false
	}
	seen[period] = true
	return true
}

// retain removes generations that do not stay, and then the segments that none of the others names.
func (r *run) retain() error {
	list, err := generationsOf(r.o.FS, r.o.To, r.gen.Manifest.Store)
	if err != nil {
		return err
	}
	keep := r.o.Keep.keeps(list, r.o.Now())
	var left []*Generation
	for _, g := range list {
		if keep[g.Name] {
			left = append(left, g)
			continue
		}
		if err := r.drop(g.Name); err != nil {
			return fmt.Errorf("remove generation %s: %w", g.Name, err)
		}
		r.report.Dropped = append(r.report.Dropped, g.Name)
		r.o.Logger.Info(logx.BackupDropped, "generation", g.Name)
	}
	r.known = map[string]File{} // the journal is empty: only generations count now
	if err := r.sweep(left); err != nil {
		return fmt.Errorf("remove what no generation names: %w", err)
	}
	return nil
}

// drop removes a generation; its manifest goes first, so that half of one is none.
func (r *run) drop(name string) error {
	dir := filepath.Join(r.folder, name)
	if err := ignoreMissing(r.o.FS.Remove(filepath.Join(dir, manifestName))); err != nil {
		return err
	}
	names, err := r.o.FS.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := ignoreMissing(r.o.FS.Remove(filepath.Join(dir, n))); err != nil {
			return err
		}
	}
	return ignoreMissing(r.o.FS.Remove(dir))
}

// sweep removes what runs that were cut short have left: generations without a manifest, halves of files, and segments that
// neither a generation nor the journal names.
func (r *run) sweep(list []*Generation) error {
	named, whole := map[string]bool{}, map[string]bool{}
	for _, g := range list {
		whole[g.Name] = true
		for _, f := range g.Manifest.Segments {
			named[f.Name] = true
		}
	}
	for name := range r.known {
		named[name] = true
	}
	names, err := r.o.FS.ReadDir(r.folder)
	if err != nil {
		return err
	}
	for _, n := range names {
		switch {
		case strings.HasSuffix(n, halfSuffix):
			err = ignoreMissing(r.o.FS.Remove(filepath.Join(r.folder, n)))
		case isGeneration(n) && !whole[n]:
			err = r.drop(n)
		}
		if err != nil {
			return err
		}
	}
	dir := filepath.Join(r.folder, segmentsDir)
	if names, err = r.o.FS.ReadDir(dir); err != nil {
		return err
	}
	for _, n := range names {
		if !named[n] {
			if err := r.o.FS.Remove(filepath.Join(dir, n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// NewMetrics makes the metrics of backups.
func NewMetrics(set *metrics.Set) *Metrics {
	return &Metrics{
		verified: set.Gauge("backup_verified_timestamp_seconds", "When the last backup that is verified was taken; 0: never."),
		took:     set.Gauge("backup_duration_seconds", "How long the last backup took."),
		failures: set.Counter("backup_failures_total", "Backups that failed or could not be verified."),
	}
}

// note takes down what came of a run; a nil Metrics counts nothing.
func (m *Metrics) note(r *Report, err error) {
	if m == nil {
		return
	}
	m.took.Set(r.Took.Seconds())
	if err != nil || r.Verified == nil {
		m.failures.Inc()
		return
	}
	m.verified.Set(float64(r.Taken.Unix()))
}

// Seed sets the age of the last verified backup from what is in the folder; at start.
func (m *Metrics) Seed(list []*Generation, store string) {
	for _, g := range list {
		if g.Manifest.Store == store && g.Manifest.Verified != nil {
			m.verified.Set(float64(g.Manifest.Taken.Unix()))
		}
	}
}
