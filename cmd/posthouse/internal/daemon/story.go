package daemon

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/store/history"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/story"
)

// openSide opens the tables of what can be made again, and the book of stories in them. The lock of the tables of mail is held.
func (k *keepers) openSide(o keeperOptions) (err error) {
	c := o.config
	path := filepath.Join(c.Data, "side.db")
	if k.side, err = kv.OpenSide(kv.SideOptions{Path: path, Logger: logx.Part(o.logger, logx.PartStore), Metrics: o.metrics}); err != nil {
		return fmt.Errorf("data folder %s: %w", c.Data, err)
	}
	k.history = history.New(k.side)
	if c.Story.Keep.Duration > 0 {
		k.story = story.New(story.Options{Side: k.side, Logger: logx.Part(o.logger, logx.PartStore), Keep: c.Story.Keep.Duration, Limit: int64(c.Story.Size)})
	}
	return nil
}

// close closes the tables, those of mail last: they hold the folder's lock.
func (k *keepers) close() error {
	var err error
	if k.external != nil {
		k.external.Close()
	}
	if k.side != nil {
		err = k.side.Close()
	}
	return errors.Join(err, k.db.Close())
}
