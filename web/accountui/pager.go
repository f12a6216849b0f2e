package accountui

import (
	"net/http"
	"net/url"
	"strconv"
)

// pager leads through a list.
type pager struct {
	Page, Pages int
	Prev, Next  string // addresses; empty: there is none

	from, to int // of the list
}

// pagesOf is the page that a request asks for, of a list of n things.
func pagesOf(r *http.Request, path string, keep url.Values, n, each int) pager {
	p := pager{Pages: max(1, (n+each-1)/each)}
	p.Page, _ = strconv.Atoi(r.URL.Query().Get("page"))
	p.Page = min(max(p.Page, 1), p.Pages)
	p.from = (p.Page - 1) * each
	p.to = min(n, p.from+each)
	at := func(page int) string {
		q := url.Values{"page": {strconv.Itoa(page)}}
		for name, v := range keep {
			if len(v) > 0 && v[0] != "" {
				q[name] = v
			}
		}
		return path + "?" + q.Encode()
	}
	if p.Page > 1 {
		p.Prev = at(p.Page - 1)
	}
	if p.Page < p.Pages {
		p.Next = at(p.Page + 1)
	}
	return p
}
