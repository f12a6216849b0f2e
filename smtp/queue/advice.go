package queue

import (
	"slices"
	"strings"
)

// advised is what refusals of one kind look like, and what to do about them. All of a row's conditions must be met.
type advised struct {
	codes []string // enhanced codes without their class; none: any
	texts []string // one of them stands in the answer (lower case); none: any
	who   []string // one of them stands in the host's name or in the answer; none: anybody
	what  string
	plain bool // the status code says as much: a report to the sender needs no word more
}

// What the provider's own pages ask senders to do; these addresses are their postmasters' for years.
const (
	hotmailPages = "Microsoft's forms are at https://sendersupport.olc.protection.outlook.com/snds/ and https://olcsupport.office.com/; for Microsoft 365 at https://sender.office.com/."
	googlePages  = "Google's rules are at https://support.google.com/mail/answer/81126, its view of your domain at https://postmaster.google.com/."
	yahooPages   = "Yahoo's rules and form are at https://senders.yahooinc.com/."
	applePages   = "Apple's rules are at https://support.apple.com/102322; its postmasters read icloudadmin@apple.com."
)

// advice is the table, the most telling row first. Texts are pieces of real answers; where a provider has a code of its own, that is a text.
func advice() []advised {
	const (
		ptr  = "The receiving side wants the address of this host to have a reverse name (PTR record) that leads back to the same address. The provider of this machine sets it; it must be the host name in the settings. posthouse check says whether it fits."
		auth = "The receiving side does not believe that this host may send for the sender's domain. Publish SPF, DKIM and DMARC records as posthouse domain dns says, and look that the message was signed (posthouse trace shows it)."
	)
	gmail := []string{"google", "gmail"}
	microsoft := []string{"outlook.com", "hotmail", "microsoft", "office365"}
	yahoo := []string{"yahoo", "yahoodns", "aol"}
	apple := []string{"icloud", "apple.com", "proofpoint.com/apple"}
	mailbox := []advised{
		// Where an account cannot take mail: nothing that this host could mend.
		{texts: []string{"over quota", "overquota", "mailbox full", "mailbox is full", "out of storage space", "quota exceeded", "exceeded storage", "exceeded the storage", "552 5.2.2", "quotaexceeded"},
			what: "The recipient's mailbox is full. Nothing is to be done here: the recipient must make room.", plain: true},
		{codes: []string{"2.2"}, what: "The recipient's mailbox is full. Nothing is to be done here: the recipient must make room.", plain: true},
		// Reverse names, before anything that speaks of policy in general.
		{texts: []string{"ptr record", "reverse dns", "reverse dns lookup", "rdns", "no reverse", "does not have a ptr", "cannot find your hostname", "cannot find your reverse hostname", "pointer record"}, what: ptr},
		{codes: []string{"7.25"}, what: ptr},
	}
	proof := []advised{
		// Proof of the sender.
		{texts: []string{"dmarc", "unauthenticated", "not authenticated", "5.7.26", "4.7.26", "5.7.27", "5.7.30", "5.7.515", "spf check", "spf fail", "spf validation", "sender policy framework",
			"dkim check", "dkim fail", "dkim signature", "not pass authentication", "authentication checks", "authentication requirements"},
			who: gmail, what: auth + " " + googlePages},
		{texts: []string{"5.7.515", "authentication level"}, what: auth + " " + hotmailPages},
		{texts: []string{"dmarc", "unauthenticated", "spf check", "spf fail", "spf validation", "sender policy framework", "dkim fail", "dkim check", "dkim signature",
			"not authorized to send", "not permitted to send", "is not allowed to send mail", "permerror", "lack of valid dkim"}, what: auth},
		{codes: []string{"7.20", "7.21", "7.22", "7.23", "7.24", "7.26", "7.27", "7.28"}, texts: []string{"auth", "spf", "dkim", "dmarc"}, what: auth},
		// TLS.
		{texts: []string{"must issue a starttls", "starttls required", "tls required", "5.7.29", "encryption required", "requires tls"},
			what: "The receiving side takes mail over TLS only, and the connection was in clear. The log says why TLS failed."},
	}
	return slices.Concat(mailbox, listAdvice(microsoft, apple), proof, rateAdvice(gmail, microsoft, yahoo, apple), generalAdvice(microsoft, apple))
}

// listAdvice is for block lists and reputation.
func listAdvice(microsoft, apple []string) []advised {
	const listed = "The address of this host is on a block list. Look it up at the list that the answer names and follow its way out; first find out what was sent from here that should not have been (posthouse trace, posthouse queue): else it is listed again."
	return []advised{
		{texts: []string{"spamhaus"},
			what: "The address of this host is on a list of Spamhaus: look it up at https://check.spamhaus.org/. On its PBL are addresses that providers give to homes: ask there to be taken out, or send over a smart host (remote.smart_hosts). On SBL or XBL it is because of junk that came from here: find and stop it first."},
		{texts: []string{"(s3150)", "(s3140)", "(s775)", "part of their network is on our block list", "5.7.606", "5.7.607", "5.7.608", "5.7.609", "5.7.610", "5.7.511", "banned sending ip", "blocked using fblw"},
			what: "Microsoft blocks the address of this host or its neighbourhood. Ask to be taken off the list with the address that the answer names: " + hotmailPages},
		{who: microsoft, texts: []string{"block list", "blocklist"}, what: "Microsoft blocks the address of this host. Ask to be taken off its list: " + hotmailPages},
		{texts: []string{"barracudacentral", "b.barracuda"}, what: "The address of this host is on Barracuda's list: https://www.barracudacentral.org/lookups has the way out."},
		{texts: []string{"spamcop"}, what: "The address of this host is on SpamCop's list: https://www.spamcop.net/bl.shtml. It goes by itself a day after the last junk came from here."},
		{texts: []string{"proofpoint", "dynamic reputation", "ipcheck.proofpoint"}, what: "Proofpoint does not trust the address of this host: https://ipcheck.proofpoint.com/ has the form."},
		{texts: []string{"cloudmark", "csi.cloudmark"}, what: "Cloudmark does not trust the address of this host: https://csi.cloudmark.com/reset-request has the form."},
		{who: apple, texts: []string{"local policy", "[hm0", "[cs0", "due to policy"}, what: "Apple refuses by its own rules, mostly for the reputation of the address or domain. " + applePages},
		{texts: []string{"sorbs", "uceprotect", "blacklist", "black list", "blocklist", "block list", "blocked using", "listed at", "listed in", "listed on", "dnsbl", " rbl", "rbl ", "is listed", "on our blocklist"}, what: listed},
		{texts: []string{"dynamic ip", "dynamic address", "residential", "dial-up", "dialup", "generic rdns"},
			what: "The receiving side takes this host for a home connection. Give its address a reverse name of its own (PTR), or send over a smart host (remote.smart_hosts)."},
	}
}

// rateAdvice is for those who want us to come slower.
func rateAdvice(gmail, microsoft, yahoo, apple []string) []advised {
	const slow = "The receiving side wants mail from here to come slower. It is tried again by itself, at growing intervals. If it goes on, look who sends that much (posthouse queue), or lower queue.connections_per_host."
	return []advised{
		{texts: []string{"[tss0", "[ts0"}, what: "Yahoo puts mail from this host off, because of complaints or of unusual volume. It is tried again by itself. " + yahooPages},
		{who: yahoo, texts: []string{"temporarily deferred", "user complaints", "unusual traffic", "not accepted for policy reasons", "554 30", "resources temporarily unavailable"}, what: "Yahoo does not trust this host or the content enough. " + yahooPages},
		{who: gmail, texts: []string{"unusual rate", "unsolicited", "suspicious", "very low reputation", "low reputation", "rate limited", "likely unsolicited", "likely suspicious"},
			what: "Google does not trust this host or the sender's domain yet. Send little and wanted mail, signed and with SPF, and see that nobody here sends junk. " + googlePages},
		{who: microsoft, texts: []string{"s3114", "rp-001", "rp-002", "rp-003", "temporarily rate limited", "ip reputation", "exceeded the rate limit", "as(42004)", "server busy"},
			what: "Microsoft limits mail from this host for its reputation; it is tried again by itself. " + hotmailPages},
		{texts: []string{"greylist", "graylist", "grey list", "gray-list", "grey-list", "try again in", "try again later, see", "deferred for policy reasons", "postgrey"},
			what: "The receiving side puts unknown senders off (greylisting). Nothing is to be done: the next attempt is mostly taken."},
		{texts: []string{"too many messages", "too many connections", "rate limit", "ratelimit", "sending rate", "too fast", "throttl", "too many recipients", "limit exceeded", "exceeded the limit", "too much mail", "connection limit", "too many concurrent"}, what: slow},
	}
}

// generalAdvice is for what any host may say: no such user, not my domain, no such content.
func generalAdvice(microsoft, apple []string) []advised {
	return []advised{
		{texts: []string{"user unknown", "unknown user", "no such user", "does not exist", "recipient not found", "no mailbox", "mailbox unavailable", "mailbox not found", "invalid recipient", "address rejected: undeliverable", "recipient address rejected", "account disabled",
			"account that you tried to reach is disabled", "inactive user", "unrouteable address", "recipient rejected", "user doesn't have", "dd this user", "unknown recipient", "unknown local part"},
			what: "The recipient's address does not exist there (any more). Check how it is written; nothing is wrong with this host.", plain: true},
		{codes: []string{"1.1", "1.2", "1.3", "1.6", "1.10"}, what: "The recipient's address does not exist there (any more). Check how it is written; nothing is wrong with this host.", plain: true},
		{texts: []string{"relay access denied", "relaying denied", "unable to relay", "relay not permitted", "not permitted to relay"},
			what: "That host does not take mail for the recipient's domain: the domain's MX records lead to the wrong host. Its owner must mend them."},
		{texts: []string{"spam", "junk", "bulk mail", "content reject", "content rejected", "high probability", "suspicious content", "phish", "virus", "malware", "blocked attachment", "file type", "security issue"},
			what: "The receiving side takes the content for junk or dangerous. Look at its links and attachments (programs and archives are often refused); an account that sends junk may be in foreign hands."},
		{texts: []string{"helo", "ehlo"}, codes: []string{"5.0", "5.2", "7.1", "0.0", "5.1", "1.8"}, what: "The receiving side does not like the name with which this host introduces itself. The setting hostname must be a full name that leads to this host's address."},
		{codes: []string{"1.8", "1.7"}, what: "The receiving side cannot find the sender's domain, or takes no mail from it: look at the domain's A, MX and SPF records (posthouse domain dns)."},
		{codes: []string{"3.4", "2.3"}, what: "The message is too large for the receiving side. Send the large parts another way.", plain: true},
		{who: apple, codes: []string{"7.1"}, what: "Apple refuses by its own rules. " + applePages},
		{who: microsoft, codes: []string{"7.1"}, what: "Microsoft refuses by its own rules. " + hotmailPages},
	}
}

// Advice is what the operator can do about a refusal of another host, in words; empty when the answer tells nothing that is known.
func (r Result) Advice() string {
	a, _ := advise(r)
	return a.what
}

func advise(r Result) (a advised, ok bool) {
	if r.Verdict == Done || r.Remote == "" || r.Code == 0 && r.Text == "" {
		return a, false
	}
	text, host := strings.ToLower(r.Text), strings.ToLower(r.Remote)
	_, code, _ := strings.Cut(r.Status, ".")
	for _, a := range advice() {
		if a.fits(code, text, host) {
			return a, true
		}
	}
	return a, false
}

func (a *advised) fits(code, text, host string) bool {
	if len(a.codes) > 0 && !oneOf(a.codes, func(s string) bool { return s == code }) {
		return false
	}
	if len(a.texts) > 0 && !oneOf(a.texts, func(s string) bool { return strings.Contains(text, s) }) {
		return false
	}
	return len(a.who) == 0 || oneOf(a.who, func(s string) bool { return strings.Contains(host, s) || strings.Contains(text, s) })
}

func oneOf(list []string, fits func(string) bool) bool {
	for _, s := range list {
		if fits(s) {
			return true
		}
	}
	return false
}
