//go:build desktop

package desktop

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"
)

// preferences of a profile: quiet at the start, reachable by Marionette; nothing of any account.
const preferences = `user_pref("marionette.port", 2828);
user_pref("app.update.enabled", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("datareporting.policy.dataSubmissionPolicyBypassNotification", true);
user_pref("toolkit.telemetry.enabled", false);
user_pref("mail.shell.checkDefaultClient", false);
user_pref("mail.inappnotifications.enabled", false);
user_pref("mail.rights.version", 1);
user_pref("mailnews.start_page.enabled", false);
user_pref("mailnews.start_page_override.mstone", "ignore");
user_pref("mail.spotlight.firstRunDone", true);
user_pref("mail.winsearch.firstRunDone", true);
user_pref("app.donation.eoy.version.viewed", 999);
user_pref("extensions.update.enabled", false);
user_pref("intl.locale.requested", "en-US");
user_pref("ui.systemUsesDarkTheme", 0);
`

// display starts an X server without a screen and returns its name, which it tells when it is ready.
func display(t *testing.T) string {
	t.Helper()
	ready, tells, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer ready.Close()
	cmd := exec.Command("Xvfb", "-displayfd", "3", "-screen", "0", "1280x800x24", "-nolisten", "tcp")
	cmd.ExtraFiles = []*os.File{tells}
	if err := errors.Join(cmd.Start(), tells.Close()); err != nil {
		t.Fatalf("apt-get install xvfb: %v", err)
	}
	t.Cleanup(func() { cmd.Process.Signal(syscall.SIGTERM); cmd.Wait() })
	number, err := bufio.NewReader(ready).ReadString('\n')
	if err != nil {
		t.Fatalf("Xvfb: %v", err)
	}
	return ":" + strings.TrimSpace(number)
}

// thunderbird starts Thunderbird with a fresh profile that trusts the authority of the town.
func thunderbird(t *testing.T, w *town) *marionette {
	t.Helper()
	profile := t.TempDir()
	if err := os.WriteFile(filepath.Join(profile, "user.js"), []byte(preferences), 0o600); err != nil {
		t.Fatal(err)
	}
	log := &buffer{}
	cmd := exec.Command("thunderbird", "--marionette", "--remote-allow-system-access", "--no-remote", "--profile", profile)
	cmd.Env = append(os.Environ(), "DISPLAY="+display(t), "HOME="+t.TempDir(), "MOZ_DISABLE_CONTENT_SANDBOX=1", "MOZ_ENABLE_WAYLAND=0", "LC_ALL=C.UTF-8", "GTK_THEME=Adwaita", "NO_AT_BRIDGE=1")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatalf("apt-get install thunderbird: %v", err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("thunderbird printed:\n%s", log)
		}
	})
	m := dialMarionette(t, "127.0.0.1:2828")
	m.run(nil, `Cc["@mozilla.org/security/x509certdb;1"].getService(Ci.nsIX509CertDB).addCertFromBase64(arguments[0], "C,,")`, strings.Join(strings.Fields(string(pemBody(w.authority.PEM()))), ""))
	return m
}

// pemBody is the base64 between the lines of a PEM file.
func pemBody(text []byte) []byte {
	_, rest, _ := strings.Cut(string(text), "-----\n")
	body, _, _ := strings.Cut(rest, "-----")
	return []byte(body)
}

// TestThunderbird: a person types name, address and password into Debian's Thunderbird, and everything else it finds by itself. What
// others write appears, what another device flags is flagged here, and what is written here arrives at another house.
func TestThunderbird(t *testing.T) {
	w := newTown(t)
	w.theirs.submit(t, carl, anna, letter("Carl Example <"+carl+">", anna, "Saturday at the lake", "Shall we take the early boat?\n\nCarl"))
	w.ours.submit(t, ben, anna, letter("Ben Example <"+ben+">", anna, "Plans for the garden", "The apple tree wants to be cut.\n\nBen"))
	phone := w.ours.device(t, anna, "INBOX")
	phone.has("Saturday at the lake")
	phone.has("Plans for the garden")

	m := thunderbird(t, w)
	t.Cleanup(func() {
		if t.Failed() {
			m.picture("bin/thunderbird-failed.png")
		}
	})
	setUp(m)
	readInbox(m)
	uid, _ := phone.has("Plans for the garden")
	phone.flag(uid, goimap.FlagFlagged)
	m.until("the star of another device", inbox+`return headers().some(h => h.subject == "Plans for the garden" && h.isFlagged)`)
	write(m)
	if _, text := w.theirs.device(t, carl, "INBOX").has("The early boat"); !strings.Contains(text, "With pleasure.") || !strings.Contains(text, "dkim=pass") {
		t.Errorf("what arrived:\n%s", text)
	}
	w.ours.device(t, anna, "Sent").has("The early boat")
	m.until("the main window again", `return !!document.getElementById("tabmail")`)
	uid, _ = phone.has("Saturday at the lake")
	phone.flagged(uid, goimap.FlagSeen) // it was read in Thunderbird
	if n := w.zone.Asked("autoconfig."+domain+".", "A"); n == 0 {
		t.Error("the settings were not asked for")
	}
}

// setUp goes through Thunderbird's own dialog for a first account: name, address and password are typed, nothing else.
func setUp(m *marionette) {
	m.t.Helper()
	m.sees("#autoConfigEmailForm")
	m.run(nil, deep+`deep(document, "#realName").select()`)
	m.types("#realName", "Anna Example")
	m.types("#email", anna)
	m.clicks("#forward")
	m.sees("email-config-found")
	var found string
	m.run(&found, deep+`return [..."#emailFormNotification, email-config-found".split(", ")].map(s => deep(document, s)?.innerText).join("\n")`)
	for _, want := range []string{"Account settings found automatically", "IMAP", "POP3", "post." + domain, "993", "465", anna, "SSL/TLS"} {
		if !strings.Contains(found, want) {
			m.t.Errorf("Thunderbird does not say %q:\n%s", want, found)
		}
	}
	m.picture("docs/pictures/thunderbird.png")
	m.clicks("#forward")
	m.types("#password", password)
	m.clicks("#forward")
	m.sees("email-added-success")
	m.clicks("#forward")
}

// inbox are functions of scripts that look into the first account's INBOX, and into the tab that shows mail.
const inbox = `const folder = () => MailServices.accounts.accounts[0].incomingServer.rootFolder.getFolderWithFlags(Ci.nsMsgFolderFlags.Inbox);
const headers = () => [...folder().messages];
const tab = document.getElementById("tabmail").currentAbout3Pane;
`

// readInbox opens the INBOX, where what came before is, and the first message.
func readInbox(m *marionette) {
	m.t.Helper()
	m.run(nil, inbox+`tab.displayFolder(folder())`)
	m.until("both messages", inbox+`return headers().map(h => h.subject).sort().join() == "Plans for the garden,Saturday at the lake"`)
	m.run(nil, inbox+`tab.selectMessage(headers().find(h => h.subject == "Saturday at the lake"))`)
	m.until("its text", inbox+`return tab.messageBrowser.contentWindow.getMessagePaneBrowser().currentURI.spec.startsWith("imap") && tab.messageBrowser.contentDocument.getElementById("expandedsubjectBox").textContent.includes("Saturday at the lake")`)
	m.picture("docs/pictures/thunderbird-inbox.png")
}

// write writes a message in a window of its own and sends it.
func write(m *marionette) {
	m.t.Helper()
	var before []string
	m.result(&before, "WebDriver:GetWindowHandles", nil)
	m.run(nil, inbox+`tab.document.querySelector("#folderPaneWriteMessage").click()`)
	var composer string
	await(m.t, 60*time.Second, "a window to write in", func() bool {
		var all []string
		m.result(&all, "WebDriver:GetWindowHandles", nil)
		for _, handle := range all {
			if !slices.Contains(before, handle) {
				composer = handle
			}
		}
		return composer != ""
	})
	m.command("WebDriver:SwitchToWindow", map[string]any{"handle": composer})
	m.until("the window is ready", `return document.readyState == "complete" && window.composeEditorReady === true`)
	m.types("#toAddrInput", carl)
	m.types("#msgSubject", "The early boat")
	m.run(nil, `const b = document.getElementById("messageEditor"); b.focus(); b.contentDocument.execCommand("insertText", false, "With pleasure.")`)
	m.clicks("#button-send")
	await(m.t, 60*time.Second, "it is sent", func() bool {
		var all []string
		m.result(&all, "WebDriver:GetWindowHandles", nil)
		return !slices.Contains(all, composer)
	})
	m.command("WebDriver:SwitchToWindow", map[string]any{"handle": before[0]})
}
