package adminui_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/posthouse-mail/posthouse/web/admin"
)

func TestAliases(t *testing.T) {
	h := newHouse(t)
	h.want("/admin/aliases", nil, 200, "There is no such alias.")
	h.want("/admin/aliases/add", nil, 200, `name="members"`)
	path := "/admin/alias?address=sales%40mail.test"
	h.goes("/admin/aliases/add", form("address", "sales@mail.test", "members", "alice@mail.test, bob@mail.test"), path+"&done=alias-added")
	h.want("/admin/aliases?q=bob", nil, 200, "sales@mail.test", "alice@mail.test, bob@mail.test")
	h.want("/admin/aliases/add", form("address", "sales@mail.test", "members", "alice@mail.test"), 422, "This alias is there already")
	h.want("/admin/aliases/add", form("address", "other@mail.test", "members", "no address"), 422, `id="members-fault"`)
	h.want("/admin/aliases/add", form("address", "other@mail.test"), 422, `id="members-fault"`)
	h.want("/admin/aliases/add", form("address", "other", "members", "alice@mail.test"), 422, `id="address-fault"`)
	h.want("/admin/aliases/add", form("address", "alice@mail.test", "members", "bob@mail.test"), 422, "fault")
	old := h.version(path)
	h.goes("/admin/alias", form("address", "sales@mail.test", "version", old, "members", "bob@mail.test", "send_as", "1"), path+"&done=alias-saved")
	h.want(path, nil, 200, `name="send_as" value="1" checked`, ">bob@mail.test</textarea>")
	h.want("/admin/alias", form("address", "sales@mail.test", "version", old, "members", "alice@mail.test"), 409, "Nothing of yours was saved", ">alice@mail.test</textarea>")
	h.want("/admin/alias", form("address", "sales@mail.test", "version", h.version(path), "members", "sales@mail.test"), 422, `id="members-fault"`)
	h.want("/admin/alias?address=nobody%40mail.test", nil, 404)
	ask := "/admin/alias/remove?address=sales%40mail.test"
	h.want(ask, nil, 200, "bob@mail.test")
	h.want("/admin/alias/remove", form("address", "sales@mail.test", "version", old), 409)
	h.goes("/admin/alias/remove", form("address", "sales@mail.test", "version", h.version(ask)), "/admin/aliases?done=alias-removed")
	h.want("/admin/alias/remove", form("address", "sales@mail.test"), 404)
}

func TestLists(t *testing.T) {
	h := newHouse(t)
	h.want("/admin/lists", nil, 200, "There is no such list.")
	h.want("/admin/lists/add", nil, 200, ">alice@mail.test</textarea>")
	path := "/admin/list?address=garden%40mail.test"
	h.goes("/admin/lists/add", form("address", "garden@mail.test", "name", "Garden", "owners", "alice@mail.test", "post", "anyone", "max_size", "5 MiB"), path+"&done=list-added")
	h.want("/admin/lists?q=gard", nil, 200, "garden@mail.test", "anyone")
	h.want("/admin/lists/add", form("address", "other@mail.test", "owners", "nobody"), 422, `id="owners-fault"`)
	h.want("/admin/lists/add", form("address", "garden@mail.test", "owners", "alice@mail.test"), 422, "is a list already")
	h.want("/admin/lists/add", form("address", "other@mail.test", "owners", "alice@mail.test", "post", "cats"), 422)
	h.want("/admin/lists/add", form("address", "other@mail.test", "owners", "alice@mail.test", "max_size", "big"), 422, `id="max_size-fault"`)
	var many strings.Builder
	for i := range 120 {
		fmt.Fprintf(&many, "member%03d@elsewhere.test\n", i)
	}
	h.goes("/admin/list/members", form("address", "garden@mail.test", "action", "add", "members", many.String()), path+"&done=list-members")
	body, _ := h.want(path, nil, 200, "120 members", "Page 1 of 3", `href="/admin/list?address=garden%40mail.test&amp;page=2"`, `value="5 MiB"`)
	if n := strings.Count(body, "Take out</button>"); n != 50 {
		t.Errorf("%d members on a page", n)
	}
	if body, _ := h.want("/admin/audit", nil, 200, "Members added", " …"); len(body) > 20_000 {
		t.Errorf("the members of a list make a page of %d octets", len(body))
	}
	h.want(path+"&page=3", nil, 200, "member119@elsewhere.test", "Page 3 of 3")
	h.want(path+"&page=99", nil, 200, "Page 3 of 3")
	h.want(path+"&q=MEMBER007", nil, 200, "member007@elsewhere.test")
	for _, action := range []string{"pause", "resume", "remove"} {
		h.goes("/admin/list/members", form("address", "garden@mail.test", "action", action, "members", "member007@elsewhere.test"), path+"&done=list-members")
	}
	h.want(path, nil, 200, "119 members")
	h.want("/admin/list/members", form("address", "garden@mail.test", "action", "remove", "members", "stranger@elsewhere.test"), 422)
	h.want("/admin/list/members", form("address", "garden@mail.test", "action", "paint", "members", "member008@elsewhere.test"), 422)
	h.want("/admin/list/members", form("address", "garden@mail.test", "action", "add", "members", "ok@elsewhere.test\nnot ok"), 422, `id="members-fault"`, "not ok</textarea>")
	old := h.version(path)
	h.goes("/admin/list", form("address", "garden@mail.test", "version", old, "name", "Plants", "owners", "bob@mail.test", "post", "members", "replies", "list", "tag", "[plants]"), path+"&done=list-saved")
	h.want(path, nil, 200, `value="Plants"`, `<option value="list" selected>`)
	h.want("/admin/list", form("address", "garden@mail.test", "version", old, "name", "Trees", "owners", "bob@mail.test"), 409, "Nothing of yours was saved", `value="Trees"`)
	h.want("/admin/list", form("address", "garden@mail.test", "version", h.version(path), "owners", ""), 422, `id="owners-fault"`)
	h.want("/admin/list?address=none%40mail.test", nil, 404)
	ask := "/admin/list/remove?address=garden%40mail.test"
	h.goes("/admin/list/remove", form("address", "garden@mail.test", "version", h.version(ask)), "/admin/lists?done=list-removed")
	h.want(ask, nil, 404)
}

func TestMasks(t *testing.T) {
	h := newHouse(t)
	h.want("/admin/masks", nil, 200, "There are none.")
	m, err := h.admin.AddMask(t.Context(), "bob@mail.test", admin.NewMask{Note: "<shop>"})
	if err != nil {
		t.Fatal(err)
	}
	h.want("/admin/masks?q=shop", nil, 200, m.Address, "&lt;shop&gt;", "bob@mail.test", "Switch off")
	at := strings.ReplaceAll(m.Address, "@", "%40")
	h.goes("/admin/mask", form("who", "bob@mail.test", "address", m.Address, "state", "off"), "/admin/masks?q="+at+"&done=mask-off")
	h.want("/admin/masks", nil, 200, "Switch on")
	h.goes("/admin/mask", form("who", "bob@mail.test", "address", m.Address, "state", "on"), "/admin/masks?q="+at+"&done=mask-on")
	h.want("/admin/mask", form("who", "bob@mail.test", "address", m.Address, "state", "remove"), 404)
	h.want("/admin/mask", form("who", "alice@mail.test", "address", m.Address, "state", "off"), 404)
	h.want("/admin/mask/remove?"+bobs+"&address="+at, nil, 200, "for ever")
	h.want("/admin/mask/remove?who=alice%40mail.test&address="+at, nil, 404)
	h.goes("/admin/mask/remove", form("who", "bob@mail.test", "address", m.Address), "/admin/masks?done=mask-removed")
	h.want("/admin/masks", nil, 200, "There are none.")
}

func TestAudit(t *testing.T) {
	h := newHouse(t)
	path := "/admin/account?" + bobs
	h.goes("/admin/account/person", form("who", "bob@mail.test", "version", h.version(path), "name", "Robert", "login", "bob", "door_web", "1"), path+"&done=account-saved")
	h.want("/admin/", nil, 200, "What was changed last", "Account changed")
	h.want("/admin/audit", nil, 200, "Account changed", "on these pages", "<del>bob</del>", "<ins>Robert</ins>", "Take back change 1")
	h.want("/admin/audit?object=mail.test", nil, 200, "Account changed")
	h.want("/admin/audit?object=bob%40mail.test", nil, 200, "Take back change 1")
	h.want("/admin/audit?who=stranger", nil, 200, "Nothing that fits")
	h.want("/admin/audit?before=x&object="+strings.Repeat("y", 5000), nil, 200)
	h.goes("/admin/audit", form("number", "1"), "/admin/audit?done=undone")
	h.want(path, nil, 200, "<h1>bob</h1>")
	h.want("/admin/audit", nil, 200, "takes back change 1")
	h.want("/admin/audit", form("number", "1"), 422, "has taken it back")
	h.want("/admin/audit", form("number", "4711"), 422)
	h.want("/admin/audit", form("number", "one"), 404)
}

// TestPathTricks: what is no page is said to be none, whatever it looks like.
func TestPathTricks(t *testing.T) {
	h := newHouse(t)
	for _, path := range []string{"/admin/nothing", "/admin/account/person", "/admin/domains/%2e%2e%2faccounts", "/admin/account%00", "/admin/accounts/", "/admin/list/members"} {
		h.want(path, nil, 404, "There is no such page")
	}
	h.want("/admin/accounts", form("x", "y"), 404)
}
