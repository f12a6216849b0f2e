package adminui_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/store/story"
)

// BenchmarkPages: what a page costs beside 100,000 stories and 2,000 messages that wait. go test ./web/adminui -run ^$ -bench Pages -benchtime 20x
func BenchmarkPages(b *testing.B) {
	m := newMachine(b)
	for i := range 2000 {
		m.send(fmt.Sprintf("u%d@far%d.test", i, i%100))
	}
	at := time.Now().Add(-24 * time.Hour)
	for i := range 100_000 {
		id := fmt.Sprintf("s%07d", i)
		m.story.Begin(story.Message{ID: id, At: at.Add(time.Duration(i) * 800 * time.Millisecond), Direction: story.In, From: fmt.Sprintf("w%d@out%d.test", i%5000, i%700), To: []string{fmt.Sprintf("user%d@mail.test", i%1000)}, Subject: "About the meeting of tomorrow", MessageID: fmt.Sprintf("<m%d@out.test>", i), Client: "mx.out.test [192.0.2.9]", TLS: "TLS 1.3"},
			story.Event{At: at, Step: story.Checked, Text: "spf=pass dkim=pass dmarc=pass"}, story.Event{At: at, Step: story.Delivered, Who: "user@mail.test", Mailbox: "INBOX"})
	}
	m.want("/admin/stories", nil, 200)
	for i := range 90 {
		m.history.Note(time.Now().Add(-time.Duration(i)*24*time.Hour), map[string]float64{"good": float64(i), "junk": 5, "delivered": 100, "sent": 7}, map[string]float64{"memory": 5e7, "disk_used": 1e9})
	}
	for _, path := range []string{
		"/admin/stories", "/admin/stories?q=user7@mail.test", "/admin/stories?q=m7@out.test", "/admin/stories?q=nobody@none.test", "/admin/stories/one?id=s0000007", "/admin/queue", "/admin/queue?address=nobody", "/admin/junk", "/admin/reports", "/admin/system",
		"/admin/settings", "/admin/settings?q=a", "/admin/suppression", "/admin/connections", "/admin/log", "/admin/backups",
	} {
		b.Run(path, func(b *testing.B) {
			size := 0
			for b.Loop() {
				body, _ := m.want(path, nil, 200)
				size = len(body)
			}
			b.ReportMetric(float64(size), "octets")
			b.ReportMetric(0, "allocs/op")
		})
	}
}
