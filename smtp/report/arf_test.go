package report

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/smtp/dmarcbook"
	"github.com/posthouse-mail/posthouse/store/blob"
)

// arfExample is the example of RFC 5965 appendix B.2, about another domain.
const arfExample = "From: <abusedesk@provider.test>\r\nSubject: FW: Earn money\r\nMIME-Version: 1.0\r\n" +
	"Content-Type: multipart/report; report-type=feedback-report;\r\n\tboundary=\"part1_13d.2e68ed54_boundary\"\r\n\r\n" +
	"--part1_13d.2e68ed54_boundary\r\nContent-Type: text/plain; charset=\"US-ASCII\"\r\n\r\nThis is an email abuse report.\r\n\r\n" +
	"--part1_13d.2e68ed54_boundary\r\nContent-Type: message/feedback-report\r\n\r\n" +
	"Feedback-Type: abuse\r\nUser-Agent: SomeGenerator/1.0\r\nVersion: 1\r\nOriginal-Mail-From: <somespammer@far.test>\r\nOriginal-Rcpt-To: <user@provider.test>\r\n" +
	"Received-Date: Thu, 8 Mar 2005 14:00:00 EDT\r\nSource-IP: 192.0.2.1\r\nReported-Domain: far.test\r\n\r\n" +
	"--part1_13d.2e68ed54_boundary\r\nContent-Type: message/rfc822\r\nContent-Disposition: inline\r\n\r\n" +
	"From: <somespammer@far.test>\r\nMessage-ID: 8787KJKJ3K4J3K4J3K4J3.mail@far.test\r\n\r\nSpam Spam Spam\r\n--part1_13d.2e68ed54_boundary--\r\n"

// TestComplaint: the RFC's example, and what is none.
func TestComplaint(t *testing.T) {
	f, err := Read(strings.NewReader(arfExample))
	if err != nil || f.Complaint == nil {
		t.Fatal(f, err)
	}
	want := Complaint{Type: "abuse", Agent: "SomeGenerator/1.0", From: "somespammer@far.test", To: "user@provider.test", Domain: "far.test",
		MessageID: "8787KJKJ3K4J3K4J3K4J3.mail@far.test", Source: "192.0.2.1", Arrived: f.Complaint.Arrived}
	if *f.Complaint != want || f.Complaint.Arrived.Year() != 2005 {
		t.Errorf("%+v", *f.Complaint)
	}
	if !Carried([]byte("Content-Type: multipart/report; report-type=\"feedback-report\"; boundary=x\r\n")) {
		t.Error("the header of a complaint is not known")
	}
	for _, change := range [][2]string{{"Feedback-Type: abuse", "X: y"}, {"message/feedback-report", "text/plain"}, {"boundary=\"part1_13d.2e68ed54_boundary\"", "x=y"}} {
		if f, err := Read(strings.NewReader(strings.Replace(arfExample, change[0], change[1], 1))); !errors.Is(err, ErrNone) {
			t.Errorf("%v: %+v, %v", change, f.Complaint, err)
		}
	}
}

// TestComplained: the reader tells of complaints about domains of ours, and of no others.
func TestComplained(t *testing.T) {
	b := openPostbox(t)
	var told []Complaint
	b.reader.o.Complained = func(_ context.Context, c Complaint, sender string) error {
		if sender != "provider.test" {
			t.Errorf("of %s", sender)
		}
		told = append(told, c)
		return nil
	}
	b.mail[1], b.mail[2] = arfExample, strings.ReplaceAll(arfExample, "far.test", "stranger.test")
	for i, kind := range []string{"not-spam", "auth-failure", "dkim", "unheard-of"} { // the same form, and no complaint
		b.mail[blob.LSN(3+i)] = strings.ReplaceAll(arfExample, "Feedback-Type: abuse", "Feedback-Type: "+kind)
	}
	for at := range b.mail {
		b.reader.Take(dmarcbook.Waiting{At: at, ID: "x", Sender: "provider.test", Taken: time.Now(), To: []string{"fbl@far.test"}})
	}
	if err := b.reader.All(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(told) != 1 || told[0].From != "somespammer@far.test" {
		t.Errorf("%+v", told)
	}
}

// FuzzComplaint: whatever a stranger writes is read in bounds, and never panics.
func FuzzComplaint(f *testing.F) {
	f.Add(arfExample)
	f.Add("Content-Type: multipart/report; report-type=feedback-report; boundary=x\r\n\r\n--x\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type:\r\n abuse\r\n--x--")
	f.Fuzz(func(t *testing.T, text string) {
		if found, err := Read(strings.NewReader(text)); err == nil && found.Complaint != nil && (found.Complaint.Type == "" || len(found.Complaint.MessageID) > 1000) {
			t.Errorf("%+v", found.Complaint)
		}
	})
}
