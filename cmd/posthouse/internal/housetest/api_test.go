package housetest

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2/imapclient"
	gosasl "github.com/emersion/go-sasl"

	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/api"
)

// program speaks to the API of a house with a token.
type program struct {
	h     *house
	http  *http.Client
	token string
}

// program makes one for an account.
func (h *house) program(account string, scopes ...string) *program {
	h.t.Helper()
	made, err := h.Daemon.House().AddToken(h.t.Context(), admin.NewToken{Account: account, Name: "test", Scopes: scopes})
	check(h.t, err)
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: h.trust()}}
	h.t.Cleanup(c.CloseIdleConnections)
	return &program{h, c, made.Secret}
}

// says makes a request and reads the answer into what; it returns the status.
func (p *program) says(method, path, body string, what any, fields ...string) int {
	p.h.t.Helper()
	r, err := http.NewRequestWithContext(p.h.t.Context(), method, "https://"+p.h.doors["https"]+"/api/v1"+path, strings.NewReader(body))
	check(p.h.t, err)
	r.Header.Set("Authorization", "Bearer "+p.token)
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	a, err := p.http.Do(r)
	check(p.h.t, err)
	text, err := io.ReadAll(a.Body)
	check(p.h.t, errors.Join(err, a.Body.Close()))
	if err := json.Unmarshal(text, what); err != nil {
		p.h.t.Fatalf("%s %s: %s %q %v", method, path, a.Status, text, err)
	}
	return a.StatusCode
}

// TestSendOverTheAPI: what a program sends arrives signed, is told of, and is sent once; what operators may do is theirs.
func TestSendOverTheAPI(t *testing.T) {
	s := newStreet(t)
	a := s.build("https = [\"127.0.0.1:0\"]\n", "alice@one.test", "anna@one.test")
	b := s.build("", "ben@other.test")
	a.publishes("one.test")
	shop := a.program("alice@one.test", "send")
	ben := b.reader("ben@other.test")
	var sent api.Sent
	for range 2 {
		if code := shop.says("POST", "/send", `{"to":["Ben <ben@other.test>"],"subject":"your order","text":"thanks","html":"<b>thanks</b>"}`, &sent, "Idempotency-Key", "order-1"); code != http.StatusAccepted {
			t.Fatalf("%d %+v", code, sent)
		}
	}
	text := ben.body(ben.awaits(1, "your order")[0])
	contains(t, text, "dkim=pass", "dmarc=pass", "Message-ID: "+sent.MessageID, "multipart/alternative")
	var status api.SentStatus
	for end := time.Now().Add(patience); ; {
		if code := shop.says("GET", "/send/"+sent.ID, "", &status); code != http.StatusOK || len(status.Recipients) != 1 {
			t.Fatalf("%d %+v", code, status)
		}
		if status.Recipients[0].State == "relayed" {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("it stays %+v", status)
		}
	}
	var problem struct{ Class, Detail string }
	if code := a.program("anna@one.test", "send").says("GET", "/send/"+sent.ID, "", &problem); code != http.StatusNotFound {
		t.Errorf("another account asks: %d %+v", code, problem)
	}
	if code := shop.says("POST", "/send", `{"from":"anna@one.test","to":["ben@other.test"]}`, &problem); code != http.StatusConflict || !strings.Contains(problem.Detail, "may not send as") {
		t.Errorf("as somebody else: %d %+v", code, problem)
	}
	if code := shop.says("POST", "/send", `{"to":["nobody@one.test"],"text":"x"}`, &problem); code != http.StatusConflict {
		t.Errorf("to nobody: %d %+v", code, problem)
	}
	if code := shop.says("GET", "/accounts", "", &problem); code != http.StatusForbidden {
		t.Errorf("what operators may do: %d %+v", code, problem)
	}
	var accounts []admin.Account
	if code := a.program("", "read").says("GET", "/accounts", "", &accounts); code != http.StatusOK || len(accounts) != 2 {
		t.Errorf("by an operator: %d %+v", code, accounts)
	}
	ben.awaits(1, "your order")
}

// TestTokenEndsASession: what a token has opened by OAUTHBEARER ends when it is taken back.
func TestTokenEndsASession(t *testing.T) {
	s := newStreet(t)
	a := s.build("https = [\"127.0.0.1:0\"]\n", "alice@one.test")
	p := a.program("alice@one.test", "mail")
	login := func() (*imapclient.Client, error) {
		c := imapclient.New(a.dialTLS("imaps"), nil)
		return c, c.Authenticate(gosasl.NewOAuthBearerClient(&gosasl.OAuthBearerOptions{Username: "alice@one.test", Token: p.token}))
	}
	c, err := login()
	check(t, err)
	check(t, c.Noop().Wait())
	all, err := a.Daemon.House().Tokens(t.Context(), "alice@one.test")
	check(t, err)
	_, err = a.Daemon.House().RemoveToken(t.Context(), "alice@one.test", all[0].Number)
	check(t, err)
	if err := c.Noop().Wait(); err == nil {
		t.Error("the session goes on")
	}
	_ = c.Close() // the house has done so
	p = a.program("alice@one.test", "mail")
	c, err = login()
	check(t, err)
	check(t, c.Logout().Wait())
	_ = c.Close()
}

// TestSentStatusKeepsSecrets: who sends to somebody does not learn where that one's mail goes on to.
func TestSentStatusKeepsSecrets(t *testing.T) {
	s := newStreet(t)
	h := s.build("https = [\"127.0.0.1:0\"]\n", "alice@one.test", "anna@one.test")
	s.build("", "ben@other.test")
	h.publishes("one.test")
	_, err := h.Daemon.House().SetForwarding(t.Context(), "anna@one.test", admin.Forwarding{To: []string{"ben@other.test"}, Keep: true})
	check(t, err)
	p := h.program("alice@one.test", "send")
	var sent api.Sent
	if code := p.says("POST", "/send", `{"to":["anna@one.test"],"subject":"to anna"}`, &sent); code != http.StatusAccepted {
		t.Fatalf("%d %+v", code, sent)
	}
	h.reader("anna@one.test").awaits(1, "to anna")
	deadline := time.Now().Add(patience)
	for { // the copy for ben has left
		all, err := h.Daemon.House().Trace(t.Context(), sent.ID, 1)
		check(t, err)
		if len(all) == 1 && len(all[0].Outcome) == 2 && all[0].Outcome[1].State == "relayed" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%+v", all)
		}
	}
	var status api.SentStatus
	if code := p.says("GET", "/send/"+sent.ID, "", &status); code != http.StatusOK || len(status.Recipients) != 1 || status.Recipients[0].Address != "anna@one.test" || status.Recipients[0].State != "delivered" {
		t.Errorf("%d %+v", code, status)
	}
	if code := h.program("anna@one.test", "send").says("GET", "/send/"+sent.ID, "", &status); code != http.StatusNotFound {
		t.Errorf("its recipient: %d %+v", code, status)
	}
}

// TestTokenEndsAStream: who follows the log by a token hears no more of it when the token is taken back, or its account is no operator.
func TestTokenEndsAStream(t *testing.T) {
	s := newStreet(t)
	h := s.build("https = [\"127.0.0.1:0\"]\n", "olga@one.test")
	verbs, yes, no := h.Daemon.House(), true, false
	_, err := verbs.SetAccount(t.Context(), "olga@one.test", admin.Change{Operator: &yes})
	check(t, err)
	follow := func(p *program) io.ReadCloser {
		r, err := http.NewRequestWithContext(t.Context(), "GET", "https://"+h.doors["https"]+"/api/v1/log/lines", nil)
		check(t, err)
		r.Header.Set("Authorization", "Bearer "+p.token)
		a, err := p.http.Do(r)
		check(t, err)
		if a.StatusCode != http.StatusOK {
			t.Fatal(a.Status)
		}
		return a.Body
	}
	for name, end := range map[string]func() error{
		"": func() error {
			all, err := verbs.Tokens(t.Context(), "")
			if err == nil {
				_, err = verbs.RemoveToken(t.Context(), "", all[slices.IndexFunc(all, func(t admin.Token) bool { return t.Account == "" })].Number)
			}
			return err
		},
		"olga@one.test": func() error {
			_, err := verbs.SetAccount(t.Context(), "olga@one.test", admin.Change{Operator: &no})
			return err
		},
	} {
		body := follow(h.program(name, "everything"))
		ended := make(chan error, 1)
		go func() {
			_, err := io.Copy(io.Discard, body)
			ended <- errors.Join(err, body.Close())
		}()
		check(t, end())
		select {
		case err := <-ended:
			check(t, err)
		case <-time.After(patience):
			t.Fatalf("the log goes on for the token of %q", name)
		}
	}
}
