package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/web/admin"
)

// Scopes that routes ask for; of two, a token needs one.
const (
	seen       = auth.ScopeRead
	directory  = auth.ScopeDirectory
	queue      = auth.ScopeQueue
	everything = auth.ScopeEverything
	ownMail    = auth.ScopeMail
	ownSend    = auth.ScopeSend
	ownAccount = auth.ScopeAccount
	ownMasks   = auth.ScopeMasks
	anyOwn     = auth.ScopesOwn
	nobody     = auth.Scope(0) // over the socket only
)

// route is a line of the table: what the mux, the check of scopes and the OpenAPI document are made of.
type route struct {
	s       *Server
	Method  string
	Path    string // as the socket has it: /v1/...; {word} is a word of the path
	Scope   auth.Scope
	Does    string // in one sentence
	Query   []parameter
	Headers []parameter
	In, Out body
	Status  int  // of success
	slow    bool // its body may be long in coming
	anySite bool // pages of other sites may call it
	plain   bool // errors may be in another form than ours: it speaks as another API does
}

// parameter is one of the query or the header.
type parameter struct{ Name, Type, Does string }

// body is what a request or an answer carries: values of a type as JSON, or octets of a media type. A zero one is nothing.
type body struct {
	Type  reflect.Type
	Media string // of octets; with Type: instead of JSON (a line each)
	Or    string // another media type that is taken too
}

// raw begins a route with a handler of its own; by ends it.
func (s *Server) raw(pattern string, scope auth.Scope, does string) *route {
	method, path, _ := strings.Cut(pattern, " ")
	return &route{s: s, Method: method, Path: path, Scope: scope, Does: does, Status: http.StatusOK}
}

// asks adds a word of the query.
func (x *route) asks(name, kind, does string) *route {
	x.Query = append(x.Query, parameter{name, kind, does})
	return x
}

// wants adds a field of the header.
func (x *route) wants(name, does string) *route {
	x.Headers = append(x.Headers, parameter{name, "string", does})
	return x
}

// takes and gives say what goes in and comes out: a value of the type, or octets of a media type (a string).
func (x *route) takes(what any) *route { x.In = bodyOf(what); return x }
func (x *route) gives(what any) *route { x.Out = bodyOf(what); return x }

// lines says that the answer is values of a type, one a line, as they come.
func (x *route) lines(of any) *route {
	x.Out = body{Type: reflect.TypeOf(of), Media: "application/x-ndjson"}
	return x
}

func bodyOf(what any) body {
	if media, ok := what.(string); ok {
		return body{Media: media}
	}
	if what == nil || reflect.TypeOf(what) == reflect.TypeFor[none]() {
		return body{}
	}
	return body{Type: reflect.TypeOf(what)}
}

// by puts the route into the table.
func (x *route) by(h http.HandlerFunc) {
	x.s.routes[x.Method+" "+x.Path] = x
	x.s.mux.HandleFunc(x.Method+" "+x.Path, func(w http.ResponseWriter, r *http.Request) {
		if err := x.spares(r); err != nil {
			x.s.answer(w, r, nil, err)
			return
		}
		h(w, r)
	})
}

// list routes a verb without arguments, name one with a word of the path, take one with a body, both one with both.
func list[Out any](s *Server, pattern string, scope auth.Scope, does string, fn func(context.Context) (Out, error)) {
	x := s.raw(pattern, scope, does)
	x.Out = typed[Out]()
	x.by(func(w http.ResponseWriter, r *http.Request) {
		out, err := fn(r.Context())
		s.answer(w, r, out, err)
	})
}

func name[Out any](s *Server, pattern string, scope auth.Scope, does string, fn func(context.Context, string) (Out, error)) {
	x := s.raw(pattern, scope, does)
	x.Out = typed[Out]()
	x.by(func(w http.ResponseWriter, r *http.Request) {
		out, err := fn(r.Context(), r.PathValue("name"))
		s.answer(w, r, out, err)
	})
}

func take[In, Out any](s *Server, pattern string, scope auth.Scope, does string, fn func(context.Context, In) (Out, error)) {
	both(s, pattern, scope, does, func(ctx context.Context, _ string, in In) (Out, error) { return fn(ctx, in) })
}

func both[In, Out any](s *Server, pattern string, scope auth.Scope, does string, fn func(context.Context, string, In) (Out, error)) {
	x := s.raw(pattern, scope, does)
	x.In, x.Out = typed[In](), typed[Out]()
	x.by(func(w http.ResponseWriter, r *http.Request) {
		var in In
		if err := readJSON(w, r, maxRequest, &in); err != nil {
			s.answer(w, r, nil, err)
			return
		}
		out, err := fn(r.Context(), r.PathValue("name"), in)
		s.answer(w, r, out, err)
	})
}

func typed[T any]() body {
	if reflect.TypeFor[T]() == reflect.TypeFor[none]() {
		return body{}
	}
	return body{Type: reflect.TypeFor[T]()}
}

// mine routes a verb for the account whose token was shown; own one with a body.
func mine[Out any](s *Server, pattern string, scope auth.Scope, does string, fn func(context.Context, string) (Out, error)) {
	x := s.raw(pattern, scope, does)
	x.Out = typed[Out]()
	x.by(func(w http.ResponseWriter, r *http.Request) {
		user, err := ownerOf(r.Context())
		if err != nil {
			s.answer(w, r, nil, err)
			return
		}
		out, err := fn(r.Context(), user)
		s.answer(w, r, out, err)
	})
}

func own[In, Out any](s *Server, pattern string, scope auth.Scope, does string, fn func(context.Context, string, In) (Out, error)) {
	both(s, pattern, scope, does, func(ctx context.Context, _ string, in In) (out Out, err error) {
		user, err := ownerOf(ctx)
		if err != nil {
			return out, err
		}
		return fn(ctx, user, in)
	})
}

// readJSON reads the one value that a body is, up to a size. readLoose passes over what we do not know: other APIs grow.
func readJSON(w http.ResponseWriter, r *http.Request, most int64, in any) error {
	return strictJSON(http.MaxBytesReader(w, r.Body, most), most, in)
}

func strictJSON(r io.Reader, most int64, in any) error {
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	return decoded(d, most, in)
}

func readLoose(w http.ResponseWriter, r *http.Request, in any) error {
	return decoded(json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest)), maxRequest, in)
}

func decoded(d *json.Decoder, most int64, in any) error {
	err := d.Decode(in)
	if err == nil {
		if _, behind := d.Token(); behind != io.EOF {
			return &admin.Error{Class: admin.Invalid, Message: "the request has more behind its JSON"}
		}
	}
	if err == io.EOF {
		return &admin.Error{Class: admin.Invalid, Message: "the request is empty: JSON is needed, " + Path + "openapi.json says which"}
	}
	if err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return &denied{status: http.StatusRequestEntityTooLarge, text: fmt.Sprintf("a request has up to %d octets here", most)}
		}
		return &admin.Error{Class: admin.Invalid, Message: "the request is no JSON that we know: " + err.Error()}
	}
	return nil
}
