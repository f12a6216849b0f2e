package api_test

import (
	"errors"
	"testing"

	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/api"
)

// TestPullsCross: what comes of an import that cannot begin, and of one that is not there.
func TestPullsCross(t *testing.T) {
	ctx := t.Context()
	c := running(t, t.TempDir(), api.Options{})
	if list := must[[]admin.PullStatus](t)(c.Pulls(ctx)); len(list) != 0 {
		t.Errorf("pulls: %+v", list)
	}
	_, start := c.StartPull(ctx, admin.Pull{Account: "nobody@alpha.test", From: "imaps://u@old.test", Password: "p"})
	_, watch := c.WatchPull(ctx, "nothing", 0)
	for _, err := range []error{start, watch, c.StopPull(ctx, "nothing")} {
		if e, ok := errors.AsType[*admin.Error](err); !ok || e.Class != admin.Missing {
			t.Errorf("got %v, want %s", err, admin.Missing)
		}
	}
}
