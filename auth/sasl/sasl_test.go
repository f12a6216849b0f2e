package sasl_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	gosasl "github.com/emersion/go-sasl"

	"github.com/posthouse-mail/posthouse/auth/sasl"
)

var errWrong = errors.New("wrong")

// checker remembers what it was asked and takes the password "secret".
type checker struct{ asked []string }

func (c *checker) check(authzid, user, password string) error {
	c.asked = append(c.asked, fmt.Sprintf("%s|%s|%s", authzid, user, password))
	if password != "secret" {
		return errWrong
	}
	return nil
}

// step is one message of the client ("<nil>": no initial response) and what the
// server says: a challenge, "DONE", or the error.
type step struct{ message, want string }

func play(t *testing.T, server gosasl.Server, steps []step) {
	t.Helper()
	for i, s := range steps {
		response := []byte(s.message)
		if s.message == "<nil>" {
			response = nil
		}
		challenge, done, err := server.Next(response)
		got := string(challenge)
		switch {
		case err != nil && done:
			t.Fatalf("step %d: done and failed at once", i)
		case err != nil:
			got = "ERR " + err.Error()
		case done:
			got = "DONE"
		}
		if got != s.want {
			t.Errorf("step %d: %q, want %q", i, got, s.want)
		}
	}
}

func TestPlain(t *testing.T) {
	for _, c := range []struct {
		name  string
		steps []step
		asked string
	}{
		{"initial response", []step{{"\x00alice\x00secret", "DONE"}}, "|alice|secret"},
		{"prompted", []step{{"<nil>", ""}, {"\x00alice\x00secret", "DONE"}}, "|alice|secret"},
		{"authzid", []step{{"bob\x00alice\x00secret", "DONE"}}, "bob|alice|secret"},
		{"wrong", []step{{"\x00alice\x00guess", "ERR wrong"}, {"\x00alice\x00secret", "ERR sasl: unexpected client response"}}, "|alice|guess"},
		{"twice", []step{{"\x00alice\x00secret", "DONE"}, {"\x00alice\x00secret", "ERR sasl: unexpected client response"}}, "|alice|secret"},
		{"nothing", []step{{"<nil>", ""}, {"<nil>", "ERR sasl: malformed message"}}, ""},
		{"empty", []step{{"", "ERR sasl: malformed message"}}, ""},
		{"no NUL", []step{{"alice secret", "ERR sasl: malformed message"}}, ""},
		{"one NUL", []step{{"alice\x00secret", "ERR sasl: malformed message"}}, ""},
		{"three NULs", []step{{"\x00alice\x00sec\x00ret", "ERR sasl: malformed message"}}, ""},
		{"no user", []step{{"\x00\x00secret", "ERR sasl: malformed message"}}, ""},
		{"no password", []step{{"\x00alice\x00", "ERR sasl: malformed message"}}, ""},
		{"not UTF-8", []step{{"\x00al\xffice\x00secret", "ERR sasl: malformed message"}}, ""},
		{"too long", []step{{"\x00alice\x00" + strings.Repeat("x", sasl.MaxMessage), "ERR sasl: malformed message"}}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var k checker
			play(t, sasl.NewPlain(k.check), c.steps)
			if got := strings.Join(k.asked, " "); got != c.asked {
				t.Errorf("asked %q, want %q", got, c.asked)
			}
		})
	}
}

func TestLogin(t *testing.T) {
	for _, c := range []struct {
		name  string
		steps []step
		asked string
	}{
		{"prompted", []step{{"<nil>", "Username:"}, {"alice", "Password:"}, {"secret", "DONE"}}, "|alice|secret"},
		{"inline user name", []step{{"alice", "Password:"}, {"secret", "DONE"}}, "|alice|secret"},
		{"empty initial response", []step{{"", "Username:"}, {"alice", "Password:"}, {"secret", "DONE"}}, "|alice|secret"},
		{"wrong", []step{{"alice", "Password:"}, {"guess", "ERR wrong"}, {"secret", "ERR sasl: unexpected client response"}}, "|alice|guess"},
		{"no user", []step{{"<nil>", "Username:"}, {"", "ERR sasl: malformed message"}}, ""},
		{"no password", []step{{"alice", "Password:"}, {"", "ERR sasl: malformed message"}}, ""},
		{"NUL", []step{{"ali\x00ce", "ERR sasl: malformed message"}}, ""},
		{"not UTF-8", []step{{"alice", "Password:"}, {"\xff", "ERR sasl: malformed message"}}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var k checker
			play(t, sasl.NewLogin(k.check), c.steps)
			if got := strings.Join(k.asked, " "); got != c.asked {
				t.Errorf("asked %q, want %q", got, c.asked)
			}
		})
	}
}

// The clients of go-sasl understand both.
func TestGoSASLClients(t *testing.T) {
	for name, client := range map[string]gosasl.Client{
		sasl.Plain: gosasl.NewPlainClient("", "alice", "secret"),
		sasl.Login: gosasl.NewLoginClient("alice", "secret"),
	} {
		var k checker
		server := sasl.NewPlain(k.check)
		if name == sasl.Login {
			server = sasl.NewLogin(k.check)
		}
		_, response, err := client.Start()
		for done := false; !done && err == nil; {
			var challenge []byte
			if challenge, done, err = server.Next(response); err == nil && !done {
				response, err = client.Next(challenge)
			}
		}
		if err != nil || len(k.asked) != 1 {
			t.Errorf("%s: %v, asked %v", name, err, k.asked)
		}
	}
}

func TestPrepare(t *testing.T) {
	for in, want := range map[string]string{
		"secret":            "secret",
		"I\u00adX":          "IX", // RFC 4013 section 3
		"\u00aa":            "a",
		"\u2168":            "IX",
		"a\u00a0b":          "a b",
		"\u0007":            "\u0007", // prohibited: as it is
		"\u0627\u0031":      "\u0627\u0031",
		"caf\u0065\u0301":   "caf\u00e9",
		"\u00ad":            "\u00ad", // would be empty
		"emoji \U0001f511 ": "emoji \U0001f511 ",
	} {
		if got := sasl.Prepare(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
		if again := sasl.Prepare(sasl.Prepare(in)); again != sasl.Prepare(in) {
			t.Errorf("%q is not stable", in)
		}
	}
}

// FuzzMessages plays any messages (separated by LF) to every mechanism: none
// panics, none lets in without the check, none goes on after its end.
func FuzzMessages(f *testing.F) {
	f.Add([]byte("\x00alice\x00secret"))
	f.Add([]byte("alice\nsecret"))
	f.Add([]byte("\nalice\nsecret"))
	f.Add([]byte("n,,n=alice,r=abc\nc=biws,r=abc,p=AAAA"))
	f.Add([]byte("p=tls-exporter,,n=a=2Cb,r=abc\nc=,r=,p="))
	f.Add([]byte("y,a=bob,m=x,n=alice,r=abc\n\n\n"))
	keys, err := sasl.Derive("secret")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var k checker
		finished := 0
		scram := sasl.SCRAM{
			Lookup: func(string) ([]sasl.Credentials, error) { return []sasl.Credentials{keys}, nil },
			Finish: func(_, _ string, _ int) error { finished++; return nil },
		}
		plus := scram
		plus.Plus, plus.PlusOffered = true, true
		for i, server := range []gosasl.Server{sasl.NewPlain(k.check), sasl.NewLogin(k.check), sasl.NewSCRAM(scram), sasl.NewSCRAM(plus)} {
			k.asked = nil
			ended := false
			for message := range strings.SplitSeq(string(data), "\n") {
				challenge, done, err := server.Next([]byte(message))
				if ended && err == nil {
					t.Fatalf("mechanism %d goes on after its end", i)
				}
				ended = done || err != nil
				if len(challenge) > 2*sasl.MaxMessage {
					t.Fatalf("a challenge of %d octets", len(challenge))
				}
				if done && i < 2 && (len(k.asked) != 1 || !strings.HasSuffix(k.asked[0], "|secret")) {
					t.Fatalf("let in with %v", k.asked)
				}
				if i >= 2 && finished > 0 {
					t.Fatal("a proof was guessed")
				}
			}
		}
	})
}
