package importer

import (
	"cmp"
	"iter"
	"slices"
	"strconv"
	"strings"
)

// maildirFile is one file of a folder.
type maildirFile struct {
	name string
	uid  uint32
	cur  bool
}

// fileList is the names of a folder, packed: a million of them are 16 MB and their letters.
type fileList struct {
	chunks [][]byte // of names, one behind the other
	files  []listedFile
}

type listedFile struct {
	at       uint32 // where its name stands: number of the chunk, and place in it
	uid      uint32
	received uint32 // the time that its name begins with
	size     uint8
	cur      bool
}

const chunkBits = 20

// newFileList makes room for about n files.
func newFileList(n int64) *fileList {
	return &fileList{files: make([]listedFile, 0, min(n+n/64, 1<<22))}
}

func (l *fileList) add(f maildirFile) {
	last := len(l.chunks) - 1
	if last < 0 || len(l.chunks[last])+len(f.name) > 1<<chunkBits {
		if last+1 == 1<<(32-chunkBits) || len(f.name) > 255 {
			return // 4 GB of names; no file system has longer ones
		}
		l.chunks = append(l.chunks, make([]byte, 0, 1<<chunkBits))
		last++
	}
	at := uint32(last)<<chunkBits | uint32(len(l.chunks[last]))
	l.chunks[last] = append(l.chunks[last], f.name...)
	l.files = append(l.files, listedFile{at: at, uid: f.uid, received: received(f.name), size: uint8(len(f.name)), cur: f.cur})
}

func (l *fileList) name(f listedFile) []byte {
	at := f.at & (1<<chunkBits - 1)
	return l.chunks[f.at>>chunkBits][at : at+uint32(f.size)]
}

// sort brings those with a uid first, in its order, the others behind them as they came.
func (l *fileList) sort() {
	slices.SortFunc(l.files, func(a, b listedFile) int {
		return cmp.Or(cmp.Compare(a.uid-1, b.uid-1), cmp.Compare(a.received, b.received), slices.Compare(l.name(a), l.name(b)))
	})
}

func (l *fileList) all() iter.Seq[maildirFile] {
	return func(yield func(maildirFile) bool) {
		for _, f := range l.files {
			if !yield(maildirFile{name: string(l.name(f)), uid: f.uid, cur: f.cur}) {
				return
			}
		}
	}
}

// received is the time that a file's name begins with.
func received(name string) uint32 {
	t, _, _ := strings.Cut(name, ".")
	n, err := strconv.ParseUint(t, 10, 32)
	if err != nil {
		return 0
	}
	return uint32(n)
}
