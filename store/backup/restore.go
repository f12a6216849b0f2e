package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/posthouse-mail/posthouse/internal/vfs"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// Restored is what Restore brought back.
type Restored struct {
	Generation string   `json:"generation"`
	Folder     string   `json:"folder"`
	Segments   int      `json:"segments"`
	Bytes      int64    `json:"bytes"`
	Settings   string   `json:"settings,omitempty"` // file in the folder with the old house's settings
	Missing    []string `json:"missing,omitempty"`  // segments that the backup does not have
}

// Restore puts the generation into a data folder that is new or empty. Its tables get their name last, and ask for a new epoch: the house
// that starts on it gives every mailbox a new UIDVALIDITY (store.BeginDueEpoch). A folder that was cut short has no tables and does
// not start.
func (r *Reader) Restore(ctx context.Context, folder string, progress func(Progress)) (out Restored, err error) {
	if progress == nil {
		progress = func(Progress) {}
	}
	out = Restored{Generation: r.Name, Folder: folder}
	if err := emptyFolder(folder); err != nil {
		return out, err
	}
	seg := filepath.Join(folder, "seg")
	if err := os.MkdirAll(seg, 0o700); err != nil {
		return out, fmt.Errorf("make the data folder: %w", vfs.Classify(err))
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	pack, err := r.openFile(folderName)
	if err != nil {
		return out, err
	}
	out.Settings, err = unpackFolder(pack.reader(), root)
	if err = errors.Join(err, pack.Close()); err != nil {
		return out, fmt.Errorf("bring settings and keys back: %w", err)
	}
	if err := r.restoreSegments(ctx, seg, &out, progress); err != nil {
		return out, err
	}
	next := filepath.Join(folder, tablesName+".restored")
	if err := r.extract(ctx, tablesName, next); err != nil {
		return out, err
	}
	if err := kv.DemandEpoch(next); err != nil {
		return out, fmt.Errorf("begin a new epoch: %w", err)
	}
	for _, dir := range []string{seg, folder, filepath.Dir(folder)} {
		if err := (vfs.OS{}).SyncDir(dir); err != nil {
			return out, err
		}
	}
	if err := os.Rename(next, filepath.Join(folder, tablesName)); err != nil {
		return out, err
	}
	return out, vfs.OS{}.SyncDir(folder)
}

// emptyFolder refuses a folder with anything in it: what stands there is not ours to overwrite.
func emptyFolder(folder string) error {
	list, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	list = slices.DeleteFunc(list, func(e fs.DirEntry) bool { return e.Name() == "lost+found" })
	if len(list) > 0 {
		return fmt.Errorf("%w: %s holds %s; name a new folder, or move what is there away (mv %s %s.old)", ErrNotEmpty, folder, list[0].Name(), folder, folder)
	}
	return nil
}

func (r *Reader) restoreSegments(ctx context.Context, dir string, out *Restored, progress func(Progress)) error {
	var total int64
	for _, f := range r.Manifest.Segments {
		total += f.Size
	}
	for _, f := range r.Manifest.Segments {
		n, ok := r.Contents.Segments[f.Name]
		if !ok {
			return fmt.Errorf("%w: segment %s has no number", ErrDamaged, f.Name)
		}
		o, err := r.openSegment(f.Name)
		if errors.Is(err, fs.ErrNotExist) {
			if _, gone := r.fs.Stat(filepath.Join(r.dir(), manifestName)); errors.Is(gone, fs.ErrNotExist) {
				return fmt.Errorf("%w any more: generation %s was removed while it was brought back; take another one, into another folder", ErrNone, r.Name)
			}
			out.Missing = append(out.Missing, f.Name)
			continue
		}
		if err == nil {
			err = copyTo(ctx, filepath.Join(dir, fmt.Sprintf("%08x.seg", n)), o.reader())
			err = errors.Join(err, o.Close())
		}
		if err != nil {
			return fmt.Errorf("restore segment %08x: %w", n, err)
		}
		out.Segments++
		out.Bytes += f.Size
		progress(Progress{Stage: "restore", Done: out.Bytes, Total: total})
	}
	return nil
}
