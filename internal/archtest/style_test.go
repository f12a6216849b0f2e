package archtest

import (
	"go/ast"
	"go/token"
	"path"
	"slices"
	"strings"
	"testing"
)

func TestBudgets(t *testing.T) {
	for _, s := range sources(t) {
		if s.generated {
			continue
		}
		b := productBudget
		if s.test {
			b = testBudget
		}
		if n := strings.Count(s.text, "\n"); n > b.file {
			t.Errorf("%s has %d lines; the budget is %d", s.path, n, b.file)
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch f := n.(type) {
			case *ast.FuncDecl:
				checkLength(t, s, f, f.Name.Name, b.function)
				checkParameters(t, s, f.Name.Name, f.Type, b.parameters)
			case *ast.FuncLit:
				checkLength(t, s, f, "a function literal", b.function)
			}
			return true
		})
	}
}

func checkLength(t *testing.T, s source, f ast.Node, name string, budget int) {
	t.Helper()
	if lines := s.line(f.End()) - s.line(f.Pos()) + 1; lines > budget {
		t.Errorf("%s:%d: %s has %d lines; the budget is %d", s.path, s.line(f.Pos()), name, lines, budget)
	}
}

func checkParameters(t *testing.T, s source, name string, f *ast.FuncType, budget int) {
	t.Helper()
	n := 0
	for _, p := range f.Params.List {
		n += max(1, len(p.Names))
	}
	if n > budget {
		t.Errorf("%s:%d: %s takes %d parameters; the budget is %d", s.path, s.line(f.Pos()), name, n, budget)
	}
}

func TestNames(t *testing.T) {
	for _, s := range sources(t) {
		if slices.Contains(emptyNames, path.Base(s.pkg)) {
			t.Errorf("%s: the name of package %s says nothing", s.path, s.pkg)
		}
		for _, i := range s.file.Imports {
			if i.Name != nil && i.Name.Name == "." {
				t.Errorf("%s: dot import of %s", s.path, i.Path.Value)
			}
		}
	}
}

// TestNoGlobalState: no init, and package variables are tables and sentinels that nothing assigns to.
// A sync.Pool is allowed: it keeps memory, not state.
func TestNoGlobalState(t *testing.T) {
	vars := map[string]map[string]bool{} // package -> name of its variables
	all := sources(t)
	for _, s := range all {
		if s.test {
			continue
		}
		if vars[s.pkg] == nil {
			vars[s.pkg] = map[string]bool{}
		}
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s:%d: func init", s.path, s.line(f.Pos()))
			}
			if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.VAR {
				collect(t, s, g, vars[s.pkg])
			}
		}
	}
	for _, s := range all {
		if !s.test {
			checkAssignments(t, s, vars[s.pkg])
		}
	}
}

// collect notes the variables of one declaration and refuses those that begin empty.
func collect(t *testing.T, s source, g *ast.GenDecl, names map[string]bool) {
	t.Helper()
	for _, spec := range g.Specs {
		v := spec.(*ast.ValueSpec)
		for _, n := range v.Names {
			if n.Name == "_" {
				continue
			}
			names[n.Name] = true
			if len(v.Values) == 0 && !isPool(v.Type) && !embedded(g) {
				t.Errorf("%s:%d: package variable %s begins empty: somebody must be meant to change it", s.path, s.line(n.Pos()), n.Name)
			}
		}
	}
}

func isPool(e ast.Expr) bool {
	sel, ok := e.(*ast.SelectorExpr)
	return ok && sel.Sel.Name == "Pool"
}

// embedded: go:embed fills the variable at compile time.
func embedded(g *ast.GenDecl) bool {
	return g.Doc != nil && slices.ContainsFunc(g.Doc.List, func(c *ast.Comment) bool { return strings.HasPrefix(c.Text, "//go:embed") })
}

// checkAssignments refuses statements that change a package variable.
func checkAssignments(t *testing.T, s source, names map[string]bool) {
	t.Helper()
	for _, d := range s.file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Body == nil {
			continue
		}
		own := declared(f)
		for _, e := range changed(f.Body) {
			if id := rootOf(e); id != nil && names[id.Name] && !own[id.Name] {
				t.Errorf("%s:%d: changes the package variable %s", s.path, s.line(e.Pos()), id.Name)
			}
		}
	}
}

// declared are the names that a function declares anywhere inside; they hide the package's.
func declared(f *ast.FuncDecl) map[string]bool {
	own := map[string]bool{}
	note := func(e ast.Expr) {
		if id, ok := e.(*ast.Ident); ok {
			own[id.Name] = true
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch x := n.(type) {
		case *ast.Field:
			for _, id := range x.Names {
				own[id.Name] = true
			}
		case *ast.ValueSpec:
			for _, id := range x.Names {
				own[id.Name] = true
			}
		case *ast.AssignStmt:
			if x.Tok == token.DEFINE {
				for _, e := range x.Lhs {
					note(e)
				}
			}
		case *ast.RangeStmt:
			if x.Tok == token.DEFINE {
				note(x.Key)
				note(x.Value)
			}
		}
		return true
	})
	return own
}

// changed are the expressions that a body assigns to, counts up or down, deletes from or clears.
func changed(body *ast.BlockStmt) []ast.Expr {
	var all []ast.Expr
	ast.Inspect(body, func(n ast.Node) bool {
		switch st := n.(type) {
		case *ast.AssignStmt:
			if st.Tok != token.DEFINE {
				all = append(all, st.Lhs...)
			}
		case *ast.IncDecStmt:
			all = append(all, st.X)
		case *ast.CallExpr:
			if f, ok := st.Fun.(*ast.Ident); ok && (f.Name == "delete" || f.Name == "clear") && len(st.Args) > 0 {
				all = append(all, st.Args[0])
			}
		}
		return true
	})
	return all
}

// rootOf is the variable that x, x.f, x[i] and *x stand on.
func rootOf(e ast.Expr) *ast.Ident {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x
		case *ast.SelectorExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		default:
			return nil
		}
	}
}
