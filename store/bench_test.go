package store_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/vfs"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

// aMail is a message of about size octets that compression cannot shrink to nothing.
func aMail(n, size int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "From: a@alpha.test\r\nTo: b%d@alpha.test\r\nSubject: number %d\r\nMessage-ID: <%d@alpha.test>\r\n\r\n", n, n, n)
	x := uint64(n)*0x9e3779b97f4a7c15 + 1
	for b.Len() < size {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		fmt.Fprintf(&b, "%016x%016x%016x%016x\r\n", x, x*3, x*5, x*7)
	}
	return b.String()
}

// rawRate is how often a second 4 KB can be appended to a file of the folder and synced.
func rawRate(b *testing.B, dir string) float64 {
	b.Helper()
	f, err := vfs.OS{}.OpenFile(filepath.Join(dir, "raw"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	buf := make([]byte, 4096)
	start := time.Now()
	n := 0
	for ; n < 2000 && time.Since(start) < time.Second/2; n++ {
		if _, err := f.WriteAt(buf, int64(n)*4096); err != nil {
			b.Fatal(err)
		}
		if err := f.Datasync(); err != nil {
			b.Fatal(err)
		}
	}
	return float64(n) / time.Since(start).Seconds()
}

func BenchmarkDeliver(b *testing.B) {
	for _, writers := range []int{1, 20, 100} {
		b.Run(fmt.Sprintf("4KB/W=%d", writers), func(b *testing.B) {
			h := storetest.Start(b, storetest.Options{})
			const accounts = 50
			for id := range mail.AccountID(accounts) {
				storetest.Account(b, h.Store, h.DB, id+1)
			}
			texts := make([]string, 64)
			for i := range texts {
				texts[i] = aMail(i, 4096)
			}
			dir := b.TempDir()
			raw := rawRate(b, dir)
			ctx := context.Background()
			var next atomic.Int64
			var wg sync.WaitGroup
			c := h.DB.Counts()
			before := c.TableBytes + c.Log.Bytes + c.Log.BodyBytes
			b.ResetTimer()
			for range writers {
				wg.Go(func() {
					for {
						n := next.Add(1)
						if n > int64(b.N) {
							return
						}
						a := storetest.Arrival(b, h.Store, texts[n%64])
						if _, err := h.Store.Deliver(ctx, a, []store.Delivery{{Account: mail.AccountID(n%accounts + 1), Mailbox: "INBOX"}}); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			if err := h.DB.SettleAll(ctx); err != nil {
				b.Fatal(err)
			}
			rate := float64(b.N) / b.Elapsed().Seconds()
			b.StopTimer()
			c = h.DB.Counts()
			b.ReportMetric(float64(c.TableBytes+c.Log.Bytes+c.Log.BodyBytes-before)/float64(b.N)/4096, "written/mail")
			raw = (raw + rawRate(b, dir)) / 2
			b.ReportMetric(rate, "msgs/s")
			b.ReportMetric(raw, "raw/s")
			b.ReportMetric(rate/raw, "R")
		})
	}
}

// grown is a store whose mailbox INBOX of account 1 has n messages.
func grown(b testing.TB, n int) (*storetest.House, store.MailboxID) {
	b.Helper()
	h := storetest.Start(b, storetest.Options{})
	storetest.Account(b, h.Store, h.DB, 1)
	box, err := h.Store.Mailbox(context.Background(), 1, "INBOX")
	if err != nil {
		b.Fatal(err)
	}
	storetest.Message(b, h.Store, 1, "INBOX", aMail(1, 1024))
	for have := 1; have < n; {
		add := min(have, n-have)
		if _, err := h.Store.Copy(context.Background(), box.ID, []store.UIDRange{{First: 1, Last: store.UID(add)}}, box.ID); err != nil {
			b.Fatal(err)
		}
		have += add
	}
	return h, box.ID
}

func BenchmarkState(b *testing.B) {
	for _, n := range []int{1000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			h, id := grown(b, n)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := h.Store.State(context.Background(), id); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkUIDs100k(b *testing.B) {
	h, id := grown(b, 100_000)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h.Store.UIDs(context.Background(), id); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMessages100k(b *testing.B) {
	h, id := grown(b, 100_000)
	b.ReportAllocs()
	rows := 0
	for b.Loop() {
		for page, err := range h.Store.Messages(context.Background(), id, []store.UIDRange{{First: 1, Last: 0xffffffff}}) {
			if err != nil {
				b.Fatal(err)
			}
			rows += len(page)
		}
	}
	b.ReportMetric(float64(rows)/b.Elapsed().Seconds()/1e6, "Mrows/s")
}

func BenchmarkFlag100k(b *testing.B) {
	h, id := grown(b, 100_000)
	all := []store.UIDRange{{First: 1, Last: 0xffffffff}}
	b.ReportAllocs()
	op := store.FlagsAdd
	before, n := h.DB.Counts().TableBytes, 0
	for ; b.Loop(); n++ {
		rows, _, err := h.Store.SetFlags(context.Background(), id, all, store.FlagsChange{Op: op, Flags: store.Flagged})
		if err != nil || len(rows) != 100_000 {
			b.Fatal(len(rows), err)
		}
		op = store.FlagsAdd + store.FlagsRemove - op
	}
	b.ReportMetric(float64(h.DB.Counts().TableBytes-before)/float64(n)/100_000, "B/msg")
}

func BenchmarkFlagOne(b *testing.B) {
	h, id := grown(b, 10_000)
	dir := b.TempDir()
	raw := rawRate(b, dir)
	op := store.FlagsAdd
	for b.Loop() {
		if _, _, err := h.Store.SetFlags(context.Background(), id, []store.UIDRange{{First: 500, Last: 500}}, store.FlagsChange{Op: op, Flags: store.Flagged}); err != nil {
			b.Fatal(err)
		}
		op = store.FlagsAdd + store.FlagsRemove - op
	}
	b.ReportMetric(float64(b.Elapsed().Seconds())/float64(b.N)*raw, "raw-syncs")
}

func BenchmarkChanges100k(b *testing.B) {
	h, id := grown(b, 100_000)
	ctx := context.Background()
	for n := 0; b.Loop(); n++ {
		b.StopTimer()
		st, err := h.Store.State(ctx, id)
		if err != nil {
			b.Fatal(err)
		}
		_, _, err = h.Store.SetFlags(ctx, id, []store.UIDRange{{First: 500, Last: 510}}, store.FlagsChange{Op: store.FlagsOp(n % 2), Flags: store.Flagged, Keywords: []string{fmt.Sprint("k", n%3)}})
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		c, err := h.Store.Changes(ctx, id, st.HighestModSeq)
		if err != nil || len(c.Messages) == 0 {
			b.Fatal(c, err)
		}
	}
}

func BenchmarkCopy10k(b *testing.B) {
	h, id := grown(b, 10_000)
	ctx := context.Background()
	trash, err := h.Store.Mailbox(ctx, 1, "Trash")
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := h.Store.Copy(ctx, id, []store.UIDRange{{First: 1, Last: 10_000}}, trash.ID); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMove10k(b *testing.B) {
	h, from := grown(b, 10_000)
	ctx := context.Background()
	trash, err := h.Store.Mailbox(ctx, 1, "Trash")
	if err != nil {
		b.Fatal(err)
	}
	to := trash.ID
	for b.Loop() {
		if _, _, err := h.Store.Move(ctx, from, []store.UIDRange{{First: 1, Last: 0xffffffff}}, to); err != nil {
			b.Fatal(err)
		}
		from, to = to, from
	}
}

// BenchmarkTables tells what a message costs in the tables and on the disk.
func BenchmarkTables(b *testing.B) {
	for b.Loop() {
		dir := b.TempDir()
		h := storetest.Start(b, storetest.Options{KV: kv.Options{Dir: dir}})
		for id := range mail.AccountID(5) {
			storetest.Account(b, h.Store, h.DB, id+1)
			fill(b, h, id+1, 200_000)
		}
		size := func() float64 {
			st, err := os.Stat(filepath.Join(dir, "meta.db"))
			if err != nil {
				b.Fatal(err)
			}
			return float64(st.Size())
		}
		b.ReportMetric(size()/1e6, "B/msg")
		start := time.Now()
		h.Reopen()
		b.ReportMetric(time.Since(start).Seconds()*1e3, "ms-close-open")
		problems, err := h.Store.Check(context.Background(), false)
		if err != nil || len(problems) > 0 {
			b.Fatal(problems, err)
		}
	}
}

// fill puts n messages into INBOX by copying the first.
func fill(b testing.TB, h *storetest.House, id mail.AccountID, n int) {
	b.Helper()
	box, err := h.Store.Mailbox(context.Background(), id, "INBOX")
	if err != nil {
		b.Fatal(err)
	}
	storetest.Message(b, h.Store, id, "INBOX", aMail(int(id), 1024))
	for have := 1; have < n; {
		add := min(have, n-have)
		if _, err := h.Store.Copy(context.Background(), box.ID, []store.UIDRange{{First: 1, Last: store.UID(add)}}, box.ID); err != nil {
			b.Fatal(err)
		}
		have += add
	}
}

// BenchmarkRead opens and reads messages of 12 KB as FETCH BODY[] does, BenchmarkStructure as FETCH ENVELOPE does.
func BenchmarkRead(b *testing.B) {
	h, rows := filled(b, 500, 12<<10)
	buf := make([]byte, 64<<10)
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		m := rows[n%len(rows)]
		b.SetBytes(int64(m.Size))
		body, err := h.Store.Open(context.Background(), m)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := body.ReadAt(buf[:m.Size], 0); err != nil && err != io.EOF {
			b.Fatal(err)
		}
		body.Close()
	}
}

func BenchmarkStructure(b *testing.B) {
	h, rows := filled(b, 500, 12<<10)
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		body, err := h.Store.Open(context.Background(), rows[n%len(rows)])
		if err != nil {
			b.Fatal(err)
		}
		if _, err := body.Root(); err != nil {
			b.Fatal(err)
		}
		body.Close()
	}
}

// filled is a store with n messages of size octets.
func filled(b *testing.B, n, size int) (*storetest.House, []store.Message) {
	b.Helper()
	h := storetest.Start(b, storetest.Options{})
	storetest.Account(b, h.Store, h.DB, 1)
	for i := range n {
		storetest.Deliver(b, h.Store, 1, "INBOX", aMail(i, size))
	}
	return h, storetest.Rows(b, h.Store, 1, "INBOX")
}
