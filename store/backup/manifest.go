package backup

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/internal/vfs"
)

// A folder of backups:
//
//	<store uuid>/segments/0000002a-3ff0.seg         a closed segment: number and size; shared by generations
//	<store uuid>/2026-11-22T030000Z/manifest.json   written last: what has none is no generation
//	                                meta.db         the tables
//	                                contents.json   accounts, and which segment is which
//	                                folder.tar      settings, keys and what else stands in the data folder
//	<store uuid>/journal                            segments copied by a backup that was cut short
//	<store uuid>/key.age                            the key of all files, under a passphrase
//
// Encrypted, all but the manifests end in .age, and the names of segments are keyed hashes.
const (
	manifestName = "manifest.json"
	contentsName = "contents.json"
	tablesName   = "meta.db"
	folderName   = "folder.tar"
	journalName  = "journal"
	keyName      = "key.age"
	segmentsDir  = "segments"
	lockName     = "lock"

	formatVersion = 1
	halfSuffix    = ".half" // of a file or generation that is being written
	nameLayout    = "2006-01-02T150405Z"
)

// File is one stored file.
type File struct {
	Name    string    `json:"name"`
	Size    int64     `json:"size"`             // as stored
	SHA256  string    `json:"sha256"`           // of what is stored
	Number  uint32    `json:"number,omitempty"` // of a segment that is not encrypted
	Good    int64     `json:"good,omitempty"`   // of a segment: its records are good up to here
	Log     bool      `json:"log,omitempty"`    // it is a log segment, and the log before it counts up to Before
	Before  uint64    `json:"before,omitempty"`
	Checked time.Time `json:"checked,omitzero"` // when it was last read back whole and every checksum in it compared
}

// Verified says what was proved of a generation.
type Verified struct {
	At       time.Time `json:"at"`
	How      string    `json:"how"`      // records, or ciphertext: see HowRecords, HowCiphertext
	Read     int       `json:"read"`     // segments read back now; the others were before and have the same name and size
	Messages int       `json:"messages"` // rows whose body is known to be there and good
	Compared int       `json:"compared"` // messages restored and compared with the living store
}

const (
	// HowRecords: everything was read back from the folder (decrypted, when it is encrypted), every page of the tables and
	// every checksum of every record was compared.
	HowRecords = "records"
	// HowCiphertext: only the public key is at hand. Every record was checked on its way into the encryption, and
	// what was written reads back as it was written. That the private key opens it is not proved.
	HowCiphertext = "ciphertext"
)

// Manifest is what may be read without a key.
type Manifest struct {
	Format   int       `json:"format"`
	Program  string    `json:"program,omitempty"`
	Store    string    `json:"store"`
	Taken    time.Time `json:"taken"`
	Sealed   bool      `json:"sealed,omitempty"`
	Files    []File    `json:"files"`
	Segments []File    `json:"segments"`
	Verified *Verified `json:"verified,omitempty"`
	Problems []string  `json:"problems,omitempty"`
}

// Contents is the rest, which an encrypted backup hides.
type Contents struct {
	Accounts []Account         `json:"accounts"`
	Segments map[string]uint32 `json:"segments"` // name -> number
	Settings string            `json:"settings,omitempty"`
	Left     []string          `json:"left,omitempty"`
}

// Generation is one backup of one house.
type Generation struct {
	Name     string   `json:"name"`
	Manifest Manifest `json:"manifest"`
	Temp     string   `json:"-"` // folder on a local disk for the tables while it is open; empty: the system's

	root string // the folder of backups
	fs   vfs.FS
}

func (g *Generation) store() string { return filepath.Join(g.root, g.Manifest.Store) }
func (g *Generation) dir() string   { return filepath.Join(g.store(), g.Name) }

// Bytes is what the generation takes as a whole; much of it is shared with others.
func (g *Generation) Bytes() (n int64) {
	for _, f := range slices.Concat(g.Manifest.Files, g.Manifest.Segments) {
		n += f.Size
	}
	return n
}

func (g *Generation) file(name string) (File, error) {
	for _, f := range g.Manifest.Files {
		if f.Name == name || f.Name == name+sealedSuffix {
			return f, nil
		}
	}
	return File{}, fmt.Errorf("%w: generation %s has no %s", ErrDamaged, g.Name, name)
}

// Generations lists the backups of a folder, oldest first; those of all houses that use it.
func Generations(fsys vfs.FS, folder string) ([]*Generation, error) {
	if fsys == nil {
		fsys = vfs.OS{}
	}
	stores, err := fsys.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	var out []*Generation
	for _, s := range stores {
		if !isUUID(s) {
			continue
		}
		list, torn, err := generationsOf(fsys, folder, s)
		if err != nil {
			return nil, err
		}
		if len(list) == 0 && len(torn) > 0 {
			return nil, fmt.Errorf("%w: the manifest of %s cannot be read", ErrDamaged, filepath.Join(folder, s, torn[0]))
		}
		out = append(out, list...)
	}
	slices.SortFunc(out, func(a, b *Generation) int { return a.Manifest.Taken.Compare(b.Manifest.Taken) })
	return out, nil
}

// Newest lists a part of the backups of one house, the newest first: at most most of them behind the first skip. Only their manifests are
// read. All is how many there are; those whose manifest cannot be read are counted, and not listed.
func Newest(fsys vfs.FS, folder, store string, skip, most int) (list []*Generation, all int, err error) {
	if fsys == nil {
		fsys = vfs.OS{}
	}
	names, err := generationNames(fsys, folder, store)
	if err != nil {
		return nil, 0, err
	}
	slices.Reverse(names)
	first := min(max(skip, 0), len(names))
	for _, name := range names[first : first+min(most, len(names)-first)] {
		g, err := readGeneration(fsys, folder, store, name)
		switch {
		case errors.Is(err, ErrNewer):
			return nil, 0, err
		case err == nil && g != nil:
			list = append(list, g)
		}
	}
	return list, len(names), nil
}

// generationNames are the names of a house's backups, which begin with the time, the oldest first.
func generationNames(fsys vfs.FS, folder, store string) ([]string, error) {
	names, err := fsys.ReadDir(filepath.Join(folder, store))
	if err != nil {
		return nil, err
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !isGeneration(name) })
	slices.Sort(names)
	return names, nil
}

// readGeneration reads the manifest of one; nil: it is half removed. ErrDamaged: it cannot be read.
func readGeneration(fsys vfs.FS, folder, store, name string) (*Generation, error) {
	g := &Generation{Name: name, root: folder, fs: fsys}
	text, err := readAll(fsys, filepath.Join(folder, store, name, manifestName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &g.Manifest)
	}
	if err != nil || g.Manifest.Store != store {
		return nil, fmt.Errorf("%w: the manifest of %s cannot be read", ErrDamaged, filepath.Join(folder, store, name))
	}
	if g.Manifest.Format > formatVersion {
		return nil, fmt.Errorf("%w: %s has format %d, this program knows %d; use a newer posthouse", ErrNewer, name, g.Manifest.Format, formatVersion)
	}
	return g, nil
}

// generationsOf lists those of one house. Torn are the names of those whose manifest cannot be read: a disk that forgot what was written last,
// or rots, must cost one backup and not all.
func generationsOf(fsys vfs.FS, folder, store string) (out []*Generation, torn []string, err error) {
	names, err := generationNames(fsys, folder, store)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range names {
		g, err := readGeneration(fsys, folder, store, name)
		switch {
		case errors.Is(err, ErrDamaged):
			torn = append(torn, name)
		case err != nil:
			return nil, nil, err
		case g != nil:
			out = append(out, g)
		}
	}
	return out, torn, nil
}

func isGeneration(name string) bool {
	base, _, _ := strings.Cut(name, "Z-")
	_, err := time.Parse(nameLayout, strings.TrimSuffix(base, "Z")+"Z")
	return err == nil
}

func isUUID(name string) bool {
	return len(name) == 36 && strings.Count(name, "-") == 4 && strings.Trim(name, "0123456789abcdef-") == ""
}

// Find is the newest generation that was taken at the time or before; the zero time means the newest. Without store there must be one
// house only.
func Find(list []*Generation, store string, at time.Time) (*Generation, error) {
	var found *Generation
	houses := map[string]bool{}
	for _, g := range list {
		if store != "" && g.Manifest.Store != store {
			continue
		}
		houses[g.Manifest.Store] = true
		if at.IsZero() || !g.Manifest.Taken.After(at) {
			found = g
		}
	}
	switch {
	case len(houses) > 1:
		return nil, fmt.Errorf("%w: the folder has backups of %d houses; name one with --store", ErrNone, len(houses))
	case found == nil && len(houses) == 1:
		return nil, fmt.Errorf("%w: the oldest one was taken at %s", ErrNone, list[0].Manifest.Taken.Format(time.RFC3339))
	case found == nil:
		return nil, fmt.Errorf("%w: there is none in the folder", ErrNone)
	}
	return found, nil
}
