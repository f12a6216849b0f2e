package sasl_test

import (
	"strings"
	"testing"

	gosasl "github.com/emersion/go-sasl"

	"github.com/posthouse-mail/posthouse/auth/sasl"
)

// bearers remembers what it was asked and takes the token "good".
type bearers struct{ asked []string }

func (b *bearers) check(user, token string) error {
	b.asked = append(b.asked, user+"|"+token)
	if token != "good" {
		return errWrong
	}
	return nil
}

const (
	badToken   = `{"status":"invalid_token","schemes":"bearer","scope":"mail send"}`
	badRequest = `{"status":"invalid_request","schemes":"bearer","scope":"mail send"}`
	xBadToken  = `{"status":"401","schemes":"bearer","scope":"mail send"}`
	malformed  = "ERR sasl: malformed message"
)

// TestOAuthBearer: the examples of RFC 7628 section 4, and what breaks its rules.
func TestOAuthBearer(t *testing.T) {
	for _, c := range []struct {
		name  string
		steps []step
		asked string
	}{
		{"section 4.1", []step{{"n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer good\x01\x01", "DONE"}}, "user@example.com|good"},
		{"no initial response", []step{{"<nil>", ""}, {"n,,\x01auth=bearer good\x01\x01", "DONE"}}, "|good"},
		{"section 4.3: wrong token", []step{{"n,a=user@example.com,\x01auth=Bearer bad\x01\x01", badToken}, {"\x01", "ERR wrong"}, {"\x01", "ERR " + gosasl.ErrUnexpectedClientResponse.Error()}}, "user@example.com|bad"},
		{"escapes", []step{{"n,a=a=2Cb=3Dc@example.com,\x01auth=Bearer good\x01\x01", "DONE"}}, "a,b=c@example.com|good"},
		{"bad escape", []step{{"n,a=a=2c,\x01auth=Bearer good\x01\x01", badRequest}, {"\x01", malformed}}, ""},
		{"channel binding", []step{{"p=tls-unique,,\x01auth=Bearer good\x01\x01", badRequest}, {"\x01", malformed}}, ""},
		{"no token", []step{{"n,,\x01\x01", badRequest}, {"\x01", malformed}}, ""},
		{"empty", []step{{"", badRequest}, {"\x01", malformed}}, ""},
		{"another scheme", []step{{"n,,\x01auth=MAC good\x01\x01", badRequest}, {"\x01", malformed}}, ""},
		{"two tokens", []step{{"n,,\x01auth=Bearer bad\x01auth=Bearer good\x01\x01", badRequest}, {"\x01", malformed}}, ""},
		{"not ended", []step{{"n,,\x01auth=Bearer good\x01", badRequest}, {"\x01", malformed}}, ""},
		{"too long", []step{{"n,,\x01auth=Bearer " + strings.Repeat("g", sasl.MaxMessage) + "\x01\x01", malformed}}, ""},
		{"no UTF-8", []step{{"n,,\x01auth=Bearer \xff\x01\x01", malformed}}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b bearers
			play(t, sasl.NewOAuthBearer(b.check), c.steps)
			if got := strings.Join(b.asked, " "); got != c.asked {
				t.Errorf("asked %q, want %q", got, c.asked)
			}
		})
	}
}

// TestXOAuth2: the older form, whose client ends a refusal with an empty line.
func TestXOAuth2(t *testing.T) {
	for _, c := range []struct {
		name  string
		steps []step
		asked string
	}{
		{"good", []step{{"user=someuser@example.com\x01auth=Bearer good\x01\x01", "DONE"}}, "someuser@example.com|good"},
		{"wrong", []step{{"user=u\x01auth=Bearer bad\x01\x01", xBadToken}, {"", "ERR wrong"}}, "u|bad"},
		{"nobody", []step{{"user=\x01auth=Bearer good\x01\x01", `{"status":"400","schemes":"bearer","scope":"mail send"}`}, {"", malformed}}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b bearers
			play(t, sasl.NewXOAuth2(b.check), c.steps)
			if got := strings.Join(b.asked, " "); got != c.asked {
				t.Errorf("asked %q, want %q", got, c.asked)
			}
		})
	}
}

// TestOAuthBearerClient: go-sasl's client, with the same answer of the server, comes to the same end.
func TestOAuthBearerClient(t *testing.T) {
	for token, want := range map[string]bool{"good": true, "bad": false} {
		var b bearers
		server := sasl.NewOAuthBearer(b.check)
		client := gosasl.NewOAuthBearerClient(&gosasl.OAuthBearerOptions{Username: "alice@mail.test", Token: token, Host: "mail.test", Port: 993})
		_, response, err := client.Start()
		if err != nil {
			t.Fatal(err)
		}
		challenge, done, err := server.Next(response)
		if err != nil || done != want {
			t.Fatalf("%s: done %v, %v", token, done, err)
		}
		if want {
			continue
		}
		_, err = client.Next(challenge)
		if refused, ok := err.(*gosasl.OAuthBearerError); !ok || refused.Status != "invalid_token" || refused.Schemes != "bearer" {
			t.Errorf("the client understands %v", err)
		}
	}
}

// FuzzBearer: no message panics, and none is taken without the token.
func FuzzBearer(f *testing.F) {
	f.Add("n,a=user@example.com,\x01auth=Bearer good\x01\x01")
	f.Add("user=a\x01auth=Bearer good\x01\x01")
	f.Add("n,,\x01\x01")
	f.Fuzz(func(t *testing.T, message string) {
		for _, make := range []func(sasl.BearerCheck) gosasl.Server{sasl.NewOAuthBearer, sasl.NewXOAuth2} {
			asked := false
			_, done, err := make(func(_, token string) error {
				asked = true
				if token == "" || strings.ContainsAny(token, "\x00\x01 ") {
					t.Errorf("token %q", token)
				}
				return nil
			}).Next([]byte(message))
			if done && (!asked || err != nil) {
				t.Errorf("taken without a question: %v", err)
			}
		}
	})
}
