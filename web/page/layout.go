package page

import (
	"bytes"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/internal/logx"
)

// Templates are the pages of one room inside the layout of the house.
type Templates struct {
	assets *assets
	pages  map[string]*template.Template
	done   map[string]string
}

// Parse reads all *.html of a room. Each defines "main"; files whose name begins with an underscore are parts that all pages of the
// room may use. done is what a page says after a change, by the word in ?done= that the redirect names. A mistake in a template
// panics: they are part of the program.
func Parse(room fs.FS, done map[string]string) *Templates {
	t := &Templates{assets: newAssets(), pages: make(map[string]*template.Template), done: done}
	base := template.Must(template.New("layout.html").Funcs(t.funcs()).ParseFS(files, "layout.html"))
	t.add(base, files, "problem.html", nil)
	if room == nil {
		return t
	}
	names, err := fs.Glob(room, "*.html")
	if err != nil {
		panic(err)
	}
	parts, pages := []string{}, []string{}
	for _, n := range names {
		if strings.HasPrefix(n, "_") {
			parts = append(parts, n)
		} else {
			pages = append(pages, n)
		}
	}
	for _, n := range pages {
		t.add(base, room, n, parts)
	}
	return t
}

func (t *Templates) add(base *template.Template, from fs.FS, name string, parts []string) {
	p := template.Must(base.Clone())
	t.pages[strings.TrimSuffix(path.Base(name), ".html")] = template.Must(p.ParseFS(from, append(slices.Clone(parts), name)...))
}

// View is what a page shows.
type View struct {
	Page   string // the template, without ".html"
	Title  string
	Status int // 200 when zero
	Form   *Form
	Data   any
}

// shown is View with what the layout needs.
type shown struct {
	View
	*Visit
	Path string
	Done string
	Now  time.Time
}

// Render writes a page. Nothing is sent before all of it is made, so that a mistake is never half a page.
func (t *Templates) Render(log *slog.Logger, w http.ResponseWriter, r *http.Request, v View) {
	if v.Status == 0 {
		v.Status = http.StatusOK
	}
	p := t.pages[v.Page]
	if p == nil {
		panic("page: no template " + v.Page + " among " + strings.Join(slices.Sorted(maps.Keys(t.pages)), ", "))
	}
	var b bytes.Buffer
	s := shown{View: v, Visit: VisitOf(r.Context()), Path: r.URL.Path, Done: t.done[r.URL.Query().Get("done")], Now: time.Now()}
	if err := p.ExecuteTemplate(&b, "layout.html", s); err != nil {
		log.ErrorContext(r.Context(), logx.WebPageFailed, "path", r.URL.Path, "method", r.Method, "error", err)
		http.Error(w, "This page could not be made; the reason is in the log.", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(b.Len()))
	w.WriteHeader(v.Status)
	_, _ = w.Write(b.Bytes()) // the visitor has gone: nobody to tell
}

// Done sends the visitor to a page, which may have a query, that says what was done; word is a key of Parse's done.
func Done(w http.ResponseWriter, r *http.Request, to, word string) {
	mark := "?"
	if strings.Contains(to, "?") {
		mark = "&"
	}
	http.Redirect(w, r, to+mark+"done="+word, http.StatusSeeOther)
}

// funcs is what templates may call.
func (t *Templates) funcs() template.FuncMap {
	return template.FuncMap{
		"asset": func(name string) (string, error) {
			if a := t.assets.address[name]; a != "" {
				return a, nil
			}
			return "", fmt.Errorf("no asset %q", name)
		},
		"size": func(n any) string { return Size(whole(n)) },
		"when": func(at any) template.HTML {
			if p, ok := at.(*time.Time); ok && p != nil {
				at = *p
			}
			t, _ := at.(time.Time)
			return when(t, time.Now())
		},
		"n":  func(n any, one, many string) string { return Count(int(whole(n)), one, many) },
		"in": func(path, room string) bool { return strings.HasPrefix(path, room) },
	}
}

// whole is an integer of any kind.
func whole(n any) int64 {
	v := reflect.ValueOf(n)
	if v.CanUint() {
		return int64(min(v.Uint(), math.MaxInt64))
	}
	return v.Int()
}

// Size is octets for people: "1.5 MB".
func Size(n int64) string {
	units := []string{"B", "KB", "MB", "GB", "TB", "PB"}
	v, i := float64(n), 0
	for v >= 999.5 && i < len(units)-1 {
		v, i = v/1000, i+1
	}
	if i == 0 || v >= 9.95 {
		return fmt.Sprintf("%.0f %s", v, units[i])
	}
	return fmt.Sprintf("%.1f %s", v, units[i])
}

// Count is a number with its noun: "1 message", "2 messages".
func Count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}

// when is a moment for people, with the exact one for machines and on hover.
func when(at, now time.Time) template.HTML {
	if at.IsZero() {
		return "never"
	}
	at = at.UTC()
	return template.HTML(`<time datetime="` + at.Format(time.RFC3339) + `" title="` + at.Format("2006-01-02 15:04:05 UTC") + `">` + ago(now.Sub(at)) + `</time>`)
}

// ago is a span in words; below zero it is ahead.
func ago(d time.Duration) string {
	form := "%s ago"
	if d < 0 {
		d, form = -d, "in %s"
	}
	switch {
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		return fmt.Sprintf(form, Count(int(d/time.Minute), "minute", "minutes"))
	case d < 48*time.Hour:
		return fmt.Sprintf(form, Count(int(d/time.Hour), "hour", "hours"))
	}
	return fmt.Sprintf(form, Count(int(d/(24*time.Hour)), "day", "days"))
}
