package main

import (
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/web/admin"
)

func TestMailqText(t *testing.T) {
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.Local)
	later := admin.QueueEntry{ID: "1aaaaaaaaaaaa", From: "anna@example.org", Size: 700, Created: at.Add(time.Minute), Recipients: []admin.QueueRecipient{{Address: "x@far.test"}}}
	second := later
	second.Recipients = []admin.QueueRecipient{{Address: "evil\x1b[2J@far.test", Result: "451 4.7.1 later\nplease"}}
	held := admin.QueueEntry{ID: "1bbbbbbbbbbbb", Size: 2000, Created: at, Held: true, Recipients: []admin.QueueRecipient{{Address: "y@far.test"}}}
	for name, c := range map[string]struct {
		queue   []admin.QueueEntry
		spooled int
		want    string
	}{
		"empty": {want: "Mail queue is empty\n"},
		"only what was spooled": {spooled: 2, want: "" +
			"(2 handed in while no house ran; taken when one runs)\n\n" +
			"-- 0 Kbytes in 2 Requests.\n"},
		"one": {queue: []admin.QueueEntry{later}, want: "" +
			"-Queue ID-     --Size-- ----Arrival Time---- -Sender/Recipient-------\n" +
			"1aaaaaaaaaaaa       700  Wed Mar  4 05:07:07  anna@example.org\n" +
			"                                             x@far.test\n\n" +
			"-- 1 Kbytes in 1 Request.\n"},
		"two domains of one message, a held one before": {queue: []admin.QueueEntry{later, held, second}, want: "" +
			"-Queue ID-     --Size-- ----Arrival Time---- -Sender/Recipient-------\n" +
			"1bbbbbbbbbbbb!     2000  Wed Mar  4 05:06:07  MAILER-DAEMON\n" +
			"                                             y@far.test\n\n" +
			"1aaaaaaaaaaaa       700  Wed Mar  4 05:07:07  anna@example.org\n" +
			"                                             x@far.test\n" +
			"                                                   (451 4.7.1 later please)\n" +
			"                                             evil?[2J@far.test\n\n" +
			"-- 3 Kbytes in 2 Requests.\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := string(mailqText(c.queue, c.spooled)); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

func TestCalledAs(t *testing.T) {
	for name, want := range map[string][]string{
		"/usr/sbin/sendmail":   {"/usr/sbin/sendmail", "sendmail", "-x"},
		"/usr/bin/mailq":       {"/usr/bin/mailq", "sendmail", "-x", "-bp"},
		"/usr/bin/newaliases":  {"/usr/bin/newaliases", "sendmail", "-x", "-bi"},
		"/usr/bin/posthouse":   {"/usr/bin/posthouse", "-x"},
		"/usr/lib/sendmail.sh": {"/usr/lib/sendmail.sh", "-x"},
	} {
		got := asSendmail([]string{name, "-x"})
		if len(got) != len(want) {
			t.Fatalf("%s: %q", name, got)
		}
		for i := range got {
			if got[i] != want[i] {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
	}
}
