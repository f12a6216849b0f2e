// Package vfs is the few file operations the store needs, behind a small
// interface, so that tests can make them fail, tear and lose power.
//
// OS is the operating system's file system; vfstest has one in memory.
package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"syscall"
)

var (
	// ErrFull is in the chain of every error that a full disk or an exhausted quota caused. Temporary.
	ErrFull = errors.New("disk full")
	// ErrLocked is what Lock answers while another process has the lock.
	ErrLocked = errors.New("locked by another process")
)

// FS is a file system. Paths are those of the operating system.
type FS interface {
	// OpenFile is os.OpenFile.
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	Remove(name string) error
	Rename(from, to string) error
	Link(from, to string) error
	MkdirAll(name string, perm fs.FileMode) error
	// ReadDir names what stands in a folder, in no order.
	ReadDir(name string) ([]string, error)
	Stat(name string) (fs.FileInfo, error)
	// SyncDir makes the entries of a folder durable: names made, removed and changed.
	SyncDir(name string) error
	// Lock takes the file's lock for this process until Close, or answers ErrLocked at once.
	Lock(name string) (io.Closer, error)
	// Free is how many octets an unprivileged process may still write into the folder's file system.
	Free(name string) (int64, error)
	// Capacity is the size in octets of the folder's file system.
	Capacity(name string) (int64, error)
}

// File is an open file. Reads and writes name their place, so that several goroutines may share it.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// WriteVec writes the pieces one after another from off in as few system calls as may be.
	// It may use up the slice of pieces, never their bytes. Fewer octets than asked for come with an error.
	WriteVec(pieces [][]byte, off int64) (int, error)
	// Datasync makes the content, and the length needed to read it, durable.
	Datasync() error
	Truncate(size int64) error
	// Allocate takes the space for the first size octets; the length grows to it.
	Allocate(size int64) error
	Size() (int64, error)
}

// classify adds ErrFull to errors that mean it.
func classify(err error) error {
	if err == nil || errors.Is(err, ErrFull) {
		return err
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}

// Classify makes ErrFull part of an error of a foreign library that means a full disk.
func Classify(err error) error { return classify(err) }
