package housetest

import (
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/api"
)

// openAPI is the description of the API, as a client that believes it reads it.
type openAPI struct {
	Paths map[string]map[string]struct {
		Scopes    []string               `json:"x-scopes"`
		Responses map[string]apiResponse `json:"responses"`
	} `json:"paths"`
	Components struct {
		Schemas   map[string]any         `json:"schemas"`
		Responses map[string]apiResponse `json:"responses"`
	} `json:"components"`
}

type apiResponse struct {
	Content map[string]struct {
		Schema any `json:"schema"`
	} `json:"content"`
}

// wrong tells where a value is not what a schema says. What the schema does not name is wrong too: who makes types of it would lose it.
func (d *openAPI) wrong(at string, schema, value any) (all []string) {
	s, _ := schema.(map[string]any)
	if ref, ok := s["$ref"].(string); ok {
		named, there := d.Components.Schemas[ref[strings.LastIndexByte(ref, '/')+1:]]
		if !there {
			return []string{at + ": " + ref + " is not there"}
		}
		return d.wrong(at, named, value)
	}
	if either, ok := s["oneOf"].([]any); ok {
		fits := 0
		for _, one := range either {
			wrong := d.wrong(at, one, value)
			all = append(all, wrong...)
			if len(wrong) == 0 {
				fits++
			}
		}
		if fits == 1 {
			return nil
		}
		return append(all, fmt.Sprintf("%s: it fits %d of oneOf", at, fits))
	}
	kinds, _ := s["type"].([]any)
	if one, ok := s["type"].(string); ok {
		kinds = []any{one}
	}
	kind := kindOf(value)
	if len(kinds) > 0 && !slices.Contains(kinds, any(kind)) && !(kind == "integer" && slices.Contains(kinds, any("number"))) {
		return []string{fmt.Sprintf("%s: %s, not %v", at, kind, kinds)}
	}
	switch v := value.(type) {
	case string:
		return wrongText(at, s, v)
	case float64:
		if least, ok := s["minimum"].(float64); ok && v < least {
			return []string{fmt.Sprintf("%s: %v is less than %v", at, v, least)}
		}
	case []any:
		for i, x := range v {
			all = append(all, d.wrong(fmt.Sprintf("%s[%d]", at, i), s["items"], x)...)
		}
	case map[string]any:
		return d.wrongObject(at, s, v)
	}
	return all
}

func (d *openAPI) wrongObject(at string, s, value map[string]any) (all []string) {
	if len(s) == 0 {
		return nil // anything
	}
	properties, _ := s["properties"].(map[string]any)
	required, _ := s["required"].([]any)
	for _, name := range required {
		if _, there := value[fmt.Sprint(name)]; !there {
			all = append(all, fmt.Sprintf("%s: %v is missing", at, name))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(value)) {
		of, named := properties[name]
		if !named {
			of, named = s["additionalProperties"]
		}
		if !named {
			all = append(all, at+": "+name+" is not in the document")
			continue
		}
		all = append(all, d.wrong(at+"."+name, of, value[name])...)
	}
	return all
}

func wrongText(at string, s map[string]any, text string) []string {
	if _, err := time.Parse(time.RFC3339Nano, text); s["format"] == "date-time" && err != nil {
		return []string{at + ": " + err.Error()}
	}
	if _, err := base64.StdEncoding.DecodeString(text); s["contentEncoding"] == "base64" && err != nil {
		return []string{at + ": " + err.Error()}
	}
	return nil
}

func kindOf(value any) string {
	switch v := value.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case float64:
		if v == float64(int64(v)) {
			return "integer"
		}
		return "number"
	case []any:
		return "array"
	}
	return "object"
}

// lively makes a house with something of everything that the API shows, over the API; it answers to the token of an operator.
func lively(t *testing.T) (p *program, later, sent api.Sent) {
	s := newStreet(t)
	h := s.build("https = [\"127.0.0.1:0\"]\n", "alice@one.test", "olga@one.test")
	s.build("", "ben@other.test")
	h.publishes("one.test")
	yes := true
	_, err := h.Daemon.House().SetAccount(t.Context(), "olga@one.test", admin.Change{Operator: &yes})
	check(t, err)
	p = h.program("olga@one.test", (auth.ScopesOwn | auth.ScopesHouse).Names()...)
	for _, x := range []struct{ method, path, body string }{
		{"PUT", "/aliases", `{"address":"info@one.test","members":["olga@one.test"]}`},
		{"POST", "/lists", `{"address":"team@one.test","owners":["olga@one.test"]}`},
		{"POST", "/lists/team@one.test/members", `{"action":"add","members":["ben@other.test"]}`},
		{"POST", "/me/masks", `{"note":"shop"}`},
		{"PUT", "/me/forward", `{"to":["ben@other.test"],"keep":true}`},
		{"PUT", "/me/spam/senders", `{"sender":"boss@other.test"}`},
		{"POST", "/accounts/olga@one.test/app-passwords", `{"name":"Phone"}`},
		{"PUT", "/suppressions", `{"address":"gone@other.test"}`},
		{"POST", "/webhooks", `{"url":"https://hooks.example/x"}`},
	} {
		var answer any
		if code := p.says(x.method, x.path, x.body, &answer); code >= 300 {
			t.Fatalf("%s %s: %d %v", x.method, x.path, code, answer)
		}
	}
	at := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	if code := p.says("POST", "/send", `{"to":["ben@other.test"],"subject":"later","at":"`+at+`"}`, &later); code != 202 {
		t.Fatalf("later: %d %+v", code, later)
	}
	if code := p.says("POST", "/send", `{"to":["ben@other.test","olga@one.test"],"subject":"now"}`, &sent); code != 202 {
		t.Fatalf("now: %d %+v", code, sent)
	}
	h.reader("olga@one.test").awaits(1, "now")
	return p, later, sent
}

// TestTheDocumentIsTrue: each answer of a house that lives has the shape that the document says, problems too.
func TestTheDocumentIsTrue(t *testing.T) {
	p, later, sent := lively(t)
	var d openAPI
	if code := p.says("GET", "/openapi.json", "", &d); code != 200 || len(d.Paths) < 40 {
		t.Fatalf("%d, %d paths", code, len(d.Paths))
	}
	names := map[string]string{"accounts": "olga@one.test", "domains": "one.test", "lists": "team@one.test", "queue": later.ID, "send": sent.ID, "trace": "olga@one.test"}
	asked := map[string]string{
		"/v1/find/accounts": "{}", "/v1/find/aliases": "{}", "/v1/find/lists": "{}", "/v1/find/masks": "{}", "/v1/find/domains": "{}", "/v1/reports/dmarc": "{}", "/v1/reports/tls": "{}",
		"/v1/directory/export": "{}", "/v1/me/stories": "{}", "/v1/me/story": `{"id":"` + sent.ID + `"}`, "/v1/me/deleted": "{}", "/v1/accounts/{name}/deleted": "{}",
	}
	empty := 0
	for path, methods := range d.Paths {
		for method, x := range methods {
			body, also := asked[path]
			shape, isJSON := x.Responses["200"].Content["application/json"]
			if method != "get" && !also || !isJSON { // streams have tests of their own
				continue
			}
			word, _, _ := strings.Cut(strings.TrimPrefix(path, "/v1/"), "/")
			at := strings.NewReplacer("/v1", "", "{name}", names[word]).Replace(path)
			var answer any
			code := p.says(strings.ToUpper(method), at, body, &answer)
			if code != 200 {
				t.Errorf("%s %s: %d %v", method, at, code, answer)
				continue
			}
			for _, w := range d.wrong(method+" "+at, shape.Schema, answer) {
				t.Error(w)
			}
			if list, ok := answer.([]any); ok && len(list) == 0 {
				empty++
				t.Logf("%s %s is empty", method, at)
			}
		}
	}
	if empty > 8 {
		t.Errorf("%d lists are empty: they show nothing of their shape", empty)
	}
	problem := d.Components.Responses["Problem"].Content["application/problem+json"].Schema
	if wrong := d.wrong("", problem, map[string]any{"title": 1.0, "more": true}); len(wrong) < 4 {
		t.Errorf("what is no problem document passes: %q", wrong)
	}
	for path, want := range map[string]int{"/accounts/nobody@one.test": 404, "/audit?limit=x": 400, "/none": 404, "/messages": 405} {
		var answer any
		if code := p.says("GET", path, "", &answer); code != want {
			t.Errorf("%s: %d %v", path, code, answer)
		}
		for _, w := range d.wrong(path, problem, answer) {
			t.Error(w)
		}
	}
}
