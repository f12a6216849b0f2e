//go:build desktop

package desktop

import (
	"bufio"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// drawn are the pictures of the documents.
var drawn = []struct {
	Name, Who, Path string
	Follow          string // a link on that page, in words
	Height          int
}{
	{Name: "account", Who: "user", Path: "/account/", Height: 620},
	{Name: "story", Who: "user", Path: "/account/messages", Follow: "Your old address", Height: 760},
	{Name: "devices", Who: "user", Path: "/account/devices", Height: 480},
	{Name: "deleted", Who: "user", Path: "/account/deleted", Height: 420},
	{Name: "masks", Who: "user", Path: "/account/masks", Height: 700},
	{Name: "program", Who: "user", Path: "/clients/thunderbird?address=" + anna, Height: 760},
	{Name: "home", Who: "operator", Path: "/admin/", Height: 760},
	{Name: "domain", Who: "operator", Path: "/admin/domain?name=garden.example", Height: 900},
	{Name: "queue", Who: "operator", Path: "/admin/queue", Height: 640},
	{Name: "backups", Who: "operator", Path: "/admin/backups", Height: 560},
	{Name: "reports", Who: "operator", Path: "/admin/reports", Height: 900},
	{Name: "settings", Who: "operator", Path: "/admin/settings", Height: 760},
	{Name: "changes", Who: "operator", Path: "/admin/audit", Height: 640},
}

// TestPages gives chromium to pages.mjs; each step of it is a test.
func TestPages(t *testing.T) {
	w := newTown(t)
	live(t, w)
	plan := map[string]any{
		"base": "https://" + w.ours.host, "host": w.ours.host, "key": keyOf(t, w.ours), "chromium": program(t, "chromium"),
		"user": anna, "second": ben, "operator": operator, "password": password, "only": os.Getenv("STEPS"),
		"least": map[string]int{"stranger": 9, "user": 35, "operator": 50},
	}
	if os.Getenv("PICTURES") != "" {
		plan["pictures"], plan["drawn"] = t.TempDir(), drawn
	}
	text, err := json.Marshal(plan)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program(t, "node"), "pages.mjs", string(text))
	cmd.Stderr = os.Stderr
	in, errIn := cmd.StdinPipe()
	out, errOut := cmd.StdoutPipe()
	if err := errors.Join(errIn, errOut, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	steps := 0
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var step struct {
			Name, Note, Ask, About string
			Faults                 []string
			Took                   int
		}
		if err := json.Unmarshal(lines.Bytes(), &step); err != nil {
			t.Errorf("pages.mjs said %q", lines.Text())
			continue
		}
		if step.Note != "" {
			t.Log(step.Note)
			continue
		}
		if step.Ask != "" {
			if step.Ask == "send" {
				w.ours.submit(t, anna, carl, letter(anna, carl, step.About, "It can wait."))
			} else {
				w.ours.device(t, ben, "INBOX")
			}
			if _, err := io.WriteString(in, "done\n"); err != nil {
				t.Error(err)
			}
			continue
		}
		steps++
		t.Run(step.Name, func(t *testing.T) {
			t.Logf("%d ms", step.Took)
			for _, f := range step.Faults {
				t.Error(f)
			}
		})
	}
	if err := cmd.Wait(); err != nil || steps == 0 {
		t.Fatalf("pages.mjs after %d steps: %v", steps, err)
	}
	if folder, ok := plan["pictures"].(string); ok {
		for _, d := range drawn {
			file, err := os.ReadFile(filepath.Join(folder, d.Name+".png"))
			if err != nil {
				t.Error(err)
				continue
			}
			keep(t, "docs/pictures/"+d.Name+".png", file)
		}
	}
}

// program is where a program is.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is not installed: apt-get install the packages that .ci/run lists", name)
	}
	return path
}

// keyOf is how chromium knows the house's certificate: base64 of the SHA-256 of its public key.
func keyOf(t *testing.T, h *house) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(filepath.Dir(h.settings), "mail.pem"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	return base64.StdEncoding.EncodeToString(sum[:])
}
