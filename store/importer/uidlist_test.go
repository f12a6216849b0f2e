package importer

import (
	"strings"
	"testing"
)

func TestUIDList(t *testing.T) {
	for _, c := range []struct {
		name, text  string
		valid, next uint32
		uids        map[string]uint32
		bad         int
	}{
		{"version 3", "3 V7 N30 Gab\n1 :a:2,S\n2 W5 S4 :b\n3 Pid O1 :c d\n", 7, 30, map[string]uint32{"a": 1, "b": 2, "c d": 3, "x": 0}, 0},
		{"version 1", "1 7 30\n4 a:2,S\n5 b\n", 7, 30, map[string]uint32{"a": 4, "b": 5}, 0},
		{"twice", "3 V7 N30\n1 :a\n9 :a\n", 7, 30, map[string]uint32{"a": 9}, 0},
		{"odd lines", "3 V7 N30\n0 :a\n4294967295 :b\n-1 :c\nx :d\n5\n6 :\n7 P\n" + strings.Repeat("y", 20_000) + "\n8 :e", 7, 30, map[string]uint32{"a": 0, "b": 0, "e": 8}, 8},
		{"another version", "2 7 30\n1 a\n", 0, 0, map[string]uint32{"a": 0}, 1},
		{"empty", "", 0, 0, map[string]uint32{"a": 0}, 0},
	} {
		l := readUIDList(strings.NewReader(c.text))
		if l.valid != c.valid || l.next != c.next || l.bad != c.bad {
			t.Errorf("%s: UIDVALIDITY %d, UIDNEXT %d, %d bad lines", c.name, l.valid, l.next, l.bad)
		}
		for name, want := range c.uids {
			if got := l.uid(name); got != want {
				t.Errorf("%s: uid of %s is %d, want %d", c.name, name, got, want)
			}
		}
	}
}

func FuzzUIDList(f *testing.F) {
	f.Add("3 V7 N30 Gab\n1 :a:2,S\n2 W5 S4 :b\n3 Pid O1 :c d\n", "a")
	f.Add("1 7 30\n4 a:2,S\n5 b\n", "b")
	f.Add("3 V N\n 1\n:\n1 P :\n", "")
	f.Fuzz(func(t *testing.T, text, name string) {
		l := readUIDList(strings.NewReader(text))
		if u := l.uid(name); u > maxUID {
			t.Errorf("uid %d", u)
		}
		readKeywords(strings.NewReader(text))
		splitName(name)
	})
}

func TestExpand(t *testing.T) {
	for pattern, want := range map[string]string{
		PatternDovecot: "0000001200000003", "%u": "18", "%v.%u": "3.18", "%Xu": "12", "UID%u-%v": "UID18-3", "%%%u%": "%18", "x": "x", "%5u": "   18",
	} {
		if got := expand(pattern, 18, 3); got != want {
			t.Errorf("%s: %q, want %q", pattern, got, want)
		}
	}
	for pattern, want := range map[string]bool{"": true, PatternNone: true, "%u": true, "%v": false, "%5u": false, "x": false, PatternDovecot: true} {
		if ValidPattern(pattern) != want {
			t.Errorf("%q: valid is %v", pattern, !want)
		}
	}
}

func TestNames(t *testing.T) {
	n := Names{}
	if err := n.ParseMap("Old=Archive/Old"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		folders, want string
		mailbox       string
	}{
		{"INBOX,Sent Items,Spam,Deleted Items/x,Work", "INBOX,Sent,Junk,Trash/x,Work", ""},
		{"INBOX,Sent,Sent Items", "INBOX,Sent,Sent Items", ""},
		{"Old,Old/2019,Older", "Archive/Old,Archive/Old/2019,Older", ""},
		{"INBOX,Work", "In,In/Work", "In"},
		{"a\x01b/" + strings.Repeat("x", 300), "a_b/" + strings.Repeat("x", 200), ""},
		{"inbox/x", "INBOX/x", ""},
	} {
		var folders []Folder
		for _, f := range strings.Split(c.folders, ",") {
			folders = append(folders, Folder{Name: f})
		}
		n.Mailbox = c.mailbox
		got := n.mapped(folders)
		var out []string
		for _, f := range folders {
			out = append(out, got[f.Name])
		}
		if strings.Join(out, ",") != c.want {
			t.Errorf("%s: %s, want %s", c.folders, out, c.want)
		}
	}
}

func TestUTF7(t *testing.T) {
	for _, s := range []string{"plain", "a & b", "Grüße", "日本", "x.y/z", "🙂", "&", "-"} {
		if got := fromUTF7(toUTF7(s, "./")); got != s || strings.ContainsAny(toUTF7(s, "./"), "./") {
			t.Errorf("%q became %q on the disk, and %q", s, toUTF7(s, "./"), got)
		}
	}
	for in, want := range map[string]string{"M&APw-ll": "Müll", "Müll": "Müll", "M\xfcll": "Müll", "a&b": "a&b", "&2D0-": "&2D0-"} {
		if got := fromUTF7(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
