package config

import (
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func update() bool { return flag.Lookup("update").Value.String() == "true" }

func TestMain(m *testing.M) {
	flag.Bool("update", false, "write the golden files and the generated documents")
	flag.Parse()
	os.Exit(m.Run())
}

// golden compares got with a file, or writes it.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if update() {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is stale: run go test ./internal/config -update\n%s", path, firstDifference(got, string(want)))
	}
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return "got  " + g[i] + "\nwant " + w[i]
		}
	}
	return "one is longer"
}

// TestMistakes: each testdata/*.toml is a wrong file, the .want beside it what the operator reads.
func TestMistakes(t *testing.T) {
	files, err := filepath.Glob("testdata/*.toml")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		c, err := Parse(filepath.Base(f), text)
		if err == nil {
			t.Errorf("%s: taken as %+v", f, c)
			continue
		}
		golden(t, strings.TrimSuffix(f, ".toml")+".want", err.Error()+"\n")
	}
}

func TestGeneratedDocuments(t *testing.T) {
	golden(t, "../../deploy/posthouse.toml", Example())
	golden(t, "../../docs/config.md", Markdown())
}

// TestExampleIsTheDefaults: as it is and with every line switched on, where that says no more than the default.
func TestExampleIsTheDefaults(t *testing.T) {
	want := Default()
	want.Hostname = "mail.example.org"
	want.TLS.Certificates = []Certificate{{
		Cert: "/etc/letsencrypt/live/mail.example.org/fullchain.pem",
		Key:  "/etc/letsencrypt/live/mail.example.org/privkey.pem",
	}}
	got, err := Parse("/etc/posthouse/posthouse.toml", []byte(Example()))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}

	got, err = Parse("/etc/posthouse/posthouse.toml", []byte(switchedOn(Example())))
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Remote.SmartHosts) != 1 || len(got.Submission.Trusted) != 1 || len(got.Scanners) != 1 {
		t.Fatalf("the examples of repeated tables are not there: %+v", got)
	}
	got.Remote.SmartHosts, got.Submission.Trusted, got.Scanners = nil, nil, nil
	got.TLS.Certificates, got.Listen.ProxyFrom, got.DNS.Servers = want.TLS.Certificates, nil, nil // [] in the file
	if !reflect.DeepEqual(got, want) {
		t.Errorf("all lines on:\ngot  %+v\nwant %+v", got, want)
	}
}

// switchedOn removes the # of lines that are settings.
func switchedOn(text string) string {
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, "#") && !strings.HasPrefix(l, "# ") {
			lines[i] = l[1:]
		}
	}
	return strings.Join(lines, "\n")
}

// TestEveryFieldIsDescribed, once, with the remedy of a wrong value, in the order of the tables.
func TestEveryFieldIsDescribed(t *testing.T) {
	value := defaults()
	var described []string
	tables := []string{}
	for _, f := range Fields() {
		described = append(described, f.Key)
		if _, ok := value[f.Key]; !ok {
			t.Errorf("%s is described and is no setting", f.Key)
		}
		if f.What == "" || f.Form == "" || strings.HasSuffix(f.What, ".") {
			t.Errorf("%s: what %q, form %q", f.Key, f.What, f.Form)
		}
		if table, _ := split(f.Key); len(tables) == 0 || tables[len(tables)-1] != table {
			if slices.Contains(tables, table) {
				t.Errorf("%s: table %q comes twice", f.Key, table)
			}
			if sections()[table] == "" {
				t.Errorf("table %q is not described", table)
			}
			tables = append(tables, table)
		}
	}
	for key := range value {
		if n := len(slices.DeleteFunc(slices.Clone(described), func(s string) bool { return s != key })); n != 1 {
			t.Errorf("%s is described %d times", key, n)
		}
	}
	if len(value) < 40 {
		t.Errorf("only %d settings were found", len(value))
	}
}

func TestPathsStartAtTheFile(t *testing.T) {
	c, err := Parse("/srv/house/posthouse.toml", []byte(`
hostname = "mail.example.org"
data = "data"
listen.http = ["unix:web.sock", "unix:/run/web.sock", ":80"]
tls.certificates = [{cert = "c.pem", key = "/k.pem"}]
`))
	if err != nil {
		t.Fatal(err)
	}
	if want := []Address{{"unix:/srv/house/web.sock"}, {"unix:/run/web.sock"}, {":80"}}; !slices.Equal(c.Listen.HTTP, want) {
		t.Errorf("got %q, want %q", c.Listen.HTTP, want)
	}
	if c.Data != "/srv/house/data" || c.TLS.Certificates[0] != (Certificate{"/srv/house/c.pem", "/k.pem"}) {
		t.Errorf("got %q, %+v", c.Data, c.TLS)
	}
}

func TestLoadSaysWhatIsMissing(t *testing.T) {
	if _, err := Load(filepath.Join(t.TempDir(), "none.toml")); err == nil || !strings.Contains(err.Error(), "none.toml") {
		t.Errorf("got %v", err)
	}
	big := filepath.Join(t.TempDir(), "big.toml")
	if err := os.WriteFile(big, make([]byte, maxFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(big); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("got %v", err)
	}
}

func TestDuration(t *testing.T) {
	for _, c := range []struct {
		in   string
		want time.Duration
		out  string
	}{
		{"5d", 120 * time.Hour, "5d"},
		{"1d12h", 36 * time.Hour, "1d12h"},
		{"90m", 90 * time.Minute, "1h30m"},
		{"100ms", 100 * time.Millisecond, "100ms"},
		{"0s", 0, "0s"},
		{"0d", 0, ""},
		{"-1s", 0, ""}, {"1", 0, ""}, {"", 0, ""}, {"d", 0, ""}, {"1y", 0, ""},
	} {
		var d Duration
		err := d.UnmarshalText([]byte(c.in))
		if (err == nil) != (c.out != "") {
			t.Errorf("%q: %v", c.in, err)
			continue
		}
		if out, err := d.MarshalText(); c.out != "" && (err != nil || string(out) != c.out || d.Duration != c.want) {
			t.Errorf("%q: %v, %s, %v", c.in, d.Duration, out, err)
		}
	}
}

func TestSize(t *testing.T) {
	for in, want := range map[string]Size{
		"50MiB": 50 << 20, "50 MB": 50 << 20, "50m": 50 << 20, "1024": 1024, "1024B": 1024, "3GiB": 3 << 30, "1TiB": 1 << 40, "0B": 0,
		"": -1, "MiB": -1, "-5MiB": -1, "1.5GiB": -1, "5XiB": -1, "5MiBs": -1, "99999999TiB": -1, "5 apples": -1, "0x10": -1,
	} {
		got, err := ParseSize(in)
		if (err == nil) != (want >= 0) || err == nil && got != want {
			t.Errorf("%q: %d, %v; want %d", in, got, err, want)
		}
	}
	for size, want := range map[Size]string{50 << 20: "50MiB", 1025: "1025B", 1 << 40: "1TiB", 0: "0B"} {
		if size.String() != want {
			t.Errorf("%d is written %s", size, size)
		}
	}
}

func TestAddress(t *testing.T) {
	for in, want := range map[string]string{
		":25": ":25 open", "127.0.0.1:025": "127.0.0.1:025 loopback", "[::1]:25": "[::1]:25 loopback", "localhost:0": "localhost:0 loopback",
		"192.0.2.1:25": "192.0.2.1:25 open", "[::]:25": "[::]:25 open",
		"unix:/run/web.sock": "unix:/run/web.sock loopback", "unix:web.sock": "unix:web.sock loopback", "unix:": "", "unix:/a\nb": "", "UNIX:/a": "",
		"25": "", "mail.example.org:25": "", ":65536": "", ":smtp": "", "": "",
	} {
		var a Address
		err := a.UnmarshalText([]byte(in))
		got := a.HostPort + " open"
		if a.IsLoopback() {
			got = a.HostPort + " loopback"
		}
		if err != nil {
			got = ""
		}
		if got != want {
			t.Errorf("%q: %q, %v; want %q", in, got, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(Example())
	f.Add(switchedOn(Example()))
	f.Add("hostname = \"a.b\"\n[[remote.smart_hosts]]\nhost=\"x\"\n")
	f.Add("a.b.c = [[{x=1}, 2], 3]\r\n[a]\n")
	f.Add("\ufeffhostname")
	f.Fuzz(func(t *testing.T, text string) {
		if c, err := Parse("f.toml", []byte(text)); err == nil && c.Check() != nil {
			t.Errorf("taken, and then not: %v", c.Check())
		} else if err != nil && err.Error() == "" {
			t.Error("an error without words")
		}
	})
}
