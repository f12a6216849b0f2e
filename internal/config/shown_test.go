package config

import (
	"strings"
	"testing"
)

// TestDescribe: every setting is told with its value; those of repeated tables stand beside each other.
func TestDescribe(t *testing.T) {
	c := Default()
	c.Hostname = "mx.one.test"
	c.TLS.Certificates = []Certificate{{"/a.pem", "/a.key"}, {"/b.pem", "/b.key"}}
	byKey := map[string]Shown{}
	for _, s := range Describe(c) {
		byKey[s.Key] = s
		if s.What == "" || s.Table == "" || s.About == "" {
			t.Errorf("%+v", s)
		}
	}
	if len(byKey) != len(Fields()) {
		t.Errorf("%d settings of %d", len(byKey), len(Fields()))
	}
	for key, want := range map[string]string{"hostname": `"mx.one.test"`, "limits.message_size": `"50MiB"`, "tls.certificates[].cert": `"/a.pem", "/b.pem"`, "queue.retry": `["5m", "10m", "30m", "1h", "2h", "4h"]`} {
		if got := byKey[key]; got.Value != want {
			t.Errorf("%s: %s, want %s", key, got.Value, want)
		}
	}
	if s := byKey["limits.message_size"]; s.Table != "[limits]" || s.Default != s.Value || !strings.Contains(s.Form, "size") {
		t.Errorf("%+v", s)
	}
}
