package report

import (
	"archive/zip"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// written is a report in the words of the .want files.
func written(r *DMARC) string {
	out := fmt.Sprintf("%s <%s> %s %s %s to %s p=%s strict %t %t\n", r.Organization, r.Email, r.ID, r.Domain, r.Begin.Format(time.RFC3339), r.End.Format(time.RFC3339),
		r.Policy.P, r.Policy.StrictDKIM, r.Policy.StrictSPF)
	for _, s := range r.Sources {
		out += fmt.Sprintf("%d %s %s %s %s %s from %s via %s signed by %s spf %s\n", s.Count, s.Address, passed(s.DKIM), passed(s.SPF), s.Disposition, s.Reason,
			s.HeaderFrom, s.EnvelopeFrom, strings.Join(s.Signers, " "), s.SPFResult)
	}
	if r.Other > 0 {
		out += fmt.Sprintf("other %d\n", r.Other)
	}
	return out
}

// TestParseDMARC: the example of RFC 7489 appendix B in today's form, one of its successor, and what strangers send.
func TestParseDMARC(t *testing.T) {
	files, err := filepath.Glob("testdata/dmarc/*.xml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(strings.TrimSuffix(f, ".xml") + ".want")
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if r, err := ParseDMARC(bytes.NewReader(text)); err != nil {
			got = err.Error() + "\n"
		} else {
			got = written(r)
		}
		if got != string(want) {
			t.Errorf("%s: got\n%swant\n%s", f, got, want)
		}
	}
}

func example(t testing.TB) []byte {
	t.Helper()
	text, err := os.ReadFile("testdata/dmarc/rfc7489.xml")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func packedGzip(t testing.TB, text []byte) []byte {
	t.Helper()
	b, err := gzipped(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func packedZip(t testing.TB, members ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := 0; i < len(members); i += 2 {
		w, err := z.Create(members[i])
		if err == nil {
			_, err = io.WriteString(w, members[i+1])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// carried is a message with a part.
func carried(kind, file string, content []byte) string {
	return "From: <a@b.test>\r\nSubject: Report Domain: example.com\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n" +
		"--x\r\nContent-Type: text/plain\r\n\r\nHello\r\n--x\r\nContent-Type: " + kind + "\r\nContent-Transfer-Encoding: base64\r\n" +
		"Content-Disposition: attachment; filename=\"" + file + "\"\r\n\r\n" + base64.StdEncoding.EncodeToString(content) + "\r\n--x--\r\n"
}

// TestRead: reports are found in all the forms in which others send them, whatever the type is called.
func TestRead(t *testing.T) {
	xml := example(t)
	small := packedZip(t, "readme.txt", "hello", "a.xml", string(xml))
	for name, m := range map[string]string{
		"gzip":         carried("application/gzip", "a!b!1!2.xml.gz", packedGzip(t, xml)),
		"x-gzip":       carried("application/x-gzip", "a!b!1!2.xml.gz", packedGzip(t, xml)),
		"zip":          carried("application/zip", "a.zip", small),
		"zip as gzip":  carried("application/gzip", "a.gz", small),
		"octet-stream": carried("application/octet-stream", "a.xml.gz", packedGzip(t, xml)),
		"plain":        carried("text/xml", "a.xml", append([]byte("\xef\xbb\xbf\r\n"), xml...)),
		"alone":        "Content-Type: application/zip; name=a.zip\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.StdEncoding.EncodeToString(small) + "\r\n",
	} {
		f, err := Read(strings.NewReader(m))
		if err != nil || f.DMARC == nil || f.DMARC.Domain != "example.com" {
			t.Errorf("%s: %+v %v", name, f, err)
		}
	}
	for name, m := range map[string]string{
		"another file":     carried("application/octet-stream", "a.exe", packedGzip(t, xml)),
		"zip without":      carried("application/zip", "a.zip", packedZip(t, "a.txt", "x")),
		"zip in zip":       carried("application/zip", "a.zip", packedZip(t, "b.zip", string(small))),
		"text":             "Subject: x\r\n\r\nhello\r\n",
		"no such boundary": "Content-Type: multipart/mixed; boundary=y\r\n\r\n--x\r\n",
	} {
		if _, err := Read(strings.NewReader(m)); !errors.Is(err, ErrNone) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestHostile: none takes more than a moment and a few megabytes.
func TestHostile(t *testing.T) {
	blanks := func(n int) string { return strings.Repeat(" ", n) }
	twice := packedGzip(t, packedGzip(t, []byte(blanks(21<<20))))
	for name, c := range map[string]struct{ message, want string }{
		"gzip of blanks":   {carried("application/gzip", "a.xml.gz", packedGzip(t, []byte(blanks(21<<20)))), ErrBomb.Error()},
		"zip of blanks":    {carried("application/zip", "a.zip", packedZip(t, "a.xml", blanks(21<<20))), ErrBomb.Error()},
		"gzip in gzip":     {carried("application/gzip", "a.xml.gz", twice), "neither XML nor JSON"},
		"endless text":     {carried("text/xml", "a.xml", []byte("<feedback>"+strings.Repeat("a", 200<<10))), "endless"},
		"endless tag":      {carried("text/xml", "a.xml", []byte("<feedback "+strings.Repeat(`a="" `, 40<<10))), "endless"},
		"endless tag, >":   {carried("text/xml", "a.xml", []byte("<feedback "+strings.Repeat(`a=">" `, 40<<10))), "endless"},
		"large zip":        {carried("application/zip", "a.zip", append([]byte("PK"), bytes.Repeat([]byte("x"), maxPacked)...)), "larger than"},
		"not a zip":        {carried("application/zip", "a.zip", []byte("PK hello")), "not a valid zip"},
		"objects":          {carried("application/tlsrpt+json", "a.json", []byte(`{"policies":[`+strings.Repeat("{},", 100_000)+`{}]}`)), "too many elements"},
		"objects, packed":  {carried("application/tlsrpt+gzip", "a.json.gz", packedGzip(t, []byte(`{"policies":[`+strings.Repeat("{},", 4<<20)+`{}]}`))), ErrBomb.Error()},
		"strings":          {carried("application/tlsrpt+json", "a.json", []byte(`{"policies":[{"policy":{"policy-string":[`+strings.Repeat(`"",`, 1<<20)+`""]}}]}`)), "too many elements"},
		"cut gzip":         {carried("application/gzip", "a.xml.gz", packedGzip(t, example(t))[:200]), "unexpected EOF"},
		"broken base64":    {strings.Replace(carried("application/gzip", "a.xml.gz", packedGzip(t, example(t))), "H4sI", "H4sI****", 1), "illegal base64"},
		"thousand parts":   {"Content-Type: multipart/mixed; boundary=x\r\n\r\n" + strings.Repeat("--x\r\n\r\n\r\n", 1000) + "--x\r\nContent-Type: text/xml\r\n\r\n<feedback/>\r\n--x--", ErrNone.Error()},
		"parts in parts":   {strings.Repeat("Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n", 100) + "Content-Type: text/xml\r\n\r\n<feedback/>\r\n--x--", ErrNone.Error()},
		"header of a line": {strings.Repeat("a", 11<<20), ""},
	} {
		_, err := Read(strings.NewReader(c.message))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

// TestManySources: what cannot be listed is summed up.
func TestManySources(t *testing.T) {
	var b strings.Builder
	b.WriteString("<feedback><report_metadata><report_id>1</report_id><date_range><begin>1732665600</begin><end>1732751999</end></date_range></report_metadata>" +
		"<policy_published><domain>example.com</domain></policy_published>")
	for i := range 3000 {
		fmt.Fprintf(&b, "<record><row><source_ip>192.0.%d.%d</source_ip><count>2</count></row></record>", i/250%6, i%250) // each twice
	}
	b.WriteString("</feedback>")
	r, err := ParseDMARC(strings.NewReader(b.String()))
	if err != nil || len(r.Sources) != maxSources || r.Sources[0].Count != 4 || r.Other != 500*4 {
		t.Errorf("%d sources, other %d, %v", len(r.Sources), r.Other, err)
	}
	_, err = ParseDMARC(strings.NewReader("<feedback>" + strings.Repeat("<record><row><count>1</count></row></record>", maxRecords+1)))
	if err == nil || !strings.Contains(err.Error(), "too many records") {
		t.Errorf("a flood of records: %v", err)
	}
	if good, bad := r.Totals(); good != 0 || bad != 4000 {
		t.Errorf("%d %d", good, bad)
	}
}

func FuzzRead(f *testing.F) {
	xml := example(f)
	f.Add([]byte(carried("application/gzip", "a.xml.gz", packedGzip(f, xml))))
	f.Add([]byte(carried("application/zip", "a.zip", packedZip(f, "a.xml", string(xml)))))
	f.Add([]byte("Content-Type: text/xml\r\n\r\n" + string(xml)))
	f.Add([]byte("Content-Type: application/tlsrpt+json\r\n\r\n{\"policies\":[{}]}"))
	f.Add([]byte("Content-Type: multipart/report; boundary=x\r\n\r\n--x\r\nContent-Type: application/tlsrpt+gzip\r\nContent-Transfer-Encoding: base64\r\n\r\nH4sI\r\n--x--\r\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := Read(bytes.NewReader(text))
		if err == nil && (r.TLS == nil) == (r.DMARC == nil) {
			t.Fatalf("%+v", r)
		}
	})
}

func FuzzParseDMARC(f *testing.F) {
	files, err := filepath.Glob("testdata/dmarc/*.xml")
	if err != nil || len(files) == 0 {
		f.Fatal("no seeds", err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := ParseDMARC(bytes.NewReader(text))
		if err != nil {
			return
		}
		if len(r.Sources) > maxSources || r.Domain == "" || r.ID == "" || len(r.Organization) > maxShort {
			t.Fatalf("%+v", r)
		}
		for _, s := range r.Sources {
			if s.Count < 0 || s.Address == "" {
				t.Fatalf("%+v", s)
			}
		}
	})
}
