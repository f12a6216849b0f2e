//go:build interop

package interop

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const deploy = "../../../../deploy/"

// TestPromtoolDeploy: rules, their tests, the example of a scrape and every question of the dashboard are what Prometheus understands.
func TestPromtoolDeploy(t *testing.T) {
	home := t.TempDir()
	run(t, home, "", "promtool", "check", "rules", "--lint-fatal", deploy+"prometheus-rules.yml")
	run(t, home, "", "promtool", "test", "rules", deploy+"prometheus-rules-test.yml")
	run(t, home, "", "promtool", "check", "config", deploy+"prometheus.yml")
	text, err := os.ReadFile(deploy + "grafana-dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct{ Targets []struct{ Expr string } }
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	rules := "groups:\n- name: dashboard\n  rules:\n"
	n := 0
	for _, p := range board.Panels {
		for _, x := range p.Targets {
			n++
			rules += fmt.Sprintf("  - record: panel_%d\n    expr: %q\n", n, x.Expr)
		}
	}
	if out := run(t, home, "", "promtool", "check", "rules", write(t, home, "dashboard.yml", rules)); n < 50 || !strings.Contains(out, fmt.Sprintf("%d rules found", n)) {
		t.Errorf("%d questions; promtool says:\n%s", n, out)
	}
}

// prometheus is a running Prometheus that scrapes the house with the rules of deploy.
type prometheus struct{ base string }

func startPrometheus(t *testing.T, h *house) prometheus {
	t.Helper()
	path, err := exec.LookPath("prometheus")
	if err != nil {
		t.Fatal("prometheus is not installed: apt-get install the packages that .ci/run lists")
	}
	home := t.TempDir()
	rules, err := filepath.Abs(deploy + "prometheus-rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile(deploy + "prometheus.yml")
	if err != nil {
		t.Fatal(err)
	}
	conf := strings.NewReplacer("30s", "1s", "prometheus-rules.yml", rules, "127.0.0.1:9025", h.addr(1090)).Replace(string(example))
	p := prometheus{base: "http://" + h.addr(1091)}
	log := &buffer{}
	cmd := exec.Command(path, "--config.file="+write(t, home, "prometheus.yml", conf), "--storage.tsdb.path="+filepath.Join(home, "data"), "--web.listen-address="+h.addr(1091))
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil || t.Failed() {
			t.Logf("Prometheus ended: %v\n%s", err, log)
		}
	})
	return p
}

// ask asks one page of its API; false: not yet.
func (p prometheus) ask(path string, into any) bool {
	res, err := http.Get(p.base + path)
	if err != nil {
		return false
	}
	defer res.Body.Close()
	return res.StatusCode == http.StatusOK && json.NewDecoder(res.Body).Decode(into) == nil
}

// await asks until seen says yes.
func (p prometheus) await(t *testing.T, what string, seen func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		if seen() {
			return
		}
		time.Sleep(100 * time.Millisecond) // another process: there is nothing else to wait on
	}
	t.Fatalf("Prometheus does not say within 30 s: %s", what)
}

// TestPrometheus: the real one reads the rules, scrapes the demo, and has nothing to complain of a healthy house.
func TestPrometheus(t *testing.T) {
	h := demo(t)
	h.deliver(t, "stranger@gamma.test", bob, "for the counters")
	p := startPrometheus(t, h)
	p.await(t, "up is 1", func() bool {
		var v struct {
			Data struct{ Result []struct{ Value []any } }
		}
		return p.ask("/api/v1/query?query="+url.QueryEscape(`up{job="posthouse"} and posthouse_ready == 1`), &v) && len(v.Data.Result) == 1 && v.Data.Result[0].Value[1] == "1"
	})
	up := time.Now()
	rules := 0
	p.await(t, "every rule was evaluated after that, without an error", func() bool {
		var v struct {
			Data struct {
				Groups []struct {
					Rules []struct {
						Health, LastError string
						LastEvaluation    time.Time
					}
				}
			}
		}
		if rules = 0; !p.ask("/api/v1/rules", &v) {
			return false
		}
		for _, g := range v.Data.Groups {
			for _, r := range g.Rules {
				if r.Health == "err" {
					t.Fatalf("a rule cannot be evaluated: %s", r.LastError)
				}
				if r.Health != "ok" || r.LastEvaluation.Before(up) {
					return false
				}
				rules++
			}
		}
		return rules > 0
	})
	if rules < 30 {
		t.Errorf("only %d rules", rules)
	}
	var v struct {
		Data struct {
			Alerts []struct {
				State  string
				Labels map[string]string
			}
		}
	}
	if !p.ask("/api/v1/alerts", &v) || len(v.Data.Alerts) > 0 {
		t.Errorf("alerts on a healthy house: %+v", v.Data.Alerts)
	}
}
