package accountui_test

import (
	"errors"
	"net/netip"
	"net/url"
	"testing"

	"github.com/posthouse-mail/posthouse/auth/authtest"
)

// TestPasswordWithoutSession: what was done is never told as undone, though the session could not go on with it.
func TestPasswordWithoutSession(t *testing.T) {
	h := newHouse(t)
	h.broken = errors.New("the disk is full")
	_, header := h.want("/account/password", url.Values{"old": {authtest.Password}, "new": {"a new password"}, "again": {"a new password"}}, 303)
	if to := header.Get("Location"); to != "/account/?done=password" {
		t.Errorf("led to %q", to)
	}
	if _, err := h.directory.Confirm(t.Context(), h.visit.SignIn.Identity, netip.MustParseAddr("127.0.0.1"), "a new password"); err != nil {
		t.Error(err)
	}
}
