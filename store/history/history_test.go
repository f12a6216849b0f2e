package history

import (
	"math"
	"path/filepath"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/store/kv"
)

func newBook(t *testing.T) *Book {
	side, err := kv.OpenSide(kv.SideOptions{Path: filepath.Join(t.TempDir(), "side.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := side.Close(); err != nil {
			t.Error(err)
		}
	})
	return New(side)
}

func (b *Book) read(t *testing.T, now time.Time, hours bool, n int) []Span {
	t.Helper()
	if err := b.side.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	get := b.Days
	if hours {
		get = b.Hours
	}
	all, err := get(t.Context(), now, n)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestSpans: counts add up in hours and days, levels keep their highest, and gaps are gaps.
func TestSpans(t *testing.T) {
	b := newBook(t)
	at := time.Date(2026, 11, 22, 12, 10, 0, 0, time.UTC)
	b.Note(at.Add(-25*hour), map[string]float64{"mail": 1}, map[string]float64{"memory": 900})
	b.Note(at, map[string]float64{"mail": 2, "none": 0, "back": -5}, map[string]float64{"memory": 7})
	b.Note(at.Add(20*time.Minute), map[string]float64{"mail": 3}, map[string]float64{"memory": 5})
	hours := b.read(t, at.Add(30*time.Minute), true, 2)
	if len(hours) != 2 || len(hours[0].Values) != 0 || hours[1].Values["mail"] != 5 || hours[1].Values["memory"] != 7 || len(hours[1].Values) != 2 || !hours[1].Begin.Equal(at.Truncate(hour)) {
		t.Errorf("%+v", hours)
	}
	days := b.read(t, at, false, 3)
	if len(days) != 3 || days[0].Values["mail"] != 0 || days[1].Values["mail"] != 1 || days[1].Values["memory"] != 900 || days[2].Values["mail"] != 5 {
		t.Errorf("%+v", days)
	}
}

// TestForgets: what is old goes, and what a clock that ran ahead wrote.
func TestForgets(t *testing.T) {
	b := newBook(t)
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	count := map[string]float64{"mail": 1}
	b.Note(at.Add(100*keepDays), count, nil)
	b.Note(at.Add(-keepHours-hour), count, nil)
	b.Note(at.Add(-keepHours+hour), count, nil)
	b.Note(at, count, map[string]float64{"bad": math.NaN()})
	b.Note(at, count, nil)
	if err := b.side.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	n := map[byte]int{}
	if err := b.side.View(t.Context(), func(tx *kv.Tx) error {
		for key := range tx.Scan(tabSpans, nil, nil) {
			n[key[0]]++
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if n['h'] != 2 || n['d'] != 2 {
		t.Errorf("%v", n)
	}
	if all := b.read(t, at, true, 1); all[0].Values["mail"] != 1 {
		t.Errorf("a count that is none spoilt the others: %+v", all)
	}
}

func TestNoBook(t *testing.T) {
	var b *Book
	b.Note(time.Now(), nil, nil)
	if all, err := b.Days(t.Context(), time.Now(), 7); err != nil || len(all) != 7 {
		t.Error(all, err)
	}
}
