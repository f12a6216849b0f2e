//go:build interop

package interop

import (
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// imap logs in over TLS with go-imap's client.
func (h *house) imap(t *testing.T, user string) *imapclient.Client {
	t.Helper()
	c, err := imapclient.DialTLS(h.addr(1993), &imapclient.Options{TLSConfig: h.tls(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.Login(user, password).Wait(); err != nil {
		t.Fatalf("login of %s: %v", user, err)
	}
	return c
}

// count searches a mailbox for messages whose subject has the word.
func (h *house) count(t *testing.T, user, mailbox, word string) int {
	t.Helper()
	c := h.imap(t, user)
	defer c.Close()
	return search(t, c, mailbox, word)
}

func search(t *testing.T, c *imapclient.Client, mailbox, word string) int {
	t.Helper()
	if _, err := c.Select(mailbox, &goimap.SelectOptions{ReadOnly: true}).Wait(); err != nil {
		t.Fatalf("EXAMINE %s: %v", mailbox, err)
	}
	found, err := c.UIDSearch(&goimap.SearchCriteria{Header: []goimap.SearchCriteriaHeaderField{{Key: "Subject", Value: word}}}, nil).Wait()
	if err != nil {
		t.Fatal(err)
	}
	return len(found.AllUIDs())
}

// awaitMail waits until the mailbox has want messages with the word in their subject, and no more.
func (h *house) awaitMail(t *testing.T, user, mailbox, word string, want int) {
	t.Helper()
	c := h.imap(t, user)
	defer c.Close()
	got := 0
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if got = search(t, c, mailbox, word); got >= want {
			break
		}
	}
	if got != want {
		t.Errorf("%s of %s has %d messages with %q, want %d", mailbox, user, got, word, want)
	}
}
