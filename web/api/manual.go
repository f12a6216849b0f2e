package api

import (
	"cmp"
	"embed"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/web/page"
)

//go:embed manual.html
var manuals embed.FS

// manual is the description as a page.
type manual struct {
	Base   string
	Scopes []parameter
	Groups []manualGroup
	Types  []manualType
}

type manualGroup struct {
	Name   string
	Routes []manualRoute
}

type manualRoute struct {
	Method, Path, Does, Scopes string
	Query, Headers             []parameter
	In, Out                    *shape
}

type manualType struct {
	Name   string
	Fields []manualField
}

type manualField struct {
	Name  string
	Shape shape
	Must  bool
}

// shape is a type in words, and the name of the struct that it is made of.
type shape struct{ Text, Ref string }

func (s *Server) manual(w http.ResponseWriter, r *http.Request) {
	m := s.written()
	m.Base = "https://" + cmp.Or(page.VisitOf(r.Context()).Site, "HOST") + "/api"
	s.pages.Render(s.o.Logger, w, r, page.View{Page: "manual", Title: "HTTP API", Data: m})
}

// manualText is what the page says, whoever asks for it.
func (s *Server) manualText() manual {
	g := &schemas{names: make(map[reflect.Type]string), made: object{}}
	var m manual
	for i, name := range (auth.ScopesOwn | auth.ScopesHouse).Names() {
		m.Scopes = append(m.Scopes, parameter{Name: name, Does: scopeWords()[i]})
	}
	for _, x := range slices.SortedFunc(maps.Values(s.routes), func(a, b *route) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), strings.Compare(a.Method, b.Method))
	}) {
		if x.Scope == nobody {
			continue
		}
		one := manualRoute{Method: x.Method, Path: x.Path, Does: x.Does, Scopes: strings.Join(x.Scope.Names(), " or "), Query: x.Query, Headers: x.Headers, In: x.In.shape(g), Out: x.Out.shape(g)}
		if n := len(m.Groups); n == 0 || m.Groups[n-1].Name != x.tag() {
			m.Groups = append(m.Groups, manualGroup{Name: x.tag()})
		}
		last := &m.Groups[len(m.Groups)-1]
		last.Routes = append(last.Routes, one)
	}
	m.Types = manualTypes(g.made)
	return m
}

func manualTypes(made object) (out []manualType) {
	for _, name := range slices.Sorted(maps.Keys(made)) {
		schema, _ := made[name].(object)
		properties, _ := schema["properties"].(object)
		required, _ := schema["required"].([]string)
		t := manualType{Name: name}
		for _, field := range slices.Sorted(maps.Keys(properties)) {
			of, _ := properties[field].(object)
			t.Fields = append(t.Fields, manualField{Name: field, Shape: shapeOf(of), Must: slices.Contains(required, field)})
		}
		out = append(out, t)
	}
	return out
}

func (b body) shape(g *schemas) *shape {
	switch {
	case b.Type != nil:
		out := shapeOf(g.of(b.Type))
		if b.Or != "" {
			out.Text += ", or " + b.Or
		}
		return &out
	case b.Media != "":
		return &shape{Text: b.Media}
	}
	return nil
}

// shapeOf is a schema in words.
func shapeOf(schema object) shape {
	if ref, ok := schema["$ref"].(string); ok {
		name := ref[strings.LastIndexByte(ref, '/')+1:]
		return shape{name, name}
	}
	if items, ok := schema["items"].(object); ok {
		of := shapeOf(items)
		return shape{"list of " + of.Text, of.Ref}
	}
	if values, ok := schema["additionalProperties"].(object); ok {
		of := shapeOf(values)
		return shape{"names with " + of.Text, of.Ref}
	}
	if either, ok := schema["oneOf"].([]any); ok {
		first, _ := either[0].(object)
		return shapeOf(first)
	}
	switch kind := schema["type"].(type) {
	case string:
		return shape{Text: cmp.Or(map[string]string{"date-time": "time (RFC 3339)"}[text(schema["format"])], map[string]string{"base64": "octets in base64"}[text(schema["contentEncoding"])], kind)}
	case []string:
		return shape{Text: kind[0]}
	}
	return shape{Text: "any value"}
}

func text(v any) string {
	s, _ := v.(string)
	return s
}
