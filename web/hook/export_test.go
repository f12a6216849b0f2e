package hook

import (
	"context"
	"net/http"
	"time"
)

// Round is one round of Run.
func (b *Book) Round(ctx context.Context) (time.Duration, error) {
	return b.round(ctx, map[bool]*http.Client{false: b.client(false), true: b.client(true)})
}

var (
	MaxWaiting = maxWaiting
	ErrPrivate = errPrivate
)
