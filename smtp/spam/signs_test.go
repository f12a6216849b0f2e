package spam

import (
	"encoding/base64"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
)

// names are the signals of a message, sorted.
func names(f *Findings) []string {
	var list []string
	for _, s := range f.signals {
		list = append(list, s.Name)
	}
	slices.Sort(list)
	return list
}

// signs judges a message of a well-known sender: all that is found is in the message.
func signs(t *testing.T, raw []byte) string {
	t.Helper()
	j := judge(t, Options{})
	var list []string
	for _, n := range names(look(t.Context(), j, Facts{Remote: client, Hello: "mail.example.net", From: addr(t, "bob@example.net")}, proven("example.net"), raw)) {
		if n != "dmarc_pass" {
			list = append(list, n)
		}
	}
	return strings.Join(list, " ")
}

func TestHeaderSigns(t *testing.T) {
	const rest = "To: alice@example.org\nDate: Sun, 22 Nov 2026 11:00:00 +0000\nMessage-ID: <1@example.net>\n"
	for head, want := range map[string]string{
		"From: Bob <bob@example.net>\nSubject: Hi\n" + rest:                                                      "",
		"Subject: Hi\n" + rest:                                                                                   "from_missing",
		"From: bob@example.net, eve@example.com\nSubject: Hi\n" + rest:                                           "from_many",
		"From: bob@example.net\nFrom: eve@example.com\nSubject: Hi\n" + rest:                                     "from_many",
		"From: bob@example.net\nSubject: Hi\nSubject: Ho\n" + rest:                                               "fields_doubled",
		"From: bob@example.net\nSubject: WIN A MILLION NOW\n" + rest:                                             "subject_shouts",
		"From: bob@example.net\nSubject: Re: our talk\n" + rest:                                                  "answer_feigned",
		"From: bob@example.net\nSubject: Re: our talk\nIn-Reply-To: <0@example.org>\n" + rest:                    "",
		"From: bob@example.net\nSubject: Hi\nReply-To: b@gmail.com\n" + rest:                                     "reply_elsewhere reply_to_freemail",
		"From: bob@example.net\nSubject: Hi\nReply-To: office@mail.example.net\n" + rest:                         "",
		"From: bob@example.net\nTo: a@example.org\nSubject: Hi\nMessage-ID: <1@x>\nDate: never\n":                "date_wrong",
		"From: bob@example.net\nTo: a@example.org\nSubject: Hi\nMessage-ID: <1@x>\nDate: 1 Jan 2030 10:00 GMT\n": "date_future",
		"From: bob@example.net\nTo: a@example.org\nSubject: Hi\nMessage-ID: <1@x>\nDate: 1 Jan 2001 10:00 GMT\n": "date_old",
		"From: bob@example.net\n": "date_missing message_id_missing subject_missing to_missing",
		`From: "boss@corp.example.com" <bob@example.net>` + "\nSubject: Hi\n" + rest:                                                 "name_is_address",
		`From: "bob@example.net" <bob@example.net>` + "\nSubject: Hi\n" + rest:                                                       "",
		"From: PayPal Service <bob@example.net>\nSubject: Hi\n" + rest:                                                               "brand_borrowed",
		"From: =?utf-8?Q?P=D0=B0yPal?= <bob@example.net>\nSubject: Hi\n" + rest:                                                      "brand_borrowed mixed_letters name_mixed_letters",
		"From: PayPal <service@paypal.de>\nSubject: Hi\n" + rest:                                                                     "unproven_",
		"From: =?utf-8?B?" + base64.StdEncoding.EncodeToString([]byte("Иван Петров")) + "?= <bob@example.net>\nSubject: Hi\n" + rest: "",
	} {
		if want == "unproven_" { // of another domain than the one that is proven
			want = ""
		}
		if got := signs(t, wire(head+"\nText.\n")); got != want {
			t.Errorf("%q: %q, want %q", head, got, want)
		}
	}
}

func TestLinkSigns(t *testing.T) {
	for body, want := range map[string]string{
		`<a href="https://www.example.net/a">www.example.net</a>`:                      "",
		`<a href="https://shop.example.net/a">https://www.example.net/a</a>`:           "",
		`<a href="https://evil.example.com/a">www.bank.com</a>`:                        "link_differs",
		`<a href="https://evil.example.com/a">Read on</a>`:                             "",
		`<a href="https://evil.example.com/a">read.me now</a>`:                         "",
		`<a href='http://203.0.113.9/x'>here</a>`:                                      "link_address",
		`<a href=http://3405803785/x>here</a>`:                                         "link_address",
		`<a href=http://0xcb.0x0.0x71.9/x>here</a>`:                                    "link_address",
		`<a href="ht&#116;ps://[2001:db8::1]/x">here</a>`:                              "link_address",
		"<a href=\"h\nttps://bit.ly/x\">here</a>":                                      "link_short",
		`<a href="https://www.bank.com@evil.example.com/x">here</a>`:                   "link_user",
		`<a href="https://www.xn--pypal-4ve.com/">here</a>`:                            "link_lookalike",
		`<a href="https://paypa1.example/">here</a>`:                                   "link_lookalike",
		`<a href="https://xn--bcher-kva.example/">here</a>`:                            "",
		`<a href="https://win.example.top/">here</a>`:                                  "link_cheap",
		`<a href="javascript:alert(1)">here</a>`:                                       "",
		`<form action="https://evil.example.com/"><input></form>`:                      "form_in_mail link_form",
		`<img src="https://img.example.net/all.png"><p>Hi</p>`:                         "picture_only",
		`<div style="display: none">` + strings.Repeat("hidden words ", 10) + `</div>`: "hidden_text",
		`<p>pi&#x200b;lls che&#x200b;ap n&shy;ow</p>`:                                  "hidden_characters",
		`<p>Pаypal is fine</p>`:                                                        "mixed_letters",
		`<p>send to bc1qxy2kgdygjrsqtzq2n0yrf2493p83kkfjhx0wlh</p>`:                    "wallet",
		`<p>send to 1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2</p>`:                            "wallet",
		`<p>order 1BvBMSEYstWetqTF</p>`:                                                "",
		`<script>x()</script>`:                                                         "script_in_mail",
	} {
		raw := wire("From: bob@example.net\nTo: alice@example.org\nSubject: Hi\nDate: Sun, 22 Nov 2026 11:00:00 +0000\nMessage-ID: <1@x>\nContent-Type: text/html; charset=utf-8\n\n" + body + "\n")
		if got := signs(t, raw); got != want {
			t.Errorf("%q: %q, want %q", body, got, want)
		}
	}
}

func TestFileSigns(t *testing.T) {
	zip := func(name string, flags byte) string {
		return "PK\x03\x04\x14\x00" + string(flags) + "\x00\x08\x00" + strings.Repeat("\x00", 16) + string(rune(len(name))) + "\x00\x00\x00" + name + "data"
	}
	for _, c := range []struct{ name, content, want string }{
		{"letter.pdf", "%PDF", ""},
		{"setup.exe", "MZ", "file_program"},
		{"photo.jpg.SCR", "MZ", "file_program file_two_endings"},
		{"photo.jpg", "MZ\x90\x00", "file_program_hidden"},
		{"disk.iso", "x", "file_disk"},
		{"page.html", "<html>", "file_html"},
		{"drawing.svg", "<svg/>", ""},
		{"drawing.svg", "<svg><script>x</script></svg>", "file_html"},
		{"a.zip", zip("letter.txt", 0), ""},
		{"a.zip", zip("letter.txt", 1), "file_locked"},
		{"a.zip", zip("run.js", 0), "file_program_packed"},
		{"a.rar", "Rar!\x1a\x07\x00\x00\x00\x73\x80", "file_locked"},
		{"old.ace", "x", "file_odd_archive"},
		{"list.docm", "PK", "file_macros"},
		{"list.docx", zip("word/vbaProject.bin", 0), "file_macros"},
		{"\u202egpj.exe", "MZ", "file_name_reversed file_program"},
		{"letter.exe. ", "MZ", "file_program"},
	} {
		raw := wire("From: bob@example.net\nTo: alice@example.org\nSubject: Hi\nDate: Sun, 22 Nov 2026 11:00:00 +0000\nMessage-ID: <1@x>\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nText\n--b\nContent-Type: application/octet-stream\nContent-Disposition: attachment; filename=\"=?utf-8?B?" +
			base64.StdEncoding.EncodeToString([]byte(c.name)) + "?=\"\nContent-Transfer-Encoding: base64\n\n" + base64.StdEncoding.EncodeToString([]byte(c.content)) + "\n--b--\n")
		if got := signs(t, raw); got != c.want {
			t.Errorf("%q: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestClientSigns(t *testing.T) {
	j := judge(t, Options{})
	pass := mailauth.IPRev{Result: mailauth.Pass, Name: "mail.example.net"}
	for _, c := range []struct {
		hello string
		rev   mailauth.IPRev
		want  string
	}{
		{"mail.example.net", pass, ""},
		{"MAIL.example.net.", pass, ""},
		{"", pass, "helo_missing"},
		{"localhost", pass, "helo_local"},
		{"pc", pass, "helo_short"},
		{"[192.0.2.25]", pass, "helo_literal"},
		{"192.0.2.25", pass, "helo_number"},
		{"mx.example.org", pass, "helo_is_us"},
		{"example.org", pass, "helo_is_ours"},
		{"example.org", mailauth.IPRev{Result: mailauth.Pass, Name: "www.example.org"}, ""},
		{"a b.example.net", pass, "helo_odd"},
		{"mail.example.net", mailauth.IPRev{Result: mailauth.PermError}, "ptr_missing"},
		{"mail.example.net", mailauth.IPRev{Result: mailauth.Fail, Name: "x.example"}, "ptr_wrong"},
		{"mail.example.net", mailauth.IPRev{Result: mailauth.TempError}, ""},
		{"mail.example.net", mailauth.IPRev{Result: mailauth.Pass, Name: "p5089aa.dip0.isp.example"}, "ptr_dynamic"},
		{"mail.example.net", mailauth.IPRev{Result: mailauth.Pass, Name: "192-0-2-25.dsl.isp.example"}, "ptr_dynamic"},
		{"mail.example.net", mailauth.IPRev{Result: mailauth.Pass, Name: "static-192-0-2-25.isp.example"}, ""},
		{"mail.example.net", mailauth.IPRev{Result: mailauth.Pass, Name: "h25.2.0.192.isp.example"}, "ptr_dynamic"},
	} {
		r := proven("example.net")
		r.IPRev = c.rev
		var got []string
		for _, n := range names(look(t.Context(), j, Facts{Remote: client, Hello: c.hello}, r, letter("bob@example.net", "Hi", "t"))) {
			if n != "dmarc_pass" {
				got = append(got, n)
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%q %+v: %q, want %q", c.hello, c.rev, got, c.want)
		}
	}
	for _, remote := range []netip.Addr{{}, netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("10.1.2.3")} {
		if got := names(look(t.Context(), j, Facts{Remote: remote, Hello: "localhost"}, mailauth.Report{}, letter("bob@example.net", "Hi", "t"))); len(got) != 0 {
			t.Errorf("%s: %q", remote, got)
		}
	}
}

func TestProofSigns(t *testing.T) {
	j := judge(t, Options{Vouched: func(r mailauth.Report) bool { return r.ARC.Result == mailauth.Pass }})
	failed := mailauth.DMARC{Result: mailauth.Fail, Domain: "example.net", Policy: mailauth.PolicyReject}
	for name, c := range map[string]struct {
		r    mailauth.Report
		from string
		want string
	}{
		"proven":             {proven("example.net"), "bob@example.net", "dmarc_pass"},
		"forged":             {mailauth.Report{SPF: mailauth.SPF{Result: mailauth.Fail}, DMARC: failed}, "bob@example.net", "dmarc_fail spf_fail unproven"},
		"vouched":            {mailauth.Report{SPF: mailauth.SPF{Result: mailauth.SoftFail}, DMARC: failed, ARC: mailauth.ARC{Result: mailauth.Pass}}, "bob@example.net", "arc_vouched spf_softfail"},
		"broken":             {mailauth.Report{SPF: mailauth.SPF{Result: mailauth.None}, DKIM: []mailauth.DKIM{{Result: mailauth.Fail}}}, "bob@example.net", "dkim_fail unproven"},
		"DNS fails":          {mailauth.Report{SPF: mailauth.SPF{Result: mailauth.TempError}, DMARC: mailauth.DMARC{Result: mailauth.TempError}}, "bob@example.net", ""},
		"our own, forged":    {mailauth.Report{SPF: mailauth.SPF{Result: mailauth.None}}, "bob@example.org", "own_domain_forged unproven"},
		"our own, a service": {mailauth.Report{SPF: mailauth.SPF{Result: mailauth.Pass, Domain: "service.example"}, DMARC: mailauth.DMARC{Result: mailauth.None}}, "bob@example.org", "own_domain_unproven"},
		"our own, proven":    {proven("example.org"), "bob@example.org", "dmarc_pass"},
		"not checked":        {mailauth.Report{}, "bob@example.net", ""},
	} {
		if got := strings.Join(names(look(t.Context(), j, Facts{}, c.r, letter(c.from, "Hi", "t"))), " "); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// TestCountedLinks: a proven newsletter may count clicks elsewhere; somebody unproven may not.
func TestCountedLinks(t *testing.T) {
	j := judge(t, Options{})
	raw := wire("From: news@example.net\nTo: alice@example.org\nSubject: Hi\nDate: Sun, 22 Nov 2026 11:00:00 +0000\nMessage-ID: <1@x>\nList-Unsubscribe: <https://x.example/>\nContent-Type: text/html\n\n<a href=\"https://click.service.example/1\">www.example.net</a>\n")
	for want, r := range map[string]mailauth.Report{"link_counted": proven("example.net"), "link_differs": unproven()} {
		if v := j.Verdict(t.Context(), look(t.Context(), j, Facts{}, r, raw), alice); !has(v, want) {
			t.Errorf("%s: %s", want, describe(v))
		}
	}
}

// TestExplainAgrees: what is judged at the door and what is explained from the mailbox is the same.
func TestExplainAgrees(t *testing.T) {
	now := today
	j := judge(t, Options{Now: func() time.Time { return now }})
	for i := range 8 {
		learn(t, j, letter("bob@example.net", letters(i), "the meeting is on monday"), Good)
		learn(t, j, letter("eve@example.com", letters(i), "buy cheap pills today"), Junk)
	}
	raw := letter(`"Mallory" <mallory@example.com>`, "Cheap pills", "buy cheap pills before monday https://pills.example.com/buy")
	r := unproven()
	r.Session.Remote = client
	r.IPRev = mailauth.IPRev{Result: mailauth.PermError}
	from := addr(t, "bounce@example.com")
	f := look(t.Context(), j, Facts{Remote: client, Hello: "pc.local", From: from}, r, raw)
	v := j.Verdict(t.Context(), f, alice)
	stored := "Return-Path: <bounce@example.com>\r\nDelivered-To: alice@example.org\r\nX-Spam-Flag: YES\r\n" + string(r.Field("mx.example.org")) +
		"Received: from pc.local ([192.0.2.25])\r\n\tby mx.example.org (posthouse) with ESMTPS id 3\r\n\t(TLS 1.3 TLS_AES_128_GCM_SHA256)\r\n\tfor <alice@example.org>;\r\n\tSun, 22 Nov 2026 12:00:00 +0000\r\n" + string(raw)
	now = today.Add(100 * 24 * time.Hour) // it was not old when it came
	e, err := j.Explain(t.Context(), alice, strings.NewReader(stored))
	if err != nil {
		t.Fatal(err)
	}
	if describe(e.Verdict) != describe(v) || e.Verdict.Class < Junk {
		t.Errorf("at the door\n%s\nexplained\n%s", describe(v), describe(e.Verdict))
	}
	if e.Facts.Remote != client || e.Facts.Hello != "pc.local" || e.Facts.From != from || e.Subject != "Cheap pills" || e.Author.Local != "mallory" || e.Training.Good != 8 {
		t.Errorf("%+v", e)
	}
	if len(e.Tokens) == 0 || !slices.ContainsFunc(e.Tokens, func(k Token) bool { return k.Text == "cheap pills" && k.Junk == 8 && k.Chance > 0.9 }) {
		t.Errorf("%+v", e.Tokens)
	}
	// What a stranger writes into his own header is not believed.
	forged := "Received: from good.example.net ([203.0.113.1])\r\n\tby mx.evil.example (posthouse) with ESMTP id 1; Sun, 22 Nov 2026 12:00:00 +0000\r\n" + stored
	if e, err := j.Explain(t.Context(), alice, strings.NewReader(forged)); err != nil || e.Facts.Remote.IsValid() {
		t.Errorf("%+v %v", e.Facts, err)
	}
}

func TestHouseNames(t *testing.T) {
	j := judge(t, Options{})
	for from, want := range map[string]bool{
		`"Example Support" <x@example.net>`:     true,
		`"example.org admin" <x@other.example>`: true,
		`"An example of joy" <x@other.example>`: false,
		`"Example Support" <help@example.org>`:  false,
		`"IT" <x@examp1e.com>`:                  true,
		`"Exampleton Office" <x@other.example>`: false,
	} {
		f := look(t.Context(), j, Facts{}, mailauth.Report{}, letter(from, "Hi", "t"))
		v := j.Verdict(t.Context(), f, alice)
		if got := has(v, "house_name_borrowed") || has(v, "house_lookalike"); got != want {
			t.Errorf("%s: %v\n%s", from, got, describe(v))
		}
		if other := j.Verdict(t.Context(), f, Recipient{Account: 1, Address: mail.Address{Local: "a", Domain: "shop.example"}}); has(other, "house_name_borrowed") {
			t.Errorf("%s: for a recipient of no domain of ours", from)
		}
	}
}
