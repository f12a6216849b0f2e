package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/posthouse-mail/posthouse/internal/vfs"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// Reader is a generation that is open to be read: DB and Store are those of the house at that time. Nothing can be written.
type Reader struct {
	*Generation
	Contents Contents
	DB       *kv.DB
	Store    *store.Store

	keys *keys
	temp string
}

// Open opens the generation. The tables are copied to the local disk for it; every page of them is checked.
func (g *Generation) Open(ctx context.Context, s Secrets) (*Reader, error) {
	k, err := s.forReading(g.fs, g.store())
	if errors.Is(err, fs.ErrNotExist) {
		k, err = s.forReading(g.fs, g.dir())
	}
	if err != nil {
		return nil, err
	}
	return g.open(ctx, k)
}

func (g *Generation) open(ctx context.Context, k *keys) (_ *Reader, err error) {
	r := &Reader{Generation: g, keys: k}
	if r.temp, err = os.MkdirTemp(g.Temp, "posthouse-backup-"); err != nil {
		return nil, fmt.Errorf("make a folder for the tables: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(r.temp))
		}
	}()
	text, err := r.content(contentsName)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &r.Contents); err != nil {
		return nil, fmt.Errorf("%w: list of contents: %w", ErrDamaged, err)
	}
	tables := filepath.Join(r.temp, tablesName)
	if err := r.extract(ctx, tablesName, tables); err != nil {
		return nil, err
	}
	names := make(map[uint32]string, len(r.Contents.Segments))
	for name, n := range r.Contents.Segments {
		names[n] = name
	}
	r.DB, err = kv.OpenCopy(ctx, kv.Copy{Tables: tables, Segments: "seg", FS: &segments{r: r, names: names}})
	if err != nil {
		return nil, fmt.Errorf("open the tables of %s: %w", g.Name, err)
	}
	if r.Store, err = store.New(r.DB, store.Options{}); err != nil {
		return nil, errors.Join(err, r.DB.CloseCopy())
	}
	return r, nil
}

// Legible is ErrOlder for a backup that an older program made: Store does not read its tables right.
func (r *Reader) Legible() error {
	if !r.DB.Behind() {
		return nil
	}
	return fmt.Errorf("%w: %s was made by posthouse %s: restore it as a whole into a new folder (posthouse restore --data NEW), and look there", ErrOlder, r.Name, r.Manifest.Program)
}

// Close ends the reading.
func (r *Reader) Close() error { return errors.Join(r.DB.CloseCopy(), os.RemoveAll(r.temp)) }

// openFile opens one of the generation's own files.
func (r *Reader) openFile(name string) (*opened, error) {
	f, err := r.file(name)
	if err != nil {
		return nil, err
	}
	return r.keys.open(r.fs, filepath.Join(r.dir(), f.Name), r.Manifest.Sealed)
}

func (r *Reader) content(name string) ([]byte, error) {
	o, err := r.openFile(name)
	if err != nil {
		return nil, err
	}
	defer o.Close()
	if o.size > readMax {
		return nil, fmt.Errorf("%w: %s has %d octets", ErrDamaged, name, o.size)
	}
	return io.ReadAll(o.reader())
}

// extract copies one of the generation's files to a local path and compares its checksum: encrypted, age does.
func (r *Reader) extract(ctx context.Context, name, path string) error {
	o, err := r.openFile(name)
	if err != nil {
		return err
	}
	defer o.Close()
	h := newHashReader(o.reader())
	if err := copyTo(ctx, path, h); err != nil {
		return fmt.Errorf("copy %s: %w", name, err)
	}
	want, err := r.file(name)
	if err == nil && !r.Manifest.Sealed && h.sum() != want.SHA256 {
		err = fmt.Errorf("%w: %s of %s does not read back as it was written", ErrDamaged, name, r.Name)
	}
	return err
}

// copyTo writes a local file, synced.
func copyTo(ctx context.Context, path string, src io.Reader) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	buf := make([]byte, piece)
	for err == nil {
		var n int
		if n, err = io.ReadFull(src, buf); n > 0 {
			if _, werr := f.Write(buf[:n]); werr != nil {
				err = vfs.Classify(werr)
			}
		}
		if err == nil {
			err = ctx.Err()
		}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// hashReader sums what is read through it.
type hashReader struct {
	r io.Reader
	h hash.Hash
}

func newHashReader(r io.Reader) *hashReader { return &hashReader{r: r, h: sha256.New()} }

func (r *hashReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.h.Write(p[:n])
	return n, err
}

func (r *hashReader) sum() string { return hex.EncodeToString(r.h.Sum(nil)) }

// segments is the folder of segments that a store expects, over the names of the backup; it can only be read.
type segments struct {
	vfs.FS // nil: what is not below is not asked for
	r      *Reader
	names  map[uint32]string
}

func (s *segments) ReadDir(string) ([]string, error) {
	out := make([]string, 0, len(s.names))
	for n := range s.names {
		out = append(out, fmt.Sprintf("%08x.seg", n))
	}
	return out, nil
}

func (s *segments) OpenFile(path string, flag int, _ fs.FileMode) (vfs.File, error) {
	base := strings.TrimSuffix(filepath.Base(path), ".seg")
	n, err := strconv.ParseUint(base, 16, 32)
	name, ok := s.names[uint32(n)]
	if err != nil || !ok || flag != os.O_RDONLY {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	o, err := s.r.openSegment(name)
	if err != nil {
		return nil, err
	}
	return &segment{opened: o}, nil
}

func (r *Reader) openSegment(name string) (*opened, error) {
	return r.keys.open(r.fs, filepath.Join(r.store(), segmentsDir, name), r.Manifest.Sealed)
}

// segment is a file of segments.
type segment struct {
	*opened
	vfs.File // nil: a copy is never written
}

func (s *segment) ReadAt(p []byte, off int64) (int, error) {
	n, err := s.opened.ReadAt(p, off)
	if n == len(p) {
		return n, nil // an end that is reached may be told at once or with the next read
	}
	if err != nil && !errors.Is(err, io.EOF) && s.file != nil {
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return n, err
}

func (s *segment) Size() (int64, error) { return s.size, nil }
func (s *segment) Close() error         { return s.opened.Close() }
