package adminui_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/check"
)

func TestDomains(t *testing.T) {
	h := newHouse(t)
	h.want("/admin/domains", nil, 200, "mail.test", `href="/admin/domains/add"`, `<th scope="col">Domain</th>`, ">2</td>", "not yet")
	h.want("/admin/domains/add", nil, 200, `name="catch_all"`)
	h.goes("/admin/domains/add", form("name", "Bücher.Example"), "/admin/domain?name=xn--bcher-kva.example&done=domain-added")
	h.want("/admin/domains?q=büch", nil, 200, "bücher.example")
	h.want("/admin/domains?q=nothing", nil, 200, "No domain has this in its name")
	h.want("/admin/domain?name=xn--bcher-kva.example&done=domain-added", nil, 200, "<h1>bücher.example</h1>", "xn--bcher-kva.example. IN MX 10 mail.test.", "The domain is here", "signs")
	h.goes("/admin/domains/add", form("name", "second.test", "alias_of", "mail.test"), "/admin/domain?name=second.test&done=domain-added")
	h.want("/admin/domain?name=second.test", nil, 200, `<dt>Another name of</dt><dd><a href="/admin/domain?name=mail.test">`)
	h.want("/admin/domain?name=mail.test", nil, 200, `<dt>Other names of it</dt><dd><a href="/admin/domain?name=second.test">`, "2 accounts")
	h.want("/admin/domain?name=stranger.test", nil, 404, "stranger.test")
	h.want("/admin/domain", nil, 422)
}

func TestBadDomains(t *testing.T) {
	h := newHouse(t)
	for name, want := range map[string]string{
		"": "is empty", "no spaces.test": "fault", "..": "fault", "under_score..test": "fault", "-.test": "fault", "mail.test": "This domain is here already.", "[127.0.0.1]": "is an address, no domain name",
		"127.0.0.1": "fault", strings.Repeat("a", 64) + ".test": "fault", strings.Repeat("a.", 130) + "test": "fault", "a\x00b.test": "characters that cannot be used",
		"\xff\xfe.test": "characters that cannot be used", "<script>.test": "fault", "a\r\nSet-Cookie: x.test": "fault", "xn--a.test\u202e": "fault",
	} {
		body, _ := h.want("/admin/domains/add", form("name", name), 422, want, `aria-invalid="true"`)
		if strings.Contains(body, "<script>.test") {
			t.Errorf("%q comes back as it is", name)
		}
	}
	h.want("/admin/domains/add", form("name", "new.test", "alias_of", "nowhere.test"), 422, `id="alias_of-fault"`, `value="new.test"`)
	h.want("/admin/domains/add", form("name", "new.test", "alias_of", "new.test"), 422, "fault")
	h.want("/admin/domains/add", form("name", "new.test", "catch_all", "no address"), 422, `id="catch_all-fault"`)
	if all, err := h.admin.Domains(t.Context()); err != nil || len(all) != 1 {
		t.Errorf("something was made: %v %v", all, err)
	}
}

func TestDomainSettings(t *testing.T) {
	h := newHouse(t)
	path := "/admin/domain?name=mail.test"
	old := h.version(path)
	h.goes("/admin/domain/catch-all", form("name", "mail.test", "version", old, "catch_all", "bob@mail.test"), path+"&done=domain-catch-all")
	h.want(path, nil, 200, `value="bob@mail.test"`)
	for _, x := range []struct{ path, field, value string }{{"/admin/domain/catch-all", "catch_all", "alice@mail.test"}, {"/admin/domain/quota", "bytes", "1 GiB"}, {"/admin/domain/limits", "messages_per_hour", "7"}} {
		h.want(x.path, form("name", "mail.test", "version", old, x.field, x.value), 409, "Nothing of yours was saved", `value="`+x.value+`"`)
	}
	h.goes("/admin/domain/quota", form("name", "mail.test", "version", h.version(path), "bytes", "3 GiB", "messages", "1000"), path+"&done=domain-quota")
	h.goes("/admin/domain/limits", form("name", "mail.test", "version", h.version(path), "messages_per_hour", "12", "recipients_per_day", "none"), path+"&done=domain-limits")
	h.want(path, nil, 200, `value="3 GiB"`, `value="1000"`, `value="12"`, `value="none"`)
	h.want("/admin/domain/quota", form("name", "mail.test", "version", h.version(path), "bytes", "much", "messages", "-1"), 422, "This is no size", "This is no number", `value="much"`)
	h.want("/admin/domain/limits", form("name", "mail.test", "version", h.version(path), "messages_per_hour", "many"), 422, "Write a number, or none.")
	h.want("/admin/domain/catch-all", form("name", "mail.test", "version", h.version(path), "catch_all", "nobody@"), 422, `id="catch_all-fault"`)
	h.want("/admin/domain/catch-all", form("name", "gone.test", "catch_all", "bob@mail.test"), 404)
}

func TestRemoveDomain(t *testing.T) {
	h := newHouse(t)
	h.want("/admin/domain/remove?name=mail.test", nil, 200, "Remove the domain", `href="/admin/domain?name=mail.test"`)
	h.want("/admin/domain/remove", form("name", "mail.test", "version", h.version("/admin/domain/remove?name=mail.test")), 422, "alice@mail.test")
	if _, err := h.admin.AddDomain(t.Context(), admin.Domain{Name: "empty.test"}); err != nil {
		t.Fatal(err)
	}
	h.want("/admin/domain/remove", form("name", "empty.test", "version", "0123456789abcdef"), 409, "Nothing of yours was saved")
	h.goes("/admin/domain/remove", form("name", "empty.test", "version", h.version("/admin/domain/remove?name=empty.test")), "/admin/domains?done=domain-removed")
	h.want("/admin/domain/remove?name=empty.test", nil, 404)
}

func TestKeys(t *testing.T) {
	h := newHouse(t)
	if _, err := h.admin.AddDomain(t.Context(), admin.Domain{Name: "keys.test"}); err != nil {
		t.Fatal(err)
	}
	path := "/admin/domain?name=keys.test"
	h.goes("/admin/domain/key", form("name", "keys.test", "algorithm", "ed25519"), path+"&done=key-made")
	h.want(path, nil, 200, "waits until its record is seen", "ed25519")
	h.want("/admin/domain/key", form("name", "keys.test", "algorithm", "ed25519"), 422, "waits already for its record")
	h.want("/admin/domain/key", form("name", "keys.test", "algorithm", "rot13"), 422, `id="algorithm-fault"`)
	d, err := h.admin.DomainDetail(t.Context(), "keys.test")
	if err != nil || len(d.Keys) != 2 {
		t.Fatal(d.Keys, err)
	}
	for _, k := range d.Keys {
		ask := "/admin/domain/key/remove?name=keys.test&selector=" + k.Selector
		h.want(ask, nil, 200, k.Selector)
		if k.State == "active" {
			body, _ := h.want("/admin/domain/key/remove", form("name", "keys.test", "selector", k.Selector), 422, "is the only key that signs")
			if strings.Contains(body, "posthouse domain") {
				t.Error("a page speaks of commands")
			}
			continue
		}
		h.goes("/admin/domain/key/remove", form("name", "keys.test", "selector", k.Selector), path+"&done=key-removed")
		h.want(ask, nil, 404)
	}
}

// TestLook: what the check finds stands beside the record that should be there.
func TestLook(t *testing.T) {
	h := newHouse(t)
	h.want("/admin/", nil, 200, "Nobody has looked yet")
	h.want("/admin/domain/look", form("name", "mail.test"), 503, "nobody can look at DNS here")
	zone, err := dns.NewZone("mail.test. MX 10 other.test.", "other.test. A 192.0.2.7")
	if err != nil {
		t.Fatal(err)
	}
	server, err := dns.Serve(netip.MustParseAddrPort("127.0.0.1:0"), zone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	h.admin.SetCheckup(func(context.Context) (admin.World, error) {
		r, err := dns.New(dns.Options{Servers: []netip.AddrPort{server.Addr()}, Timeout: time.Second, Rounds: 1})
		if err != nil {
			return admin.World{}, err
		}
		return admin.World{Options: check.Options{Resolver: r, Only: []string{"mx", "spf", "disk"}, Facts: check.Facts{Disk: &check.Disk{Free: 1, Low: 3, Stop: 2}}}, Close: r.Close}, nil
	})
	h.goes("/admin/domain/look", form("name", "mail.test"), "/admin/domain?name=mail.test&done=looked")
	h.want("/admin/domain?name=mail.test", nil, 200, "Looked <time", "Where its mail goes (MX)", "<strong class=\"no\">wrong</strong>", "other.test", "What to do:", "v=spf1 mx -all")
	h.want("/admin/domains", nil, 200, "things are wrong")
	h.want("/admin/", nil, 200, "<strong class=\"no\">Domain</strong>: mail.test", "Not as it should be: Where its mail goes (MX); Who may send", "Disk", `href="/admin/domain?name=mail.test"`, "How this host does")
	h.goes("/admin/look", form(), "/admin/?done=looked")
	h.want("/admin/domain/look", form("name", "gone.test"), 404)
}
