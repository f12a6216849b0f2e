// Package config turns the one settings file into one checked, immutable value.
//
// Config is the value, Default what it is without a file, Load and Parse make it.
// A mistake is an *Error with file, line, column, the line itself and what to
// do. fields.go describes every setting once; the example file and
// docs/config.md are made of that table, and a test compares it with the types.
package config

import (
	"net/netip"
	"time"
)

// Config is the settings of a house. It is never changed after Load; a reload makes another.
type Config struct {
	Hostname   string     `toml:"hostname"`
	Data       string     `toml:"data"`
	Listen     Listen     `toml:"listen"`
	TLS        TLS        `toml:"tls"`
	ACME       ACME       `toml:"acme"`
	DNS        DNS        `toml:"dns"`
	Limits     Limits     `toml:"limits"`
	Store      Store      `toml:"store"`
	Backup     Backup     `toml:"backup"`
	Story      Story      `toml:"story"`
	Audit      Audit      `toml:"audit"`
	Quota      Quota      `toml:"quota"`
	Queue      Queue      `toml:"queue"`
	Remote     Remote     `toml:"remote"`
	Route      Route      `toml:"route"`
	Submission Submission `toml:"submission"`
	Sending    Sending    `toml:"sending"`
	Auth       Auth       `toml:"auth"`
	IMAP       IMAP       `toml:"imap"`
	POP3       POP3       `toml:"pop3"`
	Checks     Checks     `toml:"checks"`
	Reports    Reports    `toml:"reports"`
	Lists      Lists      `toml:"lists"`
	Junk       Junk       `toml:"junk"`
	Scanners   []Scanner  `toml:"scanners"`
	Web        Web        `toml:"web"`
	Checkup    Checkup    `toml:"check"`
	Log        Log        `toml:"log"`
	Metrics    Metrics    `toml:"metrics"`
}

// Listen is where the doors are. An empty list closes a door.
type Listen struct {
	SMTP        []Address      `toml:"smtp"`
	Submission  []Address      `toml:"submission"`
	Submissions []Address      `toml:"submissions"`
	POP3        []Address      `toml:"pop3"`
	POP3S       []Address      `toml:"pop3s"`
	IMAP        []Address      `toml:"imap"`
	IMAPS       []Address      `toml:"imaps"`
	HTTP        []Address      `toml:"http"`
	HTTPGroup   string         `toml:"http_group"`
	HTTPS       []Address      `toml:"https"`
	LMTP        string         `toml:"lmtp"`
	ProxyFrom   []netip.Prefix `toml:"proxy_from"`
}

// TLS is the certificates.
type TLS struct {
	Certificates []Certificate `toml:"certificates"`
	Clients      Clients       `toml:"clients"`
}

// Certificate is a pair of PEM files.
type Certificate struct {
	Cert string `toml:"cert"`
	Key  string `toml:"key"`
}

// DNS is whom we ask.
type DNS struct {
	Servers []netip.AddrPort `toml:"servers"`
	Timeout Duration         `toml:"timeout"`
	TrustAD string           `toml:"trust_ad"` // TrustAD*
}

// The values of DNS.TrustAD.
const (
	TrustADLoopback = "loopback"
	TrustADAlways   = "always"
	TrustADNever    = "never"
)

// Limits bound what one client and all of them together may use.
type Limits struct {
	MessageSize    Size     `toml:"message_size"`
	Recipients     int      `toml:"recipients"`
	Connections    int      `toml:"connections"`
	PerAddress     int      `toml:"connections_per_address"`
	SMTP           int      `toml:"smtp_connections"`
	SMTPCommand    Duration `toml:"smtp_command_wait"`
	SMTPData       Duration `toml:"smtp_data_wait"`
	POP3Idle       Duration `toml:"pop3_idle"`
	IMAPIdle       Duration `toml:"imap_idle"`
	ShutdownFinish Duration `toml:"shutdown_wait"`
}

// Story is how long it is kept what happened to each message.
type Story struct {
	Keep Duration `toml:"keep"` // 0: nothing is kept
	Size Size     `toml:"size"`
}

// Audit is how long it is kept who changed what.
type Audit struct {
	Keep Duration `toml:"keep"` // 0: nothing is kept
}

// Quota is what a new account gets.
type Quota struct {
	Bytes    Size `toml:"bytes"`
	Messages int  `toml:"messages"`
	Warn     int  `toml:"warn"` // percent
}

// Queue is how long and how often we try.
type Queue struct {
	Lifetime    Duration   `toml:"lifetime"`
	Retry       []Duration `toml:"retry"`
	DelayNotice Duration   `toml:"delay_notice"`
	PerHost     int        `toml:"connections_per_host"`
	Connections int        `toml:"connections"`
}

// Remote is how we speak to other hosts.
type Remote struct {
	Port          int         `toml:"port"`
	IPv6          string      `toml:"ipv6"` // remote.IPv6*
	IPv6First     bool        `toml:"ipv6_first"`
	TLSMemory     string      `toml:"tls_memory"` // TLSMemory*
	TLSReports    bool        `toml:"tls_reports"`
	AllowPrivate  bool        `toml:"allow_private"`
	AllowLoopback bool        `toml:"allow_loopback"`
	SmartHosts    []SmartHost `toml:"smart_hosts"`
}

// The values of Remote.TLSMemory and Remote.IPv6.
const (
	TLSMemoryTell   = "tell"
	TLSMemoryRefuse = "refuse"
	TLSMemoryOff    = "off"

	IPv6Checked = "checked"
	IPv6Always  = "always"
	IPv6Never   = "never"
)

// SmartHost is a host that takes our mail and carries it on.
type SmartHost struct {
	Host         string   `toml:"host"`
	Port         int      `toml:"port"`
	TLS          string   `toml:"tls"` // SmartTLS*
	User         string   `toml:"user"`
	PasswordFile string   `toml:"password_file"`
	CAFile       string   `toml:"ca_file"`
	Senders      []Domain `toml:"sender_domains"`
	After        int      `toml:"after_tries"`
}

// The values of SmartHost.TLS.
const (
	SmartTLSImplicit = "implicit"
	SmartTLSStart    = "starttls"
	SmartTLSNone     = "none"
)

// Route is the way between two domains of this house.
type Route struct {
	Across string `toml:"across"` // AcrossDirect or AcrossMX
}

// The values of Route.Across.
const (
	AcrossDirect = "direct"
	AcrossMX     = "mx"
)

// Submission is who may hand in mail.
type Submission struct {
	Socket   string    `toml:"socket"`
	Hold     Duration  `toml:"hold"`
	SentCopy bool      `toml:"sent_copy"`
	Schedule Duration  `toml:"schedule"`
	Trusted  []Trusted `toml:"trusted"`
}

// Trusted is devices that may submit without a password, as the listed senders only.
type Trusted struct {
	Networks []netip.Prefix `toml:"networks"`
	Senders  []Mailbox      `toml:"senders"`
}

// Auth is how users prove who they are.
type Auth struct {
	DefaultDomain Domain  `toml:"default_domain"`
	Separator     string  `toml:"separator"`
	ClearLoopback bool    `toml:"clear_loopback"`
	SCRAM         bool    `toml:"scram"`
	Postmaster    Mailbox `toml:"postmaster"`

	External External `toml:"external"`
}

// Store is how mail is kept.
type Store struct {
	Compress    bool     `toml:"compress"`
	KeepDeleted Duration `toml:"keep_deleted"`
	DiskLow     Size     `toml:"disk_low"`
	DiskStop    Size     `toml:"disk_stop"`

	SegmentSize  Size     `toml:"segment_size"`
	CompactEvery Duration `toml:"compact_every"`
	CompactBelow int      `toml:"compact_below"` // percent
	CompactShare int      `toml:"compact_share"` // percent
}

// Backup is where copies of the house go, and when.
type Backup struct {
	To             string   `toml:"to"`
	At             string   `toml:"at"`
	Every          Duration `toml:"every"`
	Recipients     []string `toml:"recipients"`
	PassphraseFile string   `toml:"passphrase_file"`
	IdentityFile   string   `toml:"identity_file"`
	KeepDaily      int      `toml:"keep_daily"`
	KeepWeekly     int      `toml:"keep_weekly"`
	KeepMonthly    int      `toml:"keep_monthly"`
	Share          int      `toml:"share"` // percent
}

// IMAP is what the IMAP door shows beside mailboxes.
type IMAP struct {
	RecentlyDeleted bool `toml:"recently_deleted"`
}

// Scanner is a program that looks at messages; the zero value of a number, time or choice means its default.
type Scanner struct {
	Kind         string   `toml:"kind"` // Scanner*
	Name         string   `toml:"name"`
	Address      string   `toml:"address"`
	On           []string `toml:"on"` // Scan*
	Timeout      Duration `toml:"timeout"`
	OnFailure    string   `toml:"on_failure"` // OnFailure*
	Obey         string   `toml:"obey"`       // Obey*
	Weight       float64  `toml:"weight"`
	MaxSize      Size     `toml:"max_size"`
	Connections  int      `toml:"connections"`
	PasswordFile string   `toml:"password_file"`
	TLS          bool     `toml:"tls"`
	CAFile       string   `toml:"ca_file"`
}

// The values of Scanner.Kind, On, OnFailure and Obey.
const (
	ScannerRspamd = "rspamd"
	ScannerMilter = "milter"

	ScanInbound    = "inbound"
	ScanSubmission = "submission"

	OnFailureAccept   = "accept"
	OnFailureTempfail = "tempfail"
	OnFailureJunk     = "junk"

	ObeyReject = "reject"
	ObeyAll    = "all"
	ObeyNone   = "none"
)

// Checks is what mail from outside must prove.
type Checks struct {
	DMARC          string   `toml:"dmarc"` // DMARC*
	TrustedSealers []Domain `toml:"trusted_sealers"`
}

// The values of Checks.DMARC.
const (
	DMARCEnforce    = "enforce"
	DMARCQuarantine = "quarantine"
	DMARCNote       = "note"
	DMARCOff        = "off"
)

// Junk is how mail from outside is judged. The scores are those of the message's signals together.
type Junk struct {
	Enabled       bool     `toml:"enabled"`
	Doubtful      float64  `toml:"doubtful"`
	Line          float64  `toml:"line"`
	Refuse        float64  `toml:"refuse"`
	Lists         []string `toml:"lists"`
	ListWait      Duration `toml:"list_wait"`
	GreylistDelay Duration `toml:"greylist_delay"` // 0: nobody has to come again
	Learn         bool     `toml:"learn"`
	Loopback      bool     `toml:"loopback"`
	Refusals      Duration `toml:"refusals"`
}

// Reports is what other domains and the postmaster are told.
type Reports struct {
	DMARC        bool    `toml:"dmarc"`
	Organization string  `toml:"organization"`
	Contact      Mailbox `toml:"contact"`
	Letter       string  `toml:"letter"` // a day of the week in English, or LetterOff
	LetterTo     Mailbox `toml:"letter_to"`
}

// LetterOff is the value of Reports.Letter for no letter.
const LetterOff = "off"

// LetterDays are the other ones; the first is time.Sunday.
func LetterDays() []string {
	return []string{"sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"}
}

// POP3 is what the POP3 door does differently where its users need it.
type POP3 struct {
	Exclusive  bool     `toml:"exclusive"`
	LoginDelay Duration `toml:"login_delay"`
}

// Log is what is written to stderr.
type Log struct {
	Format string   `toml:"format"`
	Level  string   `toml:"level"`
	Levels []string `toml:"levels"` // part=level
}

// Metrics is the listener for /metrics, /healthz and /readyz.
type Metrics struct {
	Listen    []Address `toml:"listen"`
	Cert      string    `toml:"cert"`
	Key       string    `toml:"key"`
	TokenFile string    `toml:"token_file"`
}

// Default is the settings where the file says nothing: they suit one small VPS.
func Default() *Config {
	return &Config{
		Data: "/var/lib/posthouse",
		Listen: Listen{
			SMTP:        []Address{{":25"}},
			Submission:  []Address{{":587"}, {":2525"}},
			Submissions: []Address{{":465"}},
			POP3:        []Address{{":110"}},
			POP3S:       []Address{{":995"}},
			IMAP:        []Address{{":143"}},
			IMAPS:       []Address{{":993"}},
			HTTP:        []Address{},
			HTTPS:       []Address{},
		},
		TLS:  TLS{Clients: Clients{Services: []string{}, Names: []Domain{}, Refused: []string{}}},
		ACME: ACME{DNSHash: dnsHashes[0], DNSWait: Duration{20 * time.Second}},
		DNS:  DNS{Timeout: Duration{5 * time.Second}, TrustAD: TrustADLoopback},
		Limits: Limits{
			MessageSize:    50 << 20,
			Recipients:     1000,
			Connections:    4000,
			PerAddress:     100,
			SMTP:           500,
			SMTPCommand:    Duration{5 * time.Minute},
			SMTPData:       Duration{3 * time.Minute},
			POP3Idle:       Duration{10 * time.Minute},
			IMAPIdle:       Duration{30 * time.Minute},
			ShutdownFinish: Duration{30 * time.Second},
		},
		Quota: Quota{Bytes: 5 << 30, Warn: 90}, Sending: defaultSending(),
		Queue: Queue{
			Lifetime: Duration{5 * 24 * time.Hour},
			Retry: []Duration{
				Duration{5 * time.Minute}, Duration{10 * time.Minute}, Duration{30 * time.Minute},
				Duration{time.Hour}, Duration{2 * time.Hour}, Duration{4 * time.Hour},
			},
			DelayNotice: Duration{4 * time.Hour},
			PerHost:     10,
			Connections: 100,
		},
		Store: Store{Compress: true, KeepDeleted: Duration{30 * 24 * time.Hour}, DiskLow: 1 << 30, DiskStop: 256 << 20,
			SegmentSize: 64 << 20, CompactEvery: Duration{15 * time.Minute}, CompactBelow: 60, CompactShare: 10},
		Backup:     Backup{At: "03:00", Recipients: []string{}, KeepDaily: 7, KeepWeekly: 4, KeepMonthly: 6, Share: 20},
		Story:      Story{Keep: Duration{14 * 24 * time.Hour}, Size: 64 << 20},
		Audit:      Audit{Keep: Duration{365 * 24 * time.Hour}},
		Remote:     Remote{Port: 25, IPv6: IPv6Checked, TLSMemory: TLSMemoryTell, TLSReports: true},
		IMAP:       IMAP{RecentlyDeleted: true},
		Route:      Route{Across: AcrossDirect},
		Submission: Submission{Schedule: Duration{90 * 24 * time.Hour}},
		Auth:       Auth{Separator: "+", External: External{Timeout: Duration{10 * time.Second}, Connections: 8, Remember: Duration{5 * time.Minute}, Domains: []Domain{}, Accounts: []Mailbox{}, Except: []Mailbox{}}},
		Checks:     Checks{DMARC: DMARCEnforce, TrustedSealers: []Domain{}},
		Reports:    Reports{DMARC: true, Letter: "monday"},
		Lists:      Lists{BounceDays: 5},
		Junk: Junk{Enabled: true, Doubtful: 4, Line: 6, Refuse: 15, Lists: []string{}, ListWait: Duration{3 * time.Second},
			GreylistDelay: Duration{4 * time.Minute}, Learn: true, Refusals: Duration{14 * 24 * time.Hour}},
		Checkup: Checkup{Every: Duration{24 * time.Hour}, Lists: []string{"spamhaus_zen", "spamcop", "psbl", "barracuda"}, Probes: []string{"gmail.com", "hotmail.com", "icloud.com"}},
		Web:     Web{Redirect: true, Proxies: []netip.Prefix{}, AdminFrom: []netip.Prefix{}, APIFrom: []netip.Prefix{}, SignIn: Duration{14 * 24 * time.Hour}, OIDC: OIDC{Button: "Sign in with your organisation", Scopes: []string{"openid", "email"}, Claim: "email", ACR: []string{}, AMR: []string{}, Password: true}},
		Log:     Log{Format: "text", Level: "info", Levels: []string{}},
		Metrics: Metrics{Listen: []Address{{"127.0.0.1:9025"}}},
	}
}
