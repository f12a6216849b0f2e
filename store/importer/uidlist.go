package importer

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"hash/maphash"
	"io"
	"slices"
	"strconv"
	"strings"
)

// maxListLine bounds a line of the small files beside a Maildir.
const maxListLine = 16 << 10

// uidList is what Dovecot (dovecot-uidlist, versions 1 and 3) or Courier (courierimapuiddb) noted of a folder.
type uidList struct {
	valid, next uint32
	seed        maphash.Seed
	entries     []uidEntry // by hash
	uidls       map[uint32]string
	bad         int // lines that cannot be read
}

// uidEntry is a file's uid; the name is kept as a hash, because a million names are too much memory.
type uidEntry struct {
	hash uint64
	uid  uint32
}

const maxUID = 1<<32 - 2

// Bounds of a list: more no folder has that any server could open.
const (
	maxListed   = 8 << 20 // lines
	maxListSize = 2 << 30
	maxUIDL     = 70 // RFC 1939 section 7
)

// readUIDList never fails: what it cannot read it counts.
func readUIDList(r io.Reader) *uidList {
	l := &uidList{seed: maphash.MakeSeed(), uidls: map[uint32]string{}}
	version := 0
	for line := range listLines(io.LimitReader(r, maxListSize), &l.bad) {
		if len(l.entries) == maxListed {
			l.bad++
			break
		}
		if version == 0 {
			if version = l.header(line); version == 0 {
				l.bad++
				return l
			}
			continue
		}
		if !l.line(line, version) {
			l.bad++
		}
	}
	slices.SortFunc(l.entries, func(a, b uidEntry) int { return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.uid, b.uid)) })
	return l
}

// listLines yields the lines of a small file, without their ends; those that are too long are passed over and counted.
func listLines(r io.Reader, bad *int) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		b := bufio.NewReaderSize(r, maxListLine)
		for {
			line, err := b.ReadSlice('\n')
			if errors.Is(err, bufio.ErrBufferFull) {
				*bad++
				for errors.Is(err, bufio.ErrBufferFull) {
					_, err = b.ReadSlice('\n')
				}
				if err != nil {
					return
				}
				continue
			}
			if line = bytes.TrimRight(line, "\r\n"); len(line) > 0 && !yield(string(line)) {
				return
			}
			if err != nil {
				return
			}
		}
	}
}

// header reads the first line and gives the version, or 0.
func (l *uidList) header(line string) int {
	f := strings.Fields(line)
	if len(f) == 0 {
		return 0
	}
	switch f[0] {
	case "1":
		if len(f) < 3 {
			return 0
		}
		l.valid, l.next = number(f[1]), number(f[2])
		return 1
	case "3":
		for _, w := range f[1:] {
			switch w[0] {
			case 'V':
				l.valid = number(w[1:])
			case 'N':
				l.next = number(w[1:])
			}
		}
		return 3
	}
	return 0
}

// number reads a uid; 0 for anything else.
func number(s string) uint32 {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n > maxUID {
		return 0
	}
	return uint32(n)
}

func (l *uidList) line(line string, version int) bool {
	word, rest, ok := strings.Cut(line, " ")
	uid := number(word)
	if !ok || uid == 0 {
		return false
	}
	for version == 3 && !strings.HasPrefix(rest, ":") {
		word, more, ok := strings.Cut(rest, " ")
		if !ok || word == "" {
			return false
		}
		if word[0] == 'P' && len(word) <= 1+maxUIDL {
			l.uidls[uid] = strings.Clone(word[1:]) // W, S, O: sizes and the order of POP3, which we count ourselves
		}
		rest = more
	}
	if version == 3 {
		rest = rest[1:]
	}
	name, _ := splitName(rest)
	if name == "" {
		return false
	}
	l.entries = append(l.entries, uidEntry{maphash.String(l.seed, name), uid})
	return true
}

// uid finds that of a file by its name without flags; 0: it has none.
func (l *uidList) uid(name string) uint32 {
	if l == nil {
		return 0
	}
	h := maphash.String(l.seed, name)
	i, ok := slices.BinarySearchFunc(l.entries, h, func(e uidEntry, h uint64) int { return cmp.Compare(e.hash, h) })
	if !ok {
		return 0
	}
	for ; i+1 < len(l.entries) && l.entries[i+1].hash == h; i++ { // listed twice: the later uid holds
	}
	return l.entries[i].uid
}

// splitName parts the name of a message's file from its flags; ";" and "!" stand for ":" where a file system has none.
func splitName(name string) (base, flags string) {
	for i := len(name) - 3; i >= 0; i-- {
		if name[i+1] == '2' && name[i+2] == ',' && strings.IndexByte(":;!", name[i]) >= 0 {
			return name[:i], name[i+3:]
		}
	}
	base, _, _ = strings.Cut(name, ":1,")
	return base, ""
}

// readKeywords reads dovecot-keywords: the letters a to z of the names of files.
func readKeywords(r io.Reader) (names [26]string, bad int) {
	for line := range listLines(r, &bad) {
		n, name, ok := strings.Cut(line, " ")
		i, err := strconv.Atoi(n)
		if !ok || err != nil || i < 0 || i > 25 || name == "" {
			bad++
			continue
		}
		names[i] = name
	}
	return names, bad
}
