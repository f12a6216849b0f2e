package admin

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/posthouse-mail/posthouse/web/check"
)

// Looked is what the last checkup found of the machine or of one domain; Time zero: nobody has looked since the house started.
type Looked struct {
	Time    time.Time      `json:"time,omitzero"`
	Results []check.Result `json:"results"`
}

// lookouts keeps it, so that a page need not wait for DNS.
type lookouts struct {
	mu  sync.Mutex
	all map[string]Looked // by domain; "": the machine
}

// keep takes a report about these domains.
func (l *lookouts) keep(r check.Report, domains []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all == nil {
		l.all = make(map[string]Looked)
	}
	for _, name := range append([]string{""}, domains...) {
		of := slices.DeleteFunc(slices.Clone(r.Results), func(x check.Result) bool { return x.Domain != name })
		l.all[name] = Looked{Time: r.Time, Results: of}
	}
}

// Looked is what the last checkup found of a domain of ours; empty name: of the machine.
func (h *House) Looked(name string) Looked {
	if d, err := domain(name); name != "" && err == nil {
		name = string(d)
	}
	h.looked.mu.Lock()
	defer h.looked.mu.Unlock()
	l := h.looked.all[name]
	l.Results = slices.Clone(l.Results)
	return l
}

// Attention is what somebody should look at, worst first: of the machine and of all domains.
func (h *House) Attention() (all []check.Result) {
	h.looked.mu.Lock()
	for _, l := range h.looked.all {
		for _, x := range l.Results {
			if x.State == check.Wrong || x.State == check.Warning {
				all = append(all, x)
			}
		}
	}
	h.looked.mu.Unlock()
	slices.SortFunc(all, func(a, b check.Result) int {
		if a.State != b.State {
			return -strings.Compare(string(a.State), string(b.State)) // wrong, warning
		}
		if a.Domain != b.Domain {
			return strings.Compare(a.Domain, b.Domain)
		}
		return strings.Compare(a.Check, b.Check)
	})
	return all
}
