package logx

// The events of the house, one constant each, by the part that says them. An
// operator's rules match on these texts: they change only with a line in the changelog.

// The house as a whole.
const (
	HouseStarted      = "house started"                  // version, hostname, data
	HouseOpen         = "doors open"                     // listeners
	HouseStopping     = "house stopping"                 // cause
	HouseStopped      = "house stopped"                  // took
	HouseReloaded     = "settings reloaded"              // changed
	HouseReloadError  = "settings kept"                  // error: the new file is wrong, the old settings stay
	HouseNeedRestart  = "setting needs restart"          // key
	HouseWebError     = "http listener ended"            // listener, error
	WebPageFailed     = "page failed"                    // path, method, error
	WebForeign        = "request of another site"        // path, origin
	WebProviderFailed = "sign-in by the provider failed" // issuer, remote, error
	HouseSocketLeft   = "socket not wanted"              // address: the settings do not have it, it was closed
	HouseNotAgain     = "restart refused"                // error: the house runs on as it is
	HouseNotifyError  = "service manager not told"       // state, error
	AdminVerb         = "operator's command"             // verb, what
	AdminError        = "operator's command failed"
	SpoolTaken        = "spooled message taken" // file, id
	SpoolError        = "spooled message refused"
)

// Certificates.
const (
	CertLoaded   = "certificate loaded"   // file, names, until
	CertObtained = "certificate obtained" // name, renewed
	CertRefused  = "certificate refused"  // name, error
	CertStep     = "certificate step"     // step, and what certmagic says beside it
	CertKept     = "certificate kept"     // file, error: the changed file is of no use, the old one stays
	CertExpires  = "certificate expiring" // file, until
)

// Logins.
const (
	LoginOK       = "login"                 // door, account, user, mechanism
	FactorRefused = "second factor refused" // account, reason
	LoginRefused  = "login refused"         // door, user, remote, reason
)

// POP3.
const (
	POP3Session = "pop3 session" // account, messages, sent, deleted, took
	POP3Error   = "pop3 error"   // command, error
)

// IMAP.
const (
	IMAPError  = "imap error"             // command, error: a client was told SERVERBUG
	IMAPClosed = "imap connection closed" // cause or error
	IMAPClient = "imap client"            // name, version: what ID told
)

// The store.
const (
	StorePurgeFailed    = "purge of deleted mailboxes failed"    // error
	StoreGivenUp        = "expunged mail given up"               // account, messages, bytes
	StoreOrphan         = "message of a removed account dropped" // account, lsn
	StoreMigrating      = "data folder is being migrated"        // from, to, what
	StoreMigrated       = "data folder migrated"                 // format; the way back is kept for a week
	StoreBeforeDropped  = "way back to the old format given up"  // format
	StoreBeforeFailed   = "way back to the old format failed"    // format or segment, error
	StoreReplayed       = "log replayed"                         // records
	StoreStray          = "unused segments removed"              // segments
	StoreAbandoned      = "log segment abandoned"                // segment, durable, error: its batch was refused, the next one begins a new segment
	StoreAside          = "record set aside"                     // lsn, error
	DiskLow             = "disk nearly full"                     // free, size, below: octets; kept mail is given up, the postmaster is told
	DiskStop            = "disk full, new mail is refused"       // free, size, below
	DiskBack            = "disk has room again"                  // free, size
	DiskError           = "disk not looked at"                   // error
	NoticeSent          = "notice sent"                          // to, subject
	NoticeError         = "notice not sent"                      // to, subject, error
	StoreReserve        = "disk full, reserve released"          // no attributes
	StoreFull           = "disk full, tables wait"               // error
	StoreCompacted      = "segments compacted"                   // segments, freed, moved, copied, took: octets but for segments and the bodies moved
	StoreCompactFailed  = "compaction failed"                    // segment, error: it is tried again
	StoreCompactDamaged = "segment cannot be compacted"          // segment, error: it stays; posthouse check store says whose mail is damaged
	StoreEnded          = "committer ended"                      // records, error: restart; deliveries are in the log
	StoreDay            = "daily copy of the tables"             // octets, applied, seconds; or error: it was not made
	StoreJournal        = "journal not written"                  // error: repair would miss the last changes
	StoreDirectory      = "directory record not written"         // error
	StoreBody           = "stored message does not read back"    // segment, offset, error: posthouse check store --deep names it
	DirectoryBroken     = "directory row cannot be read"         // error: its account or name is missing, the others work
	StoreDamaged        = "message is damaged"                   // account, mailbox, uid, place: posthouse check store says more
	StoreDamage         = "damage in the log passed over"        // segment, from, to, error: mail that came in there is lost; the file is kept
	StorePanic          = "store operation panicked"             // panic, stack
	StoreRebuilt        = "tables rebuilt"                       // reason, before, after: octets
	SideDamaged         = "side tables set aside"                // file, kept, error: stories, reputation and indexes begin anew; no mail is concerned
	SideFailed          = "side tables not written"              // file, changes, error
	StoryForget         = "old stories not forgotten"            // error
	HistoryFailed       = "history not noted"                    // error: operators' charts lack some minutes
)

// The queue and its carriers.
const (
	MailTaken       = "mail taken"                   // id, from, mailboxes, leaving, size
	MailScheduled   = "mail scheduled"               // id, from, recipients, size, until
	MailUncopied    = "no room for the copy in Sent" // id, account
	MailUnproven    = "mail not proven"              // connection, author, from, action, reason
	MailJunk        = "mail not taken as junk"       // connection, from, author, action
	LearnFailed     = "junk not learned"             // account, error: it is tried again
	KeysUnsettled   = "DKIM keys not looked after"   // error
	ScanFailed      = "helper gave no answer"        // helper, id, error, on_failure
	ScanDown        = "helper is down"               // helper, address, error, on_failure: it is asked again now and then
	ScanBack        = "helper is back"               // helper
	ScanRefused     = "mail not taken by helper"     // connection or id, helper, from, action, code, text
	MailUnsigned    = "mail not signed"              // id, domain, error
	QueueDone       = "delivered"                    // id, number, from, to, status, text, remote, detail, attempt
	QueueLater      = "delivery deferred"            // the same, due
	QueueNever      = "delivery failed"              // the same, reported: the sender is told
	QueueUnreported = "sender not told"              // id, number, from: nothing proves that it sent the message
	QueueReport     = "delivery report sent"         // id, number, report, to, kind
	QueueCancelled  = "queue entry cancelled"        // number, bounce
	QueueTakenBack  = "message taken back"           // id, account, entries: by its sender, from the Outbox
	QueueReleased   = "message released"             // id, account, entries: its time has come
	QueueUnsettled  = "queue result not stored"      // id, number, error: it is tried again
	QueueBroken     = "queue entry unreadable"       // id, number or key, error
	QueuePanic      = "delivery panicked"            // panic, stack
	RemoteNameless  = "remote dislikes our ipv6"     // host, address, reply: the reverse name of our address; IPv4 is used for an hour
	RemoteFell      = "remote tls downgrade"         // host, address, domain, until, waits: it offered verified TLS for weeks, and offers none now
	TLSReportSent   = "tls report sent"              // domain, to
	TLSReportFailed = "tls report failed"            // domain, error: it is tried again for three days
	TLSBookFailed   = "tls memory failed"            // key, error: side.db could not be read or written; mail goes on
	RemoteNoTLS     = "remote tls failed"            // host, address, error: opportunistic, the message goes in clear
	RemoteLogin     = "smart host login failed"      // host, user, error
)

// Connections.
const (
	AcceptFailed = "accept failed"        // service, error, skipped
	ConnRefused  = "connection refused"   // remote, reason, error, skipped
	ConnPanic    = "connection panicked"  // panic, stack
	TLSFailed    = "tls handshake failed" // remote, error
)

// SMTP and its desks.
const (
	SMTPError     = "smtp internal error"    // command, error: the client was told 451 4.3.0
	SMTPClosed    = "smtp connection closed" // remote, reason, commands, messages
	SMTPTLS       = "smtp tls refused"       // remote, error
	MailRefused   = "mail refused"           // from, remote, code, reason
	RcptRefused   = "recipient refused"      // from, to, remote, code, reason
	SendLimited   = "sending limited"        // who, limit, used, most, opens
	SendSuspended = "sending suspended"      // account, recipients, network: it looks as if somebody else had the password
	LimitsFailed  = "limits failed"          // error: side.db could not be read; mail goes on
	Suppressed    = "address suppressed"     // address, status, text, until
	Unsuppressed  = "address usable again"   // address, reason
	MailSubmitted = "mail submitted"         // id, account, from, recipients, size
	MailReceived  = "mail received"          // id, from, recipients, size
)

// Lists.
const (
	ListPosted  = "list posted"         // id, list, members, size
	ListRefused = "list refused"        // id, list, reason
	ListBounce  = "list bounce counted" // list, member, days, status, paused
	ListLeft    = "list left"           // list, member
	ListFailed  = "list failed"         // id, list, error: it is tried again, or a letter was not written
)

// Backups.
const (
	BackupBegun   = "backup begun"      // to
	BackupDone    = "backup done"       // to, generation, segments, copied, written, verified, problems, took
	BackupFailed  = "backup failed"     // to, problems, error: the older ones are as they were
	BackupDropped = "backup removed"    // generation: the settings keep so many
	BackupTorn    = "backup unreadable" // generation: its manifest cannot be read; nothing of it is removed
	BackupEpoch   = "new epoch begun"   // the folder was restored or repaired: every mailbox has a new UIDVALIDITY
)

// Mail that is brought from another server.
const (
	PullWaits = "import waits" // account, server, wait, error: it goes on by itself
)

// Reports on mail, sent and received.
const (
	DMARCReportSent   = "dmarc report sent"    // domain, to, messages
	DMARCReportFailed = "dmarc report failed"  // domain, error: it is tried again for four days
	DMARCReportLeft   = "dmarc report left"    // domain, address, reason: it does not go there
	DMARCBookFailed   = "report tables failed" // what, error: side.db could not be read or written; mail goes on
	ReportKept        = "report kept"          // id, kind, domain, from, report
	ReportRefused     = "report refused"       // id, sender, reason: the mail is in its mailbox, nothing was counted of it
	LetterFailed      = "letter failed"        // error: it is tried again
	ReportsForgotten  = "reports forgotten"    // reports: they were too old, or too many
)

// Junk: the judge.
const (
	SpamFailed    = "junk tables unreadable"      // account, error: mail is judged without what the account taught
	SpamListOff   = "block list off"              // list, zone, reason: it is not asked until it is in order again
	SpamListWrong = "block list answer not known" // list, asked, answer: it is no listing
)

// What the house sees of itself from outside.
const (
	CheckFound  = "check found a mistake" // check, domain, found, advice: again each day while it is there
	CheckFailed = "check failed"          // error: nobody could look
)

// Webhooks.
const (
	HookTried   = "webhook not taken" // hook, event, attempt, error: it is tried again
	HookGivenUp = "webhook given up"  // hook, event, type, attempts, error
	HookFailed  = "webhooks stopped"  // error: the tables cannot be read; they go on in a minute
)
