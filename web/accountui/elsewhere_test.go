package accountui_test

import (
	"bufio"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/auth/authtest"
	"github.com/posthouse-mail/posthouse/auth/external"
	"github.com/posthouse-mail/posthouse/internal/mail"
)

// TestPasswordKeptElsewhere: the page says so, and changes nothing; what is down is said in words.
func TestPasswordKeptElsewhere(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	helper, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() { _ = helper.Close(); all.Wait() })
	all.Go(func() {
		for {
			c, err := helper.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer func() { _ = c.Close() }()
				for in := bufio.NewScanner(c); in.Scan(); {
					say := `{"answer":"later"}`
					if strings.Contains(in.Text(), `"`+authtest.Password+`"`) {
						say = `{"answer":"yes"}`
					}
					if _, err := c.Write([]byte(say + "\n")); err != nil {
						return
					}
				}
			})
		}
	})
	x := external.New(external.Options{Socket: socket})
	t.Cleanup(x.Close)
	h := newHouseWith(t, auth.Options{External: &auth.External{Helper: x, Domains: []mail.Domain{"mail.test"}}})
	form := url.Values{"old": {authtest.Password}, "new": {"a few words in a row"}, "again": {"a few words in a row"}}
	h.want("/account/password", form, http.StatusUnprocessableEntity, "kept by another program")
	form.Set("old", "something else")
	h.want("/account/password", form, http.StatusUnprocessableEntity, "cannot be known now")
	if h.renewed > 0 {
		t.Error("the session was renewed")
	}
}
