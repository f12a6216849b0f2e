//go:build desktop

package desktop

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"golang.org/x/sys/unix"
)

// live lets a house have a life: people, addresses, mail that arrives, mail that does not and why, reports, a domain that is half set up.
func live(t *testing.T, w *town) {
	t.Helper()
	o := w.ours
	for _, line := range []string{
		"account set " + operator + " --operator",
		"domain add garden.example",
		"alias add team@example.org " + anna + " " + ben,
		"alias add info@example.org " + operator,
		"list add lake@example.org --owner " + anna + " " + anna + " " + ben + " " + carl,
		"mask new " + anna + " --note shop.example",
		"mask new " + anna + " --note newsletter",
		"account app-password add " + anna + " Phone",
		"account app-password add " + anna + " Printer --doors submission --expires 90d",
		"account forward " + ben + " " + carl + " --keep",
		"spam block " + anna + " pest.example",
	} {
		o.posthouse(t, "", strings.Fields(line)...)
	}
	for _, record := range []string{
		"pest.example. MX 10 mx.pest.example.", "mx.pest.example. A " + theirsAt, `pest.example. TXT "v=spf1 mx -all"`,
		"slow.example. MX 10 mx.slow.example.", "mx.slow.example. A 203.0.113.9", // no way leads there
		"bank.example. MX 10 mx.bank.example.", `bank.example. TXT "v=spf1 -all"`, `_dmarc.bank.example. TXT "v=DMARC1; p=reject"`,
	} {
		if err := w.zone.Add(record); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range [][2]string{
		{"Saturday at the lake", "Shall we take the early boat?"}, {"Photos of the summer", "They came out well."}, {"Key of the boathouse", "It hangs where it always hung."},
		{"Minutes of the meeting", "Attached next time."}, {"Re: the early boat", "See you at eight."},
	} {
		w.theirs.submit(t, carl, anna, letter("Carl Example <"+carl+">", anna, m[0], m[1]))
	}
	o.submit(t, ben, anna, letter("Ben Example <"+ben+">", anna, "Plans for the garden", "The apple tree wants to be cut."))
	o.submit(t, anna, carl, letter("Anna Example <"+anna+">", carl, "The early boat", "With pleasure."))
	o.submit(t, anna, "kim@"+remote, letter("Anna Example <"+anna+">", "kim@"+remote, "Your old address", "Is this still yours?")) // unknown there
	for _, subject := range []string{"Greetings from the lake", "The address of the hotel", "Postcards"} {
		o.submit(t, anna, "dora@slow.example", letter("Anna Example <"+anna+">", "dora@slow.example", subject, "Wish you were here."))
	}
	o.submit(t, anna, "lake@example.org", letter("Anna Example <"+anna+">", "lake@example.org", "The jetty", "It needs new planks."))
	w.theirs.submit(t, carl, "postmaster@example.org", dmarcReport(time.Now()))
	w.theirs.submit(t, carl, "postmaster@example.org", tlsReport(time.Now()))
	w.stranger(t, "win@pest.example", anna, letter("Prizes <win@pest.example>", anna, "You have won", "Open at once: http://pest.example/win"))
	w.stranger(t, "boss@bank.example", anna, letter("Your bank <boss@bank.example>", anna, "Your account is blocked", "Type your password here."))
	w.stranger(t, "someone@pest.example", "nobody@example.org", letter("Someone <someone@pest.example>", "nobody@example.org", "Hello", "Hello."))
	d := o.device(t, anna, "INBOX")
	d.has("Re: the early boat")
	d.has("Undelivered")                                                                 // the report on kim@
	for _, subject := range []string{"Photos of the summer", "Minutes of the meeting"} { // deleted for good, and kept all the same
		uid, _ := d.has(subject)
		d.flag(uid, goimap.FlagDeleted)
	}
	if err := d.c.Expunge().Close(); err != nil {
		t.Fatal(err)
	}
	o.device(t, anna, "Junk").has("You have won")
	w.theirs.device(t, carl, "INBOX").has("The jetty")
	o.posthouse(t, "", "backup")
	looked := exec.Command(binary, "check", "--config", o.settings) // what is half done makes its exit code 1
	if out, err := looked.CombinedOutput(); err != nil && looked.ProcessState.ExitCode() != 1 {
		t.Fatalf("posthouse check: %v\n%s", err, out)
	}
}

// dmarcReport is what a receiver says of the domain's mail (RFC 7489, appendix C).
func dmarcReport(now time.Time) string {
	var records string
	for _, r := range []struct {
		ip           string
		count        int
		spf, dkim    string
		from, signer string
	}{
		{oursAt, 412, "pass", "pass", domain, domain}, {"203.0.113.25", 38, "fail", "pass", domain, domain}, {"203.0.113.77", 9, "fail", "fail", "bulk.example", "bulk.example"},
	} {
		records += fmt.Sprintf("<record><row><source_ip>%s</source_ip><count>%d</count><policy_evaluated><disposition>none</disposition><dkim>%s</dkim><spf>%s</spf></policy_evaluated></row>"+
			"<identifiers><header_from>%s</header_from></identifiers><auth_results><dkim><domain>%s</domain><result>%s</result></dkim><spf><domain>%s</domain><result>%s</result></spf></auth_results></record>",
			r.ip, r.count, r.dkim, r.spf, domain, r.signer, r.dkim, r.from, r.spf)
	}
	end := now.Truncate(24 * time.Hour)
	text := fmt.Sprintf(`<?xml version="1.0"?><feedback><report_metadata><org_name>%s</org_name><email>postmaster@%s</email><report_id>1</report_id><date_range><begin>%d</begin><end>%d</end></date_range></report_metadata>`+
		`<policy_published><domain>%s</domain><p>quarantine</p><pct>100</pct></policy_published>%s</feedback>`, remote, remote, end.Add(-24*time.Hour).Unix(), end.Unix()-1, domain, records)
	return attached("Report Domain: "+domain+" Submitter: "+remote+" Report-ID: <1>", "application/gzip", remote+"!"+domain+".xml.gz", text, "")
}

// tlsReport is what a sender says of TLS with us (RFC 8460, section 4.4).
func tlsReport(now time.Time) string {
	end := now.Truncate(24 * time.Hour)
	text := fmt.Sprintf(`{"organization-name":%q,"date-range":{"start-datetime":%q,"end-datetime":%q},"contact-info":"postmaster@%s","report-id":"1",`+
		`"policies":[{"policy":{"policy-type":"sts","policy-string":["version: STSv1","mode: enforce","mx: post.%s"],"policy-domain":%q},"summary":{"total-successful-session-count":1204,"total-failure-session-count":3},`+
		`"failure-details":[{"result-type":"starttls-not-supported","receiving-mx-hostname":"post.%s","failed-session-count":3}]}]}`,
		remote, end.Add(-24*time.Hour).Format(time.RFC3339), end.Add(-time.Second).Format(time.RFC3339), remote, domain, domain, domain)
	return attached("Report Domain: "+domain+" Submitter: "+remote+" Report-ID: <2>", "application/tlsrpt+gzip", remote+"!"+domain+".json.gz", text,
		"TLS-Report-Domain: "+domain+"\nTLS-Report-Submitter: "+remote+"\n")
}

// attached is a message with a file, compressed.
func attached(subject, kind, name, text, more string) string {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	z.Write([]byte(text))
	z.Close()
	body := base64.StdEncoding.EncodeToString(packed.Bytes())
	var lines strings.Builder
	for len(body) > 76 {
		lines.WriteString(body[:76] + "\n")
		body = body[76:]
	}
	return "From: " + carl + "\nTo: postmaster@" + domain + "\nSubject: " + subject + "\nDate: " + time.Now().Format(time.RFC1123Z) + "\n" + more +
		"MIME-Version: 1.0\nContent-Type: " + kind + "; name=\"" + name + "\"\nContent-Disposition: attachment; filename=\"" + name + "\"\nContent-Transfer-Encoding: base64\n\n" + lines.String() + body + "\n"
}

// stranger brings a message to our port 25 from the other machine, as a program that is no mail server; what the house says to it is its matter.
func (w *town) stranger(t *testing.T, from, to, text string) {
	t.Helper()
	conn, err := dialFromTheirs(w.ours.address + ":25")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(60 * time.Second))
	in := bufio.NewReader(conn)
	for _, line := range []string{"", "EHLO mx.pest.example", "MAIL FROM:<" + from + ">", "RCPT TO:<" + to + ">", "DATA", strings.ReplaceAll(text, "\n", "\r\n") + "\r\n.", "QUIT"} {
		if line != "" {
			fmt.Fprintf(conn, "%s\r\n", line)
		}
		for {
			answer, err := in.ReadString('\n')
			if err != nil {
				t.Fatalf("after %q: %v", line, err)
			}
			if len(answer) < 4 || answer[3] != '-' {
				if answer[0] == '5' {
					return
				}
				break
			}
		}
	}
}

// dialFromTheirs connects out of the other machine's network.
func dialFromTheirs(address string) (conn net.Conn, err error) {
	done := make(chan struct{})
	go func() { // on a thread of its own, which ends with it
		defer close(done)
		runtime.LockOSThread()
		var space *os.File
		if space, err = os.Open("/run/netns/theirs"); err != nil {
			return
		}
		defer space.Close()
		if err = unix.Setns(int(space.Fd()), unix.CLONE_NEWNET); err != nil {
			err = errors.Join(errors.New("enter the other machine's network"), err)
			return
		}
		conn, err = net.DialTimeout("tcp", address, 10*time.Second)
	}()
	<-done
	return conn, err
}
