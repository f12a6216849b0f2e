package clients

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/posthouse-mail/posthouse/web/check"
)

// Program is a mail program with a page of its own; the page's text is KEY.html.
type Program struct {
	Key   string // in addresses, and of package check
	Title string
	Says  string // in the list
	Apple bool   // takes a profile
	Phone bool
}

// all lists the programs, as the first page does.
func all() []Program {
	return []Program{
		{Key: check.Thunderbird, Title: "Thunderbird", Says: "on a computer: Windows, macOS, Linux"},
		{Key: check.Outlook, Title: "Outlook", Says: "new and classic on Windows, on macOS, and on phones"},
		{Key: check.Mac, Title: "Apple Mail", Says: "on a Mac", Apple: true},
		{Key: check.IPhone, Title: "iPhone and iPad", Says: "the Mail that comes with them", Apple: true, Phone: true},
		{Key: check.Android, Title: "Android", Says: "Thunderbird, K-9 Mail, FairEmail, Gmail", Phone: true},
		{Key: check.Other, Title: "Another program", Says: "all settings, to type"},
	}
}

func find(key string) (Program, bool) {
	list := all()
	i := slices.IndexFunc(list, func(p Program) bool { return p.Key == key })
	if i < 0 {
		return Program{}, false
	}
	return list[i], true
}

type stepOf = check.Step

// order is that of a program: find the settings, connect, sign in.
func order(s stepOf) int {
	return slices.Index([]string{"settings", "receive", "send", "account", "password"}, s.Step)
}

// Bounds of tests, of one network. The verb bounds how many run at once.
const (
	testsEach   = 10 * time.Minute
	testsMost   = 12
	maxNetworks = 4096
)

// tests counts who has tested lately.
type tests struct {
	now func() time.Time

	mu  sync.Mutex
	all map[netip.Prefix][]time.Time // guarded by mu
}

func newTests(now func() time.Time) *tests {
	return &tests{now: now, all: make(map[netip.Prefix][]time.Time)}
}

// may counts a test of who comes from an address, a customer's whole network with IPv6.
func (t *tests) may(a netip.Addr) bool {
	bits := 32
	if a = a.Unmap(); a.Is6() {
		bits = 64
	}
	who, err := a.Prefix(bits)
	if err != nil {
		who = netip.Prefix{} // nobody knows: they share one count
	}
	now := t.now()
	old := func(at time.Time) bool { return now.Sub(at) > testsEach }
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.all) >= maxNetworks {
		for key, list := range t.all {
			if old(list[len(list)-1]) {
				delete(t.all, key)
			}
		}
	}
	before, known := t.all[who]
	if !known && len(t.all) >= maxNetworks {
		return false
	}
	list := slices.DeleteFunc(before, old)
	may := len(list) < testsMost
	if may {
		list = append(list, now)
	}
	t.all[who] = list
	return may
}
