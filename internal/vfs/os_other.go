//go:build !linux

package vfs

import "os"

func writeVec(f *os.File, pieces [][]byte, off int64) (int, error) {
	return writeEach(f, pieces, off)
}

// datasync is fsync; on macOS os.File.Sync is F_FULLFSYNC, because fsync alone leaves the data in the drive's cache.
func datasync(f *os.File) error { return f.Sync() }

func allocate(f *os.File, size int64) error { return zeroFill(f, size) }
