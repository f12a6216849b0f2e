package daemon

import (
	"context"
	"log/slog"

	"github.com/posthouse-mail/posthouse/internal/config"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/web/admin"
)

// Repair makes the tables of the folder of c anew; no house may run on it.
func Repair(ctx context.Context, c *config.Config, logger *slog.Logger, dryRun bool) (admin.Repaired, error) {
	o := keeperOptions{config: c, logger: logger}
	return admin.Repair(ctx, admin.RepairOptions{
		Tables: tableOptions(o), Logger: logger, DryRun: dryRun,
		Build: func(db *kv.DB) (*store.Store, error) {
			k := &keepers{db: db}
			err := k.build(o)
			return k.store, err
		},
		Open: func(ctx context.Context) (*admin.House, func() error, error) {
			files, err := OpenFiles(ctx, c, logger)
			if err != nil {
				return nil, nil, err
			}
			return files.House, files.Close, nil
		},
	})
}
