package admin

import (
	"context"
	"errors"
	"time"

	"github.com/posthouse-mail/posthouse/smtp/queue"
	"github.com/posthouse-mail/posthouse/web/check"
)

// CheckupRequest names the domains to look at; none: all.
type CheckupRequest struct {
	Domains []string `json:"domains,omitempty"`
}

// World is what a checkup needs beside the directory: all of check.Options but Site, Domains and the queue. Close ends what was
// opened for it.
type World struct {
	check.Options
	Close func() error
}

// SetCheckup says how the world is looked at; nil: it is not.
func (h *House) SetCheckup(open func(context.Context) (World, error)) { h.world.Store(&open) }

// CheckUp looks whether the machine and the domains are what they should be.
func (h *House) CheckUp(ctx context.Context, r CheckupRequest) (report check.Report, err error) {
	open := h.world.Load()
	if open == nil || *open == nil {
		return report, &Error{Unavailable, "nobody can look at DNS here", nil}
	}
	names := r.Domains
	if len(names) == 0 {
		all, err := h.Domains(ctx)
		if err != nil {
			return report, err
		}
		for _, d := range all {
			names = append(names, d.Name)
		}
	}
	var domains []check.Domain
	for _, name := range names {
		d, err := h.wanted(ctx, name)
		if err != nil {
			return report, err
		}
		domains = append(domains, d)
	}
	if h.o.Site.Hostname == "" {
		return report, conflict("the house has no name here: write hostname into the settings file, and name that with --config")
	}
	w, err := (*open)(ctx)
	if err != nil {
		return report, &Error{Unavailable, "the world cannot be looked at: " + words(err.Error()), err}
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	w.Site, _ = h.site()
	w.Domains = domains
	if w.Facts.Queue, err = h.waiting(ctx); err != nil {
		return report, err
	}
	report = check.Run(ctx, w.Options)
	if err := ctx.Err(); err != nil {
		return report, err
	}
	h.looked.keep(report, namesOf(domains), len(r.Domains) == 0)
	return report, nil
}

func namesOf(domains []check.Domain) (names []string) {
	for _, d := range domains {
		names = append(names, d.Name)
	}
	return names
}

// waiting is how much waits for other hosts; what waits because its sender wants it to is no trouble.
func (h *House) waiting(ctx context.Context) (*check.Queue, error) {
	items, err := h.o.Queue.List(ctx, queue.Filter{})
	if err != nil {
		return nil, translate("queue", err)
	}
	var q check.Queue
	var oldest time.Time
	for _, it := range items {
		switch {
		case it.Waits:
			continue
		case it.Held:
			q.Held++
		}
		q.Entries++
		if oldest.IsZero() || it.Created.Before(oldest) {
			oldest = it.Created
		}
	}
	q.Oldest = oldest
	return &q, nil
}
