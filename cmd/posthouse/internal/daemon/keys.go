package daemon

import (
	"context"
	"time"

	"github.com/posthouse-mail/posthouse/internal/logx"
)

// settleEvery is how often the house looks for the records of DKIM keys that wait for theirs.
const settleEvery = 10 * time.Minute

// settleKeys lets DKIM keys sign whose records are published, until ctx ends.
func (d *Daemon) settleKeys(ctx context.Context) {
	t := time.NewTicker(settleEvery)
	defer t.Stop()
	for {
		if err := d.house.SettleDKIM(ctx); err != nil && ctx.Err() == nil {
			d.log.WarnContext(ctx, logx.KeysUnsettled, "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}
