package queue

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/posthouse-mail/posthouse/internal/vfs"
	"github.com/posthouse-mail/posthouse/internal/vfs/vfstest"
)

// Hundreds of messages fail at once, and their reports too: one report for each, none about a report, nothing left. In the middle the disk
// is full for ten minutes, or the house is stopped and started.
func TestBounceStorm(t *testing.T) {
	const messages = 300
	for _, trouble := range []string{"none", "disk full", "restart"} {
		t.Run(trouble, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := Options{Hostname: "mail.alpha.test"}
				var h *house
				var fs *vfstest.FS
				if trouble == "restart" {
					h = newHouse(t, o)
				} else {
					h, fs = newFragileHouse(t, o)
				}
				k := &carrier{deliver: func(a Attempt) Outcome {
					<-time.After(2 * time.Second)
					return Fail(len(a.Envelope.Recipients), Result{Verdict: Never, Code: 550, Status: "5.1.1", Text: "no", Remote: "mx.beta.test"})
				}}
				for i := range messages {
					h.send(envelope(t, "alice@gamma.test", fmt.Sprintf("m%d@d%d.test", i, i%30)), sample)
				}
				h.run(k)
				settled(3 * time.Second)
				switch trouble {
				case "disk full":
					fs.SetFail(func(vfstest.Op) error { return vfs.ErrFull })
					settled(10 * time.Minute)
					fs.SetFail(nil)
				case "restart":
					h.close()
					h.open()
					h.run(k)
				}
				settled(time.Hour)
				if left := h.list(); len(left) != 0 {
					t.Errorf("%d entries are left: %+v", len(left), left[0])
				}
				if n := k.count("alice@gamma.test"); n != messages {
					t.Errorf("%d reports on %d messages", n, messages)
				}
				for i := range messages {
					if n := k.count(fmt.Sprintf("m%d@d%d.test", i, i%30)); n != 1 {
						t.Errorf("message %d was sent %d times", i, n)
					}
				}
			})
		})
	}
}
