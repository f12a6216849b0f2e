package daemon

import (
	"testing"

	"github.com/posthouse-mail/posthouse/store/story"
)

// TestComplainer: a recipient is believed to have complained when the message was for him; who made the report up names somebody else.
func TestComplainer(t *testing.T) {
	one := &story.Message{To: []string{"bob@far.test"}, Recipients: 1}
	two := &story.Message{To: []string{"bob@far.test", "eve@far.test"}, Recipients: 2}
	for _, c := range []struct {
		m          *story.Message
		said, want string
	}{
		{one, "", "bob@far.test"}, {one, "BOB@far.test", "bob@far.test"}, {one, "victim@far.test", "bob@far.test"},
		{two, "eve@FAR.test", "eve@far.test"}, {two, "", ""}, {two, "victim@far.test", ""}, {&story.Message{}, "victim@far.test", ""},
	} {
		if got := complainer(c.m, c.said); got != c.want {
			t.Errorf("%v, %q: %q", c.m.To, c.said, got)
		}
	}
}
