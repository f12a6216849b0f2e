package backup

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	folderFile = 64 << 20 // a larger file in the data folder is none of ours
	folderAll  = 1 << 30

	settingsEntry = "settings.toml"
	folderEntry   = "data/"
)

// ours are the names of the data folder that are copied otherwise, or are nothing without the running house.
func ours(name string) bool {
	switch top, _, _ := strings.Cut(name, "/"); top {
	case "seg", "lock", "reserve", "tmp", "damaged", "before", RestoredSettings:
		return true
	default:
		for _, p := range []string{"meta.", "side.db", "before-", "after-", "rollback"} { // files of the tables, and what migration, rollback and repair keep
			if strings.HasPrefix(top, p) {
				return true
			}
		}
		return strings.HasSuffix(top, ".sock")
	}
}

// within reports whether path, of which the last parts may not be there yet, is the folder dir or stands in it, whatever names lead there.
func within(dir, path string) (bool, error) {
	is, err := os.Stat(dir)
	if err != nil {
		return false, err
	}
	path, err = filepath.Abs(path)
	for err == nil {
		real, rerr := filepath.EvalSymlinks(path)
		if rerr == nil {
			path = real
			break
		}
		if up := filepath.Dir(path); errors.Is(rerr, fs.ErrNotExist) && up != path {
			path = up
			continue
		}
		err = rerr
	}
	for err == nil {
		var at fs.FileInfo
		if at, err = os.Stat(path); err == nil && os.SameFile(is, at) {
			return true, nil
		}
		up := filepath.Dir(path)
		if up == path {
			break
		}
		path = up
	}
	return false, err
}

// packFolder writes the settings file and what else stands in the data folder (keys of TLS and DKIM, mail handed in while no
// house ran) into a file in temp. It names what it left out.
func packFolder(temp, data, settings string) (_ *os.File, left []string, err error) {
	f, err := os.CreateTemp(temp, "folder")
	if err != nil {
		return nil, nil, err
	}
	w := tar.NewWriter(f)
	if settings != "" {
		err = packFile(w, settings, settingsEntry)
	}
	var all int64
	walk := func(path string, d fs.DirEntry, err error) error {
		rel, rerr := filepath.Rel(data, path)
		if rerr != nil {
			return rerr
		}
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // it went while we looked
		case err != nil:
			return err
		case rel == ".":
			return nil
		case ours(filepath.ToSlash(rel)) && d.IsDir():
			return fs.SkipDir
		case ours(filepath.ToSlash(rel)) || d.IsDir():
			return nil
		case !d.Type().IsRegular():
			left = append(left, rel+" is no plain file")
			return nil
		}
		st, err := d.Info()
		if err != nil {
			return skipMissing(err)
		}
		if st.Size() > folderFile || all+st.Size() > folderAll {
			left = append(left, fmt.Sprintf("%s has %d octets", rel, st.Size()))
			return nil
		}
		all += st.Size()
		return skipMissing(packFile(w, path, folderEntry+filepath.ToSlash(rel)))
	}
	if err == nil {
		err = filepath.WalkDir(data, walk)
	}
	if err == nil {
		err = w.Close()
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	slices.Sort(left)
	return f, left, nil
}

func skipMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// packFile packs a file as long as it is now: one that grows meanwhile is cut, one that shrinks is padded.
func packFile(w *tar.Writer, path, name string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	head := &tar.Header{Name: name, Size: st.Size(), Mode: int64(st.Mode().Perm()), ModTime: st.ModTime(), Format: tar.FormatPAX}
	if err := w.WriteHeader(head); err != nil {
		return err
	}
	n, err := io.Copy(w, io.LimitReader(f, st.Size()))
	if err == nil && n < st.Size() {
		_, err = io.CopyN(w, zeros{}, st.Size()-n)
	}
	return err
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// unpackFolder puts back what packFolder took; root keeps names inside of the data folder. The settings file of the old house gets
// another name: where it stood is not ours to write.
func unpackFolder(src io.Reader, root *os.Root) (settings string, err error) {
	r := tar.NewReader(src)
	for {
		head, err := r.Next()
		if errors.Is(err, io.EOF) {
			return settings, nil
		}
		if err != nil {
			return settings, fmt.Errorf("%w: %s: %w", ErrDamaged, folderName, err)
		}
		name := RestoredSettings
		if head.Name == settingsEntry {
			settings = name
		} else {
			var ok bool
			if name, ok = strings.CutPrefix(head.Name, folderEntry); !ok || head.Typeflag != tar.TypeReg || ours(name) {
				continue
			}
		}
		if err := unpackFile(r, root, name, fs.FileMode(head.Mode).Perm()&0o700); err != nil {
			return settings, err
		}
	}
}

// RestoredSettings is the name of the old house's settings file in a restored data folder.
const RestoredSettings = "restored-settings.toml"

func unpackFile(src io.Reader, root *os.Root, name string, perm fs.FileMode) error {
	if dir := filepath.Dir(filepath.FromSlash(name)); dir != "." {
		if err := root.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	f, err := root.OpenFile(filepath.FromSlash(name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, perm|0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, src)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
