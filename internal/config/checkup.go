package config

// Checkup is how the house looks at itself from outside (posthouse check).
type Checkup struct {
	Every  Duration `toml:"every"` // 0: only when asked
	Lists  []string `toml:"lists"`
	Probes []string `toml:"probes"`
}

func checkupFields() []Field {
	return []Field{
		{"check.every", "How often the house does by itself what posthouse check does, for the metrics and the log; 0s: only when asked", "DNS, a certificate or the address's reputation may change while nobody looks.", `Write a duration: "1d", "0s".`, ""},
		{"check.lists", "Block lists that are asked whether they have this host's own address", "Large receivers ask them too. They are asked nothing about anybody's mail.", `Write a list of names: ["spamhaus_zen", "spamcop", "psbl", "barracuda"].`, ""},
		{"check.probes", "Domains whose mail hosts are connected to, to see whether port 25 is open on the way out; nothing is sent", "Everybody writes to them. None: it is not looked at.", `Write a list of domains: ["gmail.com"].`, ""},
	}
}
