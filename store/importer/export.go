package importer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// exportMark is a file in the folder of an export: its messages are exactly as the store had them, so an import of it changes no line end.
const exportMark = "posthouse-export"

// Exporter makes files of mailboxes.
type Exporter interface {
	Folder(f *FolderFrame) error
	// Message takes a text; an error of reading it (errGivenUp) leaves nothing behind.
	Message(h *Head, text io.Reader) error
	Close() error
}

// ExportSummary is what an export wrote.
type ExportSummary struct {
	Folders  int           `json:"folders"`
	Messages int64         `json:"messages"`
	Octets   int64         `json:"octets"`
	Skipped  []Skipped     `json:"skipped,omitempty"`
	Elapsed  time.Duration `json:"elapsed_ns"`
}

// badStored is a message that the store has and cannot read.
const badStored = "damaged in the store: posthouse check store --deep says more"

// ExportOptions of Export.
type ExportOptions struct {
	Give     func(ctx context.Context, w io.Writer) error // writes the stream of frames
	Progress func(Progress)
	Now      func() time.Time
}

// Export writes what Give gives.
func Export(ctx context.Context, to Exporter, o ExportOptions) (*ExportSummary, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	began := o.Now()
	in, out := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := o.Give(ctx, out)
		out.CloseWithError(err)
		done <- err
	}()
	sum := &Summary{}
	e := &ExportSummary{}
	err := export(NewFrameReader(in), to, o, func(at Progress) error {
		e.Messages, e.Octets = at.Messages, at.Octets
		if at.Folder != "" {
			e.Folders++
		}
		return ctx.Err()
	}, sum)
	in.CloseWithError(io.ErrClosedPipe)
	if gave := <-done; gave != nil && !errors.Is(gave, io.ErrClosedPipe) {
		err = gave
	}
	e.Skipped, e.Elapsed = sum.Skipped, o.Now().Sub(began)
	return e, errors.Join(err, to.Close())
}

// export reads the stream; note is called with what is done, with a folder's name when one begins.
func export(f *FrameReader, to Exporter, o ExportOptions, note func(Progress) error, sum *Summary) error {
	at := Progress{}
	folder := ""
	began := o.Now()
	told := began
	for {
		h, err := f.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		begins := ""
		if h.Folder != nil {
			folder = h.Folder.Name
			begins = folder
			at.Total += h.Folder.Messages
			err = to.Folder(h.Folder)
		} else {
			err = to.Message(h, f)
			switch {
			case err == nil:
				at.Messages++
				at.Octets += h.Size
			case errors.Is(err, errGivenUp):
				sum.skip(badStored, fmt.Sprintf("%s uid %d", folder, h.UID))
				err = nil
			}
			at.Done++
		}
		if err != nil {
			return err
		}
		if err := note(Progress{Folder: begins, Messages: at.Messages, Octets: at.Octets}); err != nil {
			return err
		}
		if now := o.Now(); o.Progress != nil && now.Sub(told) > 200*time.Millisecond {
			told = now
			o.Progress(Progress{Folder: folder, Done: at.Done, Total: at.Total, Messages: at.Messages, Octets: at.Octets, Elapsed: now.Sub(began)})
		}
	}
}

// emptyFolder makes the folder of an export, and refuses one with anything in it: two exports in one would be neither.
func emptyFolder(path string) error {
	entries, err := os.ReadDir(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := os.MkdirAll(path, 0o700); err != nil {
			return err
		}
	case err != nil:
		return err
	case len(entries) > 0:
		return fmt.Errorf("%s is not empty: say a folder that is not there yet, or empty this one", path)
	}
	return os.WriteFile(filepath.Join(path, exportMark), []byte("1\n"), 0o600)
}
