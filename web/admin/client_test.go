package admin_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/dns/dnstest"
	"github.com/posthouse-mail/posthouse/store/storetest"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/check"
)

// clientHouse has alice, whose password is "secret words", and doors that nobody answers at.
func clientHouse(t *testing.T) *admin.House {
	s := storetest.Start(t, storetest.Options{})
	h := admin.New(admin.Options{
		DB: s.DB, Directory: auth.New(s.DB, auth.Options{}), Store: s.Store,
		Site: admin.Site{Hostname: "mx.one.test", Doors: []check.Door{{Protocol: "IMAP", Port: 993, TLS: true}, {Protocol: "SMTP", Port: 465, TLS: true}}},
	})
	if _, err := h.AddDomain(t.Context(), admin.Domain{Name: "one.test"}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.AddAccount(t.Context(), admin.NewAccount{Addresses: []string{"alice@one.test"}, Password: "secret words"}); err != nil {
		t.Fatal(err)
	}
	_, resolver, _ := dnstest.New(t, "mx.one.test. A 127.0.0.1")
	h.SetCheckup(func(context.Context) (admin.World, error) {
		w := admin.World{Close: func() error { return nil }}
		w.Resolver = resolver
		w.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("nobody is there") }
		return w, nil
	})
	return h
}

func stepsOf(r admin.ClientReport, name string) (all []check.Step) {
	for _, s := range r.Steps {
		if s.Step == name {
			all = append(all, s)
		}
	}
	return all
}

// TestCheckClient: what is asked wrongly, and what a stranger is told.
func TestCheckClient(t *testing.T) {
	h := clientHouse(t)
	for _, c := range []struct {
		in    admin.ClientCheck
		class admin.Class
	}{
		{admin.ClientCheck{Address: "nonsense"}, admin.Invalid},
		{admin.ClientCheck{Address: "a@elsewhere.test"}, admin.Missing},
		{admin.ClientCheck{Address: "alice@one.test", Program: "pine"}, admin.Invalid},
	} {
		var e *admin.Error
		if _, err := h.CheckClient(t.Context(), c.in); !errors.As(err, &e) || e.Class != c.class {
			t.Errorf("%+v: %v", c.in, err)
		}
	}
	for _, address := range []string{"alice@one.test", "nobody@one.test"} {
		r, err := h.CheckClient(t.Context(), admin.ClientCheck{Address: address, Program: check.Thunderbird, Stranger: true})
		if err != nil || r.Works || len(stepsOf(r, "receive")) != 1 || len(stepsOf(r, "send")) != 1 || len(stepsOf(r, "account")) != 0 {
			t.Errorf("%+v, %v", r, err)
		}
	}
	r, err := h.CheckClient(t.Context(), admin.ClientCheck{Address: "nobody@one.test"})
	if s := stepsOf(r, "account"); err != nil || len(s) != 1 || s[0].State != check.Wrong || !strings.Contains(s[0].Found, "no account with this address") {
		t.Errorf("%+v, %v", s, err)
	}
}

// TestCheckClientAccount: doors that are shut and passwords that do not fit are told.
func TestCheckClientAccount(t *testing.T) {
	h := clientHouse(t)
	from := auth.Client{Remote: netip.MustParseAddr("192.0.2.7"), TLS: &tls.ConnectionState{}}
	yes := true
	for _, c := range []struct {
		change   admin.Change
		password string
		account  string
		says     []string // of the password
	}{
		{admin.Change{}, "secret words", "may receive and send", []string{"right for receiving", "right for sending"}},
		{admin.Change{}, "wrong", "may receive and send", []string{"do not fit together"}},
		{admin.Change{WebOnly: &yes}, "secret words", "opens the web pages only", []string{"does not open the account for receiving", "does not open the account for sending"}},
		{admin.Change{Doors: []string{"imap"}}, "", "may not use pop3, submission", nil},
		{admin.Change{Disabled: &yes}, "secret words", "is suspended", []string{"does not open the account for receiving", "does not open the account for sending"}},
	} {
		if _, err := h.SetAccount(t.Context(), "alice@one.test", c.change); err != nil {
			t.Fatal(err)
		}
		r, err := h.CheckClient(t.Context(), admin.ClientCheck{Address: "alice@one.test", Program: check.IPhone, Password: c.password, From: from})
		if err != nil {
			t.Fatal(err)
		}
		if s := stepsOf(r, "account"); len(s) != 1 || !strings.Contains(s[0].Found, c.account) {
			t.Errorf("%+v: %+v", c.change, s)
		}
		got := stepsOf(r, "password")
		if len(got) != len(c.says) {
			t.Fatalf("%+v: %+v", c.change, got)
		}
		for i, says := range c.says {
			if !strings.Contains(got[i].Found, says) {
				t.Errorf("%+v: %s, want %q", c.change, got[i].Found, says)
			}
		}
	}
	from.TLS = nil
	r, err := h.CheckClient(t.Context(), admin.ClientCheck{Address: "alice@one.test", Password: "secret words", From: from})
	if s := stepsOf(r, "password"); err != nil || len(s) != 1 || !strings.Contains(s[0].Found, "others could read it") {
		t.Errorf("%+v, %v", s, err)
	}
}
