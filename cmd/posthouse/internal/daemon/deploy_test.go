package daemon

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const deploy = "../../../../deploy/"

// described are the metrics that docs/metrics.md lists (which is compared with the registry), with their labels.
func described(t *testing.T) map[string][]string {
	t.Helper()
	page, err := os.ReadFile("../../../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string][]string)
	for _, row := range regexp.MustCompile("(?m)^\\| `(posthouse_\\w+)` \\| (\\w+) \\| ([^|]*) \\|").FindAllStringSubmatch(string(page), -1) {
		labels := strings.FieldsFunc(row[3], func(r rune) bool { return r == ',' || r == ' ' })
		if row[2] != "histogram" {
			all[row[1]] = labels
			continue
		}
		all[row[1]+"_bucket"] = append([]string{"le"}, labels...)
		all[row[1]+"_sum"], all[row[1]+"_count"] = labels, labels
	}
	if len(all) < 50 {
		t.Fatalf("only %d metrics in docs/metrics.md", len(all))
	}
	return all
}

// expressions are what deploy asks Prometheus: of each alert, of each panel.
func expressions(t *testing.T) (alerts, panels []string) {
	t.Helper()
	rules, err := os.ReadFile(deploy + "prometheus-rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^        expr: (.+)$`).FindAllStringSubmatch(string(rules), -1) {
		alerts = append(alerts, m[1])
	}
	text, err := os.ReadFile(deploy + "grafana-dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			Title   string
			Type    string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatalf("the dashboard is no JSON: %v", err)
	}
	for _, p := range board.Panels {
		if p.Type != "row" && (p.Title == "" || len(p.Targets) == 0) {
			t.Errorf("panel %q shows nothing", p.Title)
		}
		for _, x := range p.Targets {
			panels = append(panels, x.Expr)
		}
	}
	return alerts, panels
}

// TestDeployAsksForWhatIsThere: rules and dashboard name metrics and labels that a house has. That Prometheus understands
// the expressions is shown with promtool, in internal/interop.
func TestDeployAsksForWhatIsThere(t *testing.T) {
	known := described(t)
	alerts, panels := expressions(t)
	if len(alerts) < 30 || len(panels) < 50 {
		t.Fatalf("%d alerts, %d questions of panels: the files were not read as they are written", len(alerts), len(panels))
	}
	named := regexp.MustCompile(`(posthouse_\w+)(?:\{([^}]*)\})?`)
	label := regexp.MustCompile(`(\w+)\s*(?:=~|!~|!=|=)`)
	for _, expr := range slices.Concat(alerts, panels) {
		for _, m := range named.FindAllStringSubmatch(expr, -1) {
			labels, ok := known[m[1]]
			if !ok {
				t.Errorf("%s: there is no metric %s", expr, m[1])
				continue
			}
			for _, l := range label.FindAllStringSubmatch(m[2], -1) {
				if l[1] != "instance" && l[1] != "job" && !slices.Contains(labels, l[1]) {
					t.Errorf("%s: %s has no label %s", expr, m[1], l[1])
				}
			}
		}
	}
}

// TestEveryAlertSaysWhatToDo: each rule has a severity, what is wrong and what to do, and is tried by a test that sees it fire.
func TestEveryAlertSaysWhatToDo(t *testing.T) {
	rules, err := os.ReadFile(deploy + "prometheus-rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile(deploy + "prometheus-rules-test.yml")
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Split(string(rules), "      - alert: ")[1:]
	if len(all) < 30 {
		t.Fatalf("only %d alerts", len(all))
	}
	for _, rule := range all {
		name, rest, _ := strings.Cut(rule, "\n")
		for _, want := range []string{"severity: page", "severity: ticket"} {
			if strings.Contains(rest, want) {
				rest += "\nseverity known"
			}
		}
		for _, want := range []string{"severity known", "          summary: ", "          action: \""} {
			if !strings.Contains(rest, want) {
				t.Errorf("%s has no %q", name, strings.TrimSpace(want))
			}
		}
		if !regexp.MustCompile(name + `\b`).Match(tests) {
			t.Errorf("%s is tried by no test in prometheus-rules-test.yml", name)
		}
	}
}
