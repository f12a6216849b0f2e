package store_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

// BenchmarkExpunge100k tells what it costs to expunge 100,000 messages at once, with a bin that keeps them and without.
func BenchmarkExpunge100k(b *testing.B) {
	for _, keep := range []time.Duration{-1, keepTime} {
		b.Run(fmt.Sprintf("keep=%v", keep > 0), func(b *testing.B) {
			const n = 100_000
			dir := b.TempDir()
			h := storetest.Start(b, storetest.Options{KV: kv.Options{Dir: dir}, Keep: keep})
			var took time.Duration
			var written int64
			id := mail.AccountID(0)
			for b.Loop() {
				b.StopTimer()
				id++
				storetest.Account(b, h.Store, h.DB, id)
				fill(b, h, id, n)
				inbox := boxID(b, h.Store, id, "INBOX")
				before, start := blocksOut(b), time.Now()
				b.StartTimer()
				if uids, _, err := h.Store.Expunge(context.Background(), inbox, everything(), false); err != nil || len(uids) != n {
					b.Fatal(len(uids), err)
				}
				took += time.Since(start)
				written += blocksOut(b) - before
			}
			b.ReportMetric(float64(took.Milliseconds())/float64(b.N), "ms/100k")
			b.ReportMetric(float64(written)*512/float64(b.N)/n, "B-written/msg")
			if st, err := os.Stat(filepath.Join(dir, "meta.db")); err == nil {
				b.ReportMetric(float64(st.Size())/float64(b.N)/n, "B-table/msg")
			}
		})
	}
}

func blocksOut(b *testing.B) int64 {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return int64(u.Oublock)
}
