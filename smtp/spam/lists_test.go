package spam

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
)

func list(t testing.TB, text string) List {
	t.Helper()
	l, err := ParseList(text)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// asking is a judge that asks lists over a zone, with a clock that can be moved.
func asking(t *testing.T, z *dns.Zone, texts ...string) (*Judge, *time.Time) {
	t.Helper()
	now := today
	c := z.Client(dns.Options{Now: func() time.Time { return now }})
	t.Cleanup(func() { c.Close() })
	o := Options{Resolver: c, Now: func() time.Time { return now }}
	for _, text := range texts {
		o.Lists = append(o.Lists, list(t, text))
	}
	return judge(t, o), &now
}

const blockList = "bl address bl.test 127.0.0.2=5 127.0.0.4/30=3 127.0.0.10=-2"

func zone(t *testing.T, lines ...string) *dns.Zone {
	t.Helper()
	z, err := dns.NewZone(lines...)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// signal judges an empty message of client and finds a list's word.
func signal(t *testing.T, j *Judge, remote netip.Addr, name string) (Signal, bool) {
	t.Helper()
	f := look(t.Context(), j, Facts{Remote: remote, Hello: "mail.example.net", From: addr(t, "bob@example.net")}, mailauth.Report{}, letter("bob@example.net", "Hi", "see https://www.shop.example.com/x"))
	for _, s := range f.signals {
		if s.Name == name {
			return s, true
		}
	}
	return Signal{}, false
}

func TestListAnswers(t *testing.T) {
	for _, c := range []struct {
		answer string
		want   float64
	}{
		{"127.0.0.2", 5}, {"127.0.0.5", 3}, {"127.0.0.10", -2},
		{"127.0.0.99", 0}, {"127.0.0.1", 0}, {"127.255.255.254", 0}, {"192.0.2.1", 0}, {"", 0},
	} {
		z := zone(t, "2.0.0.127.bl.test. IN A 127.0.0.2")
		if c.answer != "" {
			z.Add("25.2.0.192.bl.test. IN A " + c.answer)
		}
		j, _ := asking(t, z, blockList)
		s, ok := signal(t, j, client, "bl")
		if ok != (c.want != 0) || s.Score != c.want {
			t.Errorf("%q: %v %v", c.answer, ok, s)
		}
		wrong := strings.HasPrefix(c.answer, "127.255") || strings.HasPrefix(c.answer, "192")
		if st := j.ListStates()[0]; st.On == wrong || wrong && !strings.Contains(st.Reason, c.answer) {
			t.Errorf("%q: list is %+v", c.answer, st)
		}
	}
}

func TestListOfSixes(t *testing.T) {
	z := zone(t, "2.0.0.127.bl.test. IN A 127.0.0.2", "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.bl.test. IN A 127.0.0.2")
	j, _ := asking(t, z, blockList)
	if _, ok := signal(t, j, netip.MustParseAddr("2001:db8::1"), "bl"); !ok {
		t.Error("2001:db8::1 is not found")
	}
}

func TestListsInDisorder(t *testing.T) {
	for name, c := range map[string]struct {
		lines  []string
		reason string
	}{
		"lists everything": {[]string{"2.0.0.127.bl.test. IN A 127.0.0.2", "1.0.0.127.bl.test. IN A 127.0.0.2"}, "lists everything"},
		"is gone":          {nil, "does not list its test entry"},
		"does not want us": {[]string{"2.0.0.127.bl.test. IN A 127.255.255.254"}, "no listings"},
	} {
		z := zone(t, append(c.lines, "25.2.0.192.bl.test. IN A 127.0.0.2")...)
		j, now := asking(t, z, blockList)
		if s, ok := signal(t, j, client, "bl"); ok {
			t.Errorf("%s: %v", name, s)
		}
		if st := j.ListStates()[0]; st.On || !strings.Contains(st.Reason, c.reason) {
			t.Errorf("%s: %+v", name, st)
		}
		if n := z.Asked("25.2.0.192.bl.test", "A"); n != 0 {
			t.Errorf("%s: asked %d times", name, n)
		}
		z.Remove("1.0.0.127.bl.test")
		z.Remove("2.0.0.127.bl.test")
		z.Add("2.0.0.127.bl.test. IN A 127.0.0.2")
		*now = now.Add(2 * time.Hour)
		j.lists.checkAll(t.Context())
		if _, ok := signal(t, j, client, "bl"); !ok {
			t.Errorf("%s: it is in order again and not used", name)
		}
	}
}

// TestListTurnsBad: a list in use begins to list everything; the next check finds it.
func TestListTurnsBad(t *testing.T) {
	z := zone(t, "2.0.0.127.bl.test. IN A 127.0.0.2", "25.2.0.192.bl.test. IN A 127.0.0.2")
	j, now := asking(t, z, blockList)
	if _, ok := signal(t, j, client, "bl"); !ok {
		t.Fatal("not listed")
	}
	z.Add("1.0.0.127.bl.test. IN A 127.0.0.2")
	*now = now.Add(checkAgain)
	j.lists.checkAll(t.Context())
	if _, ok := signal(t, j, client, "bl"); ok {
		t.Error("a list that lists 127.0.0.1 is used")
	}
}

func TestListFailures(t *testing.T) {
	z := zone(t, "2.0.0.127.bl.test. IN A 127.0.0.2")
	z.Fail("25.2.0.192.bl.test")
	j, _ := asking(t, z, blockList)
	if s, ok := signal(t, j, client, "bl"); ok {
		t.Errorf("SERVFAIL is a listing: %v", s)
	}
	if !j.ListStates()[0].On {
		t.Error("one failure turns the list off")
	}
	z.Fail("2.0.0.127.bl.test")
	j, _ = asking(t, z, blockList)
	signal(t, j, client, "bl")
	if st := j.ListStates()[0]; st.On || !strings.Contains(st.Reason, "cannot be asked") {
		t.Errorf("%+v", st)
	}
}

func TestListsCached(t *testing.T) {
	z := zone(t, "2.0.0.127.bl.test. IN A 127.0.0.2", "25.2.0.192.bl.test. IN A 127.0.0.2", "test.dl.test. IN A 127.0.1.2", "example.com.dl.test. IN A 127.0.1.2")
	j, now := asking(t, z, blockList, "dl domain dl.test 127.0.1.2=4")
	for range 5 {
		if _, ok := signal(t, j, client, "bl"); !ok {
			t.Fatal("not listed")
		}
		s, ok := signal(t, j, client, "dl")
		if !ok || !strings.Contains(s.Text, "example.com") {
			t.Fatalf("the link is not listed: %v", s)
		}
	}
	for _, name := range []string{"25.2.0.192.bl.test", "example.com.dl.test", "example.net.dl.test"} {
		if n := z.Asked(name, "A"); n != 1 {
			t.Errorf("%s was asked %d times", name, n)
		}
	}
	*now = now.Add(keepAnswer + time.Second)
	signal(t, j, client, "bl")
	if n := z.Asked("25.2.0.192.bl.test", "A"); n != 2 {
		t.Errorf("an old answer is used: asked %d times", n)
	}
}

func TestPrivateClientsAreNotAsked(t *testing.T) {
	z := zone(t, "2.0.0.127.bl.test. IN A 127.0.0.2", "5.0.0.127.bl.test. IN A 127.0.0.2", "1.0.0.10.bl.test. IN A 127.0.0.2")
	j, _ := asking(t, z, blockList)
	for _, a := range []string{"127.0.0.5", "10.0.0.1", "::1", "fe80::1", "fd00::1", "::ffff:10.0.0.1"} {
		if _, ok := signal(t, j, netip.MustParseAddr(a), "bl"); ok {
			t.Errorf("%s was asked about", a)
		}
	}
	if n := z.Asked("2.0.0.127.bl.test", "A"); n != 0 {
		t.Errorf("the test entry was asked %d times", n)
	}
	j.o.AskOfPrivate = true
	if _, ok := signal(t, j, netip.MustParseAddr("127.0.0.5"), "bl"); !ok {
		t.Error("AskOfPrivate does not ask")
	}
}

// silent is a resolver whose servers never answer.
type silent struct{ dns.Resolver }

func (silent) A(ctx context.Context, host string) ([]netip.Addr, bool, error) {
	<-ctx.Done()
	return nil, false, ctx.Err()
}

// TestSilentLists: twenty dead lists and twenty links cost one wait.
func TestSilentLists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := Options{Resolver: silent{}, Now: time.Now, ListWait: 3 * time.Second}
		for range 20 {
			o.Lists = append(o.Lists, List{Name: "bl", Zone: "bl.test", Kind: OfDomains})
		}
		o.Local = func(mail.Domain) bool { return false }
		j := New(o)
		begin := time.Now()
		f := look(t.Context(), j, Facts{Remote: client, Hello: "mail.example.net"}, mailauth.Report{}, letter("bob@example.net", "Hi", strings.Repeat("https://a.example.com/ https://b.example.org/ ", 10)))
		if took := time.Since(begin); took > 3*time.Second {
			t.Errorf("took %s", took)
		}
		if v := j.Verdict(t.Context(), f, alice); v.Class != Good {
			t.Errorf("%+v", v)
		}
	})
}

func TestParseList(t *testing.T) {
	for _, name := range PresetNames() {
		l, err := ParseList(name)
		if err != nil || len(l.Codes) == 0 || !strings.Contains(l.Zone, ".") {
			t.Errorf("%s: %+v, %v", name, l, err)
		}
	}
	if l := list(t, "spamhaus_zen key.zen.dq.example.net"); l.Zone != "key.zen.dq.example.net" || len(l.Codes) != 5 {
		t.Errorf("%+v", l)
	}
	l := list(t, "x domain x.test bit8=2.5 127.0.0.64/26=-1")
	for answer, want := range map[string][2]bool{"127.0.0.8": {true, false}, "127.0.0.72": {true, true}, "127.0.1.8": {false, false}} {
		a := netip.MustParseAddr(answer)
		if got := [2]bool{l.Codes[0].means(a), l.Codes[1].means(a)}; got != want {
			t.Errorf("%s: %v", answer, got)
		}
	}
	for _, bad := range []string{"", "nosuch", "x address x.test", "x other x.test 127.0.0.2=1", "X address x.test 127.0.0.2=1", "x address test 127.0.0.2=1",
		"x address x.test 127.0.0.2", "x address x.test 127.0.0.2=NaN", "x address x.test 127.0.0.2=99", "x address x.test 10.0.0.1=1", "x address x.test bit3=1", "x address x.test 0.0.0.0/0=1", "x address x.test ::1=1"} {
		if l, err := ParseList(bad); err == nil {
			t.Errorf("%q is %+v", bad, l)
		}
	}
}
