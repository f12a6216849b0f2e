package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/metrics"
	"github.com/posthouse-mail/posthouse/store/kv"
)

const (
	diskEvery     = 5 * time.Second // between looks at the free space
	diskFaster    = 5               // so many times as often while there is little: mail comes fast
	diskTellAgain = time.Minute     // between tries to reach the postmaster
	lowPortion    = 10              // disk_low counts up to one part in so many of the disk
	stopPortion   = 33              // disk_stop likewise
	reliefPortion = 10              // kept mail is given up until this part of disk_low is free above it
)

// diskState is how far a disk is from full.
type diskState int

const (
	diskOK diskState = iota
	diskLow
	diskStop
)

// Disk is the free space and the size of the file system of the data folder.
type Disk struct{ Free, Size int64 }

// diskGuard watches the disk of the data folder. Below the first line it tells the postmaster, once until there is room again, and
// gives up what can be given up; below the second it has new mail refused, while the rest of the disk is for flags, moves and
// removals. It takes all back by itself. What it is made of are functions, so that tests can give it a disk of their own.
type diskGuard struct {
	look    func() (Disk, error)
	lines   func(Disk) (low, stop int64)
	tell    func(context.Context, Disk, int64) error // the postmaster
	relieve func(ctx context.Context, need int64)    // make room; may take long
	refuse  func(full bool)                          // new mail
	back    func(context.Context)                    // there is room again
	log     interface {
		WarnContext(context.Context, string, ...any)
		ErrorContext(context.Context, string, ...any)
		InfoContext(context.Context, string, ...any)
	}

	every    time.Duration
	state    diskState
	told     bool      // in this episode
	tried    time.Time // to tell
	reliefs  sync.WaitGroup
	relieved chan struct{} // has room for one: no relief is under way
	gauge    prometheus.Gauge
}

// lines are where the guard begins to act, by the settings. On a small disk they are parts of it.
func lines(disk Disk, low, stop int64) (int64, int64) {
	return min(low, disk.Size/lowPortion), min(stop, disk.Size/stopPortion)
}

// run looks until ctx ends.
func (g *diskGuard) run(ctx context.Context) {
	defer g.reliefs.Wait()
	g.relieved = make(chan struct{}, 1)
	g.relieved <- struct{}{}
	for {
		g.step(ctx)
		every := g.every
		if g.state != diskOK {
			every /= diskFaster
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(every):
		}
	}
}

// step is one look.
func (g *diskGuard) step(ctx context.Context) {
	disk, err := g.look()
	if err != nil {
		g.log.ErrorContext(ctx, logx.DiskError, "error", err)
		return
	}
	low, stop := g.lines(disk)
	next := g.next(disk.Free, low, stop)
	if (next == diskStop) != (g.state == diskStop) {
		g.refuse(next == diskStop)
	}
	switch {
	case next == diskStop && g.state != diskStop:
		g.log.ErrorContext(ctx, logx.DiskStop, "free", disk.Free, "size", disk.Size, "below", stop)
	case next == diskLow && g.state == diskOK:
		g.log.WarnContext(ctx, logx.DiskLow, "free", disk.Free, "size", disk.Size, "below", low)
	case next == diskOK && g.state != diskOK:
		g.log.InfoContext(ctx, logx.DiskBack, "free", disk.Free, "size", disk.Size)
		g.told, g.tried = false, time.Time{}
		g.back(ctx)
	}
	g.state = next
	g.gauge.Set(float64(next))
	if next == diskOK {
		return
	}
	if now := time.Now(); !g.told && now.Sub(g.tried) >= diskTellAgain {
		g.tried = now // before anything is given up: what it takes is part of the message
		g.told = g.tell(ctx, disk, stop) == nil
	}
	g.startRelief(ctx, low+low/reliefPortion-disk.Free)
}

// next is the state at so much free space. The way back is a little longer than the way there, so that nothing flaps.
func (g *diskGuard) next(free, low, stop int64) diskState {
	if g.state >= diskStop {
		stop += stop / 4
	}
	if g.state >= diskLow {
		low += low / 20
	}
	switch {
	case free < stop:
		return diskStop
	case free < low:
		return diskLow
	}
	return diskOK
}

// startRelief makes room in the background, one relief at a time: only when the last one is done does the free space say what is
// still missing.
func (g *diskGuard) startRelief(ctx context.Context, need int64) {
	select {
	case <-g.relieved:
	default:
		return
	}
	g.reliefs.Go(func() {
		g.relieve(ctx, max(need, 0))
		g.relieved <- struct{}{}
	})
}

// newDiskGuard is the guard of this house.
func (d *Daemon) newDiskGuard() *diskGuard {
	return &diskGuard{
		look: d.disk,
		lines: func(disk Disk) (int64, int64) {
			s := d.settings.Load().Store
			return lines(disk, int64(s.DiskLow), int64(s.DiskStop))
		},
		tell: d.tellDiskLow, relieve: d.relieveDisk, refuse: d.keepers.store.SetFull,
		back: func(ctx context.Context) {
			// A commit of nothing has the tables take their reserved file again.
			if err := d.keepers.db.Update(ctx, func(*kv.Tx) error { return nil }); err != nil && ctx.Err() == nil {
				d.log.ErrorContext(ctx, logx.DiskError, "error", err)
			}
		},
		log: d.log, gauge: diskMetrics(d.metrics, d.disk), every: cmp.Or(d.o.DiskEvery, diskEvery),
	}
}

// disk looks at the disk of the data folder.
func (d *Daemon) disk() (Disk, error) {
	if d.o.Disk != nil {
		return d.o.Disk()
	}
	free, err := d.keepers.db.DiskFree()
	if err != nil {
		return Disk{}, err
	}
	size, err := d.keepers.db.DiskSize()
	return Disk{Free: free, Size: size}, err
}

func diskMetrics(set *metrics.Set, look func() (Disk, error)) prometheus.Gauge {
	read := func(pick func(Disk) int64) func() float64 {
		return func() float64 {
			disk, err := look()
			if err != nil {
				return -1
			}
			return float64(pick(disk))
		}
	}
	set.GaugeFunc("disk_free_bytes", "Free space on the disk of the data folder.", read(func(d Disk) int64 { return d.Free }))
	set.GaugeFunc("disk_size_bytes", "Size of the disk of the data folder.", read(func(d Disk) int64 { return d.Size }))
	return set.Gauge("disk_state", "0: there is room; 1: little, kept mail is given up; 2: new mail is refused.")
}

// compactAtMost is how long the guard waits for disk space to come back before it looks again.
const compactAtMost = 5 * time.Minute

// relief is how room is made: by functions, so that tests can be the disk.
type relief struct {
	free       func() (int64, error)
	compact    func(context.Context) error
	giveUp     func(ctx context.Context, n uint64) (uint64, error) // of expunged mail that is still kept
	dropBefore func() bool                                         // the way back to the version before
}

// run makes need octets free, or as many as there are. First the disk gets what nobody wants back; only what is still missing is taken
// of the kept mail, the oldest first. When that is not enough, the way back to the version before goes too. As long as
// a backup or a check holds the segments nothing comes back, whatever is given up: then nothing is.
func (r *relief) run(ctx context.Context, need int64) error {
	before, err := r.free()
	if err != nil {
		return err
	}
	missing := func() int64 {
		now, e := r.free()
		if e != nil {
			return 0
		}
		return need - (now - before)
	}
	err = r.compact(ctx)
	if missing() <= 0 || errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
		return err
	}
	given, err := r.giveUp(ctx, uint64(missing())) // also when a full disk has no room for compaction: whole segments go without
	if err == nil && given > 0 {
		err = r.compact(ctx)
	}
	if missing() > 0 && ctx.Err() == nil {
		r.dropBefore()
	}
	return err
}

// relieveDisk is relief for this house.
func (d *Daemon) relieveDisk(ctx context.Context, need int64) {
	r := relief{
		free: func() (int64, error) {
			disk, err := d.disk()
			return disk.Free, err
		},
		compact: func(ctx context.Context) error {
			// A backup or a check may hold the segments for hours; the guard has other things to do.
			round, stop := context.WithTimeout(ctx, compactAtMost)
			defer stop()
			_, err := d.keepers.db.Compact(round, true)
			return err
		},
		giveUp: d.keepers.store.GiveUp, dropBefore: d.keepers.db.DropBefore,
	}
	if err := r.run(ctx, need); err != nil && ctx.Err() == nil {
		d.log.ErrorContext(ctx, logx.DiskError, "error", err)
	}
}

// tellDiskLow writes to the postmaster.
func (d *Daemon) tellDiskLow(ctx context.Context, disk Disk, stop int64) error {
	folder := d.o.Config.Data
	var b strings.Builder
	fmt.Fprintf(&b, "The disk of the mail server %s is nearly full:\n%s of %s are free where its mail is (%s).\n\n",
		d.o.Config.Hostname, people(uint64(disk.Free)), people(uint64(disk.Size)), folder)
	fmt.Fprintf(&b, "When less than %s is free, new mail is refused for the time being: other servers\nkeep it and try again for some days. Mail that is here can still be read and deleted.\n\n", people(uint64(max(stop, 0))))
	held, kept, err := d.keepers.store.Totals(ctx)
	if err != nil {
		return err
	}
	seg, tables := folderSize(filepath.Join(folder, "seg")), folderSize(filepath.Join(folder, "meta.db"))+folderSize(filepath.Join(folder, "meta.db.day"))
	all := folderSize(folder)
	used := uint64(max(disk.Size-disk.Free, 0))
	fmt.Fprintf(&b, "What takes the space:\n\n")
	for _, x := range []struct {
		what string
		size uint64
	}{{"mail and log (seg)", seg}, {"tables", tables}, {"the rest of the data folder", all - min(all, seg+tables)}, {"other files on this disk, about", used - min(used, all)}} {
		fmt.Fprintf(&b, "  %-32s %10s\n", x.what, people(x.size))
	}
	fmt.Fprintf(&b, "\nThe mailboxes hold %s in %d messages (before compression). Beside them\n%s of deleted mail were kept to be taken back; the oldest of it is given up now.\n\n",
		people(held.Bytes), held.Messages, people(kept.Bytes))
	fmt.Fprintf(&b, "What you can do:\n\n"+
		"  - make the disk larger, or move other files away from it\n"+
		"  - see who holds how much (posthouse account list), and lower quotas\n"+
		"    (posthouse account set USER --quota SIZE, posthouse domain quota DOMAIN --size SIZE)\n"+
		"  - keep deleted mail for a shorter time (store.keep_deleted in the settings)\n\n"+
		"This message comes once. The server goes on by itself when there is room again.\n")
	return d.sendNotice(ctx, notice{to: mail.Address{Local: "postmaster"}, subject: "The disk of " + d.o.Config.Hostname + " is nearly full", text: b.String()}, nil)
}
