package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	root   = "../.."
	module = "github.com/posthouse-mail/posthouse/"
)

// source is one parsed Go file of the house.
type source struct {
	path      string // from the root, with slashes
	pkg       string // its folder
	test      bool
	generated bool
	text      string
	file      *ast.File
	fset      *token.FileSet
}

// sources parses every Go file of the house; the developer tools have a module of their own and are left out.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	fset := token.NewFileSet()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); name == "testdata" || name == "tools" || name == "bin" || strings.HasPrefix(name, ".") && path != root {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(fset, path, text, parser.ParseComments)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		pkg := filepath.ToSlash(filepath.Dir(rel))
		all = append(all, source{
			path: rel, pkg: pkg, test: strings.HasSuffix(rel, "_test.go") || slices.Contains(street, pkg),
			generated: ast.IsGenerated(file), text: string(text), file: file, fset: fset,
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 10 {
		t.Fatalf("only %d Go files found below %s", len(all), root)
	}
	return all
}

// imports are the packages of the house that s imports.
func (s source) imports() []string {
	var ours []string
	for _, i := range s.file.Imports {
		if path, ok := strings.CutPrefix(strings.Trim(i.Path.Value, `"`), module); ok {
			ours = append(ours, path)
		}
	}
	return ours
}

func (s source) line(p token.Pos) int { return s.fset.Position(p).Line }

// level is the floor of a package, from 0; -1 when the plan does not know it.
func level(pkg string) int {
	return slices.IndexFunc(floors, func(f []string) bool { return slices.Contains(f, pkg) })
}

// wing is the place of a package's folder on the way down; -1 outside.
func wing(pkg string) int {
	top, _, _ := strings.Cut(pkg, "/")
	return slices.IndexFunc(wayDown, func(w string) bool { return slices.Contains(strings.Fields(w), top) })
}

func TestFloors(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range sources(t) {
		seen[s.pkg] = true
		if s.test {
			continue
		}
		from := level(s.pkg)
		if from < 0 {
			t.Errorf("%s: package %s is not on the plan: give it a floor and an ADR", s.path, s.pkg)
			continue
		}
		for _, to := range s.imports() {
			switch {
			case slices.Contains(street, to):
				t.Errorf("%s imports %s, which is for tests only", s.path, to)
			case level(to) >= from:
				t.Errorf("%s imports %s, which is not on a lower floor", s.path, to)
			}
		}
	}
	for _, floor := range floors {
		for _, pkg := range floor {
			if !seen[pkg] {
				t.Errorf("the plan lists %s, which does not exist", pkg)
			}
		}
	}
}

func TestWayDown(t *testing.T) {
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		for _, to := range s.imports() {
			// imap/internal/syntax and cmd/posthouse/internal stand in the wing of their own folder.
			if wing(to) < wing(s.pkg) {
				t.Errorf("%s imports %s: an arrow that runs back up", s.path, to)
			}
			if s.pkg == "auth" && strings.HasPrefix(to, "store") && to != "store/kv" {
				t.Errorf("%s imports %s: auth knows of the store its tables only (store/kv)", s.path, to)
			}
			if to == "internal/config" && s.pkg != "web/admin" && !strings.HasPrefix(s.pkg, "cmd/") {
				t.Errorf("%s imports internal/config: a package has Options of its own", s.path)
			}
		}
	}
}

func TestTopLevel(t *testing.T) {
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !slices.Contains(topLevel, e.Name()) {
			t.Errorf("%s stands in the root of the repository; the plan has no place for it", e.Name())
		}
	}
}
