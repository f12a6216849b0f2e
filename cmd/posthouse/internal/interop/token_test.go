//go:build interop

package interop

import (
	"encoding/json"
	"strings"
	"testing"
)

// token makes a token of bob's.
func (h *house) token(t *testing.T, scopes string) string {
	t.Helper()
	return strings.TrimSpace(run(t, t.TempDir(), "", binary, "token", "add", "interop", "--data", h.data, "--account", bob, "--scopes", scopes))
}

// TestTokensInMailPrograms: OAUTHBEARER and XOAUTH2 as other people's programs speak them, on IMAP, POP3 and submission.
func TestTokensInMailPrograms(t *testing.T) {
	h := demo(t)
	home := t.TempDir()
	h.deliver(t, "stranger@gamma.test", bob, "for a token")
	if out := run(t, home, "", "curl", "-sSv", "--cacert", h.ca, "--user", bob+":"+password, "imaps://localhost:"+h.port(1993)); strings.Contains(out, "OAUTH") {
		t.Error("without any token the mechanisms are offered")
	}
	token := h.token(t, "mail,send")
	mail := write(t, home, "mail.eml", message(bob, carol, "sent by curl with a token"))
	curl := func(token string, args ...string) (string, error) { // curl speaks OAUTHBEARER where both are offered, whatever AUTH= says
		return try(t, home, "", "curl", append([]string{"-sSv", "--cacert", h.ca, "--user", bob, "--oauth2-bearer", token, "--login-options", "AUTH=OAUTHBEARER"}, args...)...)
	}
	for what, args := range map[string][]string{
		"AUTHENTICATE OAUTHBEARER": {"imaps://localhost:" + h.port(1993) + "/INBOX;UID=1"},
		"> AUTH OAUTHBEARER":       {"pop3s://localhost:" + h.port(1995) + "/1"},
		"235 2.7.0":                {"smtps://localhost:" + h.port(1465), "--mail-from", bob, "--mail-rcpt", carol, "-T", mail},
	} {
		if out, err := curl(token, args...); err != nil || !strings.Contains(out, what) {
			t.Errorf("%v\n%s", err, out)
		}
		if out, err := curl("posthouse_wrong", args...); err == nil || !strings.Contains(strings.ToLower(out), "denied") {
			t.Errorf("with a wrong token: %v\n%s", err, out)
		}
	}
	h.awaitMail(t, carol, "INBOX", "sent by curl with a token", 1)
	for _, mechanism := range []string{"oauthbearer", "xoauth2"} {
		conf := write(t, home, "msmtprc", "account default\nhost localhost\nport "+h.port(1465)+"\ntls on\ntls_starttls off\ntls_trust_file "+h.ca+"\nfrom "+bob+
			"\nauth "+mechanism+"\nuser "+bob+"\npasswordeval \"echo "+token+"\"\n")
		run(t, home, message(bob, carol, "msmtp "+mechanism), "msmtp", "-C", conf, carol)
		h.awaitMail(t, carol, "INBOX", "msmtp "+mechanism, 1)
		mutt := write(t, home, "muttrc", "set from="+bob+"\nset imap_user="+bob+"\nset imap_authenticators="+mechanism+"\nset imap_oauth_refresh_command=\"echo "+token+"\"\nset folder=imaps://localhost:"+h.port(1993)+
			"/\nset spoolfile=+INBOX\nset certificate_file="+h.ca+"\nset ssl_ca_certificates_file="+h.ca+"\nset smtp_url=smtps://bob%40alpha.test@localhost:"+h.port(1465)+
			"\nset smtp_authenticators="+mechanism+"\nset smtp_oauth_refresh_command=\"echo "+token+"\"\nset confirmappend=no\nset confirmcreate=no\nset delete=yes\nset quit=yes\nset header_cache=\nset ssl_force_tls=yes\nset copy=no\n")
		run(t, home, "A body.\n", "neomutt", "-F", mutt, "-s", "neomutt "+mechanism, carol)
		h.awaitMail(t, carol, "INBOX", "neomutt "+mechanism, 1)
		h.deliver(t, "stranger@gamma.test", bob, "filed by "+mechanism)
		keys := write(t, home, "keys", "push \"<tag-pattern>~s '"+mechanism+"'<enter><tag-prefix><save-message>=Archive<enter><sync-mailbox><quit>\"\n")
		run(t, home, "", "script", "-qec", "neomutt -F "+mutt+" -e 'source "+keys+"'", "/dev/null")
		h.awaitMail(t, bob, "Archive", "filed by "+mechanism, 1)
	}
}

// TestAPIByCurl: a message sent, its status, and a masked address as a password manager makes it.
func TestAPIByCurl(t *testing.T) {
	h := demo(t)
	home := t.TempDir()
	base := "https://localhost:" + h.port(1443) + "/api/v1"
	curl := func(token, path string, args ...string) string {
		return run(t, home, "", "curl", append([]string{"-sS", "--cacert", h.ca, "-H", "Authorization: Bearer " + token, "-H", "Content-Type: application/json", base + path}, args...)...)
	}
	token := h.token(t, "send,masks")
	var sent struct{ ID string }
	text := `{"to":["Carol <` + carol + `>"],"subject":"sent over the API","text":"hi","attachments":[{"name":"a.txt","content":"aGVsbG8="}]}`
	for range 2 {
		out := curl(token, "/send", "-H", "Idempotency-Key: one", "-d", text)
		if err := json.Unmarshal([]byte(out), &sent); err != nil || sent.ID == "" {
			t.Fatalf("%s: %v", out, err)
		}
	}
	h.awaitMail(t, carol, "INBOX", "sent over the API", 1)
	if out := curl(token, "/send/"+sent.ID); !strings.Contains(out, `"state":"relayed"`) {
		t.Errorf("status: %s", out)
	}
	if out := curl(token, "/send", "-d", `{"from":"`+alice+`","to":["`+carol+`"]}`); !strings.Contains(out, "may not send as") {
		t.Errorf("as somebody else: %s", out)
	}
	if out := curl(token, "/aliases", "-H", "X-Requested-With: XMLHttpRequest", "-d", `{"domain":"alpha.test","description":"Website: shop.example"}`); !strings.Contains(out, `"email":"`) {
		t.Errorf("masked address: %s", out)
	}
	if out := curl(token, "/accounts"); !strings.Contains(out, `"status":403`) {
		t.Errorf("accounts: %s", out)
	}
}
