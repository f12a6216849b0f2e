package importer

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// noFollow: a link or a pipe that is named like a message must neither lead us away nor make us wait.
const noFollow = syscall.O_NOFOLLOW | syscall.O_NONBLOCK

// ownerOf is the user that a file belongs to.
func ownerOf(info fs.FileInfo) int {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(s.Uid)
	}
	return -1
}

// errBad is why a text is passed over, in the words of the summary.
type errBad string

func (e errBad) Error() string { return string(e) }

// openText checks that a file can be a message, and reads it as mail; raw: to the octet.
func openText(f *os.File, size int64, buf []byte, raw bool) (Text, error) {
	bad := func(why string) (Text, error) {
		return nil, errors.Join(errBad(why), f.Close())
	}
	if size == 0 && !raw {
		return bad(badEmpty)
	}
	if size > maxText {
		return bad(badHuge)
	}
	if !raw {
		n, err := f.ReadAt(buf[:min(len(buf), 4096)], 0)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, errors.Join(err, f.Close())
		}
		if !looksLikeMail(buf[:n]) {
			return bad(badBinary)
		}
		lines := newCRLF(f, buf)
		return &fileText{Reader: lines, lines: lines, close: f.Close}, nil
	}
	return &fileText{Reader: f, close: f.Close}, nil
}

// looksLikeMail is false for octets that no mail program wrote: a page of NUL that a crash left, a database, a picture. Odd
// mail is mail: a header of 8-bit text, a message without any header, NULs behind the header.
func looksLikeMail(start []byte) bool {
	if i := bytes.Index(start, []byte("\n\n")); i >= 0 {
		start = start[:i]
	}
	if i := bytes.Index(start, []byte("\n\r\n")); i >= 0 {
		start = start[:i]
	}
	line, _, _ := bytes.Cut(start, []byte{'\n'})
	if name, _, ok := bytes.Cut(line, []byte{':'}); ok && len(name) > 0 && isFieldName(name) || bytes.HasPrefix(line, []byte("From ")) {
		return true
	}
	odd := 0
	for _, c := range start {
		if c < ' ' && c != '\t' && c != '\n' && c != '\r' || c == 0x7f {
			odd++
		}
	}
	return bytes.IndexByte(start, 0) < 0 && odd*10 <= len(start)
}

// isFieldName: RFC 5322 section 2.2, white space before the colon allowed as in section 4.5.
func isFieldName(name []byte) bool {
	name = bytes.TrimRight(name, " \t")
	for _, c := range name {
		if c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return len(name) > 0
}

// reason puts an error of reading one message into the words of the summary; ok is false when the whole import must stop.
func reason(err error) (why string, ok bool) {
	if bad, is := errors.AsType[errBad](err); is {
		return string(bad), true
	}
	switch {
	case errors.Is(err, errKind), errors.Is(err, syscall.ELOOP), errors.Is(err, syscall.ENXIO), errors.Is(err, syscall.EISDIR):
		return badKind, true
	case errors.Is(err, fs.ErrNotExist):
		return badGone, true
	}
	if _, is := errors.AsType[*fs.PathError](err); is {
		return badUnreadable, true // rights, and pages of the disk that cannot be read
	}
	return "", false
}

// syncDisk waits until all that was written is on the disk; thousands of files are synced one by one for minutes, together in a second.
func syncDisk() { syscall.Sync() }
