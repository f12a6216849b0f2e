package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"filippo.io/age"

	"github.com/posthouse-mail/posthouse/internal/vfs"
)

const (
	piece     = 1 << 20
	syncEvery = 4 << 20
)

// writer puts files into the folder.
type writer struct {
	fs    vfs.FS
	keys  *keys
	pace  pace
	buf   []byte
	wrote int64
	tell  func(n int)
}

// put writes src as a new file: under another name first, so that a file with its own name is whole. Encrypted, the name gets
// its suffix when it has none.
func (w *writer) put(ctx context.Context, path string, src io.Reader) (File, error) {
	half := path + halfSuffix
	f, err := w.fs.OpenFile(half, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return File{}, err
	}
	out := &appender{file: f, hash: sha256.New()}
	err = w.fill(ctx, out, src)
	if err == nil {
		err = lenient(f.Datasync())
	}
	if err == nil {
		forget(f) // what is read back comes from the disk, not from memory
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = w.fs.Rename(half, path)
	}
	if err == nil {
		err = lenient(w.fs.SyncDir(filepath.Dir(path)))
	}
	if err != nil {
		return File{}, errors.Join(err, ignoreMissing(w.fs.Remove(half)))
	}
	w.wrote += out.off
	return File{Name: filepath.Base(path), Size: out.off, SHA256: hex.EncodeToString(out.hash.Sum(nil))}, nil
}

// fill copies in pieces and rests between them.
func (w *writer) fill(ctx context.Context, out *appender, src io.Reader) error {
	var dst io.Writer = out
	var seal io.WriteCloser
	if w.keys.sealed() {
		var err error
		if seal, err = age.Encrypt(out, w.keys.recipients...); err != nil {
			return err
		}
		dst = seal
	}
	if w.buf == nil {
		w.buf = make([]byte, piece)
	}
	for since := 0; ; {
		began := time.Now()
		n, err := io.ReadFull(src, w.buf)
		if n > 0 {
			if _, err := dst.Write(w.buf[:n]); err != nil {
				return err
			}
			w.tell(n)
		}
		if since += n; since >= syncEvery && w.pace.share > 0 {
			// What is written goes to the disk bit by bit: one long flush at the end would make the log's own syncs wait behind it.
			if err := lenient(out.file.Datasync()); err != nil {
				return err
			}
			since = 0
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errSource, err)
		}
		if err := w.pace.rest(ctx, time.Since(began)); err != nil {
			return err
		}
	}
	if seal != nil {
		return seal.Close()
	}
	return nil
}

// errSource: what was to be copied could not be read.
var errSource = errors.New("read the original")

// appender writes a file front to back.
type appender struct {
	file vfs.File
	off  int64
	hash hash.Hash
}

func (a *appender) Write(p []byte) (int, error) {
	n, err := a.file.WriteAt(p, a.off)
	a.off += int64(n)
	a.hash.Write(p[:n])
	return n, err
}

// pace leaves the disk to others for a part of the time.
type pace struct{ share float64 }

func (p pace) rest(ctx context.Context, worked time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if p.share <= 0 || p.share >= 1 {
		return nil
	}
	t := time.NewTimer(min(time.Duration(float64(worked)*(1/p.share-1)), 5*time.Second))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// lenient takes a file system that cannot sync as it is: a backup is read back afterwards, and a store never stands there.
func lenient(err error) error {
	for _, no := range []error{syscall.EINVAL, syscall.ENOTSUP, syscall.ENOSYS, syscall.EBADF, syscall.EROFS} {
		if errors.Is(err, no) {
			return nil
		}
	}
	return err
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// readMax bounds the small files that are read whole: a manifest of a million segments has some 300 MB.
const readMax = 1 << 30

func readAll(fsys vfs.FS, path string) ([]byte, error) {
	f, err := fsys.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > readMax {
		return nil, fmt.Errorf("%s has %d octets", path, size)
	}
	return io.ReadAll(io.NewSectionReader(f, 0, size))
}

// writeAll writes a small file that is not encrypted, all or nothing.
func writeAll(fsys vfs.FS, path string, text []byte) error {
	w := &writer{fs: fsys, keys: &keys{}, tell: func(int) {}, buf: make([]byte, min(piece, len(text)+1))}
	_, err := w.put(context.Background(), path, &bytesReader{text})
	return err
}

// bytesReader is bytes.Reader without WriterTo: io.ReadFull is all it is for.
type bytesReader struct{ rest []byte }

func (r *bytesReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func writeJSON(fsys vfs.FS, path string, v any) error {
	text, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return err
	}
	return writeAll(fsys, path, append(text, '\n'))
}

// opened is a stored file, decrypted where it is read.
type opened struct {
	io.ReaderAt
	file vfs.File
	size int64 // of the content
}

func (o *opened) Close() error { return o.file.Close() }

func (o *opened) reader() io.Reader { return io.NewSectionReader(o, 0, o.size) }

// open opens a stored file for reading its content.
func (k *keys) open(fsys vfs.FS, path string, sealed bool) (*opened, error) {
	f, err := fsys.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	size, err := f.Size()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if !sealed {
		return &opened{ReaderAt: f, file: f, size: size}, nil
	}
	r, n, err := k.decrypt(f, size)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", filepath.Base(path), err), f.Close())
	}
	return &opened{ReaderAt: r, file: f, size: n}, nil
}

func (k *keys) decrypt(f io.ReaderAt, size int64) (io.ReaderAt, int64, error) {
	if len(k.identities) == 0 {
		return nil, 0, fmt.Errorf("%w: the backup is encrypted; name the file with its private key (--identity FILE) or the passphrase (--passphrase-file FILE)", ErrKey)
	}
	r, n, err := age.DecryptReaderAt(f, size, k.identities...)
	var wrong *age.NoIdentityMatchError
	switch {
	case errors.As(err, &wrong):
		return nil, 0, fmt.Errorf("%w: it was encrypted for another key", ErrKey)
	case err != nil:
		return nil, 0, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return r, n, nil
}

// hashOf reads a stored file whole.
func hashOf(ctx context.Context, fsys vfs.FS, path string, p pace) (sum string, size int64, err error) {
	f, err := fsys.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	if size, err = f.Size(); err != nil {
		return "", 0, err
	}
	h, buf := sha256.New(), make([]byte, piece)
	for off := int64(0); off < size; off += piece {
		began := time.Now()
		n, err := f.ReadAt(buf[:min(piece, size-off)], off)
		if err != nil && !(errors.Is(err, io.EOF) && int64(n) == size-off) {
			return "", 0, err
		}
		h.Write(buf[:n])
		if err := p.rest(ctx, time.Since(began)); err != nil {
			return "", 0, err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), size, nil
}
