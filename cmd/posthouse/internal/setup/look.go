// Package setup makes a house for a domain: it looks at the machine, plans
// settings and records, and writes what is not there yet. What a person
// changed is never overwritten.
//
// Look (look.go) sees the machine, NewPlan (plan.go) decides, Write (write.go)
// does it; the command asks and prints.
package setup

import (
	"bufio"
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/web/check"
)

// Port is one that the house wants, and who has it.
type Port struct {
	Number int
	Holder string // a program's name, "another program"; empty: it is free
	Group  string // that one of its processes runs as, if not root; empty: nobody knows
}

// Machine is what can be seen of it.
type Machine struct {
	Addresses []netip.Addr
	Names     map[netip.Addr]string // reverse names
	Ports     []Port
	Memory    int64 // octets; 0: nobody knows
	Notes     []check.Result
	Systemd   bool // it is running
}

// Eyes is what Look looks with. The zero value of a function means the real one.
type Eyes struct {
	Proc      string              // "/proc"
	Addresses func() []netip.Addr // public ones of this machine
	Resolver  *dns.Client         // nil: DNS cannot be asked
	Probes    []string            // see check.Options
	ClockURL  string
	Wait      time.Duration // for all questions together; 3 s
	Disk      func() (free int64, err error)
}

// ports that the house opens.
func ports() []int { return []int{25, 465, 587, 2525, 110, 995, 143, 993, 80, 443} }

// Look sees what can be seen in Wait.
func Look(ctx context.Context, e Eyes) Machine {
	if e.Proc == "" {
		e.Proc = "/proc"
	}
	if e.Wait == 0 {
		e.Wait = 3 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, e.Wait)
	defer cancel()
	m := Machine{Names: map[netip.Addr]string{}}
	if e.Addresses != nil {
		m.Addresses = e.Addresses()
	}
	m.Ports = holders(e.Proc)
	m.Memory = memory(e.Proc)
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		m.Systemd = true
	}
	if e.Resolver != nil {
		outside := check.Run(ctx, check.Options{
			Resolver: e.Resolver, Probes: e.Probes, ClockURL: e.ClockURL, Only: []string{"port25-out", "clock"}, Each: e.Wait, Whole: e.Wait,
		})
		m.Notes = append(m.Notes, outside.Results...)
		for _, a := range m.Addresses {
			m.reverse(ctx, e.Resolver, a)
		}
	} else {
		m.note(check.Unseen, "dns", "there is no resolver: nothing outside of this machine was looked at", "nameserver in /etc/resolv.conf")
	}
	if len(m.Addresses) == 0 {
		m.note(check.Unseen, "address", "no interface has a public address", "say --address ADDRESS with the one that the world sees this machine under")
	}
	m.portNotes()
	m.note(check.Unseen, "port25-in", "whether others reach port 25 cannot be seen from here", "open it in the provider's firewall, and run posthouse check when the house runs")
	if e.Disk != nil {
		if free, err := e.Disk(); err == nil && free < 2<<30 {
			m.note(check.Warning, "disk", fmt.Sprintf("%.1f GiB free", float64(free)/(1<<30)), "mail needs room: 2 GiB at least")
		}
	}
	if m.Memory > 0 && m.Memory < 400<<20 {
		m.note(check.Warning, "memory", fmt.Sprintf("%d MiB", m.Memory>>20), "512 MB are enough, less may not be")
	}
	return m
}

func (m *Machine) note(s check.State, name, found, advice string) {
	m.Notes = append(m.Notes, check.Result{Check: name, State: s, Found: found, Advice: advice})
}

// reverse looks for the name of an address.
func (m *Machine) reverse(ctx context.Context, r *dns.Client, a netip.Addr) {
	names, _, err := r.PTR(ctx, a)
	if err != nil || len(names) == 0 {
		m.note(check.Warning, "ptr", a.String()+" has no name, or none that could be seen", "let who gives you the address set its reverse name to the name of this host")
		return
	}
	m.Names[a] = names[0]
	m.note(check.OK, "ptr", a.String()+" has the name "+names[0], "")
}

// portNotes says which ports others have.
func (m *Machine) portNotes() {
	for _, p := range m.Ports {
		switch {
		case p.Holder == "" || p.Holder == "posthouse":
		case p.Number == 80 || p.Number == 443:
			m.note(check.Warning, "port"+strconv.Itoa(p.Number), p.Holder+" has port "+strconv.Itoa(p.Number), "the pages go behind it, see below")
		default:
			m.note(check.Wrong, "port"+strconv.Itoa(p.Number), p.Holder+" has port "+strconv.Itoa(p.Number), "end it, and keep it from starting: systemctl disable --now "+p.Holder)
		}
	}
}

// Holder is who has a port; empty: nobody, or the house itself.
func (m Machine) Holder(port int) string {
	for _, p := range m.Ports {
		if p.Number == port && p.Holder != "posthouse" {
			return p.Holder
		}
	}
	return ""
}

// group that the programs of this name run as.
func (m Machine) group(holder string) string {
	for _, p := range m.Ports {
		if p.Holder == holder && p.Group != "" {
			return p.Group
		}
	}
	return ""
}

// groupOf a process; empty: root's, or one without a name (proc(5): the owner of /proc/PID).
func groupOf(process string) string {
	info, err := os.Stat(process)
	if err != nil {
		return ""
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || owner.Gid == 0 {
		return ""
	}
	g, err := user.LookupGroupId(strconv.FormatUint(uint64(owner.Gid), 10))
	if err != nil {
		return ""
	}
	return g.Name
}

// holders finds who listens on the ports that the house wants (proc(5): /proc/net/tcp).
func holders(proc string) []Port {
	inodes := map[string]int{} // of listening sockets
	for _, table := range []string{"tcp", "tcp6"} {
		f, err := os.Open(filepath.Join(proc, "net", table))
		if err != nil {
			continue
		}
		for lines := bufio.NewScanner(f); lines.Scan(); {
			words := strings.Fields(lines.Text())
			if len(words) < 10 || words[3] != "0A" {
				continue
			}
			_, port, _ := strings.Cut(words[1], ":")
			b, err := hex.DecodeString(port)
			if err != nil || len(b) != 2 {
				continue
			}
			if n := int(b[0])<<8 | int(b[1]); slices.Contains(ports(), n) {
				inodes["socket:["+words[9]+"]"] = n
			}
		}
		_ = f.Close()
	}
	taken, groups := map[int]string{}, map[int]string{}
	for _, n := range inodes {
		taken[n] = "another program"
	}
	if len(inodes) > 0 {
		fds, _ := filepath.Glob(filepath.Join(proc, "[0-9]*", "fd", "*")) // those that we may see
		for _, fd := range fds {
			link, err := os.Readlink(fd)
			if n, ours := inodes[link]; err == nil && ours {
				process := filepath.Dir(filepath.Dir(fd))
				if name, err := os.ReadFile(filepath.Join(process, "comm")); err == nil {
					taken[n] = strings.TrimSpace(string(name))
					groups[n] = cmp.Or(groups[n], groupOf(process))
				}
			}
		}
	}
	var all []Port
	for _, n := range ports() {
		all = append(all, Port{n, taken[n], groups[n]})
	}
	return all
}

// memory of the machine (proc(5): /proc/meminfo).
func memory(proc string) int64 {
	text, err := os.ReadFile(filepath.Join(proc, "meminfo"))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "MemTotal:"); ok {
			if words := strings.Fields(rest); len(words) > 0 {
				n, _ := strconv.ParseInt(words[0], 10, 64)
				return n << 10
			}
		}
	}
	return 0
}
