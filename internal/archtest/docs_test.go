package archtest

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// documents are the Markdown files of the house by path from the root.
func documents(t *testing.T) map[string]string {
	t.Helper()
	docs := map[string]string{}
	read := func(path string) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		rel, _ := filepath.Rel(root, path)
		docs[filepath.ToSlash(rel)] = string(text)
	}
	read(filepath.Join(root, "README.md"))
	err := filepath.WalkDir(filepath.Join(root, "docs"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(path, ".md") {
			read(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return docs
}

// TestDocsNameCode: every `path/file.go: Func` in a document exists.
func TestDocsNameCode(t *testing.T) {
	reference := regexp.MustCompile("`([\\w/]+\\.go): ([\\w.()*]+)`")
	code := map[string]string{}
	for _, s := range sources(t) {
		code[s.path] = s.text
	}
	found := 0
	for doc, text := range documents(t) {
		for _, m := range reference.FindAllStringSubmatch(text, -1) {
			found++
			file, name := m[1], m[2]
			if i := strings.LastIndex(name, "."); i >= 0 {
				name = name[i+1:]
			}
			body, ok := code[file]
			if !ok {
				t.Errorf("%s names %s, which does not exist", doc, file)
				continue
			}
			if !regexp.MustCompile(`(?m)^(func (\([^)]*\) )?|type |\t|var |const )` + regexp.QuoteMeta(name) + `\b`).MatchString(body) {
				t.Errorf("%s names %s in %s, which is not declared there", doc, m[2], file)
			}
		}
	}
	if found < 10 {
		t.Errorf("only %d references to code found in the documents: is the pattern still theirs?", found)
	}
}

// TestRFCsAreListed: every RFC that the code cites stands in docs/rfc.md.
func TestRFCsAreListed(t *testing.T) {
	cited := regexp.MustCompile(`RFC (\d{3,5})`)
	list, err := os.ReadFile(filepath.Join(root, "docs/rfc.md"))
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\| (\d{3,5}) \|`).FindAllStringSubmatch(string(list), -1) {
		listed[m[1]] = true
	}
	for _, m := range regexp.MustCompile("`([\\w./-]+)`").FindAllStringSubmatch(string(list), -1) {
		if _, err := os.Stat(filepath.Join(root, m[1])); err != nil {
			t.Errorf("docs/rfc.md names %s, which does not exist", m[1])
		}
	}
	missing := map[string]string{}
	for _, s := range sources(t) {
		for _, m := range cited.FindAllStringSubmatch(s.text, -1) {
			if !listed[m[1]] && missing[m[1]] == "" {
				missing[m[1]] = s.path
			}
		}
	}
	for rfc, path := range missing {
		t.Errorf("RFC %s (cited in %s) is not in docs/rfc.md", rfc, path)
	}
}

// TestDocsLinks: relative links between documents lead somewhere.
func TestDocsLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:\s]+)(#[^)]*)?\)`)
	for doc, text := range documents(t) {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(root, filepath.Dir(doc), m[1])); err != nil {
				t.Errorf("%s links to %s, which does not exist", doc, m[1])
			}
		}
	}
}
