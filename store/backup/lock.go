package backup

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/posthouse-mail/posthouse/internal/vfs"
)

const (
	lockBeat  = time.Minute
	lockStale = 15 * time.Minute
)

// holder is what stands in the lock file. Network disks have no locks that work, so a backup says who it is, and that it lives.
type holder struct {
	Who string    `json:"who"` // host and data folder: of one data folder only one process works at a time
	At  time.Time `json:"at"`
}

// folderLock is held by one backup at a time.
type folderLock struct {
	fs   vfs.FS
	path string
	me   string
	now  func() time.Time
	stop context.CancelFunc
	wg   sync.WaitGroup
}

// lockFolder takes the lock of a store's folder, also one that we left behind ourselves, or that nobody has renewed for long.
func lockFolder(fsys vfs.FS, folder, me string, now func() time.Time) (*folderLock, error) {
	l := &folderLock{fs: fsys, path: filepath.Join(folder, lockName), me: me, now: now}
	f, err := fsys.OpenFile(l.path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	switch {
	case err == nil:
		err = f.Close()
	case errors.Is(err, fs.ErrExist):
		err = l.mayTake()
	}
	if err == nil {
		err = l.beat()
	}
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	l.stop = stop
	l.wg.Go(func() {
		t := time.NewTicker(lockBeat)
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
				_ = l.beat() // a folder that cannot be written ends the backup by itself
			}
		}
	})
	return l, nil
}

func (l *folderLock) mayTake() error {
	text, err := readAll(l.fs, l.path)
	if err != nil {
		return err
	}
	var h holder
	if json.Unmarshal(text, &h) != nil || h.Who == l.me {
		return nil
	}
	if age := l.now().Sub(h.At); age < lockStale && age > -lockStale {
		return fmt.Errorf("%w: %s writes into %s since less than a minute before %s; if it does not, remove %s", ErrBusy, h.Who,
			filepath.Dir(l.path), h.At.Add(lockBeat).Format(time.RFC3339), l.path)
	}
	return nil
}

func (l *folderLock) beat() error { return writeJSON(l.fs, l.path, holder{Who: l.me, At: l.now()}) }

func (l *folderLock) release() error {
	l.stop()
	l.wg.Wait()
	return l.fs.Remove(l.path)
}

// journal names the segments that were copied and that no generation names yet, a line each: a backup that was cut short goes on
// where it was.
type journal struct {
	fs   vfs.FS
	path string
	file vfs.File
	end  int64
}

// openJournal reads what is there; a last line that is torn is none.
func openJournal(fsys vfs.FS, folder string) (*journal, []File, error) {
	j := &journal{fs: fsys, path: filepath.Join(folder, journalName)}
	f, err := fsys.OpenFile(j.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, nil, err
	}
	j.file = f
	text, err := readAll(fsys, j.path)
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	var known []File
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		var e File
		if json.Unmarshal(lines.Bytes(), &e) != nil || e.Name == "" {
			break
		}
		known = append(known, e)
		j.end += int64(len(lines.Bytes())) + 1
	}
	if err := f.Truncate(j.end); err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return j, known, nil
}

func (j *journal) add(e File) error {
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	n, err := j.file.WriteAt(append(line, '\n'), j.end)
	if err != nil {
		return err
	}
	j.end += int64(n)
	return lenient(j.file.Datasync())
}

func (j *journal) close() error { return j.file.Close() }

// done forgets the lines: a generation names those segments now.
func (j *journal) done() error { return j.file.Truncate(0) }
