package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/auth/authtest"
	"github.com/posthouse-mail/posthouse/smtp/queue"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/storetest"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/api"
	"github.com/posthouse-mail/posthouse/web/page"
)

var update = flag.Bool("update", false, "write docs/openapi.json")

// room is the API on the web house, with alice, who is nobody special, and olga, an operator.
type room struct {
	t      *testing.T
	house  *admin.House
	server *api.Server
	door   page.Room
	visit  page.Visit
	now    time.Time
	sent   []sentMail
	fails  error // of the next message
	side   *kv.Side
	then   func() // behind each message
}

type sentMail struct {
	api.Outgoing
	text string
}

func newRoom(t *testing.T) *room {
	t.Helper()
	h := &room{t: t, now: time.Now(), visit: page.Visit{Secure: true, Remote: netip.MustParseAddr("127.0.0.1"), Site: "mail.test"}}
	var q *queue.Queue
	s := storetest.Start(t, storetest.Options{Register: []func(*kv.DB, *store.Store){func(db *kv.DB, s *store.Store) {
		var err error
		if q, err = queue.New(db, s, queue.Options{}); err != nil {
			t.Fatal(err)
		}
	}}})
	d := auth.New(s.DB, auth.Options{})
	authtest.Make(t, s, d, authtest.Account{Name: "alice"}, authtest.Account{Name: "olga"})
	h.house = admin.New(admin.Options{DB: s.DB, Directory: d, Store: s.Store, Queue: q})
	yes := true
	must[admin.Account](t)(h.house.SetAccount(t.Context(), "olga", admin.Change{Operator: &yes}))
	side, err := kv.OpenSide(kv.SideOptions{Path: filepath.Join(t.TempDir(), "side.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := side.Close(); err != nil && h.then == nil {
			t.Error(err)
		}
	})
	h.side = side
	h.server = api.New(api.Options{House: h.house, Side: side, MaxMessage: 1 << 20, Now: func() time.Time { return h.now }, Send: h.send})
	h.door = h.server.Room(api.DoorOptions{Directory: d, Now: func() time.Time { return h.now }})
	return h
}

func (h *room) send(_ context.Context, m api.Outgoing, text io.Reader) (api.Sent, error) {
	b, err := io.ReadAll(text)
	if err = errors.Join(err, h.fails); err != nil {
		h.fails = nil
		return api.Sent{}, err
	}
	h.sent = append(h.sent, sentMail{m, string(b)})
	if h.then != nil {
		h.then()
	}
	return api.Sent{ID: fmt.Sprintf("id%d", len(h.sent)), MessageID: "<1@mail.test>"}, nil
}

// token makes one of an account with scopes.
func (h *room) token(user string, scopes ...string) string {
	h.t.Helper()
	return must[admin.MadeToken](h.t)(h.house.AddToken(h.t.Context(), admin.NewToken{Account: user, Name: "test", Scopes: scopes})).Secret
}

// request is one to the room, what is "GET /path"; token empty: none is shown.
func (h *room) request(ctx context.Context, what, token, body string, fields ...string) *httptest.ResponseRecorder {
	method, path, _ := strings.Cut(what, " ")
	r := httptest.NewRequest(method, path, strings.NewReader(body)).WithContext(ctx)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	v := h.visit
	w := httptest.NewRecorder()
	h.door.Handler.ServeHTTP(w, r.WithContext(page.WithVisit(ctx, &v)))
	return w
}

// want makes a request and looks at the answer.
func (h *room) want(what, token, body string, status int, says ...string) *httptest.ResponseRecorder {
	h.t.Helper()
	w := h.request(h.t.Context(), what, token, body, "Content-Type", "application/json")
	if w.Code != status {
		h.t.Fatalf("%s answers %d, want %d: %s", what, w.Code, status, w.Body)
	}
	for _, s := range says {
		if !strings.Contains(w.Body.String(), s) {
			h.t.Errorf("%s does not say %q: %s", what, s, w.Body)
		}
	}
	return w
}

// described is what the test reads of the document.
type described struct {
	OpenAPI string `json:"openapi"`
	Paths   map[string]map[string]struct {
		Scopes []string `json:"x-scopes"`
		ID     string   `json:"operationId"`
	} `json:"paths"`
}

func (h *room) described() (d described) {
	h.t.Helper()
	if err := json.Unmarshal(must[[]byte](h.t)(h.server.OpenAPI()), &d); err != nil || len(d.Paths) < 40 {
		h.t.Fatalf("%d paths, %v", len(d.Paths), err)
	}
	return d
}

// TestEveryRouteHasItsScope: a token that has it comes in, one that has not, or is none, does not.
func TestEveryRouteHasItsScope(t *testing.T) {
	h := newRoom(t)
	tokens := map[string]string{}
	house := []string{"read", "directory", "queue", "everything"}
	for _, scope := range append([]string{"mail", "send", "account", "masks"}, house...) {
		tokens[scope] = h.token("olga", scope)
	}
	h.want("GET /api/v1/me", tokens["masks"], "", 200) // the directory is in memory from here on
	gone, cancel := context.WithCancel(t.Context())
	cancel() // who may come in is not to wait for the log, or to make a backup
	ids := map[string]string{}
	for path, methods := range h.described().Paths {
		for method, x := range methods {
			where := strings.ToUpper(method) + " " + path
			if ids[x.ID] != "" {
				t.Errorf("%s and %s have one name", where, ids[x.ID])
			}
			ids[x.ID] = where
			if len(x.Scopes) == 0 {
				t.Errorf("%s names no scope", where)
			}
			at := "/api" + strings.NewReplacer("{name}", "alice", "{", "", "}", "").Replace(path)
			if w := h.request(t.Context(), strings.ToUpper(method)+" "+at, "", ""); w.Code != 401 || w.Header().Get("WWW-Authenticate") == "" {
				t.Errorf("%s without a token: %d", where, w.Code)
			}
			for scope, token := range tokens {
				h.now = h.now.Add(time.Minute) // no limit of requests
				may := slices.Contains(x.Scopes, scope) || scope == "everything" && slices.ContainsFunc(x.Scopes, func(s string) bool { return slices.Contains(house, s) })
				code, challenge := 500, ""
				for try := 0; code == 500 && try < 5; try++ { // a change that was given up may be made all the same: the directory is read again
					must[[]admin.Account](t)(h.house.Accounts(t.Context()))
					code, challenge = h.reached(gone, strings.ToUpper(method)+" "+at, token)
				}
				if in := code != 401 && code != 403; in != may {
					t.Errorf("%s with the scope %s: %d", where, scope, code)
				}
				if !may && !strings.Contains(challenge, `error="insufficient_scope"`) {
					t.Errorf("%s with the scope %s: %q", where, scope, challenge)
				}
			}
		}
	}
}

// reached makes a request that a verb which is reached cannot fulfil; one of a part that this house lacks panics.
func (h *room) reached(ctx context.Context, what, token string) (code int, challenge string) {
	defer func() {
		if recover() != nil {
			code = 200
		}
	}()
	w := h.request(ctx, what, token, "no JSON")
	return w.Code, w.Header().Get("WWW-Authenticate")
}

// TestOpenAPI: docs/openapi.json is what the table says.
func TestOpenAPI(t *testing.T) {
	h := newRoom(t)
	got := append(must[[]byte](t)(h.server.OpenAPI()), '\n')
	const path = "../../docs/openapi.json"
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want := must[[]byte](t)(os.ReadFile(path)); !bytes.Equal(got, want) {
		t.Error("docs/openapi.json is not what the table says: go test ./web/api -update")
	}
	w := h.want("GET /api/v1/openapi.json", "", "", 200, `"openapi": "3.1.0"`)
	if strings.Contains(w.Body.String(), "github.com") {
		t.Error("a name of Go is in the document")
	}
	h.want("GET /api/v1/", "", "", 200, "<h1>HTTP API</h1>", "/v1/send", "Scopes", `href="#type-Account"`)
	h.want("POST /api/v1/", "", "", 405)
}

// TestDoor: who is not let in, and what he hears.
func TestDoor(t *testing.T) {
	h := newRoom(t)
	all := h.token("olga", "everything", "masks")
	alice := h.token("alice", "masks")
	h.want("GET /api/v1/accounts", "posthouse_wrong", "", 401, `"class":"refused"`, "none of this house")
	h.want("GET /api/v1/accounts", alice, "", 403, `may masks; this needs read or directory`)
	h.want("GET /api/v1/nothing", all, "", 404, "openapi.json")
	if w := h.want("DELETE /api/v1/status", all, "", 405); w.Header().Get("Allow") != "GET" {
		t.Errorf("Allow: %q", w.Header().Get("Allow"))
	}
	h.want("OPTIONS /api/v1/accounts", "", "", 401)
	h.want("POST /api/v1/messages?from=a@mail.test", all, "x", 403, "over the socket")
	h.want("PATCH /api/v1/accounts/alice", all, `{"name":"`+strings.Repeat("a", 1<<20)+`"}`, 413)
	h.want("PATCH /api/v1/accounts/alice", all, `{"nom":"a"}`, 400, "nom")
	h.want("PATCH /api/v1/accounts/alice", all, `{} {}`, 400)
	h.want("GET /api/v1/accounts/nobody", all, "", 404, `"class":"missing"`)
	if w := h.want("GET /api/v1/aliases", all, "", 200); w.Body.String() != "[]\n" || w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("%s %v", w.Body, w.Header())
	}
	h.want("GET /api/v1/me", alice, "", 200, "alice@mail.test", `"scopes":["masks"]`)
	h.want("GET /api/v1/me", must[admin.MadeToken](t)(h.house.AddToken(t.Context(), admin.NewToken{Name: "house", Scopes: []string{"everything"}})).Secret, "", 403)
	h.visit.Remote = netip.MustParseAddr("192.0.2.1")
	h.want("GET /api/v1/accounts", all, "", 403, "web.api_from")
	h.want("GET /api/v1/me/masks", all, "", 200)
	h.visit.Secure = false
	h.want("GET /api/v1/me/masks", alice, "", 403, "not in clear")
	h.visit = page.Visit{Remote: netip.MustParseAddr("127.0.0.1"), Behind: true, Secure: true}
	h.want("GET /api/v1/accounts", all, "", 403, "web.api_from")
}

// TestOperatorsAreSpared: who may change accounts, but not everything, does not become one who may.
func TestOperatorsAreSpared(t *testing.T) {
	h := newRoom(t)
	some, all := h.token("olga", "directory"), h.token("olga", "everything")
	for _, name := range []string{"olga", "olga@mail.test", "OLGA@mail.test", "olga%40mail.test"} {
		h.want("PUT /api/v1/accounts/"+name+"/password", some, `{"password":"another one"}`, 403, "is an operator")
	}
	h.want("PATCH /api/v1/accounts/alice", some, `{"operator":true}`, 403, "needs a token for everything")
	h.want("PATCH /api/v1/accounts/alice", some, `{"name":"Alice"}`, 200, `"name":"Alice"`)
	h.want("PATCH /api/v1/accounts/alice", all, `{"operator":true}`, 200)
	h.want("POST /api/v1/tokens", some, `{"name":"x","scopes":["everything"]}`, 403)
	h.want("POST /api/v1/tokens", all, `{"name":"x","scopes":["read"],"expires":"9999-12-31T23:59:59-12:00"}`, 400, "before the year 10000")
	h.want("POST /api/v1/accounts/alice/app-passwords", all, `{"name":"x","expires":"9999-12-31T23:59:59-12:00"}`, 400, "before the year 10000")
	made := h.want("POST /api/v1/tokens", all, `{"name":"x","scopes":["read"]}`, 200, "posthouse_")
	var out admin.MadeToken
	if err := json.Unmarshal(made.Body.Bytes(), &out); err != nil {
		t.Fatal(err)
	}
	h.want("GET /api/v1/accounts", out.Secret, "", 200)
	if w := h.want("GET /api/v1/tokens", all, "", 200); strings.Contains(w.Body.String(), out.Secret) {
		t.Error("a secret is shown again")
	}
	h.want(fmt.Sprintf("DELETE /api/v1/tokens/%d", out.Number), all, "", 200)
	h.want("GET /api/v1/accounts", out.Secret, "", 401)
}

// TestRate: a program that has lost its mind is told to wait, and is served again after that.
func TestRate(t *testing.T) {
	h := newRoom(t)
	token, other := h.token("alice", "masks"), h.token("alice", "masks")
	for range 200 {
		h.want("GET /api/v1/me", token, "", 200)
	}
	if w := h.want("GET /api/v1/me", token, "", 429, "wait"); w.Header().Get("Retry-After") != "1" {
		t.Error("it is not told how long")
	}
	h.want("GET /api/v1/me", other, "", 200)
	h.now = h.now.Add(time.Second)
	h.want("GET /api/v1/me", token, "", 200)
}

// TestMaskedAddressesByAddy: what password managers send, and what they read of the answer.
func TestMaskedAddressesByAddy(t *testing.T) {
	h := newRoom(t)
	token := h.token("alice", "masks")
	for name, body := range map[string]string{
		"Bitwarden":  `{"domain":"mail.test","description":"Website: shop.example. Generated by Bitwarden."}`,
		"documented": `{"domain":"mail.test","description":"For example.com","format":"uuid","recipient_ids":["46eebc50-f7f8-46d7-beb9-c37f04c29a84"]}`,
		"newer":      `{"domain":"mail.test","something_new":{"a":1}}`,
	} {
		w := h.request(t.Context(), "POST /api/v1/aliases", token, body, "Content-Type", "application/json", "Accept", "application/json", "X-Requested-With", "XMLHttpRequest", "Origin", "chrome-extension://nngceckbapebfimnlniiiahkandclblb")
		var out struct {
			Data struct {
				Email, Description string
				Active             bool
			} `json:"data"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || w.Code != 201 || !strings.HasSuffix(out.Data.Email, "@mail.test") || !out.Data.Active {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	all := must[[]admin.Mask](t)(h.house.Masks(t.Context(), "alice"))
	if len(all) != 3 || !slices.ContainsFunc(all, func(m admin.Mask) bool { return m.Note == "Website: shop.example. Generated by Bitwarden." }) {
		t.Errorf("%+v", all)
	}
	h.want("POST /api/v1/aliases", "", `{"domain":"mail.test"}`, 401)
	h.want("POST /api/v1/aliases", token, `{"domain":"elsewhere.test"}`, 400, `"message":`)
	h.want("POST /api/v1/aliases", token, `{"domain":"mail.test","format":"custom","local_part":"me"}`, 422, "chosen here")
	h.want("POST /api/v1/aliases", token, `{"domain":"mail.test","description":"`+strings.Repeat("ä", 500)+`"}`, 201)
}

// TestOperatorsWithSlashes: an operator is spared whatever his name looks like in a path, and what only who changes accounts may see of
// them is not seen of him.
func TestOperatorsWithSlashes(t *testing.T) {
	h := newRoom(t)
	some := h.token("olga", "directory")
	must[admin.Account](t)(h.house.AddAccount(t.Context(), admin.NewAccount{Addresses: []string{"ops/root@mail.test"}, Password: "secret secret"}))
	yes := true
	must[admin.Account](t)(h.house.SetAccount(t.Context(), "ops/root@mail.test", admin.Change{Operator: &yes}))
	for _, name := range []string{"ops%2Froot@mail.test", "ops%2froot%40mail.test"} {
		h.want("PUT /api/v1/accounts/"+name+"/password", some, `{"password":"another one"}`, 403, "is an operator")
		h.want("DELETE /api/v1/accounts/"+name, some, "", 403, "is an operator")
		h.want("GET /api/v1/accounts/"+name, some, "", 200)
	}
	h.want("GET /api/v1/accounts/olga/outbox", some, "", 403, "is an operator")
	h.want("GET /api/v1/accounts/olga/spam/refused", some, "", 403, "is an operator")
}

// TestReadSeesNoMail: subjects are mail.
func TestReadSeesNoMail(t *testing.T) {
	h := newRoom(t)
	for _, scope := range []string{"read", "queue"} {
		token := h.token("olga", scope)
		h.want("GET /api/v1/trace/alice@mail.test", token, "", 403, "needs everything")
		h.want("GET /api/v1/accounts/alice/spam/refused", token, "", 403, "needs directory")
	}
}

// TestOtherSites: a page of another site makes masked addresses with a token that it was given, and reads no other answer.
func TestOtherSites(t *testing.T) {
	h := newRoom(t)
	token := h.token("alice", "masks", "account")
	from := []string{"Origin", "https://vault.example", "Content-Type", "application/json"}
	w := h.request(t.Context(), "OPTIONS /api/v1/aliases", "", "", append(from, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization,content-type,x-requested-with")...)
	if got := w.Header(); w.Code != 204 || got.Get("Access-Control-Allow-Origin") != "*" || got.Get("Access-Control-Allow-Methods") != "POST" || !strings.Contains(got.Get("Access-Control-Allow-Headers"), "Authorization") || got.Get("Access-Control-Allow-Credentials") != "" {
		t.Errorf("%d %v", w.Code, got)
	}
	for token, code := range map[string]int{token: 201, "posthouse_wrong": 401} {
		if w = h.request(t.Context(), "POST /api/v1/aliases", token, `{"domain":"mail.test"}`, from...); w.Code != code || w.Header().Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%d %v", w.Code, w.Header())
		}
	}
	for _, what := range []string{"GET /api/v1/aliases", "GET /api/v1/me", "PUT /api/v1/me/forward", "GET /api/v1/openapi.json", "OPTIONS /api/v1/aliases"} {
		if w = h.request(t.Context(), what, token, "", from...); w.Header().Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: %v", what, w.Header())
		}
	}
	w = h.request(t.Context(), "OPTIONS /api/v1/me/forward", "", "", append(from, "Access-Control-Request-Method", "PUT")...)
	if w.Code != 401 || w.Header().Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("forwarding by another site: %d %v", w.Code, w.Header())
	}
}

// TestWhyATokenOpensNothing: its program reads what has happened.
func TestWhyATokenOpensNothing(t *testing.T) {
	h := newRoom(t)
	token := h.token("olga", "read")
	h.want("GET /api/v1/accounts", token, "", 200)
	no, yes := false, true
	must[admin.Account](t)(h.house.SetAccount(t.Context(), "olga", admin.Change{Operator: &no}))
	h.want("GET /api/v1/accounts", token, "", 403, "is no operator any more")
	must[admin.Account](t)(h.house.SetAccount(t.Context(), "olga", admin.Change{Disabled: &yes}))
	h.want("GET /api/v1/accounts", token, "", 403, "the account is disabled")
}
