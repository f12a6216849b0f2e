package logx

// The events of the house, one constant each, by the part that says them. An
// operator's rules match on these texts: they change only with a line in the changelog.

// The house as a whole.
const (
	HouseStarted     = "house started"         // version, hostname, data
	HouseOpen        = "doors open"            // listeners
	HouseStopping    = "house stopping"        // cause
	HouseStopped     = "house stopped"         // took
	HouseReloaded    = "settings reloaded"     // changed
	HouseReloadError = "settings kept"         // error: the new file is wrong, the old settings stay
	HouseNeedRestart = "setting needs restart" // key
	AdminVerb        = "operator's command"    // verb, what
	AdminError       = "operator's command failed"
	SpoolTaken       = "spooled message taken" // file, id
	SpoolError       = "spooled message refused"
)
