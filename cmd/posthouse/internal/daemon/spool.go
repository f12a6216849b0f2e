package daemon

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/api"
)

// spoolEvery is how often the spool is looked at: programs put mail there only while the house is down or comes up.
const spoolEvery = 30 * time.Second

// watchSpool takes what `posthouse sendmail` left while no house ran, until ctx ends.
func (d *Daemon) watchSpool(ctx context.Context) {
	tick := time.NewTicker(spoolEvery)
	defer tick.Stop()
	for {
		d.takeSpool(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// takeSpool hands in every spooled message. One that can never be taken goes to the folder "failed" below the spool, so that
// nobody's mail is thrown away, and its sender hears of it.
func (d *Daemon) takeSpool(ctx context.Context) {
	files, err := api.Spooled(d.o.Config.Data)
	if err != nil {
		d.log.ErrorContext(ctx, logx.SpoolError, "error", err)
		return
	}
	for _, path := range files {
		if ctx.Err() != nil {
			return
		}
		receipt, err := d.takeSpooled(ctx, path)
		var refused *admin.Error
		switch {
		case err == nil:
			d.log.InfoContext(ctx, logx.SpoolTaken, "file", filepath.Base(path), "receipt", receipt)
			err = os.Remove(path)
		case errors.As(err, &refused) && (refused.Class == admin.Invalid || refused.Class == admin.Conflict):
			d.log.ErrorContext(ctx, logx.SpoolError, "file", filepath.Base(path), "error", err)
			err = d.reject(ctx, path, err)
		}
		if err != nil {
			d.log.ErrorContext(ctx, logx.SpoolError, "file", filepath.Base(path), "error", err)
		}
	}
}

func (d *Daemon) takeSpooled(ctx context.Context, path string) (string, error) {
	s, err := api.OpenSpooled(path)
	if err != nil {
		return "", err
	}
	receipt, err := d.submit(ctx, s.Message, s.Body)
	return receipt, errors.Join(err, s.Close())
}
