package adminui

import (
	"net/http"
	"net/url"
	"strconv"
)

// perPage is how many rows a page of a list has.
const perPage = 50

// pager is the part "pager" of a list: which page of how many, and the addresses of those beside it; empty: there is none.
type pager struct {
	Page, Pages int
	Prev, Next  string
}

// pagerOf makes it for the page that was asked for; what was searched for stays in the addresses.
func pagerOf(r *http.Request, page, pages int) pager {
	p := pager{Page: page, Pages: pages}
	at := func(n int) string {
		q := r.URL.Query()
		q.Del("done")
		q.Set("page", strconv.Itoa(n))
		return r.URL.Path + "?" + q.Encode()
	}
	if page > 1 {
		p.Prev = at(min(page-1, pages))
	}
	if page < pages {
		p.Next = at(page + 1)
	}
	return p
}

// pageOf is the page of a list that is asked for, from 1.
func pageOf(r *http.Request) int {
	n, err := strconv.Atoi(r.URL.Query().Get("page"))
	if err != nil || n < 1 {
		return 1
	}
	return min(n, 1_000_000)
}

// at is the address of a page about one thing.
func at(path, key, value string) string { return path + "?" + url.Values{key: {value}}.Encode() }
