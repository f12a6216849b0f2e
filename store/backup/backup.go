// Package backup makes copies of a house that prove themselves, and brings them
// back.
//
// Run makes one generation in a folder: the tables, the settings and keys, and
// those closed segments of the log that the folder has not; read manifest.go for
// what stands where. verify.go is the proof, retain.go drops what is old.
// Generations reads what is there, Open gives one to be read like a store, Restore puts
// one into an empty folder, Into brings messages back into a running store. The folder may be any
// mounted disk: nothing here needs hard links, locks or syncs of it.
package backup

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/posthouse-mail/posthouse/internal/vfs"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
)

var (
	// ErrNone: the folder has no backup like that.
	ErrNone = errors.New("backup: not found")
	// ErrBusy: another backup writes into the folder.
	ErrBusy = errors.New("backup: another backup is running")
	// ErrKey: the backup is encrypted and none of the keys at hand opens it.
	ErrKey = errors.New("backup: wrong key")
	// ErrDamaged: the backup does not read back as it was written.
	ErrDamaged = errors.New("backup: damaged")
	// ErrNotEmpty: there is something where a house was to be restored.
	ErrNotEmpty = errors.New("backup: folder is not empty")
	// ErrPlace: a backup must not stand there.
	ErrPlace = errors.New("backup: wrong folder")
	// ErrNewer: a newer program wrote the backup.
	ErrNewer = errors.New("backup: newer format")
	// ErrOlder: the backup's tables have an older format: it can be restored as a whole, and not be looked into.
	ErrOlder = errors.New("backup: older format")
)

// Account is one account of a backup, for those who look into it.
type Account struct {
	ID       uint32 `json:"id"`
	Address  string `json:"address"`
	Messages uint64 `json:"messages"`
	Bytes    uint64 `json:"bytes"`
}

// Options of Run.
type Options struct {
	To      string // the folder; made when it is not there
	DB      *kv.DB // started
	Store   *store.Store
	Secrets Secrets   // none: not encrypted
	Keep    Retention // zero: keep everything

	// Accounts names the accounts in a picture of the tables.
	Accounts func(ctx context.Context, pic *kv.DB, s *store.Store) ([]Account, error)
	Temp     string        // folder on a local disk for the picture of the tables; empty: the system's
	Settings string        // the settings file, which goes into the backup; empty: none
	Share    float64       // of the time spent copying, so that mail goes on; 0: all of it
	Recheck  time.Duration // segments verified longer ago are read again; 0: 30 days

	FS       vfs.FS // of the folder; nil: the operating system's
	Now      func() time.Time
	Logger   *slog.Logger
	Metrics  *Metrics
	Program  string         // version, for the manifest
	Progress func(Progress) // may be nil

	live vfs.FS // of the segments of the house; tests make it fail
}

const recheck = 30 * 24 * time.Hour

func (o Options) withDefaults() Options {
	if o.FS == nil {
		o.FS = vfs.OS{}
	}
	if o.live == nil {
		o.live = vfs.OS{}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Recheck == 0 {
		o.Recheck = recheck
	}
	if o.Accounts == nil {
		o.Accounts = func(context.Context, *kv.DB, *store.Store) ([]Account, error) { return nil, nil }
	}
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	return o
}

// Progress is how far a backup or a restore is.
type Progress struct {
	Stage string `json:"stage"` // copy, verify, restore
	Done  int64  `json:"done"`  // octets
	Total int64  `json:"total"`
}

// Report is what Run did.
type Report struct {
	Folder     string        `json:"folder"`
	Generation string        `json:"generation"`
	Taken      time.Time     `json:"taken"`
	Took       time.Duration `json:"took"`
	Segments   int           `json:"segments"` // in the generation
	Copied     int           `json:"copied"`   // of them new
	Bytes      int64         `json:"bytes"`    // written
	Total      int64         `json:"total"`    // of the generation
	Dropped    []string      `json:"dropped,omitempty"`
	Verified   *Verified     `json:"verified,omitempty"` // nil: see Problems
	Problems   []string      `json:"problems,omitempty"`
	Warnings   []string      `json:"warnings,omitempty"`
	Left       []string      `json:"left,omitempty"` // files of the data folder that are not in the backup, and why
}

// Metrics are those of all runs of a house.
type Metrics struct {
	verified, took, failed prometheus.Gauge
	failures               prometheus.Counter
}
