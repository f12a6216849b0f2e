package admin

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/web/check"
)

// Looked is what the last checkup found of the machine or of one domain; Time zero: nobody has looked yet.
type Looked struct {
	Time    time.Time      `json:"time,omitzero"`
	Results []check.Result `json:"results"`
}

// tableLooked of side.db: 'd', domain ("": the machine) -> Looked as JSON. Who loses it looks again.
const tableLooked kv.Table = "X"

// lookouts keeps it, so that a page need not wait for DNS, also after a restart.
type lookouts struct {
	side *kv.Side // nil: only until then
	mu   sync.Mutex
	all  map[string]Looked // by domain; "": the machine
}

// open reads what is kept.
func (l *lookouts) open(side *kv.Side) {
	l.side, l.all = side, make(map[string]Looked)
	if side == nil {
		return
	}
	_ = side.View(context.Background(), func(tx *kv.Tx) error { // what cannot be read was not looked at
		for key, value := range tx.Scan(tableLooked, []byte{'d'}, []byte{'e'}) {
			var one Looked
			if json.Unmarshal(value, &one) == nil {
				l.all[string(key[1:])] = one
			}
		}
		return nil
	})
}

// keep takes a report about these domains, and forgets all others when it was about all that are here.
func (l *lookouts) keep(r check.Report, domains []string, whole bool) {
	now := make(map[string]Looked, len(domains)+1)
	for _, name := range append([]string{""}, domains...) {
		now[name] = Looked{Time: r.Time}
	}
	for _, x := range r.Results {
		if one, asked := now[x.Domain]; asked {
			one.Results = append(one.Results, x)
			now[x.Domain] = one
		}
	}
	l.mu.Lock()
	if whole {
		clear(l.all)
	}
	maps.Copy(l.all, now)
	l.mu.Unlock()
	if l.side != nil {
		l.side.Later(func(tx *kv.Tx) error { return putLooked(tx, now, whole) })
	}
}

func putLooked(tx *kv.Tx, now map[string]Looked, whole bool) error {
	var gone [][]byte
	for key := range tx.Scan(tableLooked, nil, nil) {
		if _, stays := now[string(key[1:])]; whole && !stays {
			gone = append(gone, slices.Clone(key))
		}
	}
	for _, key := range gone {
		tx.Delete(tableLooked, key)
	}
	for name, one := range now {
		text, err := json.Marshal(one)
		if err != nil {
			return err
		}
		tx.Put(tableLooked, append([]byte{'d'}, name...), text)
	}
	return nil
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

// Attention is what somebody should look at, worst first: of the machine and of all domains that are still here.
func (h *House) Attention(ctx context.Context) (all []check.Result, err error) {
	domains, err := h.o.Directory.Domains(ctx)
	if err != nil {
		return nil, translate("domains", err)
	}
	here := map[string]bool{"": true}
	for _, d := range domains {
		here[string(d.Name)] = true
	}
	h.looked.mu.Lock()
	for name, l := range h.looked.all {
		for _, x := range l.Results {
			if here[name] && (x.State == check.Wrong || x.State == check.Warning) {
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
	return all, nil
}
