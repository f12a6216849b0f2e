package admin

import (
	"context"
	"errors"
	"io/fs"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/posthouse-mail/posthouse/store/backup"
)

// Backups is what is in the house's folder of backups, and what is done there now.
type Backups struct {
	To    string       `json:"to"` // empty: the settings name none
	All   []BackupCopy `json:"all"`
	Total int          `json:"total"`          // of this house, also those that are not listed
	Work  *BackupWork  `json:"work,omitempty"` // that runs, or was done last
}

// BackupCopy is one backup of this house.
type BackupCopy struct {
	Name     string    `json:"name"`
	Taken    time.Time `json:"taken"`
	Bytes    int64     `json:"bytes"` // much of it is shared with others
	Segments int       `json:"segments"`
	Sealed   bool      `json:"encrypted,omitempty"`
	Proven   time.Time `json:"proven,omitzero"` // zero: it was not verified
	How      string    `json:"how,omitempty"`
	Problems []string  `json:"problems,omitempty"`
}

// BackupWork is a backup that is made, or one that is read back.
type BackupWork struct {
	What     string    `json:"what"` // backup or check
	Name     string    `json:"name,omitempty"`
	Began    time.Time `json:"began"`
	Ended    time.Time `json:"ended,omitzero"` // zero: it runs
	Stage    string    `json:"stage,omitempty"`
	Done     int64     `json:"done"`
	Total    int64     `json:"total"`
	Error    string    `json:"error,omitempty"`
	Problems []string  `json:"problems,omitempty"`
}

// copies is the work on backups that goes on when its caller is gone.
type copies struct {
	mu      sync.Mutex // guards what follows
	closed  bool
	stop    context.CancelFunc
	work    *BackupWork
	running sync.WaitGroup
}

// Backups lists them, the newest first.
func (h *House) Backups(ctx context.Context) (Backups, error) {
	return h.BackupPage(ctx, 0, math.MaxInt)
}

// BackupPage is at most size of them, behind the first skip.
func (h *House) BackupPage(_ context.Context, skip, size int) (Backups, error) {
	s := h.backupSettings()
	out := Backups{To: s.To, All: []BackupCopy{}}
	h.copies.mu.Lock()
	if w := h.copies.work; w != nil {
		one := *w
		out.Work = &one
	}
	h.copies.mu.Unlock()
	if s.To == "" {
		return out, nil
	}
	list, total, err := backup.Newest(nil, s.To, backup.StoreName(h.o.DB.UUID()), skip, size)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return out, translateBackup(s.To, err)
	}
	out.Total = total
	for _, g := range list {
		m := g.Manifest
		c := BackupCopy{Name: g.Name, Taken: m.Taken, Bytes: g.Bytes(), Segments: len(m.Segments), Sealed: m.Sealed, Problems: m.Problems}
		if m.Verified != nil {
			c.Proven, c.How = m.Verified.At, m.Verified.How
		}
		out.All = append(out.All, c)
	}
	return out, nil
}

// StartBackup begins to make one where the settings say; Backups tells how it goes.
func (h *House) StartBackup(ctx context.Context) error {
	if h.backupSettings().To == "" {
		return conflict("the settings name no folder for backups: set backup.to")
	}
	return h.startCopy(ctx, BackupWork{What: "backup"}, func(ctx context.Context, progress func(backup.Progress)) ([]string, error) {
		rep, err := h.makeBackup(ctx, BackupRequest{}, progress)
		return rep.Problems, err
	})
}

// StartBackupCheck begins to read one back whole; empty: the newest.
func (h *House) StartBackupCheck(ctx context.Context, name string) error {
	s := h.backupSettings()
	all, err := h.Backups(ctx)
	if err != nil {
		return err
	}
	if name == "" && len(all.All) > 0 {
		name = all.All[0].Name
	}
	if !slices.ContainsFunc(all.All, func(c BackupCopy) bool { return c.Name == name }) {
		return missing("there is no such backup of this house")
	}
	return h.startCopy(ctx, BackupWork{What: "check", Name: name}, func(ctx context.Context, progress func(backup.Progress)) ([]string, error) {
		list, err := backup.Generations(nil, s.To)
		i := slices.IndexFunc(list, func(g *backup.Generation) bool { return g.Name == name })
		if err != nil || i < 0 {
			return nil, errors.Join(err, backup.ErrNone)
		}
		o := backup.VerifyOptions{Progress: progress}
		if s.Secrets != nil {
			if o.Secrets, err = s.Secrets(); err != nil {
				return nil, err
			}
		}
		g := list[i]
		g.Temp = s.Temp
		_, problems, err := backup.Verify(ctx, g, o)
		return problems, err
	})
}

func (h *House) startCopy(ctx context.Context, w BackupWork, fn func(context.Context, func(backup.Progress)) ([]string, error)) error {
	c := &h.copies
	c.mu.Lock()
	if c.closed || c.work != nil && c.work.Ended.IsZero() {
		c.mu.Unlock()
		return conflict("a backup is being made or checked already: wait for its end")
	}
	w.Began = time.Now()
	inner, stop := context.WithCancel(context.WithoutCancel(ctx))
	c.work, c.stop = &w, stop
	c.running.Go(func() {
		defer stop()
		problems, err := fn(inner, c.progress)
		c.mu.Lock()
		defer c.mu.Unlock()
		w.Ended, w.Problems = time.Now(), problems[:min(len(problems), 20)]
		if err != nil {
			w.Error = translateBackup(w.What, err).Error()
		}
	})
	c.mu.Unlock()
	return h.noted(ctx, "backup "+map[string]string{"backup": "start", "check": "check"}[w.What], h.backupSettings().To, w.Name)
}

func (c *copies) progress(p backup.Progress) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.work.Stage, c.work.Done, c.work.Total = p.Stage, p.Done, p.Total
}

func (c *copies) close() {
	c.mu.Lock()
	c.closed = true
	if c.stop != nil {
		c.stop()
	}
	c.mu.Unlock()
	c.running.Wait()
}
