package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/posthouse-mail/posthouse/internal/bench/mailgen"
	"github.com/posthouse-mail/posthouse/store/importer"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// importing is the store as an importer's target, as web/admin is in the product.
type importing struct{ *opened }

func (t importing) ImportPlace(ctx context.Context, p importer.Place) (importer.Placed, error) {
	box, err := t.s.Mailbox(ctx, 1, p.Mailbox)
	if err != nil {
		return importer.Placed{}, err
	}
	err = t.s.ReserveUIDs(ctx, box.ID, p.UIDValidity, p.UIDNext)
	return importer.Placed{ID: uint32(box.ID), Name: box.Name, Adopted: err == nil}, err
}

func (t importing) Imported(ctx context.Context, _ string, source uint64, w io.Writer) error {
	for page, err := range t.s.Imported(ctx, 1, source) {
		if err != nil {
			return err
		}
		for i := range page {
			if _, err := w.Write(importer.AppendEntry(nil, &page[i])); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t importing) Import(ctx context.Context, _ string, r io.Reader) (importer.Taken, error) {
	return importer.Take(ctx, t.s, 1, r)
}

// makeMaildir writes n messages of 1 to 15 KB, as Dovecot keeps them: LF, a list of uids.
func (b *bench) makeMaildir(name string, n int) (path string, octets int64, err error) {
	path = filepath.Join(b.dir, name)
	if err := os.MkdirAll(filepath.Join(path, "cur"), 0o700); err != nil {
		return "", 0, err
	}
	var list bytes.Buffer
	fmt.Fprintf(&list, "3 V1500000000 N%d G00112233445566778899aabbccddeeff\n", n+1)
	for i := range n {
		msg := mailgen.Fixed(1, i, 1000+i*7919%14000)
		octets += int64(len(msg))
		base := fmt.Sprintf("%d.M%dP1.host", 1_500_000_000+i, i)
		fmt.Fprintf(&list, "%d :%s\n", i+1, base)
		if err := os.WriteFile(filepath.Join(path, "cur", base+":2,S"), bytes.ReplaceAll(msg, []byte("\r\n"), []byte("\n")), 0o600); err != nil {
			return "", 0, err
		}
	}
	return path, octets, os.WriteFile(filepath.Join(path, "dovecot-uidlist"), list.Bytes(), 0o600)
}

// importMaildir measures moving in: a Maildir of 50,000 messages, and one of twice as many (with -n 20000).
func (b *bench) importMaildir() error {
	var took [2]time.Duration
	for i, n := range []int{b.n * 5 / 2, b.n * 5} {
		path, octets, err := b.makeMaildir(fmt.Sprint("maildir-", i), n)
		if err != nil {
			return err
		}
		speed, err := b.sequential()
		if err != nil {
			return err
		}
		memory, err := b.takeIn(path, n, &took[i])
		if err != nil {
			return err
		}
		if err := os.RemoveAll(path); err != nil {
			return err
		}
		rate, mb := float64(n)/took[i].Seconds(), float64(octets)/1e6/took[i].Seconds()
		b.add(rate >= 5000 || mb >= speed, fmt.Sprintf("import of a Maildir of %d", n), "5,000/s or sequential write", "%.0f/s, %.0f MB/s (sequential %.0f MB/s)", rate, mb, speed)
		b.add(memory <= 100, fmt.Sprintf("anonymous memory of that import, %d", n), "at most 100 MB", "%.0f MB", memory)
	}
	times := took[1].Seconds() / took[0].Seconds()
	b.add(times <= 2.5, "twice as many messages take", "2 times as long", "%.2f times", times)
	return nil
}

// takeIn imports a Maildir into a store of its own, and then once more: nothing may come twice. It returns the most anonymous memory.
func (b *bench) takeIn(path string, n int, took *time.Duration) (memory float64, err error) {
	o, err := b.open("import", kv.Options{})
	if err != nil {
		return 0, err
	}
	defer o.drop()
	debug.FreeOSMemory()
	src, err := importer.OpenMaildir(path, func(string) {})
	if err != nil {
		return 0, err
	}
	options := importer.Options{Kind: "maildir", Name: path, Progress: func(importer.Progress) { memory = max(memory, anonymous()) }}
	start := time.Now()
	sum, err := importer.Run(context.Background(), src, importing{o}, options)
	if err != nil {
		return 0, err
	}
	*took = time.Since(start)
	memory = max(memory, anonymous())
	again, err := importer.Run(context.Background(), src, importing{o}, options)
	if err == nil && (sum.Taken.Messages != int64(n) || again.Already != int64(n) || again.Taken.Messages != 0) {
		err = fmt.Errorf("%d messages taken of %d, then %d", sum.Taken.Messages, n, again.Taken.Messages)
	}
	return memory, err
}
