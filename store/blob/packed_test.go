package blob

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/s2"

	"github.com/posthouse-mail/posthouse/internal/vfs"
)

func testCodec(t testing.TB) *codec {
	t.Helper()
	c, err := newCodec(false, 7, &pool{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	return c
}

// attachment is data in base64, in lines of width letters with the given end.
func attachment(data []byte, width int, end string) []byte {
	var b []byte
	for letters := base64.StdEncoding.EncodeToString(data); letters != ""; {
		n := min(width, len(letters))
		b = append(append(b, letters[:n]...), end...)
		letters = letters[n:]
	}
	return b
}

// around puts mail around an attachment.
func around(r *rand.Rand, p []byte) []byte {
	return join(sample(r, 700), []byte("\r\n--cut\r\n\r\n"), p, []byte("\r\n--cut--\r\n"))
}

func join(list ...[]byte) []byte { return bytes.Join(list, nil) }

// TestPacked: what the octets of a frame are decides how many stay; they come back as they were.
func TestPacked(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 1))
	random := noise(r, 9000)
	c := testCodec(t)
	for name, x := range map[string]struct {
		raw    []byte
		atMost float64 // of its size; 1: it stays as it is
	}{
		"text":                          {sample(r, 20000), 0.3},
		"noise":                         {random, 1},
		"an attachment":                 {around(r, attachment(random, 76, "\r\n")), 0.76},
		"lines of 64":                   {around(r, attachment(random, 64, "\r\n")), 0.76},
		"lines that end with LF":        {around(r, attachment(random, 76, "\n")), 0.76},
		"one line":                      {around(r, attachment(random, 1<<20, "\r\n")), 0.77},
		"one line without an end":       {attachment(random, 1<<20, ""), 0.76},
		"text as an attachment":         {around(r, attachment(sample(r, 9000), 76, "\r\n")), 0.3},
		"two attachments":               {join(around(r, attachment(random, 76, "\r\n")), around(r, attachment(random[5:], 60, "\r\n"))), 0.77},
		"padding in the middle":         {join(attachment(random[:4000], 76, "\r\n"), attachment(random[:4001], 76, "\r\n"), random[:10]), 0.79},
		"a frame that begins in a line": {attachment(random, 76, "\r\n")[30:], 0.76},
		"a frame that ends in a line":   {attachment(random, 76, "\r\n")[:6000], 0.76},
		"lines of three letters":        {attachment(random, 3, "\r\n"), 1},
		"lines of four letters":         {attachment(random, 4, "\r\n"), 0.6},
		"a line that ends with CR":      {attachment(random, 76, "\r"), 1},
		"full":                          {attachment(noise(r, frameMax), 76, "\r\n")[:frameMax], 0.75},
		"full of text":                  {sample(r, frameMax), 0.3},
		"empty lines":                   {bytes.Repeat([]byte("\r\n"), 5000), 0.1},
	} {
		f, stored, _ := c.encode(x.raw)
		if got := float64(f.stored) / float64(f.raw); got > x.atMost || x.atMost == 1 && f.method != methodPlain {
			t.Errorf("%s: %.3f of its size, method %d", name, got, f.method)
		}
		// What stands behind the frame in the reader's memory is not ours.
		room := bytes.Repeat([]byte{0xa5}, len(x.raw)+64)
		if err := c.decode(f, join(stored...), room[:len(x.raw)]); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !bytes.Equal(room[:len(x.raw)], x.raw) || !bytes.Equal(room[len(x.raw):], bytes.Repeat([]byte{0xa5}, 64)) {
			t.Errorf("%s: comes back different", name)
		}
	}
}

// TestBase64: our tables say what encoding/base64 says, for every length and at every wrong octet.
func TestBase64(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 1))
	tables := newBase64Tables()
	for n := 0; n < 120; n += 3 {
		data := noise(r, n)
		want := []byte(base64.StdEncoding.EncodeToString(data))
		line := make([]byte, len(want))
		tables.encode(line, append(bytes.Clone(data), noise(r, 9)...))
		if !bytes.Equal(line, want) {
			t.Fatalf("%d octets: %s, want %s", n, line, want)
		}
		back, quads := tables.decode(make([]byte, 0, n+8), want)
		if !bytes.Equal(back, data) || quads != n/3 {
			t.Fatalf("%d octets: %x, want %x", n, back, data)
		}
		for i := range want {
			for _, wrong := range "=-_\r\n\x00\xff " {
				odd := bytes.Clone(want)
				odd[i] = byte(wrong)
				if back, quads := tables.decode(make([]byte, 0, n+8), odd); quads != i/4 || !bytes.Equal(back, data[:i/4*3]) {
					t.Fatalf("%q: %d quads", odd, quads)
				}
			}
		}
	}
}

// FuzzPacked: what is packed comes back; what is not ours is refused without a panic and without a touch of what is not its own.
func FuzzPacked(f *testing.F) {
	r := rand.New(rand.NewPCG(10, 1))
	c := testCodec(f)
	for _, raw := range [][]byte{
		nil, sample(r, 900), around(r, attachment(noise(r, 900), 76, "\r\n")), around(r, attachment(sample(r, 900), 60, "\n")), attachment(noise(r, 600), 4000, ""),
	} {
		packed, _ := c.pack(raw)
		f.Add(raw, uint16(len(raw)))
		f.Add(bytes.Clone(packed), uint16(len(raw)))
	}
	f.Add([]byte{0, 0, 0, 0, 0, 1, 0, 1, 6}, uint16(4))
	f.Add([]byte{formText, 1, 0, 0, 0, 0, 0}, uint16(0))
	f.Add(append([]byte{formData, 0, 0, 9, 6, 1, 0, 1, 2<<2 | endNone}, s2.Encode(nil, []byte("abcdef"))...), uint16(8))
	f.Fuzz(func(t *testing.T, p []byte, n uint16) {
		if packed, _ := c.pack(p); packed != nil {
			got := make([]byte, len(p))
			if err := c.unpack(got, packed); err != nil || !bytes.Equal(got, p) {
				t.Fatalf("%q comes back as %q: %v", p, got, err)
			}
		}
		room := bytes.Repeat([]byte{0xa5}, int(n)+32)
		err := c.unpack(room[:n], p)
		if !bytes.Equal(room[n:], bytes.Repeat([]byte{0xa5}, 32)) {
			t.Fatalf("wrote behind its %d octets: %v", n, err)
		}
	})
}

// TestVersion1: segments that were written before frames were packed are read, records and bodies.
func TestVersion1(t *testing.T) {
	o := testOptions(vfs.OS{})
	o.Dir = t.TempDir()
	files, err := filepath.Glob("testdata/version1/*.seg")
	if err != nil || len(files) != 2 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(o.Dir, filepath.Base(name)), raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l, seen := openLog(t, o)
	defer l.Close()
	r := rand.New(rand.NewPCG(5, 1))
	texts := [][]byte{
		[]byte("short"), sample(r, 5000), noise(r, 1000), sample(r, 40<<10), []byte(base64.StdEncoding.EncodeToString(noise(r, 3000))), sample(r, 300<<10),
	}
	if len(seen) != len(texts) {
		t.Fatalf("%d records, want %d", len(seen), len(texts))
	}
	methods := ""
	for i, text := range texts {
		if string(seen[i].Meta) != fmt.Sprint(i) {
			t.Errorf("record %d has meta %q", i, seen[i].Meta)
		}
		if err := checkBody(l, seen[i].Place, []byte("head"), text); err != nil {
			t.Error(err)
		}
		rd, err := l.OpenBody(seen[i].Place)
		if err != nil {
			t.Fatal(err)
		}
		methods += fmt.Sprint(rd.frames[0].method)
		rd.Close()
	}
	if !strings.Contains(methods, fmt.Sprint(methodZstd)) || strings.Contains(methods, fmt.Sprint(methodPacked)) {
		t.Errorf("methods %s", methods)
	}
}

func BenchmarkUnpack(b *testing.B) {
	r := rand.New(rand.NewPCG(11, 1))
	c := testCodec(b)
	for name, raw := range map[string][]byte{
		"text": sample(r, 32<<10), "attachment": around(r, attachment(noise(r, 24<<10), 76, "\r\n")), "noise": noise(r, 32<<10),
	} {
		b.Run(name, func(b *testing.B) {
			f, stored, _ := c.encode(raw)
			p, dst := join(stored...), make([]byte, len(raw))
			b.SetBytes(int64(len(raw)))
			for b.Loop() {
				if err := c.decode(f, p, dst); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
