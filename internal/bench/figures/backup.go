package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/posthouse-mail/posthouse/store/backup"
	"github.com/posthouse-mail/posthouse/store/kv"
)

const (
	backupShare  = 0.2 // the default of backup.share
	backupBefore = 2 * time.Second
	backupRounds = 3
)

// backup measures what a hot backup costs those who deliver: their rate while it runs against the rate just before and after.
func (b *bench) backup() (err error) {
	o, err := b.open("backup", kv.Options{})
	if err != nil {
		return err
	}
	msgs, octets := mixed(600)
	if _, err := o.deliverAll(20, 4*len(msgs), msgs); err != nil {
		return err
	}
	small := fixed(4096, 512)
	var count, failed atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for w := range 20 {
		wg.Go(func() {
			for i := w; ; i += 20 {
				select {
				case <-stop:
					return
				default:
				}
				if err := o.deliver(i, small[i%len(small)]); err != nil {
					failed.Add(1)
					return
				}
				count.Add(1)
			}
		})
	}
	rate := func(fn func() error) (float64, error) {
		from, began := count.Load(), time.Now()
		err := fn()
		return float64(count.Load()-from) / time.Since(began).Seconds(), err
	}
	quiet := func() error { time.Sleep(backupBefore); return nil }
	var ratios []float64
	var took time.Duration
	for i := range backupRounds {
		before, _ := rate(quiet)
		during, err := rate(func() error {
			rep, err := backup.Run(context.Background(), backup.Options{
				To: filepath.Join(b.dir, fmt.Sprint("to", i)), DB: o.db, Store: o.s, Share: backupShare, Temp: o.dir,
			})
			if err == nil && rep.Verified == nil {
				err = fmt.Errorf("the backup is not verified: %q", rep.Problems)
			}
			took = rep.Took
			return err
		})
		if err != nil {
			return err
		}
		after, _ := rate(quiet)
		ratios = append(ratios, during/((before+after)/2))
	}
	close(stop)
	wg.Wait()
	if failed.Load() > 0 {
		return fmt.Errorf("%d writers failed", failed.Load())
	}
	slices.Sort(ratios)
	r := ratios[len(ratios)/2]
	b.add(r >= 0.8, fmt.Sprintf("deliveries/s while a backup of %d MB runs, against without, W=20, 4 KB", 4*octets>>20), "at least 0.8",
		"%.2f (%.2f to %.2f; it took %.1f s)", r, ratios[0], ratios[len(ratios)-1], took.Seconds())
	return o.drop()
}
