package config

import (
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/posthouse-mail/posthouse/internal/logx"
)

// Field describes one setting: what it is, why its default is what it is, and how to write it.
type Field struct {
	Key     string // dotted; "[]" behind the name of a repeated table
	What    string
	Why     string // the reason of the default, or of the setting
	Form    string // what a value looks like: the remedy of a wrong one
	Example string // a line for settings whose default says nothing
}

// section describes a table of the file.
func sections() map[string]string {
	return map[string]string{
		"":                     "The house",
		"listen":               "The doors: lists of host:port, an empty list closes a door, \":25\" is every address of the machine",
		"tls":                  "Certificates",
		"tls.certificates[]":   "One pair of PEM files; repeat for more names, the first is shown to clients that name none",
		"tls.clients":          "Certificates that mail programs show instead of a password, for `account certificate`",
		"acme":                 "Certificates from an authority",
		"dns":                  "The resolver",
		"limits":               "Limits for each client and for all of them",
		"store":                "How mail is kept",
		"backup":               "Copies of the house, verified each time; posthouse backup and posthouse restore work without these too",
		"audit":                "Who changed what, for posthouse audit",
		"story":                "What happened to each message, for posthouse trace",
		"quota":                "What a new account may hold; 0 is no limit; `account set` changes one account",
		"queue":                "Mail that waits to leave",
		"remote":               "Other hosts",
		"remote.smart_hosts[]": "A host that carries our mail, for machines whose provider closes port 25; the first that fits the sender is used",
		"route":                "The way between two of our domains",
		"submission":           "Mail handed in by our users",
		"sending":              "How much may leave, so that a stolen password does not ruin the address; 0: no limit; `account limits` and `domain limits` say otherwise for one",
		"submission.trusted[]": "Devices that know no passwords (printer, NAS): these networks may submit as these senders, never on port 25",
		"auth":                 "Users and passwords",
		"auth.external":        "Passwords that another program knows (LDAP, PAM): it is asked over a unix socket; how, is in docs/operations.md",
		"imap":                 "IMAP",
		"pop3":                 "POP3",
		"checks":               "Where mail from outside comes from: SPF, DKIM, ARC, DMARC",
		"lists":                "Mailing lists",
		"reports":              "What other domains are told of their mail, and the postmaster of his",
		"junk":                 "Whether mail from outside is junk: signals with scores, `posthouse spam explain` tells them for a message",
		"scanners[]":           "A program that looks at messages: rspamd over HTTP, or a milter (ClamAV and others); asked in this order when a message has come whole",
		"web":                  "The web pages; listen.http and listen.https open them",
		"web.oidc":             "Sign-in at the web pages by an OpenID Connect provider, for accounts that are there; without an issuer there is none",
		"check":                "What posthouse check looks at, and how often the house does it by itself",
		"log":                  "The log on stderr",
		"metrics":              "/metrics for Prometheus, /healthz and /readyz",
	}
}

// Fields is every setting, in the order of the file.
func Fields() []Field {
	all := append(houseFields(), clientFields()...)
	all = append(all, resolverFields()...)
	all = append(all, acmeFields()...)
	all = append(all, limitFields()...)
	all = append(all, wayFields()...)
	all = append(all, sendingFields()...)
	all = append(all, scannerFields()...)
	all = append(all, webFields()...)
	all = append(all, checkupFields()...)
	all = append(all, authFields()...)
	return append(all, restFields()...)
}

func houseFields() []Field {
	const list = `Write a list of "host:port": ["192.0.2.1:25", "[2001:db8::1]:25"] or [":25"].`
	return []Field{
		{"hostname", "Name of this host in greetings, EHLO and reports", "No default: it must be the name that the address resolves to, or others refuse our mail.", `Write a full name: "mail.example.org".`, `"mail.example.org"`},
		{"data", "Folder of all mail and all accounts", "The place of packaged services; the folder is made if it is missing, and belongs to the user that runs the house.", "Write the path of a folder.", ""},
		{"listen.smtp", "Mail from other hosts (RFC 5321), STARTTLS", "The one port that other hosts use.", list, ""},
		{"listen.submission", "Mail from our users with STARTTLS (RFC 6409)", "2525 is for networks that close 587.", list, ""},
		{"listen.submissions", "Mail from our users over TLS (RFC 8314)", "What clients should use.", list, ""},
		{"listen.pop3", "POP3 with STLS (RFC 1939, RFC 2595)", "The registered port; no password is taken before TLS.", list, ""},
		{"listen.pop3s", "POP3 over TLS", "The registered port.", list, ""},
		{"listen.imap", "IMAP with STARTTLS (RFC 9051)", "The registered port; no password is taken before TLS.", list, ""},
		{"listen.imaps", "IMAP over TLS", "The registered port.", list, ""},
		{"listen.http", "Web pages in clear: redirects to HTTPS, and what programs ask for that cannot do TLS", "Closed: another web server may have port 80. Behind one: a port on this machine, or a unix socket, \"unix:/run/posthouse/web.sock\", whose other end is believed as those of web.proxies are.", `Write a list of "host:port" or "unix:/path": [":80"] or ["unix:/run/posthouse/web.sock"].`, ""},
		{"listen.http_group", "Group of the system whose programs may connect to the unix sockets of listen.http; a name or a number", "Empty: only the house's own user and group, and root.", `Write a group: "www-data".`, ""},
		{"listen.https", "Web pages over TLS", "Closed: another web server may have port 443.", list, ""},
		{"listen.lmtp", "Unix socket that takes mail over LMTP (RFC 2033) for our domains", "Off: only needed behind another mail server. The folder's rights decide who may connect.", "Write the path of a socket.", ""},
		{"listen.proxy_from", "Networks whose connections begin with a PROXY header, which is believed", "Nobody: whoever is believed can claim any address.", `Write a list of networks: ["10.0.0.5/32"].`, ""},
		{"tls.certificates[].cert", "Certificate chain, PEM, the host's own first", "Read again on SIGHUP and when the file changes.", "Write the path of a PEM file.", `"/etc/letsencrypt/live/mail.example.org/fullchain.pem"`},
		{"tls.certificates[].key", "Its key, PEM", "Readable by the house's user only.", "Write the path of a PEM file.", `"/etc/letsencrypt/live/mail.example.org/privkey.pem"`},
	}
}

func resolverFields() []Field {
	return []Field{
		{"dns.servers", "Resolvers to ask, address:port", "Empty: those of /etc/resolv.conf. A resolver on this machine is best: block lists refuse the big public ones.", `Write a list: ["127.0.0.1:53"].`, ""},
		{"dns.timeout", "Wait for one answer", "Twice what the slowest resolver needs, short enough that a dead one is passed over.", `Write a duration: "5s".`, ""},
		{"dns.trust_ad", "When the servers are believed that an answer is signed (DNSSEC), so that DANE counts: loopback (all of them are on this machine), always, never", "On the way from another machine anybody could say so. Run a validating resolver here: unbound.", `Write "loopback", "always" or "never".`, ""},
	}
}

func limitFields() []Field {
	const duration = `Write a duration: "5m", "1h30m", "2d".`
	const count = "Write a whole number."
	return []Field{
		{"limits.message_size", "Largest message, in and out, with its encoding (SIZE, APPENDLIMIT)", "What the large providers take: 50 MiB are 36 MiB of attachments.", `Write a size: "50MiB".`, ""},
		{"limits.recipients", "Recipients of one message (LIMITS RCPTMAX)", "Ten times the 100 that RFC 5321 section 4.5.3.1.8 asks for.", count, ""},
		{"limits.connections", "Connections to all doors together", "An idle one costs under 30 KB: 4,000 are 120 MB.", count, ""},
		{"limits.connections_per_address", "Connections from one address (IPv6: one /64)", "A family behind one address, each with two devices and a client that opens 20.", count, ""},
		{"limits.smtp_connections", "Connections to the SMTP door of other hosts", "A flood of mail must leave room for the readers.", count, ""},
		{"limits.smtp_command_wait", "Silence before a command that ends an SMTP connection", "RFC 5321 section 4.5.3.2.7.", duration, ""},
		{"limits.smtp_data_wait", "Silence inside a message that ends an SMTP connection", "RFC 5321 section 4.5.3.2.5.", duration, ""},
		{"limits.pop3_idle", "Silence that ends a POP3 session", "The least that RFC 1939 section 3 allows.", duration, ""},
		{"limits.imap_idle", "Silence that ends an IMAP session", "The least that RFC 9051 section 5.4 allows; clients in IDLE speak every 29 minutes.", duration, ""},
		{"limits.shutdown_wait", "Time for what is in flight when the house stops", "A large message on a slow line; service managers kill after 90 seconds.", duration, ""},
		{"store.compress", "Pack the mail that comes in from now on: base64 as the octets it stands for, the rest compressed (S2)", "About a third less disk; without it whole mailboxes are read up to 1.5 times as fast (docs/performance.md).", "Write true or false.", ""},
		{"store.keep_deleted", "How long expunged mail can come back (posthouse undelete, \"Recently Deleted\" in IMAP); 0s: not at all", "Long enough to notice a mistake after a holiday. It does not count against the quota; of one account at most its quota is kept, of all a tenth of the disk.", `Write a duration: "30d", or "0s".`, ""},
		{"store.disk_low", "Free space below which the postmaster is told, and expunged mail is given up; at most a tenth of the disk counts", "Time to act before anything is refused.", `Write a size: "1GiB"; "0B": never.`, ""},
		{"store.disk_stop", "Free space below which new mail is refused for the time being (452 4.3.1); at most 3 % of the disk counts", "What is there can still be read, moved and deleted; the largest messages that are on their way fit.", `Write a size: "256MiB"; "0B": never.`, ""},
		{"store.segment_size", "Length of the files that mail is kept in; a message over 64 KiB has a file of its own", "Few files, and compaction never needs more than one of them as free space.", `Write a size: "64MiB".`, ""},
		{"store.compact_every", "How often the disk space of mail that was given up is looked for", "A look costs 40 ms of CPU for a million messages.", `Write a duration: "15m".`, ""},
		{"store.compact_below", "Percent: files of which a smaller part is alive are copied together and removed", "What is copied is less than twice what it frees.", "Write a number from 1 to 99.", ""},
		{"store.compact_share", "Percent of its time that compaction works; the rest it waits", "Nobody notices it on one core and a slow disk.", "Write a number from 1 to 100.", ""},
		{"backup.to", "Folder for backups, made when it is not there: another disk, a mounted share; empty: no backups by themselves", "Only you know where it is safe. It needs no hard links, locks or syncs.", `Write the path of a folder: "/mnt/backup".`, ""},
		{"backup.at", "When, each day, by the clock of the machine; one that was missed is made at the next start", "Few people read mail then.", `Write a time: "03:00".`, ""},
		{"backup.every", "Instead of at: how long after the last one; 0s: at holds", "Once a day is what most need; what is new only is copied, so every hour costs little.", `Write a duration: "6h".`, ""},
		{"backup.recipients", "Public keys of age that the backup is encrypted for; keep the private key elsewhere", "Empty: not encrypted, unless passphrase_file says so.", `Write a list: ["age1..."], from age-keygen.`, ""},
		{"backup.passphrase_file", "Instead: file whose first line is a passphrase", "Encrypted and verified whole, but who has this machine can read the backups.", "Write the path of a file.", ""},
		{"backup.identity_file", "The private key of one of the recipients, so that what is encrypted can be decrypted for its verification", "Empty: the machine cannot read its own backups; what was written is compared as it stands.", "Write the path of a file.", ""},
		{"backup.keep_daily", "Keep the last backup of each of so many days", "A week to notice.", count, ""},
		{"backup.keep_weekly", "Of each of so many weeks", "With the days a month.", count, ""},
		{"backup.keep_monthly", "Of each of so many months; all three 0: keep everything", "What somebody deleted in spring and misses in autumn.", count, ""},
		{"backup.share", "Percent of its time that a backup works; the rest it waits", "Mail that comes meanwhile is at most a fifth slower (docs/performance.md).", "Write a number from 1 to 100.", ""},
		{"audit.keep", "How long it is kept who changed what in the house, when, from where, and what it was before; 0s: nothing is written down", "A year: who asks is often somebody who was away for long. At most the last 100,000 changes are kept.", `Write a duration: "90d".`, ""},
		{"story.keep", "How long it is kept where each message came from, what was found out about it, where it went and what other hosts said; 0s: nothing is written down", "Who asks why a mail did not arrive asks within days; addresses and subjects of other people's mail are not kept longer than that.", `Write a duration: "30d".`, ""},
		{"story.size", "Octets that all stories may have; the oldest go first", "About 40,000 messages.", `Write a size: "256MiB".`, ""},
		{"quota.bytes", "Octets of mail of one account", "A mailbox of years, and one account cannot fill the disk of a small machine. Keep it far above limits.message_size: that much must be free for a sender who does not announce the size.", `Write a size: "5GiB", or "0B".`, ""},
		{"quota.messages", "Messages of one account", "Octets are the limit that matters.", count, ""},
		{"quota.warn", "Percent of its quota at which an account gets a message about it; 0: never", "A tenth of a large mailbox is days, in which mail can be deleted.", "Write a whole number up to 100.", ""},
		{"queue.lifetime", "How long we try before the sender gets the message back", "RFC 5321 section 4.5.4.1 asks for 4 to 5 days.", duration, ""},
		{"queue.retry", "Waits between tries, with some jitter; the last one repeats", "Soon at first (greylisting answers after 5 minutes), then seldom.", `Write a list of durations: ["5m", "1h", "4h"].`, ""},
		{"queue.delay_notice", "When the sender is told that the message still waits; 0s: never", "A working day is not lost, a short failure stays unnoticed.", duration, ""},
		{"queue.connections_per_host", "Connections to one host at once", "Large providers begin to refuse above that.", count, ""},
		{"queue.connections", "Connections to other hosts at once", "Memory and the upstream line of a small machine.", count, ""},
	}
}

func wayFields() []Field {
	return []Field{
		{"remote.port", "Port of other hosts", "SMTP's. Another only in demos and tests, on loopback.", "Write a port: 25.", ""},
		{"remote.ipv6", "When mail goes to IPv6 addresses: checked (when the reverse name of our own address leads back to it, or there is no other way), always, never", "Large receivers refuse IPv6 hosts whose reverse name does not match.", `Write "checked", "always" or "never".`, ""},
		{"remote.ipv6_first", "Try IPv6 addresses before IPv4 ones", "IPv4 addresses have the longer good name.", "Write true or false.", ""},
		{"remote.tls_memory", "When a host that offered TLS with a good certificate for weeks offers none: tell (log, metric, the message's story), refuse (mail for it waits too), off", "Somebody may be in between; more often its owner changed something.", `Write "tell", "refuse" or "off".`, ""},
		{"remote.tls_reports", "Send reports on TLS (RFC 8460) to domains that ask for them, once a day", "They learn of mistakes, and of attacks, that they cannot see themselves.", "Write true or false.", ""},
		{"remote.allow_private", "Deliver to private addresses too (RFC 1918, RFC 4193)", "A domain of the world whose MX leads into our own network is a mistake or an attack. For a company's own mail hosts. Users can bring mail from there then, too.", "Write true or false.", ""},
		{"remote.allow_loopback", "Deliver to 127.0.0.1 and ::1 too", "A name that leads to ourselves is a loop. Only in demos and tests, on loopback. Users' imports may go there then, and to every port.", "Write true or false.", ""},
		{"remote.smart_hosts[].host", "Its name", "", `Write a host name: "relay.example.net".`, `"relay.example.net"`},
		{"remote.smart_hosts[].port", "Its port; 0: 465 for implicit TLS, else 587", "", "Write a port: 587.", "587"},
		{"remote.smart_hosts[].tls", "starttls (required, certificate checked), implicit, or none", "", `Write "starttls", "implicit" or "none".`, `"starttls"`},
		{"remote.smart_hosts[].user", "User name there; empty: without AUTH", "", "Write the name.", `"us"`},
		{"remote.smart_hosts[].password_file", "File whose first line is the password", "A settings file is read by more people than a secret should be.", "Write the path of a file.", `"/etc/posthouse/relay.password"`},
		{"remote.smart_hosts[].ca_file", "PEM file of the authorities that may have signed its certificate; empty: those that this machine trusts", "For a relay with an authority of its own.", "Write the path of a PEM file.", `"/etc/posthouse/relay-ca.pem"`},
		{"remote.smart_hosts[].sender_domains", "Only for senders of these domains; empty: for all", "", `Write a list: ["example.org"].`, `["example.org"]`},
		{"remote.smart_hosts[].after_tries", "Only after so many tries of the direct way; 0: at once", "", "Write a whole number.", "0"},
		{"route.across", "\"direct\": into the mailbox at once; \"mx\": through queue and MX lookup, like a stranger's mail", "Direct is faster and cannot fail. mx only in demos and tests, on loopback.", `Write "direct" or "mx".`, ""},
		{"submission.socket", "Unix socket where every user of this machine may hand in mail with `posthouse sendmail`", "Off: then only the house's own user and root may. For cron jobs of others: \"/run/posthouse/sendmail.sock\".", "Write the path of a socket.", ""},
		{"submission.hold", "Each message of an account waits so long in its Outbox before it is sent, and can be taken back until then; 0s: not at all", "Who wants it has it set: `posthouse account set USER --hold 30s`. A house where everybody waits surprises people.", "Write a duration of up to 1d: \"30s\".", ""},
		{"submission.sent_copy", "What an account sends is put into its Sent at once; a client that does so too makes no double", "Mail programs do it themselves, and a program that reports every hour would fill a mailbox that nobody reads.", "Write true or false.", ""},
		{"submission.schedule", "How far ahead a client may schedule a message (RFC 4865); 0s: not at all", "A greeting for a birthday, a bill for the end of the quarter.", "Write a duration of up to 365d: \"90d\".", ""},
		{"submission.trusted[].networks", "Addresses of the devices", "", `Write a list of networks: ["192.0.2.7/32"].`, `["192.0.2.7/32"]`},
		{"submission.trusted[].senders", "The only senders they may use", "", `Write a list of addresses: ["printer@example.org"].`, `["printer@example.org"]`},
	}
}

func scannerFields() []Field {
	return []Field{
		{"scanners[].kind", "rspamd or milter", "", `Write "rspamd" or "milter".`, `"rspamd"`},
		{"scanners[].name", "For log, metrics and stories; empty: its kind", "", "Write a short name.", `"rspamd"`},
		{"scanners[].address", "Where it listens: host:port, or unix:/path", "", `Write "host:port" or "unix:/path".`, `"127.0.0.1:11333"`},
		{"scanners[].on", "What it sees: inbound (mail from outside; alone when nothing is said), submission (mail of our users)", "", `Write a list of "inbound" and "submission".`, `["inbound"]`},
		{"scanners[].timeout", "How long one message waits for it, all in all; 10s when nothing is said", "rspamd gives itself 8 s.", `Write a duration: "10s".`, `"10s"`},
		{"scanners[].on_failure", "What becomes of a message when it gives no answer: accept (taken as without it; when nothing is said), tempfail (the sender comes again), junk", "Mail that comes late is better than none, and a dead helper must not stop the house.", `Write "accept", "tempfail" or "junk".`, `"accept"`},
		{"scanners[].obey", "What of rspamd's opinion is done at once: reject (what it would refuse is refused; when nothing is said), all (what it would mark goes to Junk, too), none; its score counts as points always", "Its score and ours together know more than one alone.", `Write "reject", "all" or "none".`, `"reject"`},
		{"scanners[].weight", "What a point of rspamd is worth in ours; 1.0 when nothing is said", "Both lines are at 6.", "Write a number: 1.0.", "1.0"},
		{"scanners[].max_size", "Larger messages are not shown to it; 8MiB when nothing is said", "Large messages are rarely junk, and cost most.", `Write a size: "8MiB".`, `"8MiB"`},
		{"scanners[].connections", "Messages shown at the same time, others wait for their turn; 16 when nothing is said", "More than its workers is of no use.", "Write a whole number.", "16"},
		{"scanners[].password_file", "File whose first line is rspamd's password", "A settings file is read by more people than a secret should be.", "Write the path of a file.", `"/etc/posthouse/rspamd.password"`},
		{"scanners[].tls", "Speak TLS to rspamd", "", "Write true or false.", "false"},
		{"scanners[].ca_file", "PEM file of the authorities that may have signed its certificate; empty: those that this machine trusts", "", "Write the path of a PEM file.", `"/etc/posthouse/rspamd-ca.pem"`},
	}
}

func restFields() []Field {
	const list = `Write a list of "host:port": ["127.0.0.1:9025"].`
	return []Field{
		{"imap.recently_deleted", "Show what is expunged and still kept as a mailbox \"Recently Deleted\", which is read-only; messages come back by COPY and MOVE", "Who deletes by mistake looks for it in his mail program.", "Write true or false.", ""},
		{"pop3.exclusive", "One POP3 session of an account at a time, the next gets [IN-USE]", "Sessions see a snapshot each; two do not disturb each other.", "Write true or false.", ""},
		{"pop3.login_delay", "Least time between two POP3 logins of an account (RFC 2449 section 6.5); 0s: none", "Mail programs that look every minute harm nobody here.", `Write a duration: "5m".`, ""},
		{"checks.dmarc", "What becomes of mail from outside that its author's domain disowns (DMARC): \"enforce\" does what the domain asks, \"quarantine\" files it as junk but never refuses, \"note\" only says so in the header, \"off\" asks nothing, not even SPF and DKIM, so that reports on mail that fails go to any sender: only behind a host that has looked", "Who publishes p=reject wants forged mail to be refused, and a refusal tells an honest sender.", `Write "enforce", "quarantine", "note" or "off".`, ""},
		{"checks.trusted_sealers", "Domains of lists and forwarders whose ARC seals are believed: what they found proven before they changed it is let through", "Empty: a seal says only who sealed.", `Write domains: ["lists.example.org"].`, ""},
		{"junk.enabled", "Judge mail from outside; without, everything goes to INBOX that its author's domain does not disown", "Without it a mailbox is of no use after some months.", "Write true or false.", ""},
		{"junk.doubtful", "Score from which a sender whom nobody knows has to send a message again (greylisting)", "Below, no honest sender waits; between this and the line, it costs him minutes instead of a place in Junk.", "Write a number: 4.0.", ""},
		{"junk.line", "Score from which a message goes to Junk; `posthouse spam set` gives an account another", "Two strong signals, or one and some weak ones; known correspondents never reach it.", "Write a number: 6.0.", ""},
		{"junk.refuse", "Score from which it is refused, when every recipient would", "Far above the line: its sender is told, and for some days its recipients can let him in (`posthouse spam refused`).", "Write a number: 15.0.", ""},
		{"junk.lists", "DNS lists to ask: names of presets, or \"NAME address|domain ZONE CODE=SCORE ...\"", "None: most lists forbid use without an agreement, or answer only resolvers of your own. docs/operations.md says which and how.", `Write a list: ["spamhaus_zen"].`, ""},
		{"junk.list_wait", "How long all answers of lists for one message are waited for", "What has not answered by then counts as nothing; the sender waits as long at the most.", `Write a duration: "3s".`, ""},
		{"junk.greylist_delay", "How soon a doubtful sender may come again; 0s: nobody has to", "Junk senders do not come again; mail servers do after 5 to 15 minutes.", `Write a duration: "4m".`, ""},
		{"junk.learn", "Learn from what users move into Junk and out of it, with any program", "Their own mail tells best what they want.", "Write true or false.", ""},
		{"junk.loopback", "Judge mail from 127.0.0.1 and ::1 too", "There are programs of this machine, and nothing of what proves a stranger can prove them. Only in tests.", "Write true or false.", ""},
		{"junk.refusals", "How long it is listed for an account who was refused or had to come again", "Who misses a message asks within days.", `Write a duration: "14d".`, ""},
		{"reports.dmarc", "Send reports on mail that came in, to domains that ask for them (DMARC, RFC 7489), once a day", "They see who sends as them, and what of their own mail is not proven.", "Write true or false.", ""},
		{"reports.organization", "Who the reports are from, in words; empty: hostname", "", `Write a name: "Example Ltd".`, ""},
		{"reports.contact", "Address that reports come from, and where their readers may ask; its domain must have a DKIM key; empty: the postmaster of auth.default_domain, else of the first domain with a key", "", `Write an address: "postmaster@example.org".`, ""},
		{"reports.letter", "Day on which the postmaster gets a letter on the last seven days: who sends as his domains, what fails, queue, disk, certificates, backups; off: never", "What goes wrong slowly is seen before it hurts.", `Write a day as "monday", or "off".`, ""},
		{"reports.letter_to", "Who gets it; empty: the postmaster", "", `Write an address: "admin@example.org".`, ""},
		{"lists.url", "Where members leave a list with one click (RFC 8058): the https address under which this house's /lists/leave/ is reached; a link is put behind it. Empty: members leave by mail", "", `Write an address: "https://mail.example.org/lists/leave/".`, ""},
		{"lists.bounce_days", "On how many days a member's mail comes back, within 40 days of each other, before it is paused and the list's owners are told", "A provider may have a bad day; an address that is gone stays so.", "Write a number of days.", ""},
		{"log.format", "text or json", "People read it first.", `Write "text" or "json".`, ""},
		{"log.level", "debug, info, warn or error", "Every message and every login, nothing of what happens inside.", `Write "debug", "info", "warn" or "error".`, ""},
		{"log.levels", "Parts of the house with a level of their own: " + strings.Join(logx.Parts(), ", "), "", `Write a list: ["smtp=debug", "imap=warn"].`, ""},
		{"metrics.listen", "Where to listen; empty: nowhere", "This machine only.", list, ""},
		{"metrics.cert", "Certificate for HTTPS, PEM; empty: HTTP", "A listener on loopback needs none.", "Write the path of a PEM file.", ""},
		{"metrics.key", "Its key, PEM", "", "Write the path of a PEM file.", ""},
		{"metrics.token_file", "File whose first line is the bearer token that /metrics asks for", "Needed, or HTTPS, when it listens for others.", "Write the path of a file.", ""},
	}
}

// remedyFor says how to write the setting; key may have numbers of list elements.
func remedyFor(key string) string {
	if f, ok := find(key); ok {
		return f.Form
	}
	return "`posthouse config example` prints every setting with its default."
}

func find(key string) (Field, bool) {
	plain := withoutNumbers(key)
	for _, f := range Fields() {
		if withoutNumbers(f.Key) == plain {
			return f, true
		}
	}
	return Field{}, false
}

// withoutNumbers brings "remote.smart_hosts.0.port" and "remote.smart_hosts[].port" into one form.
func withoutNumbers(key string) string {
	parts := strings.Split(strings.ReplaceAll(key, "[]", ""), ".")
	kept := parts[:0]
	for _, p := range parts {
		if _, err := strconv.Atoi(p); err != nil {
			kept = append(kept, p)
		}
	}
	return strings.Join(kept, ".")
}

// nearest proposes the setting that was probably meant.
func nearest(key string) string {
	best, distance := "", len(key)/2+1
	for _, f := range Fields() {
		name := withoutNumbers(f.Key)
		d := editDistance(withoutNumbers(key), name)
		d = min(d, 2+editDistance(key[strings.LastIndexByte(key, '.')+1:], name[strings.LastIndexByte(name, '.')+1:])) // in the wrong table
		if d < distance {
			best, distance = name, d
		}
	}
	if best == "" {
		return "Remove the line; `posthouse config example` prints every setting."
	}
	if strings.Contains(key, ".") && !strings.Contains(best, ".") {
		return "Did you mean " + best + "? It stands at the top, before the first [table]."
	}
	return "Did you mean " + best + "?"
}

// editDistance counts the letters to change, add or remove.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := before
			if a[i] != b[j] {
				cost++
			}
			before = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// defaults is every setting's default, as it is written in the file, by key.
func defaults() map[string]string { return values(Default()) }

// walk notes the leaves of v; a field of a repeated table has the values of all entries, with commas between, and none without entries.
func walk(key string, v reflect.Value, out map[string]string) {
	_, isText := v.Interface().(encoding.TextMarshaler)
	switch {
	case v.Kind() == reflect.Struct && !isText:
		for i := range v.NumField() {
			name := v.Type().Field(i).Tag.Get("toml")
			if key != "" {
				name = key + "." + name
			}
			walk(name, v.Field(i), out)
		}
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct && !v.Type().Elem().Implements(textType()):
		inner := make(map[string]string)
		walk(key+"[]", reflect.Zero(v.Type().Elem()), inner)
		for k := range inner {
			out[k] = ""
		}
		for i := range v.Len() {
			one := make(map[string]string)
			walk(key+"[]", v.Index(i), one)
			for k, text := range one {
				out[k] = strings.TrimPrefix(out[k]+", "+text, ", ")
			}
		}
	default:
		out[key] = written(v)
	}
}

func textType() reflect.Type { return reflect.TypeFor[encoding.TextMarshaler]() }

// written is a value as TOML.
func written(v reflect.Value) string {
	if v.Kind() == reflect.Slice {
		parts := make([]string, v.Len())
		for i := range parts {
			parts[i] = written(v.Index(i))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	if m, ok := v.Interface().(encoding.TextMarshaler); ok {
		text, err := m.MarshalText()
		if err != nil {
			return fmt.Sprintf("%q", err)
		}
		return strconv.Quote(string(text))
	}
	if v.Kind() == reflect.String {
		return strconv.Quote(v.String())
	}
	return fmt.Sprint(v.Interface())
}
