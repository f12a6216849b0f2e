package adminui

import "github.com/posthouse-mail/posthouse/web/page"

// machine is the pages about how the house does.
func (m *room) machine() map[string]page.Handler {
	return map[string]page.Handler{
		"GET /admin/queue":               m.queue,
		"POST /admin/queue":              m.queueAction,
		"GET /admin/queue/entry":         m.queueEntry,
		"GET /admin/stories":             m.stories,
		"GET /admin/stories/one":         m.story,
		"GET /admin/junk":                m.junk,
		"GET /admin/junk/why":            m.why,
		"GET /admin/reports":             m.reports,
		"GET /admin/suppression":         m.suppression,
		"POST /admin/suppression":        m.addSuppression,
		"POST /admin/suppression/remove": m.removeSuppression,

		"GET /admin/system":            m.system,
		"GET /admin/backups":           m.backups,
		"POST /admin/backups":          m.startBackup,
		"POST /admin/backups/check":    m.checkBackup,
		"GET /admin/certificates":      m.certificates,
		"POST /admin/certificates":     m.renewCertificate,
		"GET /admin/log":               m.liveLog,
		"POST /admin/log":              m.setLogLevel,
		"GET /admin/log/lines":         m.logLines,
		"GET /admin/connections":       m.connections,
		"POST /admin/connections":      m.endConnection,
		"GET /admin/traces":            m.traces,
		"POST /admin/traces":           m.startTrace,
		"GET /admin/traces/one":        m.trace,
		"POST /admin/traces/end":       m.endTrace,
		"GET /admin/settings":          m.settings,
		"GET /admin/settings/file":     m.settingsFile,
		"POST /admin/settings/file":    m.setSettingsFile,
		"POST /admin/settings/restore": m.restoreSettings,
		"POST /admin/settings/reload":  m.reload,
	}
}

// machineDone is what a page about the machine says after a change, by the word that page.Done names.
func machineDone() map[string]string {
	return map[string]string{
		"queue-retried":       "They are tried now.",
		"queue-held":          "They are held until somebody lets them go.",
		"queue-released":      "They go on.",
		"queue-sent":          "They are sent now.",
		"queue-cancelled":     "They are given up; their senders are told.",
		"queue-dropped":       "They are given up; nobody is told.",
		"backup-started":      "A backup is being made.",
		"backup-checked":      "The backup is being read back.",
		"certificate-asked":   "The authority is asked for a new certificate. Look again in a minute.",
		"log-level":           "It is written like that from now on.",
		"connection-ended":    "The connection has ended.",
		"trace-ended":         "It has ended; what was said is kept until the house is restarted.",
		"settings-saved":      "The file is saved. It holds when it is read again; some of it after a restart.",
		"settings-restored":   "The former text is back in the file. It holds when it is read again.",
		"suppression-added":   "Nobody here writes to it any more.",
		"suppression-removed": "The next message to it is tried.",
		"webhook-tested":      "The program took the test.",
		"webhook-removed":     "The program is told nothing any more.",
	}
}
