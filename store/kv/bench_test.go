package kv

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/posthouse-mail/posthouse/internal/vfs"
	"github.com/posthouse-mail/posthouse/store/blob"
)

// slowFS adds a delay to every Datasync: a disk of a small VPS.
type slowFS struct {
	vfs.OS
	delay time.Duration
}

type slowFile struct {
	vfs.File
	delay time.Duration
}

func (s slowFS) OpenFile(name string, flag int, perm os.FileMode) (vfs.File, error) {
	f, err := s.OS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return slowFile{f, s.delay}, nil
}

func (f slowFile) Datasync() error {
	<-time.After(f.delay)
	return f.File.Datasync()
}

func cpu() time.Duration {
	var u unix.Rusage
	unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// openBench opens a DB whose kind 't' keeps rows of 56 octets in pages of 64, as a mailbox does.
func openBench(b *testing.B, o Options) *DB {
	b.Helper()
	db, err := Open(b.Context(), o)
	if err != nil {
		b.Fatal(err)
	}
	db.Register(testKind, Kind{Apply: func(tx *Tx, e Entry, data []byte) error {
		mailbox := data[:4]
		stateKey := append(append([]byte{}, mailbox...), 0xff, 0xff, 0xff, 0xff)
		state := append([]byte{}, tx.Get("m", stateKey)...)
		if len(state) == 0 {
			state = make([]byte, 56)
		}
		uid := binary.BigEndian.Uint32(state) + 1
		binary.BigEndian.PutUint32(state, uid)
		key := binary.BigEndian.AppendUint32(append([]byte{}, mailbox...), uid>>6)
		page := tx.Get("m", key)
		next := make([]byte, len(page), len(page)+56)
		copy(next, page)
		row := make([]byte, 56)
		binary.BigEndian.PutUint32(row, uid)
		binary.BigEndian.PutUint64(row[12:], uint64(e.LSN))
		binary.BigEndian.PutUint64(row[20:], uint64(e.Body))
		tx.Put("m", key, append(next, row...))
		tx.Put("m", stateKey, state)
		return nil
	}})
	if err := db.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	return db
}

// deliver logs n messages from w goroutines to 50 mailboxes.
func deliver(b *testing.B, db *DB, w, n int, size func(r *rand.Rand) int) (octets int64) {
	b.Helper()
	text := bytes.Repeat([]byte("0123456789abcdef"), 6<<20/16)
	var next, total atomic.Int64
	var wg sync.WaitGroup
	for g := range w {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 1))
			head := text[:200]
			ctx := context.Background()
			for next.Add(1) <= int64(n) {
				k := size(r)
				bw, err := db.NewBody(ctx, int64(k))
				if err != nil {
					b.Error(err)
					return
				}
				bw.Write(text[:k])
				body, err := bw.Finish(head)
				if err != nil {
					b.Error(err)
					return
				}
				account := uint32(r.IntN(50))
				data := make([]byte, 60)
				binary.BigEndian.PutUint32(data, account)
				if _, err := db.Log(ctx, Record{Accounts: []uint32{account}, Parts: []Part{{testKind, data}}, Body: body}); err != nil {
					b.Error(err)
					return
				}
				total.Add(int64(k))
			}
		})
	}
	wg.Wait()
	return total.Load()
}

// report prints what store.md asks for, counted by ourselves.
func report(b *testing.B, db *DB, octets int64, used time.Duration) {
	c := db.Counts()
	n := float64(b.N)
	b.ReportMetric(n/b.Elapsed().Seconds(), "msgs/s")
	b.ReportMetric(float64(octets)/1e6/b.Elapsed().Seconds(), "MB/s")
	b.ReportMetric(float64(used.Microseconds())/n, "cpu-us/msg")
	b.ReportMetric(float64(c.Log.Records)/float64(max(c.Log.Batches, 1)), "msgs/sync")
	b.ReportMetric(float64(c.Log.Bytes+c.Log.BodyBytes+c.TableBytes)/float64(octets), "written/byte")
}

func four(*rand.Rand) int { return 4096 }

// mix is log-normal with a median of 12 KB; 3 of 100 have 1 to 5 MB.
func mix(r *rand.Rand) int {
	if r.IntN(100) < 3 {
		return 1<<20 + r.IntN(4<<20)
	}
	n := 12288.0
	for range int(r.NormFloat64() * 3) {
		n *= 1.4
	}
	return int(n)
}

func benchDeliver(b *testing.B, w int, o Options, size func(*rand.Rand) int) {
	o.Dir, o.Plain = b.TempDir(), true
	db := openBench(b, o)
	defer db.Close()
	deliver(b, db, w, 50, size) // mailboxes exist, buffers are warm
	b.ReportAllocs()
	before := cpu()
	b.ResetTimer()
	octets := deliver(b, db, w, b.N, size)
	db.SettleAll(b.Context())
	b.StopTimer()
	report(b, db, octets, cpu()-before)
}

func BenchmarkDeliver(b *testing.B) {
	for _, w := range []int{1, 20, 100} {
		b.Run(fmt.Sprintf("W=%d", w), func(b *testing.B) { benchDeliver(b, w, Options{}, four) })
	}
}

func BenchmarkDeliverSlowDisk(b *testing.B) {
	for _, w := range []int{1, 20, 100} {
		b.Run(fmt.Sprintf("W=%d", w), func(b *testing.B) {
			benchDeliver(b, w, Options{FS: slowFS{delay: 2 * time.Millisecond}}, four)
		})
	}
}

func BenchmarkDeliverMix(b *testing.B) { benchDeliver(b, 20, Options{}, mix) }

// BenchmarkRaw is R: append 4 KB and fdatasync, one thread.
func BenchmarkRaw(b *testing.B) {
	f, err := vfs.OS{}.OpenFile(b.TempDir()+"/raw", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	p := make([]byte, 4096)
	for i := 0; b.Loop(); i++ {
		f.WriteAt(p, int64(i)*4096)
		if err := f.Datasync(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "syncs/s")
}

// BenchmarkSequential is what the mix is compared with: one file written front to back, synced once.
func BenchmarkSequential(b *testing.B) {
	p := make([]byte, 1<<20)
	b.SetBytes(64 << 20)
	for b.Loop() {
		f, err := vfs.OS{}.OpenFile(b.TempDir()+"/raw", os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			b.Fatal(err)
		}
		for i := range int64(64) {
			f.WriteAt(p, i<<20)
		}
		if err := f.Datasync(); err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}

// BenchmarkRead opens and reads whole bodies of 12 KB, as a first sync does.
func BenchmarkRead(b *testing.B) {
	for _, plain := range []bool{true, false} {
		b.Run(fmt.Sprintf("plain=%v", plain), func(b *testing.B) {
			db := openBench(b, Options{Dir: b.TempDir(), Plain: plain})
			defer db.Close()
			r := rand.New(rand.NewPCG(1, 1))
			text := make([]byte, 12<<10)
			for i := range text {
				text[i] = "abcdefghijklmnopqrstuvwxyz =\r\n0123"[r.IntN(8)*r.IntN(5)]
			}
			bodies := make([]*blob.Body, 1000)
			for i := range bodies {
				w, err := db.NewBody(b.Context(), int64(len(text)))
				if err != nil {
					b.Fatal(err)
				}
				w.Write(text)
				if bodies[i], err = w.Finish(text[:500]); err != nil {
					b.Fatal(err)
				}
			}
			entries, err := db.Keep(b.Context(), bodies...)
			if err != nil {
				b.Fatal(err)
			}
			p := make([]byte, len(text))
			b.SetBytes(int64(len(p)))
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				rd, err := db.OpenBody(entries[i%len(entries)].Body)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := rd.ReadAt(p, 0); err != nil {
					b.Fatal(err)
				}
				rd.Close()
			}
		})
	}
}
