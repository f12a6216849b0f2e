package vfs

import (
	"errors"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// iovMax is the kernel's limit of pieces in one pwritev (UIO_MAXIOV).
const iovMax = 1024

func writeVec(f *os.File, pieces [][]byte, off int64) (int, error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	total := 0
	var failed error
	err = conn.Control(func(fd uintptr) {
		for len(pieces) > 0 && failed == nil {
			k := min(len(pieces), iovMax)
			n, err := unix.Pwritev(int(fd), pieces[:k], off+int64(total))
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if err != nil {
				failed = &os.PathError{Op: "pwritev", Path: f.Name(), Err: err}
				return
			}
			if n == 0 && len(pieces[0]) > 0 {
				failed = &os.PathError{Op: "pwritev", Path: f.Name(), Err: io.ErrShortWrite}
				return
			}
			total += n
			pieces = skip(pieces, n)
		}
	})
	if err != nil {
		return total, err
	}
	return total, failed
}

// skip drops the first n octets of pieces, and pieces that are empty.
func skip(pieces [][]byte, n int) [][]byte {
	for len(pieces) > 0 && n >= len(pieces[0]) {
		n -= len(pieces[0])
		pieces = pieces[1:]
	}
	if n > 0 {
		pieces[0] = pieces[0][n:]
	}
	return pieces
}

func datasync(f *os.File) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = conn.Control(func(fd uintptr) {
		for {
			failed = unix.Fdatasync(int(fd))
			if !errors.Is(failed, unix.EINTR) {
				break
			}
		}
	})
	if err != nil {
		return err
	}
	if failed != nil {
		return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: failed}
	}
	return nil
}

func allocate(f *os.File, size int64) error {
	err := unix.Fallocate(int(f.Fd()), 0, 0, size)
	if errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENOSYS) {
		return zeroFill(f, size)
	}
	if err != nil {
		return &os.PathError{Op: "fallocate", Path: f.Name(), Err: err}
	}
	return nil
}
