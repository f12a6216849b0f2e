package adminui_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/smtp/dmarcbook"
	"github.com/posthouse-mail/posthouse/store/backup"
	"github.com/posthouse-mail/posthouse/store/story"
	"github.com/posthouse-mail/posthouse/web/admin"
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

// BenchmarkLargePages: what a page costs beside 10,000 messages that wait, 5,000 reports of 20 senders, 200 backups of 200 segments, and a
// list of 5,000 members.
func BenchmarkLargePages(b *testing.B) {
	m := newMachine(b)
	must := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	var id string
	for i := range 500 {
		id = m.send(fmt.Sprintf("u%d@far%d.test", i, i%100))
	}
	for i := range 5000 {
		begin := time.Now().Add(-time.Duration(i%60) * 24 * time.Hour)
		r := dmarcbook.Received{ID: fmt.Sprint(i), Sender: fmt.Sprintf("big%d.test", i%80), From: "Big", Domain: "mail.test", Begin: begin, End: begin.Add(24 * time.Hour), Taken: time.Now()}
		for j := range 20 {
			r.Sources = append(r.Sources, dmarcbook.Source{Address: fmt.Sprintf("192.0.2.%d", j), Count: 3, Disposition: "none"})
		}
		_, err := m.dmarc.KeepReport(b.Context(), r)
		must(err)
	}
	house := backup.StoreName(m.db.UUID())
	for i := range 200 {
		taken := time.Now().Add(-time.Duration(i) * 6 * time.Hour).UTC()
		x := backup.Manifest{Format: 1, Store: house, Taken: taken, Files: []backup.File{{Name: "meta.db", Size: 1e6}}}
		for j := range 200 {
			sum := sha256.Sum256([]byte{byte(i), byte(j)})
			x.Segments = append(x.Segments, backup.File{Name: fmt.Sprintf("%016d.seg", j), Size: 64 << 20, Number: uint32(j), Good: 64 << 20, Checked: taken, SHA256: hex.EncodeToString(sum[:])})
		}
		text, err := json.Marshal(x)
		must(err)
		folder := filepath.Join(m.to, house, taken.Format("2006-01-02T150405Z"))
		must(os.MkdirAll(folder, 0o700))
		must(os.WriteFile(filepath.Join(folder, "manifest.json"), text, 0o600))
	}
	var members []string
	for i := range 5000 {
		members = append(members, fmt.Sprintf("member%d@far.test", i))
	}
	_, err := m.admin.AddList(b.Context(), admin.NewList{Address: "all@mail.test", Owners: []string{"alice@mail.test"}})
	must(err)
	_, err = m.admin.ChangeMembers(b.Context(), "all@mail.test", admin.MemberChange{Action: "add", Members: members})
	must(err)
	for _, path := range []string{"/admin/list?address=all@mail.test", "/admin/reports?days=90", "/admin/reports?domain=mail.test", "/admin/backups", "/admin/queue", "/admin/queue?domain=nobody.test", "/admin/queue/entry?id=" + id, "/admin/"} {
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
