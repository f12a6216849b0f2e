package mailauth

import (
	"testing"

	"github.com/posthouse-mail/posthouse/internal/mail"
)

func TestProvesPath(t *testing.T) {
	for _, c := range []struct {
		name string
		r    Report
		from mail.Domain
		want bool
	}{
		{"nothing", Report{}, "good.test", false},
		{"spf", Report{SPF: SPF{Result: Pass, Domain: "good.test"}}, "good.test", true},
		{"spf of the greeting", Report{SPF: SPF{Result: Pass, Domain: "good.test", Hello: true}}, "good.test", false},
		{"spf neutral", Report{SPF: SPF{Result: Neutral, Domain: "good.test"}}, "good.test", false},
		{"spf not known now", Report{SPF: SPF{Result: TempError, Domain: "good.test"}}, "good.test", false},
		{"signed", Report{DKIM: []DKIM{{Result: Fail, Domain: "x.test"}, {Result: Pass, Domain: "good.test"}}}, "good.test", true},
		{"signed by the domain above", Report{DKIM: []DKIM{{Result: Pass, Domain: "Good.test"}}}, "bounce.good.test", true},
		{"signed by somebody else", Report{DKIM: []DKIM{{Result: Pass, Domain: "evil.test"}}}, "good.test", false},
		{"signed by a name that ends alike", Report{DKIM: []DKIM{{Result: Pass, Domain: "ood.test"}}}, "good.test", false},
		{"signed by the top", Report{DKIM: []DKIM{{Result: Pass, Domain: "test"}}}, "good.test", false},
		{"a key for trying", Report{DKIM: []DKIM{{Result: Pass, Domain: "good.test", Testing: true}}}, "good.test", false},
		{"signed badly", Report{DKIM: []DKIM{{Result: Fail, Domain: "good.test"}}}, "good.test", false},
		{"null", Report{SPF: SPF{Result: Pass}}, "", false},
	} {
		if got := c.r.ProvesPath(c.from); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
