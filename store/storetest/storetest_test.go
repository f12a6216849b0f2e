package storetest_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

// recorder is a test that notes what is complained of instead of failing.
type recorder struct {
	testing.TB
	cleanups []func()
	said     []string
}

func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Errorf(format string, a ...any) {
	r.said = append(r.said, fmt.Sprintf(format, a...))
}

// The check at the end of a test complains of a broken row, and only of that.
func TestCleanupChecks(t *testing.T) {
	for _, broken := range []bool{false, true} {
		r := &recorder{TB: t}
		s, db := storetest.New(r)
		storetest.Account(r, s, db, 1)
		if m := storetest.Message(r, s, 1, "INBOX", "Subject: a\r\n\r\n"); storetest.Text(r, s, m) != "Subject: a\r\n\r\n" {
			t.Errorf("message %+v", m)
		}
		if broken {
			err := db.Update(context.Background(), func(tx *kv.Tx) error {
				tx.Delete("n", []byte("\x00\x00\x00\x01INBOX"))
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		for _, f := range r.cleanups {
			f()
		}
		if said := strings.Join(r.said, "\n"); broken != strings.Contains(said, "no INBOX") || !broken && said != "" {
			t.Errorf("broken %v: the cleanup said %q", broken, said)
		}
	}
}
