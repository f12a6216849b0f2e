package admin_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/check"
)

// TestFind: pages are cut in order, by domain and local part, and what is looked for is found in any script.
func TestFind(t *testing.T) {
	h, ctx := newHouse(t), t.Context()
	for _, d := range []string{"bücher.test", "alpha.test"} {
		if _, err := h.AddDomain(ctx, admin.Domain{Name: d}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 7 {
		d := []string{"bücher.test", "alpha.test"}[i%2]
		if _, err := h.AddAccount(ctx, admin.NewAccount{Addresses: []string{fmt.Sprintf("u%d@%s", i, d)}, Name: strings.Repeat("Ä", i), Hash: "$6$rounds=5000$abcdefgh$IDHy5UNqgqEhLxVQjwv.zc.9B0tEbTFhMpJ7CUuVQUoFRwbGtyqUIOs0S4j9RzV1rBAe8TBLE6A0qGLOyHBVK0"}); err != nil {
			t.Fatal(err)
		}
	}
	yes := true
	if _, err := h.SetAccount(ctx, "u1@alpha.test", admin.Change{Operator: &yes}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.SetAccount(ctx, "u3@alpha.test", admin.Change{Disabled: &yes}); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		find admin.Find
		want string
	}{
		{admin.Find{Size: 3}, "7, 1 of 3: u1@alpha.test u3@alpha.test u5@alpha.test"},
		{admin.Find{Size: 3, Page: 3}, "7, 3 of 3: u6@xn--bcher-kva.test"},
		{admin.Find{Size: 3, Page: 99}, "7, 3 of 3: u6@xn--bcher-kva.test"},
		{admin.Find{Size: -1, Page: -1, Text: "BÜCHER"}, "4, 1 of 1: u0@xn--bcher-kva.test u2@xn--bcher-kva.test u4@xn--bcher-kva.test u6@xn--bcher-kva.test"},
		{admin.Find{Text: "xn--bcher", Size: 1}, "4, 1 of 4: u0@xn--bcher-kva.test"},
		{admin.Find{Text: "ääääää"}, "1, 1 of 1: u6@xn--bcher-kva.test"},
		{admin.Find{Domain: "Alpha.Test", Text: " u3 "}, "1, 1 of 1: u3@alpha.test"},
		{admin.Find{Only: "operators"}, "1, 1 of 1: u1@alpha.test"},
		{admin.Find{Only: "closed"}, "1, 1 of 1: u3@alpha.test"},
		{admin.Find{Only: "silent"}, "0, 1 of 1: "},
		{admin.Find{Text: "nobody", Page: 2}, "0, 1 of 1: "},
	} {
		found, err := h.FindAccounts(ctx, x.find)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, a := range found.All {
			names = append(names, a.Addresses[0])
		}
		if got := fmt.Sprintf("%d, %d of %d: %s", found.Total, found.Page, found.Pages, strings.Join(names, " ")); got != x.want {
			t.Errorf("%+v finds %s, want %s", x.find, got, x.want)
		}
	}
	for _, bad := range []admin.Find{{Only: "cats"}, {Domain: "no domain"}, {Domain: "[127.0.0.1]"}} {
		if found, err := h.FindAccounts(ctx, bad); err == nil {
			t.Errorf("%+v finds %+v", bad, found)
		}
	}
}

// TestLooked: what a check found stays until the next one about the same domain.
func TestLooked(t *testing.T) {
	plain := newHouse(t)
	side, err := kv.OpenSide(kv.SideOptions{Path: filepath.Join(t.TempDir(), "side.db"), Pace: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer side.Close()
	o := admin.Options{DB: plain.db, Side: side, Directory: plain.directory, Store: plain.store, Queue: plain.queue, Site: admin.Site{Hostname: "mail.test"}}
	h := admin.New(o)
	attention := func() []check.Result {
		t.Helper()
		all, err := h.Attention(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	for _, d := range []string{"alpha.test", "beta.test"} {
		if _, err := h.AddDomain(t.Context(), admin.Domain{Name: d}); err != nil {
			t.Fatal(err)
		}
	}
	if l := h.Looked("alpha.test"); !l.Time.IsZero() || len(attention()) != 0 {
		t.Errorf("somebody has looked: %+v", l)
	}
	h.SetCheckup(func(context.Context) (admin.World, error) {
		r, err := dns.New(dns.Options{Servers: nil})
		if err != nil {
			return admin.World{}, err
		}
		return admin.World{Options: check.Options{Resolver: r, Only: []string{"disk", "backup"}, Facts: check.Facts{Disk: &check.Disk{Free: 1, Low: 3, Stop: 2}, Backup: &check.Backup{}}}, Close: r.Close}, nil
	})
	if _, err := h.CheckUp(t.Context(), admin.CheckupRequest{Domains: []string{"alpha.test"}}); err != nil {
		t.Fatal(err)
	}
	if h.Looked("ALPHA.test").Time.IsZero() || !h.Looked("beta.test").Time.IsZero() || len(h.Looked("").Results) != 2 {
		t.Errorf("%+v %+v %+v", h.Looked("alpha.test"), h.Looked("beta.test"), h.Looked(""))
	}
	all := attention()
	if len(all) != 2 || all[0].Check != "disk" || all[0].State != check.Wrong || all[1].Check != "backup" || all[1].State != check.Warning {
		t.Errorf("%+v", all)
	}

	if err := side.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	h = admin.New(o) // as a restart does
	if again := attention(); !slices.Equal(again, all) || h.Looked("alpha.test").Time.IsZero() || !h.Looked("beta.test").Time.IsZero() {
		t.Errorf("after a restart %+v", again)
	}
}

// TestLookedRemoved: a domain that is not here any more needs nobody's attention.
func TestLookedRemoved(t *testing.T) {
	plain := newHouse(t)
	h := admin.New(admin.Options{DB: plain.db, Directory: plain.directory, Store: plain.store, Queue: plain.queue, Site: admin.Site{Hostname: "mail.test"}})
	if _, err := h.AddDomain(t.Context(), admin.Domain{Name: "alpha.test"}); err != nil {
		t.Fatal(err)
	}
	zone, err := dns.NewZone("mail.test. IN SOA ns.test. x.test. 1 1 1 1 1")
	if err != nil {
		t.Fatal(err)
	}
	server, err := dns.Serve(netip.MustParseAddrPort("127.0.0.1:0"), zone)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	h.SetCheckup(func(context.Context) (admin.World, error) {
		r, err := dns.New(dns.Options{Servers: []netip.AddrPort{server.Addr()}})
		return admin.World{Options: check.Options{Resolver: r, Only: []string{"mx"}}, Close: func() error { return r.Close() }}, err
	})
	for _, names := range [][]string{nil, {"alpha.test"}} {
		if _, err := h.CheckUp(t.Context(), admin.CheckupRequest{Domains: names}); err != nil {
			t.Fatal(err)
		}
	}
	if all, err := h.Attention(t.Context()); err != nil || len(all) != 1 || all[0].Domain != "alpha.test" {
		t.Fatalf("%+v %v", all, err)
	}
	if err := h.RemoveDomain(t.Context(), "alpha.test"); err != nil {
		t.Fatal(err)
	}
	if all, err := h.Attention(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("%+v %v", all, err)
	}
}

// TestAddTwice: two who add the same at the same moment do not overwrite each other.
func TestAddTwice(t *testing.T) {
	h := newHouse(t)
	add := func() error {
		_, err := h.AddDomain(t.Context(), admin.Domain{Name: "alpha.test", If: admin.NotThere})
		return err
	}
	alias := func(to string) error {
		_, err := h.AddAlias(t.Context(), admin.Alias{Address: "info@alpha.test", Members: []string{to}, If: admin.NotThere})
		return err
	}
	if err := errors.Join(add(), alias("a@far.test")); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{add(), alias("b@far.test")} {
		if !errors.Is(err, admin.ErrChanged) || !strings.Contains(err.Error(), "is here already") {
			t.Error(err)
		}
	}
	if a, err := h.FindAlias(t.Context(), "info@alpha.test"); err != nil || !slices.Equal(a.Members, []string{"a@far.test"}) {
		t.Errorf("%+v %v", a, err)
	}
}
