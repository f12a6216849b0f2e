package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/queue"
	"github.com/posthouse-mail/posthouse/store"
)

// CheckRequest says how the store is looked at.
type CheckRequest struct {
	Deep bool  `json:"deep,omitempty"` // read every message and every page of the tables
	Pace int64 `json:"pace,omitempty"` // octets a second; 0: as fast as the disk
}

// Finding is one thing that is wrong with the store. With a UID it is about one message.
type Finding struct {
	Account string `json:"account,omitempty"` // the main address, or the number of an account that is gone
	Mailbox string `json:"mailbox,omitempty"`
	UID     uint32 `json:"uid,omitempty"`
	Subject string `json:"subject,omitempty"`
	From    string `json:"from,omitempty"`
	File    string `json:"file,omitempty"` // in the data folder
	Offset  int64  `json:"offset,omitempty"`
	Problem string `json:"problem"`
	Advice  string `json:"advice,omitempty"`
}

// String is the finding in words.
func (f Finding) String() string {
	if f.UID == 0 {
		return f.Problem
	}
	p := store.Problem{Subject: f.Subject, From: f.From}
	return fmt.Sprintf("%s, mailbox %s, uid %d%s: %s (%s at octet %d); %s", f.Account, f.Mailbox, f.UID, p.Quote(), f.Problem, f.File, f.Offset, f.Advice)
}

// CheckStore verifies the store while it is in use and says in words what is wrong.
func (h *House) CheckStore(ctx context.Context, r CheckRequest) ([]Finding, error) {
	problems, err := h.o.Store.Examine(ctx, store.Examination{Deep: r.Deep, Pace: r.Pace})
	broken, derr := h.o.Directory.Broken(ctx)
	err = errors.Join(err, derr)
	out := make([]Finding, 0, len(problems)+len(broken))
	for _, text := range broken {
		out = append(out, Finding{Problem: "directory: " + words(text), Advice: "the rest of the directory works; set it anew, or bring it back from a backup"})
	}
	for _, p := range problems {
		f := Finding{Mailbox: p.Mailbox, UID: p.UID, Subject: p.Subject, From: p.From, Problem: words(p.Text)}
		if p.UID != 0 {
			f.Account = h.nameOf(ctx, p.Account)
			f.File, f.Offset = fmt.Sprintf("seg/%08x.seg", p.Place.Segment()), p.Place.Offset()
			f.Advice = "bring the message back from a backup (posthouse restore), or delete it"
		}
		out = append(out, f)
	}
	log, lerr := h.checkAudit(ctx)
	junk, jerr := h.checkJunk(ctx)
	out, serr := h.withSuppressed(ctx, append(append(out, log...), junk...))
	waiting, qerr := h.checkQueue(ctx, r.Deep)
	return append(out, waiting...), translate("check", errors.Join(err, lerr, jerr, qerr, serr))
}

// checkQueue looks at the mail that waits. An entry may leave, or its body move, while it is looked at.
func (h *House) checkQueue(ctx context.Context, deep bool) (out []Finding, err error) {
	items, err := h.o.Queue.List(ctx, queue.Filter{})
	if err != nil {
		return nil, err
	}
	loose, err := h.o.Queue.CheckOutbox(ctx)
	if err != nil {
		return nil, err
	}
	for _, text := range loose {
		out = append(out, Finding{Problem: words(text)})
	}
	for _, it := range items {
		if ctx.Err() != nil {
			return out, ctx.Err()
		}
		err := h.readWaiting(ctx, it, deep)
		for errors.Is(err, fs.ErrNotExist) {
			now, lerr := h.o.Queue.List(ctx, queue.Filter{Number: it.Number})
			if lerr != nil {
				return out, lerr
			}
			if len(now) == 0 {
				err = nil
				break
			}
			if now[0].Place == it.Place { // it is there, and its file is not
				break
			}
			it = now[0]
			err = h.readWaiting(ctx, it, deep)
		}
		if err != nil {
			out = append(out, Finding{
				Problem: fmt.Sprintf("queue entry %s from %s to %s cannot be read: %s", it.ID, it.Envelope.From, it.Domain, words(err.Error())),
				File:    fmt.Sprintf("seg/%08x.seg", it.Place.Segment()), Offset: it.Place.Offset(),
				Advice: "its sender gets a report with the next try; posthouse queue cancel " + it.ID + " sends it now",
			})
		}
	}
	return out, nil
}

func (h *House) readWaiting(ctx context.Context, it queue.Item, deep bool) error {
	b, err := h.o.Store.OpenAt(ctx, it.Place)
	if err != nil {
		return err
	}
	defer b.Close()
	if !deep {
		return nil
	}
	_, err = io.Copy(io.Discard, io.NewSectionReader(b, 0, b.Size()))
	return err
}

// nameOf is the address that people know an account by.
func (h *House) nameOf(ctx context.Context, id mail.AccountID) string {
	a, err := h.o.Directory.Account(ctx, id)
	if err != nil || len(a.Addresses) == 0 {
		return fmt.Sprintf("account %d", id)
	}
	return a.Addresses[0].String()
}

// Check is CheckStore in words only.
func (h *House) Check(ctx context.Context, deep bool) ([]string, error) {
	found, err := h.CheckStore(ctx, CheckRequest{Deep: deep})
	var out []string
	for _, f := range found {
		out = append(out, f.String())
	}
	return out, err
}
