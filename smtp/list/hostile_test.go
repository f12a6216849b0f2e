package list

import (
	"net/netip"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/smtp/limit"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
	"github.com/posthouse-mail/posthouse/smtp/queue"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// arrived is a message as the desk of port 25 hands it on: its own results in front.
func (r *rig) arrived(from, text string) string {
	r.t.Helper()
	k := r.checker().Begin(r.t.Context(), mailauth.Session{Remote: netip.MustParseAddr("192.0.2.66"), Hello: "mx.evil.test", From: parse(r.t, from)})
	header, body, _ := strings.Cut(strings.ReplaceAll(text, "\n", "\r\n"), "\r\n\r\n")
	k.Header([]byte(header + "\r\n"))
	_, _ = k.Write([]byte(body))
	found := k.Finish()
	return strings.ReplaceAll(string(found.Field("mx.alpha.test")), "\r\n", "\n") + text
}

// TestForgedProof: a stranger's words that our results repeat (RFC 8601 reason) prove nothing. Who believed them would take anybody out
// of a list.
func TestForgedProof(t *testing.T) {
	r := newRig(t, `evil.test. IN TXT "v=spf1 exists:arc=pass.dmarc=pass.evil.test -all"`, `arc=pass.dmarc=pass.evil.test. IN A 127.0.0.2`)
	for _, forged := range []string{
		"DKIM-Signature: v=1; 1 dmarc=pass; d=evil.test\n",
		"DKIM-Signature: v=1; a=\"; dmarc=pass; d=evil.test\n",
		"DKIM-Signature: v=1; a=rsa-sha256; d=evil.test; s=dmarc=pass; h=from; bh=; b=\n",
		"",
	} {
		text := r.arrived("eve@evil.test", forged+"From: dora@away.test\nSubject: unsubscribe\n\n")
		if !strings.Contains(text, "=pass") {
			t.Errorf("our results repeat nothing: %s", text)
		}
		if got := r.take("eve@evil.test", "dev-unsubscribe@alpha.test", text); got.Verdict != queue.Done || r.member("dora@away.test") == nil {
			t.Errorf("dora was taken out of the list by %s", text)
		}
	}
}

// TestOwnAuthors: the list's signature is its domain's, so that it must not stand under a stranger's words with one of our own people
// as author: receivers would find the forgery proven.
func TestOwnAuthors(t *testing.T) {
	const forged = "From: Alice <alice@alpha.test>\nMessage-ID: <1@evil.test>\n\nsend money\n"
	r := newRig(t)
	if got := r.take("eve@evil.test", "dev@alpha.test", r.arrived("eve@evil.test", forged)); got.Status != "5.7.1" || len(r.leaving()) != 0 {
		t.Errorf("posted by somebody who says he is alice: %v", got)
	}
	r.settings(func(l *auth.List) { l.Posting = auth.PostAnyone })
	for _, author := range []string{"alice@alpha.test", "alice@sub.alpha.test"} {
		text := strings.ReplaceAll(strings.Replace(forged, "1@", author, 1), "alice@alpha.test", author)
		if got := r.take("eve@evil.test", "dev@alpha.test", r.arrived("eve@evil.test", text)); got.Verdict != queue.Done {
			t.Fatal(got)
		}
		c := r.leaving()["dora@away.test"]
		has(t, c.text, "From: Alice via Developers <dev@alpha.test>\r\n")
	}
	// Whom we know ourselves stays the author: our desk of submission looked, or the envelope's domain is proven.
	r.take("alice@alpha.test", "dev@alpha.test", strings.Replace(forged, "1@", "2@", 1))
	has(t, r.leaving()["dora@away.test"].text, "From: Alice <alice@alpha.test>")
	r.take("alice@alpha.test", "dev@alpha.test", "Authentication-Results: mx.alpha.test; spf=pass smtp.mailfrom=alpha.test; dmarc=none header.from=alpha.test\n"+strings.Replace(forged, "1@", "3@", 1))
	has(t, r.leaving()["dora@away.test"].text, "From: Alice <alice@alpha.test>")
}

// TestFlood: whoever may post reaches every member with each message, so that a list posts so many and no more; what is too much waits.
func TestFlood(t *testing.T) {
	r := newRig(t)
	side, err := kv.OpenSide(kv.SideOptions{Path: filepath.Join(t.TempDir(), "side.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer side.Close()
	r.with(Options{Limits: limit.New(limit.Options{Side: side, Now: func() time.Time { return r.now }, Settings: limit.Settings{List: limit.Limits{MessagesHour: 2}}})})
	text := func(id string) string { return "From: dora@away.test\nMessage-ID: <" + id + "@away.test>\n\nx\n" }
	for _, id := range []string{"1", "1", "2"} { // the same once more counts nothing
		if got := r.take("dora@away.test", "dev@alpha.test", text(id)); got.Verdict != queue.Done {
			t.Fatal(got)
		}
	}
	if n := len(r.leaving()); n != 2 { // by recipient
		t.Errorf("%d recipients", n)
	}
	got := r.take("dora@away.test", "dev@alpha.test", text("3"))
	if got.Verdict != queue.Later || got.Status != "4.7.1" || len(r.leaving()) != 0 {
		t.Errorf("the third: %v", got)
	}
	route, err := r.dir.Resolve(t.Context(), parse(t, "dev@alpha.test"))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.lists.Recipient(t.Context(), parse(t, "dora@away.test"), 0, route.Lists[0]); err == nil || !strings.Contains(err.Error(), "dev@alpha.test has reached the limit") {
		t.Errorf("in the session: %v", err)
	}
	r.now = r.now.Add(2 * time.Hour)
	if got := r.take("dora@away.test", "dev@alpha.test", text("3")); got.Verdict != queue.Done {
		t.Errorf("when there is room again: %v", got)
	}
}

// TestPostedOnce: the queue brings copies of one message side by side, or one behind the other at once; members get it once.
func TestPostedOnce(t *testing.T) {
	r := newRig(t)
	for n := range 20 {
		text := "From: dora@away.test\nMessage-ID: <" + string(rune('a'+n)) + "@away.test>\n\nx\n"
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				if got := r.take("dora@away.test", "dev@alpha.test", text); got.Verdict == queue.Never {
					t.Error(got)
				}
			})
		}
		all.Wait()
		items, err := r.queue.List(t.Context(), queue.Filter{})
		if err != nil || len(items) != 2 {
			t.Fatalf("message %d: %d copies for 2 members, %v", n, len(items), err)
		}
		r.leaving()
	}
}

// TestMachinesDoNotLeave: only a person's answer takes a member out: a program that answers our question from his mailbox does not, nor
// does what comes from <>.
func TestMachinesDoNotLeave(t *testing.T) {
	r := newRig(t)
	r.take("eve@evil.test", "dev-unsubscribe@alpha.test", "From: dora@away.test\n\n") // anybody can have her asked
	token := regexp.MustCompile(`dev-unsubscribe\+[a-z2-7]{16}@alpha\.test`).FindString(r.leaving()["dora@away.test"].text)
	for from, text := range map[string]string{
		"dora@away.test": "Auto-Submitted: auto-replied\nFrom: dora@away.test\nSubject: on holiday\n\n",
		"":               "From: dora@away.test\nSubject: on holiday\n\n",
	} {
		if got := r.take(from, token, text); got.Verdict != queue.Done || r.member("dora@away.test") == nil {
			t.Errorf("from <%s>: dora left: %v", from, got)
		}
	}
	if r.take("dora@away.test", token, "From: dora@away.test\nSubject: Re: yes\n\n"); r.member("dora@away.test") != nil {
		t.Error("her own answer did nothing")
	}
}

// TestLongHeader: the desks take headers of 256 KiB and put fields of their own in front; the list reads them to their end.
func TestLongHeader(t *testing.T) {
	r := newRig(t, `_dmarc.away.test. IN TXT "v=DMARC1; p=reject"`)
	filler := "X-Filler: " + strings.Repeat("x", 900) + "\n"
	text := "Received: from mx.away.test by mx.alpha.test; Fri, 02 Jan 2026 03:04:05 +0000\n" + "From: dora@away.test\nMessage-ID: <1@away.test>\n"
	text += strings.Repeat(filler, (256<<10)/(len(filler)+1)+2) + "X-Last: y\n\nthe body\n"
	if got := r.take("dora@away.test", "dev@alpha.test", text); got.Verdict != queue.Done {
		t.Fatal(got)
	}
	header, body, _ := strings.Cut(r.leaving()["bob@alpha.test"].text, "\r\n\r\n")
	if body != "the body\r\n" || !strings.Contains(header, "\r\nX-Last: y\r\n") || !strings.Contains(header, "\r\nFrom: ") {
		t.Errorf("the body begins with %.80q, the header ends with %q", body, header[max(0, len(header)-200):])
	}
}
