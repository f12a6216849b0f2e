package backup

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/metrics"
)

// Retention says which generations stay: one of each of the last days, weeks and months that have any, the newest of those that are
// verified, else the newest. All of the last 24 hours stay too, and the newest that is verified. Zero: all stay.
type Retention struct{ Daily, Weekly, Monthly int }

// keeps picks the names that stay of generations sorted from old to new.
func (r Retention) keeps(list []*Generation, now time.Time) map[string]bool {
	keep := map[string]bool{}
	last := len(list) - 1
	verified := false
	for i := last; i >= 0; i-- {
		g := list[i]
		newest := g.Manifest.Verified != nil && !verified
		verified = verified || newest
		if newest || i == last || now.Sub(g.Manifest.Taken) < 24*time.Hour || r == (Retention{}) {
			keep[g.Name] = true
		}
	}
	for _, p := range []struct {
		n  int
		of func(time.Time) string
	}{
		{r.Daily, func(t time.Time) string { return t.Format("2006-01-02") }},
		{r.Weekly, func(t time.Time) string { year, week := t.ISOWeek(); return fmt.Sprint(year, " ", week) }},
		{r.Monthly, func(t time.Time) string { return t.Format("2006-01") }},
	} {
		for _, g := range best(list, p.n, p.of) {
			keep[g.Name] = true
		}
	}
	return keep
}

// best gives one generation of each of the last n periods.
func best(list []*Generation, n int, period func(time.Time) string) []*Generation {
	var out []*Generation
	at := ""
	for _, g := range slices.Backward(list) {
		p := period(g.Manifest.Taken.UTC())
		if p != at {
			if len(out) == n {
				break
			}
			at, out = p, append(out, g)
			continue
		}
		if one := &out[len(out)-1]; (*one).Manifest.Verified == nil && g.Manifest.Verified != nil {
			*one = g
		}
	}
	return out
}

// retain removes generations that do not stay, and then the segments that none of the others names.
func (r *run) retain() error {
	list, torn, err := generationsOf(r.o.FS, r.o.To, r.gen.Manifest.Store)
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
	if err := r.sweep(left, torn); err != nil {
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
// neither a generation nor the journal names. While the manifest of one cannot be read nobody knows which segments it names, and all stay.
func (r *run) sweep(list []*Generation, torn []string) error {
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
		case isGeneration(n) && !whole[n] && !slices.Contains(torn, n):
			err = r.drop(n)
		}
		if err != nil {
			return err
		}
	}
	if len(torn) > 0 {
		return nil
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
		failed:   set.Gauge("backup_failed", "1: the last backup failed or could not be verified."),
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
		m.failed.Set(1)
		return
	}
	m.failed.Set(0)
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
