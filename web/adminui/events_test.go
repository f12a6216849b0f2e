package adminui

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/web/page"
)

// TestStreamEndsWithTheRight: who may not read the log any more reads none of it, however much is written there.
func TestStreamEndsWithTheRight(t *testing.T) {
	for name, every := range map[string]time.Duration{"a busy log": time.Second, "a silent log": time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				w := httptest.NewRecorder()
				events(t.Context(), w, func(context.Context) bool { return time.Since(began) < 5*time.Minute }, func(ctx context.Context) (string, bool) {
					select {
					case <-ctx.Done():
						return "", false
					case <-time.After(every):
						return "a line", true
					}
				})
				if d := time.Since(began); d < 5*time.Minute || d > 5*time.Minute+eventSilence+time.Second {
					t.Errorf("it ended after %v", d)
				}
				if !strings.HasSuffix(w.Body.String(), "event: end\ndata: \n\n") {
					t.Errorf("the browser would ask again: %q", w.Body.String()[max(0, w.Body.Len()-50):])
				}
			})
		})
	}
}

func TestStreamsAreFew(t *testing.T) {
	m := &room{}
	m.streams.Store(streamsMost)
	err := m.logLines(httptest.NewRecorder(), httptest.NewRequest("GET", "/admin/log/lines", nil))
	if p, ok := err.(*page.Problem); !ok || p.Status != http.StatusServiceUnavailable || m.streams.Load() != streamsMost {
		t.Errorf("%v, %d", err, m.streams.Load())
	}
}

// TestLogLine: what strangers send stays what it is, and turns no line around.
func TestLogLine(t *testing.T) {
	l := logx.Line{Level: "INFO", Part: "smtp", Event: "mail refused", Attrs: []logx.Attr{{Key: "hello", Value: "a\u202egro.elpmaxe"}, {Key: "said", Value: "\x1b[2J"}, {Key: "who", Value: "käthe"}, {Key: "code", Value: "550"}}}
	if got, want := logLine(l), `smtp: mail refused hello="a\u202egro.elpmaxe" said="\x1b[2J" who=käthe code=550`; !strings.HasSuffix(got, want) {
		t.Errorf("%s, want %s", got, want)
	}
}
