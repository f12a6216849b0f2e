package adminui

import (
	"io/fs"
	"regexp"
	"testing"
)

// TestPagesForEars: what a screen reader says of each page makes sense: columns have names, and each field its label.
func TestPagesForEars(t *testing.T) {
	names, err := fs.Glob(pages, "*.html")
	if err != nil || len(names) == 0 {
		t.Fatal("no pages", err)
	}
	empty := regexp.MustCompile(`<th[^>]*></th>`)
	field := regexp.MustCompile(`<(?:input|select|textarea) id="([^"]+)"`)
	nameless := regexp.MustCompile(`<(?:select|textarea|input) (?:name|type="(?:text|password|email)")`)
	for _, name := range names {
		text, err := fs.ReadFile(pages, name)
		if err != nil {
			t.Fatal(err)
		}
		if x := empty.Find(text); x != nil {
			t.Errorf("%s: a column without a name", name)
		}
		if x := nameless.Find(text); x != nil {
			t.Errorf("%s: a field that no label can name: %s", name, x)
		}
		for _, m := range field.FindAllSubmatch(text, -1) {
			if ok, _ := regexp.Match(`for="`+regexp.QuoteMeta(string(m[1]))+`"`, text); !ok {
				t.Errorf("%s: no label for %s", name, m[1])
			}
		}
	}
}
