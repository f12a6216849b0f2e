package demo

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	gosasl "github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/internal/message"
)

// Sample is a message that went through the house.
type Sample struct {
	Subject string
	UID     uint32 // in Carol's INBOX
	Took    time.Duration
	Checks  []string // what Carol's side found out about it: "spf=pass", "dkim=pass", ...
}

// Try sends a message from Alice to Carol as a client would, with a password over TLS, and waits until Carol's IMAP session sees it.
func (h *House) Try(ctx context.Context) (Sample, error) {
	s := Sample{Subject: "It works (" + rand.Text()[:6] + ")"}
	reader, arrived, err := h.watch(ctx)
	if err != nil {
		return s, fmt.Errorf("read as carol: %w", err)
	}
	defer reader.Close()
	began := time.Now()
	if err := h.send(ctx, s.Subject); err != nil {
		return s, fmt.Errorf("submit as alice: %w", err)
	}
	for {
		if s.UID, err = find(reader, s.Subject); err != nil || s.UID != 0 {
			s.Took = time.Since(began)
			if err == nil {
				s.Checks, err = checks(reader, s.UID)
			}
			return s, err
		}
		idle, err := reader.Idle()
		if err != nil {
			return s, err
		}
		select {
		case <-arrived:
		case <-ctx.Done():
			return s, errors.New("the message did not arrive in time; see the log and `posthouse queue list`")
		}
		if err := errors.Join(idle.Close(), idle.Wait()); err != nil {
			return s, err
		}
	}
}

// client is the TLS settings of somebody who trusts the demo's authority.
func (h *House) client() *tls.Config {
	return &tls.Config{RootCAs: h.CA.Pool(), ServerName: "localhost", MinVersion: tls.VersionTLS12}
}

// watch opens Carol's INBOX; a value comes through the channel when the server says that messages came.
func (h *House) watch(ctx context.Context) (*imapclient.Client, <-chan struct{}, error) {
	d := tls.Dialer{Config: h.client()}
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", h.Port(PortIMAPS)))
	if err != nil {
		return nil, nil, err
	}
	arrived := make(chan struct{}, 1)
	c := imapclient.New(conn, &imapclient.Options{UnilateralDataHandler: &imapclient.UnilateralDataHandler{
		Mailbox: func(data *imapclient.UnilateralDataMailbox) {
			if data.NumMessages != nil {
				select {
				case arrived <- struct{}{}:
				default:
				}
			}
		},
	}})
	if err := c.Login(Carol, Password).Wait(); err != nil {
		return nil, nil, errors.Join(err, c.Close())
	}
	if _, err := c.Select("INBOX", nil).Wait(); err != nil {
		return nil, nil, errors.Join(err, c.Close())
	}
	return c, arrived, nil
}

// find is the UID of the message with the subject; 0: it is not there yet.
func find(c *imapclient.Client, subject string) (uint32, error) {
	data, err := c.UIDSearch(&goimap.SearchCriteria{
		Header: []goimap.SearchCriteriaHeaderField{{Key: "Subject", Value: subject}},
	}, nil).Wait()
	if err != nil {
		return 0, err
	}
	if uids := data.AllUIDs(); len(uids) > 0 {
		return uint32(uids[len(uids)-1]), nil
	}
	return 0, nil
}

// checks reads what the message's Authentication-Results say.
func checks(c *imapclient.Client, uid uint32) ([]string, error) {
	section := &goimap.FetchItemBodySection{Specifier: goimap.PartSpecifierHeader, HeaderFields: []string{"Authentication-Results"}, Peek: true}
	list, err := c.Fetch(goimap.UIDSetNum(goimap.UID(uid)), &goimap.FetchOptions{BodySection: []*goimap.FetchItemBodySection{section}}).Collect()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, m := range list {
		for _, part := range strings.Split(message.HeaderValue(m.FindBodySection(section), "Authentication-Results"), ";")[1:] {
			result, _, _ := strings.Cut(strings.TrimSpace(part), " ")
			out = append(out, result)
		}
	}
	return out, nil
}

// send submits the message over STARTTLS with AUTH PLAIN.
func (h *House) send(ctx context.Context, subject string) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", h.Port(PortSubmission)))
	if err != nil {
		return err
	}
	c, err := gosmtp.NewClientStartTLS(conn, h.client())
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	defer c.Close()
	if err := c.Auth(gosasl.NewPlainClient("", Alice, Password)); err != nil {
		return err
	}
	text := "From: Alice <" + Alice + ">\r\nTo: Carol <" + Carol + ">\r\nSubject: " + subject + "\r\nDate: " + message.FormatDate(time.Now()) +
		"\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n" +
		"This message was submitted by alice@alpha.test, waited in the queue, found\r\nits way by MX, came in by SMTP and lies in the INBOX of carol@beta.test.\r\n"
	if err := c.SendMail(Alice, []string{Carol}, strings.NewReader(text)); err != nil {
		return err
	}
	return c.Quit()
}

// Curl is the line that reads the sample.
func (h *House) Curl(s Sample) string {
	return fmt.Sprintf("curl --cacert %s --user %s:%s 'imaps://localhost:%s/INBOX/;UID=%d'",
		filepath.Join(h.o.Data, CAFile), Carol, Password, h.Port(PortIMAPS), s.UID)
}
