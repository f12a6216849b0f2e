package importer

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// longNames is a file at the top of an export: the mailboxes whose names no file system takes, and how their files are called instead.
const longNames = "posthouse-names"

// maxOnDisk is how long the name of a file may be, with what stands before and behind it; file systems take 255.
const maxOnDisk = 240

// shortName is the name on the disk of a mailbox whose own is too long there; the export at root notes it.
func shortName(root, mailbox string) (name string, err error) {
	k := key("long name", mailbox)
	name = "long-" + hex.EncodeToString(k[:8])
	f, err := os.OpenFile(filepath.Join(root, longNames), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	_, err = fmt.Fprintf(f, "%s\t%s\n", name, mailbox)
	return name, errors.Join(err, f.Close())
}

// readLongNames reads what shortName noted.
func readLongNames(root string) map[string]string {
	out, bad := map[string]string{}, 0
	f, err := openFile(filepath.Join(root, longNames))
	if err != nil {
		return out
	}
	for line := range listLines(io.LimitReader(f, maxSmallFile), &bad) {
		if name, mailbox, ok := strings.Cut(line, "\t"); ok {
			out[name] = mailbox
		}
	}
	_ = f.Close() // it was only read
	return out
}
