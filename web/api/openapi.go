package api

import (
	"encoding"
	"encoding/json"
	"maps"
	"net/http"
	"path"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
)

// object is a JSON object of the document; encoding/json writes its names in order.
type object = map[string]any

// OpenAPI is the description of the table (OpenAPI 3.1), made of the routes and of the types that they take and give.
func (s *Server) OpenAPI() ([]byte, error) {
	g := &schemas{names: make(map[reflect.Type]string), made: object{}}
	paths := object{}
	for _, pattern := range slices.Sorted(maps.Keys(s.routes)) {
		x := s.routes[pattern]
		if x.Scope == nobody {
			continue
		}
		item, _ := paths[x.Path].(object)
		if item == nil {
			item = object{}
			paths[x.Path] = item
		}
		item[strings.ToLower(x.Method)] = x.operation(g)
	}
	scopes := object{}
	for i, name := range (auth.ScopesOwn | auth.ScopesHouse).Names() {
		scopes[name] = scopeWords()[i]
	}
	return json.MarshalIndent(object{
		"openapi": "3.1.0",
		"info": object{
			"title": "posthouse", "version": "v1",
			"license":     object{"name": "MIT", "identifier": "MIT"},
			"description": "What can be done with a posthouse by HTTP. Every request shows a token (Authorization: Bearer posthouse_...); what it may do is in its scopes. Errors are problem documents (RFC 9457).",
		},
		"servers":  []any{object{"url": "/api", "description": "the web house"}},
		"security": []any{object{"token": []string{}}},
		"tags":     tags(s.routes),
		"paths":    paths,
		"components": object{
			"schemas":   g.made,
			"responses": object{"Problem": object{"description": "What is wrong, and what to do.", "content": object{"application/problem+json": object{"schema": g.of(reflect.TypeFor[problem]())}}}},
			"securitySchemes": object{"token": object{
				"type": "http", "scheme": "bearer", "bearerFormat": auth.TokenPattern, "description": "Made by posthouse token add, or on the page of an account.", "x-scopes": scopes,
			}},
		},
	}, "", " ")
}

// scopeWords says what each scope is, in the order of their bits.
func scopeWords() []string {
	return []string{
		"read and file mail: IMAP and POP3, deleted mail", "send mail: the submission ports, and here", "settings of the account: forwarding, junk",
		"masked addresses", "see what operators see, mail excepted", "domains, accounts, aliases and lists", "mail that waits, and to whom nothing is sent", "all that operators may do",
	}
}

// tag is the first word of a path, by which pages group.
func (x *route) tag() string {
	rest := strings.TrimPrefix(x.Path, "/v1/")
	word, _, _ := strings.Cut(rest, "/")
	return word
}

func tags(routes map[string]*route) (out []any) {
	seen := map[string]bool{}
	for _, x := range routes {
		seen[x.tag()] = true
	}
	for _, name := range slices.Sorted(maps.Keys(seen)) {
		out = append(out, object{"name": name})
	}
	return out
}

// operation is one route.
func (x *route) operation(g *schemas) object {
	var parameters []any
	for word := range strings.SplitSeq(x.Path, "/") {
		if strings.HasPrefix(word, "{") {
			parameters = append(parameters, object{"name": strings.Trim(word, "{}"), "in": "path", "required": true, "schema": object{"type": "string"}})
		}
	}
	for _, p := range x.Query {
		schema := object{"type": p.Type}
		if p.Type == "array" {
			schema["items"] = object{"type": "string"}
		}
		parameters = append(parameters, object{"name": p.Name, "in": "query", "description": p.Does, "schema": schema})
	}
	for _, p := range x.Headers {
		parameters = append(parameters, object{"name": p.Name, "in": "header", "description": p.Does, "schema": object{"type": p.Type}})
	}
	answer := object{"description": "Done."}
	if content := x.Out.content(g); content != nil {
		answer["content"] = content
	}
	status, err := json.Marshal(x.Status)
	if err != nil {
		return nil // a number always can
	}
	out := object{
		"operationId": x.id(), "summary": strings.TrimSuffix(x.Does, "."), "tags": []string{x.tag()}, "x-scopes": x.Scope.Names(),
		"description": "Needs a token with the scope " + strings.Join(x.Scope.Names(), " or ") + ".",
		"responses":   object{string(status): answer, "default": object{"$ref": "#/components/responses/Problem"}},
	}
	if len(parameters) > 0 {
		out["parameters"] = parameters
	}
	if content := x.In.content(g); content != nil {
		out["requestBody"] = object{"required": true, "content": content}
	}
	return out
}

// id is a name for the functions of clients that are made of the document: getAccountsNameMasks.
func (x *route) id() string {
	b := strings.Builder{}
	b.WriteString(strings.ToLower(x.Method))
	for word := range strings.FieldsFuncSeq(strings.TrimPrefix(x.Path, "/v1"), func(c rune) bool { return strings.ContainsRune("/{}-", c) }) {
		b.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return b.String()
}

func (b body) content(g *schemas) object {
	out := object{}
	switch {
	case b.Type != nil && b.Media != "":
		out[b.Media] = object{"schema": g.of(b.Type)}
	case b.Type != nil:
		out["application/json"] = object{"schema": g.of(b.Type)}
	case b.Media != "":
		out[b.Media] = object{"schema": object{"type": "string"}}
	}
	if b.Or != "" {
		out[b.Or] = object{"schema": object{"type": "string"}}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// schemas makes a JSON schema of each type that is asked for; structs get a name.
type schemas struct {
	names map[reflect.Type]string
	made  object
}

func (g *schemas) of(t reflect.Type) object {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	case t == reflect.TypeFor[time.Duration]():
		return object{"type": "integer", "format": "int64", "description": "nanoseconds"}
	case t == reflect.TypeFor[json.RawMessage](), t.Kind() == reflect.Interface:
		return object{}
	case t.Kind() == reflect.Pointer:
		return g.of(t.Elem())
	case t.Implements(reflect.TypeFor[json.Marshaler]()):
		return object{}
	case t.Implements(reflect.TypeFor[encoding.TextMarshaler]()):
		return object{"type": "string"}
	}
	switch t.Kind() {
	case reflect.Struct:
		return object{"$ref": "#/components/schemas/" + g.named(t)}
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return object{"type": "string", "contentEncoding": "base64"}
		}
		return object{"type": "array", "items": g.of(t.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": g.of(t.Elem())}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Float32, reflect.Float64:
		return object{"type": "number"}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return object{"type": "integer", "minimum": 0}
	}
	return object{"type": "integer"}
}

// named is the name of a struct's schema, made when it is asked for first: the type's own, or with its package's in front where two
// packages have one of that name.
func (g *schemas) named(t reflect.Type) string {
	if name, ok := g.names[t]; ok {
		return name
	}
	name := strings.ToUpper(t.Name()[:1]) + t.Name()[1:]
	name = strings.Map(func(c rune) rune { // of a generic type: Found[...]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' {
			return c
		}
		return -1
	}, strings.ReplaceAll(name, "github.com/posthouse-mail/posthouse/", ""))
	if _, taken := g.made[name]; taken {
		from := path.Base(t.PkgPath())
		name = strings.ToUpper(from[:1]) + from[1:] + name
	}
	g.names[t] = name
	properties, required := object{}, []string{}
	g.made[name] = object{} // a type may name itself
	g.fields(t, properties, &required)
	schema := object{"type": "object", "properties": properties}
	if len(required) > 0 {
		slices.Sort(required)
		schema["required"] = required
	}
	g.made[name] = schema
	return name
}

// fields adds those of a struct, and of those that are embedded in it, as encoding/json writes them.
func (g *schemas) fields(t reflect.Type, properties object, required *[]string) {
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct:
			g.fields(f.Type, properties, required)
			continue
		case !f.IsExported() || name == "-":
			continue
		case name == "":
			name = f.Name
		}
		schema := g.of(f.Type)
		free := strings.Contains(options, "omitempty") || strings.Contains(options, "omitzero")
		if kind := f.Type.Kind(); !free && (kind == reflect.Pointer || kind == reflect.Slice || kind == reflect.Map) { // nil is written as null
			if _, ref := schema["$ref"]; ref {
				schema = object{"oneOf": []any{schema, object{"type": "null"}}}
			} else if one, ok := schema["type"].(string); ok {
				schema["type"] = []string{one, "null"}
			}
		}
		properties[name] = schema
		if !free {
			*required = append(*required, name)
		}
	}
}

// document answers with the description, for programs or, as a page, for people.
func (s *Server) document(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		s.answer(w, r, nil, &denied{status: http.StatusMethodNotAllowed, allow: "GET, HEAD", text: r.Method + " does not go with it"})
		return
	}
	w.Header().Set("Cache-Control", "no-cache")
	if r.URL.Path == "/v1/" {
		s.manual(w, r)
		return
	}
	text, err := s.described()
	if err != nil {
		s.answer(w, r, nil, err)
		return
	}
	w.Header().Set("Content-Type", "application/vnd.oai.openapi+json;version=3.1")
	_, _ = w.Write(text) // the asker has gone: nobody to tell
}
