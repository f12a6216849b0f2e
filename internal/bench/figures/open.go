package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/posthouse-mail/posthouse/internal/bench/mailgen"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/vfs"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
)

const accounts = 50

// slowFS adds a wait to every fdatasync of the log: the disk of a cheap VPS.
type slowFS struct {
	vfs.FS
	wait time.Duration
}

type slowFile struct {
	vfs.File
	wait time.Duration
}

func (s slowFS) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	f, err := s.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return slowFile{f, s.wait}, nil
}

func (f slowFile) Datasync() error {
	time.Sleep(f.wait)
	return f.File.Datasync()
}

// opened is a running store.
type opened struct {
	dir string
	db  *kv.DB
	s   *store.Store
}

// open makes or opens a store; new ones get their accounts.
func (b *bench) open(name string, o kv.Options) (*opened, error) {
	return b.openWith(name, o, func(*kv.DB, *store.Store) error { return nil })
}

// openWith is open with something that registers before the start.
func (b *bench) openWith(name string, o kv.Options, register func(*kv.DB, *store.Store) error) (*opened, error) {
	o.Dir = filepath.Join(b.dir, name)
	_, err := os.Stat(o.Dir)
	fresh := os.IsNotExist(err)
	ctx := context.Background()
	db, err := kv.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	s, err := store.New(db, store.Options{})
	if err != nil {
		return nil, err
	}
	if err := register(db, s); err != nil {
		return nil, err
	}
	if err := db.Start(ctx); err != nil {
		return nil, err
	}
	if fresh {
		err = db.Update(ctx, func(tx *kv.Tx) error {
			for id := mail.AccountID(1); id <= accounts; id++ {
				if err := s.CreateAccount(tx, id, store.Quota{}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return &opened{dir: o.Dir, db: db, s: s}, err
}

func (o *opened) drop() error {
	err := o.db.Close()
	os.RemoveAll(o.dir)
	return err
}

func (o *opened) arrival(msg []byte) (*store.Arrival, error) {
	w, err := o.s.NewMessage(context.Background(), int64(len(msg)))
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(msg); err != nil {
		w.Discard()
		return nil, err
	}
	return w.Finish()
}

func (o *opened) deliver(to int, msg []byte) error {
	a, err := o.arrival(msg)
	if err != nil {
		return err
	}
	_, err = o.s.Deliver(context.Background(), a, []store.Delivery{{Account: mail.AccountID(1 + to%accounts), Mailbox: store.Inbox}})
	return err
}

// deliverAll delivers n messages from w writers and returns how long it took until the last was acknowledged.
func (o *opened) deliverAll(w, n int, msgs [][]byte) (time.Duration, error) {
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, w)
	start := time.Now()
	for range w {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := o.deliver(i, msgs[i%len(msgs)]); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(start)
	select {
	case err := <-errs:
		return 0, err
	default:
		return took, nil
	}
}

// fixed are messages of one size.
func fixed(size, n int) [][]byte {
	msgs := make([][]byte, n)
	for i := range msgs {
		msgs[i] = mailgen.Fixed(1, i, size)
	}
	return msgs
}

// raw appends 4 KB and syncs for a while, and returns the rate and the median wait.
func (b *bench) raw() (perSecond float64, p50 time.Duration, err error) {
	f, err := os.Create(filepath.Join(b.dir, "raw"))
	if err != nil {
		return 0, 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := syscall.Fallocate(int(f.Fd()), 0, 0, 64<<20); err != nil {
		return 0, 0, err
	}
	block := []byte(strings.Repeat("raw ", 1024))
	var waits []time.Duration
	start := time.Now()
	for i := 0; time.Since(start) < 700*time.Millisecond; i++ {
		at := time.Now()
		if _, err := f.WriteAt(block, int64(i%16384)*4096); err != nil {
			return 0, 0, err
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			return 0, 0, err
		}
		waits = append(waits, time.Since(at))
	}
	slices.Sort(waits)
	return float64(len(waits)) / time.Since(start).Seconds(), waits[len(waits)/2], nil
}

// sequential writes 512 MB in large pieces, synced every 64 MB as segments are, and returns MB/s.
func (b *bench) sequential() (float64, error) {
	f, err := os.Create(filepath.Join(b.dir, "sequential"))
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	block := make([]byte, 8<<20)
	for i := range block {
		block[i] = byte(i * 7)
	}
	start := time.Now()
	for i := range 64 {
		if _, err := f.Write(block); err != nil {
			return 0, err
		}
		if i%8 < 7 {
			continue
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			return 0, err
		}
	}
	return 512 / time.Since(start).Seconds(), nil
}

// cpuTime is what this process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(fmt.Sprint("getrusage: ", err))
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// anonymous is this process's anonymous memory in MB.
func anonymous() float64 { return memory("RssAnon:") }

// resident is all that this process has in memory, with pages of files that it has mapped, in MB.
func resident() float64 { return memory("VmRSS:") }

func memory(name string) float64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	var kb float64
	if _, rest, ok := strings.Cut(string(text), name); ok {
		fmt.Sscan(rest, &kb)
	}
	return kb / 1000
}
