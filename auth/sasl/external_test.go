package sasl_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/posthouse-mail/posthouse/auth/sasl"
)

// TestExternal: with and without an initial response, with and without a name (RFC 4422 appendix A).
func TestExternal(t *testing.T) {
	no := errors.New("no")
	for what, c := range map[string]struct {
		say  [][]byte // nil: without an initial response
		want string   // the name that is asked for
		err  error
	}{
		"a name at once":          {[][]byte{[]byte("bob@a.test")}, "bob@a.test", nil},
		"nobody else at once":     {[][]byte{{}}, "", nil},
		"a name when asked":       {[][]byte{nil, []byte("bob@a.test")}, "bob@a.test", nil},
		"nobody else when asked":  {[][]byte{nil, {}}, "", nil},
		"nobody else, said twice": {[][]byte{nil, nil}, "", nil},
		"another":                 {[][]byte{[]byte("eve")}, "eve", no},
		"a zero octet":            {[][]byte{[]byte("bob\x00eve")}, "-", sasl.ErrMalformed},
		"no UTF-8":                {[][]byte{{0xff}}, "-", sasl.ErrMalformed},
		"too long":                {[][]byte{[]byte(strings.Repeat("a", sasl.MaxMessage+1))}, "-", sasl.ErrMalformed},
	} {
		t.Run(what, func(t *testing.T) {
			got := "-"
			s := sasl.NewExternal(func(authzid string) error {
				if got = authzid; authzid == "eve" {
					return no
				}
				return nil
			})
			var done bool
			var err error
			for i, say := range c.say {
				var challenge []byte
				challenge, done, err = s.Next(say)
				if len(challenge) != 0 || done == (i < len(c.say)-1) && err == nil {
					t.Fatalf("%d: challenge %q, done %v", i, challenge, done)
				}
			}
			if got != c.want || !errors.Is(err, c.err) || done != (c.err == nil) {
				t.Errorf("asked for %q, done %v, %v", got, done, err)
			}
			if _, done, err := s.Next([]byte("bob@a.test")); done || err == nil {
				t.Error("it goes on behind its end")
			}
		})
	}
}
