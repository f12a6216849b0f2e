package api

import (
	"bufio"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/web/admin"
)

// The spool is where messages wait that were handed in while no house ran: one file each, its first line the
// Message as JSON, the rest the mail.

// spoolName is the spool's name in the data folder, FailedName that of the messages in it which no house will take.
const (
	spoolName  = "spool"
	FailedName = "failed"
	suffix     = ".msg"
)

// Spool keeps a message for the next house. When it returns nil the message is on stable storage: the file
// is synced before it gets its name, the folder after.
func Spool(data string, m Message, body io.Reader) (path string, err error) {
	folder := filepath.Join(data, spoolName)
	if err := errors.Join(os.MkdirAll(folder, 0o700), sameOwner(folder, data)); err != nil {
		return "", err
	}
	name := time.Now().UTC().Format("20060102T150405.000000000") + "-" + rand.Text()[:8]
	temporary := filepath.Join(folder, name+".tmp")
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(temporary))
		}
	}()
	if err := errors.Join(fill(f, m, body), sameOwner(temporary, folder), f.Close()); err != nil {
		return "", err
	}
	path = filepath.Join(folder, name+suffix)
	if err := os.Rename(temporary, path); err != nil {
		return "", err
	}
	return path, syncFolder(folder)
}

func fill(f *os.File, m Message, body io.Reader) error {
	w := bufio.NewWriter(f)
	if err := json.NewEncoder(w).Encode(m); err != nil {
		return err
	}
	if _, err := io.Copy(w, body); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Sync()
}

func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Spooled lists the messages that wait, the oldest first.
func Spooled(data string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(data, spoolName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []string
	for _, e := range entries {
		if e.Type().IsRegular() && strings.HasSuffix(e.Name(), suffix) {
			all = append(all, filepath.Join(data, spoolName, e.Name()))
		}
	}
	slices.Sort(all)
	return all, nil
}

// SpooledMessage is one of them, open.
type SpooledMessage struct {
	Message
	Body io.Reader
	file *os.File
}

// Close closes the file; it does not remove it.
func (s *SpooledMessage) Close() error { return s.file.Close() }

// OpenSpooled opens a file of the spool. One whose first line cannot be read is an admin.Error of class Invalid.
func OpenSpooled(path string) (*SpooledMessage, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	r := bufio.NewReaderSize(f, maxRequest)
	line, err := r.ReadSlice('\n')
	s := &SpooledMessage{Body: r, file: f}
	if err == nil {
		err = json.Unmarshal(line, &s.Message)
	}
	if err != nil {
		return nil, errors.Join(&admin.Error{Class: admin.Invalid, Message: fmt.Sprintf("the first line is no envelope: %v", err)}, f.Close())
	}
	return s, nil
}

// Reject moves a message that no house will take aside, and returns its new name.
func Reject(path string) (kept string, err error) {
	folder := filepath.Join(filepath.Dir(path), FailedName)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", err
	}
	kept = filepath.Join(folder, filepath.Base(path))
	return kept, os.Rename(path, kept)
}
