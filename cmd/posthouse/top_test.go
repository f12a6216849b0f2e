package main

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/posthouse-mail/posthouse/web/admin"
)

// TestTop: two looks give rates; whatever the house says, the page fits a terminal of 80 by 24 and cannot command it.
func TestTop(t *testing.T) {
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	look := func(seconds, factor float64) admin.Vitals {
		return admin.Vitals{
			At: at.Add(time.Duration(seconds * float64(time.Second))), Version: "v1", Hostname: "mx.one.test", Started: at.Add(-25 * time.Hour),
			Values: map[string]float64{
				"connections{service=imaps}": 12, "connections_total{service=imaps}": 100 * factor, "connections{service=smtp}": 3, "connections_total{service=smtp}": 10 * factor,
				"connections_refused_total{reason=address,service=smtp}": 4 * factor, "smtp_messages_total{result=taken}": 20 * factor, "logins_total{result=ok,service=imap}": 6 * factor,
				"logins_total{result=wrong,service=imap}": 2 * factor, "queue_entries": 7, "queue_oldest_seconds": 4000, "disk_state": 1, "process_resident_memory_bytes": 80 << 20,
			},
			Waiting: []admin.WaitingDomain{{Domain: "slow.test", Entries: 5, Oldest: at.Add(-2 * time.Hour), Answer: "451 4.7.1 \x1b[2Jcome again " + strings.Repeat("later ", 40)}},
		}
	}
	first := look(0, 1)
	page := strings.Join(topPage(&first, look(2, 3), 80, 24), "\n")
	for _, want := range []string{
		"mx.one.test  posthouse v1  up 25h00m", "(LOW)", "imaps                12      100.0        0.0", "smtp                  3       10.0        4.0", "mail     in 20.0/s",
		"queue    7 entries  oldest 1h06m", "logins   good 6.0/s  refused 2.0/s", "slow.test                            5  2h00m      451 4.7.1",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in\n%s", want, page)
		}
	}
	many := look(2, 3)
	for _, s := range strings.Fields("a b c d e f g h i j k l m n o p q r s t u v w x y z") {
		many.Values["connections{service="+s+"}"] = 1e12
	}
	for _, lines := range [][]string{topPage(nil, many, 80, 24), topPage(&many, first, 80, 24), topPage(nil, admin.Vitals{}, 20, 5)} {
		if len(lines) > 24 || len(lines) < 5 {
			t.Errorf("%d lines", len(lines))
		}
		for _, line := range lines {
			if utf8.RuneCountInString(line) > 80 || strings.ContainsRune(line, '\x1b') {
				t.Errorf("%d columns: %q", utf8.RuneCountInString(line), line)
			}
		}
	}
	if !strings.Contains(strings.Join(topPage(&many, first, 80, 24), ""), "-/s") {
		t.Error("rates of a clock that was set back")
	}
	stopped := false
	quitKey(strings.NewReader("xyzq"), func() { stopped = true })
	if !stopped {
		t.Error("q does not quit")
	}
}

// TestTopOnce asks a running house.
func TestTopOnce(t *testing.T) {
	folder := t.TempDir()
	startHouse(t, folder)
	got := runPage(t, "$ posthouse top --once --data "+folder+"\n$ posthouse top --every 1ms --data "+folder+"\n")
	for _, want := range []string{"mx.one.test  posthouse v0  up ", "imaps                 0          -          -", "queue    0 entries", "= 2"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}
