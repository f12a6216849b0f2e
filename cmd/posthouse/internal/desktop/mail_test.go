//go:build desktop

package desktop

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	gosasl "github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"
)

// submit hands a message in as its author does.
func (h *house) submit(t *testing.T, from, to, text string) {
	t.Helper()
	c, err := gosmtp.DialTLS(h.address+":465", h.town.trusts(h.host))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	err = errors.Join(c.Auth(gosasl.NewPlainClient("", from, password)), c.SendMail(from, []string{to}, strings.NewReader(strings.ReplaceAll(text, "\n", "\r\n"))), c.Quit())
	if err != nil {
		t.Fatalf("submit as %s: %v", from, err)
	}
}

// letter is a small message of plain text.
func letter(from, to, subject, body string) string {
	return "From: " + from + "\nTo: " + to + "\nSubject: " + subject + "\nDate: " + time.Now().Format(time.RFC1123Z) + "\n\n" + body + "\n"
}

// device is a mail program of an account with a mailbox open.
type device struct {
	t *testing.T
	c *imapclient.Client
}

func (h *house) device(t *testing.T, account, mailbox string) *device {
	t.Helper()
	c, err := imapclient.DialTLS(h.address+":993", &imapclient.Options{TLSConfig: h.town.trusts(h.host)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := c.ID(&goimap.IDData{Name: "Thunderbird", Version: "153.7.0"}).Wait(); err != nil {
		t.Fatal(err)
	}
	if err := c.Login(account, password).Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Select(mailbox, nil).Wait(); err != nil {
		t.Fatal(err)
	}
	return &device{t, c}
}

// has waits for the message with a subject, and returns its UID and what it is.
func (d *device) has(subject string) (uid goimap.UID, text string) {
	d.t.Helper()
	await(d.t, 30*time.Second, "no message "+subject, func() bool {
		if err := d.c.Noop().Wait(); err != nil {
			d.t.Fatal(err)
		}
		found, err := d.c.UIDSearch(&goimap.SearchCriteria{Header: []goimap.SearchCriteriaHeaderField{{Key: "Subject", Value: subject}}}, nil).Wait()
		if err != nil {
			d.t.Fatal(err)
		}
		if all := found.AllUIDs(); len(all) > 0 {
			uid = all[0]
		}
		return uid != 0
	})
	section := &goimap.FetchItemBodySection{Peek: true}
	got, err := d.c.Fetch(goimap.UIDSetNum(uid), &goimap.FetchOptions{BodySection: []*goimap.FetchItemBodySection{section}}).Collect()
	if err != nil || len(got) != 1 {
		d.t.Fatalf("fetch %s: %v", subject, err)
	}
	return uid, string(got[0].FindBodySection(section))
}

// flags marks a message.
func (d *device) flag(uid goimap.UID, flag goimap.Flag) {
	d.t.Helper()
	if err := d.c.Store(goimap.UIDSetNum(uid), &goimap.StoreFlags{Op: goimap.StoreFlagsAdd, Flags: []goimap.Flag{flag}}, nil).Close(); err != nil && !errors.Is(err, io.EOF) {
		d.t.Fatal(err)
	}
}

// flagged waits until a message has a flag.
func (d *device) flagged(uid goimap.UID, flag goimap.Flag) {
	d.t.Helper()
	await(d.t, 30*time.Second, "no flag "+string(flag), func() bool {
		got, err := d.c.Fetch(goimap.UIDSetNum(uid), &goimap.FetchOptions{Flags: true}).Collect()
		if err != nil || len(got) != 1 {
			d.t.Fatal(err)
		}
		for _, f := range got[0].Flags {
			if f == flag {
				return true
			}
		}
		return false
	})
}
