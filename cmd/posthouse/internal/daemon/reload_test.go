package daemon

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/config"
)

// TestTakeOver: each setting that is told as changed is taken over, whatever it is, and none that waits for a restart.
func TestTakeOver(t *testing.T) {
	now, next := config.Default(), config.Default()
	next.Submission.Hold.Duration = 42 * time.Second
	next.Submission.SentCopy = !now.Submission.SentCopy
	next.Hostname = "other.test"
	next.POP3.LoginDelay.Duration = 17 * time.Second
	keys := takeOver(now, next)
	slices.Sort(keys)
	if want := []string{"hostname", "pop3.login_delay", "submission.hold", "submission.sent_copy"}; !slices.Equal(keys, want) {
		t.Fatalf("%v", keys)
	}
	if now.Submission.Hold != next.Submission.Hold || now.Submission.SentCopy != next.Submission.SentCopy {
		t.Errorf("told as changed, and not taken over: %+v", now.Submission)
	}
	if now.Hostname == next.Hostname || now.POP3.LoginDelay == next.POP3.LoginDelay {
		t.Error("what waits for a restart was taken over")
	}
}

// TestLiveSettings: every name in the list is one of a setting.
func TestLiveSettings(t *testing.T) {
	var all []string
	var walk func(key string, v reflect.Type)
	walk = func(key string, v reflect.Type) {
		if v.Kind() == reflect.Struct && v.NumField() > 0 && v.Field(0).Tag.Get("toml") != "" {
			for i := range v.NumField() {
				name := v.Field(i).Tag.Get("toml")
				if key != "" {
					name = key + "." + name
				}
				walk(name, v.Field(i).Type)
			}
			return
		}
		all = append(all, key)
	}
	walk("", reflect.TypeFor[config.Config]())
	for key := range liveSettings {
		if !slices.Contains(all, key) {
			t.Errorf("no setting %s", key)
		}
	}
}
