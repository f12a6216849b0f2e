package archtest

// floors is the house from the ground up: a package imports packages of lower floors only, and those on one floor are strangers.
// A package joins this list with the capability that needs it.
var floors = [][]string{
	/* rock */ {"deploy", "internal/mail", "internal/vfs", "internal/metrics"},
	/* ground */ {"internal/wire", "internal/dialogue", "internal/dns", "internal/logx", "internal/handover", "store/blob"},
	/* shell */ {"internal/serve", "internal/cert", "internal/config", "imap/internal/syntax"},
	/* words */ {"internal/message", "smtp/tlspolicy", "auth/sasl", "auth/passkey", "auth/external", "auth/oidc", "store/kv"},
	/* checks */ {"smtp/mailauth", "smtp/scan"},
	/* keepers */ {"store", "auth", "store/story", "store/history", "smtp/tlsbook", "smtp/dmarcbook", "smtp/junkbook", "smtp/spam", "smtp/limit"},
	/* doors */ {"smtp", "imap", "pop3"},
	/* queue */ {"smtp/queue"},
	/* carriers */ {"smtp/local", "smtp/remote", "smtp/list"},
	/* desks */ {"smtp/inbound", "smtp/submission"},
	/* offices */ {"smtp/report", "smtp/learn", "imap/pull", "pop3/pull", "store/backup", "store/importer", "web/check", "web/hook"},
	/* verbs */ {"web/admin"},
	/* pages */ {"web/page"},
	/* rooms */ {"web/api", "web/accountui", "web/adminui", "web/autoconfig", "web/clients", "web/mtasts"},
	/* web */ {"web"},
	/* house */ {"cmd/posthouse/internal/daemon"},
	/* demo */ {"cmd/posthouse/internal/demo", "cmd/posthouse/internal/setup"},
	/* street */ {"cmd/posthouse"},
}

// street lists the packages that only tests and developers import; they may import any floor.
var street = []string{
	"internal/archtest", "internal/sbom", "internal/transcript", "internal/vfs/vfstest", "internal/dns/dnstest",
	"store/storetest", "auth/authtest", "auth/passkey/passkeytest", "auth/oidc/oidctest", "web/page/pagetest", "cmd/posthouse/internal/housetest", "cmd/posthouse/internal/interop", "cmd/posthouse/internal/desktop",
	"internal/bench", "internal/bench/load", "internal/bench/mailgen", "internal/bench/strangers", "internal/bench/junkmail", "internal/bench/house", "internal/bench/compare", "internal/bench/figures", "internal/bench/crash", "internal/bench/siege",
}

// wayDown is the house seen from its folders: an arrow may run from left to right, never back.
var wayDown = []string{"cmd", "web", "smtp imap pop3", "auth", "store", "internal", "deploy"}

// topLevel is all that may stand in the root of the repository.
var topLevel = []string{
	"cmd", "pop3", "smtp", "imap", "store", "auth", "deploy", "docs", "web", "internal",
	"go.mod", "go.sum", "Makefile", "README.md", "CHANGELOG.md", "LICENSE", ".ci", ".git", ".gitignore", "bin",
}

// Budgets: lines of a file, lines of a function, parameters of a function.
type budget struct{ file, function, parameters int }

var (
	productBudget = budget{file: 600, function: 80, parameters: 5}
	testBudget    = budget{file: 1000, function: 150, parameters: 5}
)

// emptyNames say nothing about what a package holds.
var emptyNames = []string{"util", "utils", "common", "helper", "helpers", "types", "base", "misc", "shared"}
