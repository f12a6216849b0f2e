package adminui

import "github.com/posthouse-mail/posthouse/web/page"

// people is the pages about who has mail here.
func (m *room) people() map[string]page.Handler {
	return map[string]page.Handler{
		"GET /admin/{$}":    m.home,
		"POST /admin/look":  m.lookAtDomain,
		"GET /admin/audit":  m.audit,
		"POST /admin/audit": m.undo,

		"GET /admin/domains":            m.domains,
		"GET /admin/domains/add":        m.newDomain,
		"POST /admin/domains/add":       m.addDomain,
		"GET /admin/domain":             m.domain,
		"POST /admin/domain/look":       m.lookAtDomain,
		"POST /admin/domain/catch-all":  m.setCatchAll,
		"POST /admin/domain/quota":      m.setDomainQuota,
		"POST /admin/domain/limits":     m.setDomainLimits,
		"POST /admin/domain/key":        m.rotateKey,
		"GET /admin/domain/key/remove":  m.askRemoveKey,
		"POST /admin/domain/key/remove": m.removeKey,
		"GET /admin/domain/remove":      m.askRemoveDomain,
		"POST /admin/domain/remove":     m.removeDomain,

		"GET /admin/accounts":                m.accounts,
		"GET /admin/accounts/add":            m.newAccount,
		"POST /admin/accounts/add":           m.addAccount,
		"GET /admin/account":                 m.account,
		"POST /admin/account/person":         m.setPerson,
		"POST /admin/account/addresses":      m.setAddresses,
		"POST /admin/account/space":          m.setSpace,
		"GET /admin/account/access":          m.access,
		"POST /admin/account/password":       m.setAccountPassword,
		"POST /admin/account/app-password":   m.revoke("app-revoked", m.revokeApp),
		"POST /admin/account/passkey":        m.revoke("passkey-revoked", m.revokePasskey),
		"POST /admin/account/token":          m.revoke("token-revoked", m.revokeToken),
		"GET /admin/account/second-factor":   m.askResetFactor,
		"POST /admin/account/second-factor":  m.resetFactor,
		"POST /admin/account/sign-ins":       m.endSignIns,
		"GET /admin/account/sending":         m.sending,
		"POST /admin/account/sending/switch": m.switchSending,
		"POST /admin/account/sending/limits": m.setSendingLimits,
		"POST /admin/account/forwarding":     m.setForwarding,
		"GET /admin/account/remove":          m.askRemoveAccount,
		"POST /admin/account/remove":         m.removeAccount,

		"GET /admin/aliases":       m.aliases,
		"GET /admin/aliases/add":   m.newAlias,
		"POST /admin/aliases/add":  m.addAlias,
		"GET /admin/alias":         m.alias,
		"POST /admin/alias":        m.setAlias,
		"GET /admin/alias/remove":  m.askRemoveAlias,
		"POST /admin/alias/remove": m.removeAlias,

		"GET /admin/lists":         m.lists,
		"GET /admin/lists/add":     m.newList,
		"POST /admin/lists/add":    m.addList,
		"GET /admin/list":          m.list,
		"POST /admin/list":         m.setList,
		"POST /admin/list/members": m.setMembers,
		"GET /admin/list/remove":   m.askRemoveList,
		"POST /admin/list/remove":  m.removeList,

		"GET /admin/masks":        m.masks,
		"POST /admin/mask":        m.setMask,
		"GET /admin/mask/remove":  m.askRemoveMask,
		"POST /admin/mask/remove": m.removeMask,
	}
}

// peopleDone is what a page about people says after a change, by the word that page.Done names.
func peopleDone() map[string]string {
	return map[string]string{
		"looked":             "Everything was looked at just now.",
		"undone":             "It is as it was before.",
		"domain-added":       "The domain is here. Now publish the records below where its DNS is kept.",
		"domain-catch-all":   "Saved: it holds for the next message.",
		"domain-quota":       "Saved: it holds for the next message.",
		"domain-limits":      "Saved: it holds for the next message.",
		"domain-removed":     "The domain is removed. Take its records out of DNS too.",
		"key-made":           "The next key is made. Publish its record below: it signs as soon as the record is seen.",
		"key-removed":        "The key is removed.",
		"account-added":      "The account is there.",
		"account-saved":      "Saved.",
		"account-addresses":  "The addresses are changed.",
		"account-space":      "Saved: it holds for the next message.",
		"account-password":   "The new password is valid from now on.",
		"account-limits":     "Saved: it holds for the next message.",
		"account-forwarding": "Saved: it holds for the next message.",
		"account-removed":    "The account is removed.",
		"app-revoked":        "The app password is taken back. What was opened with it has ended.",
		"passkey-revoked":    "The passkey opens nothing here any more.",
		"token-revoked":      "The token is taken back. What used it has ended.",
		"factor-reset":       "There is no second factor any more.",
		"sign-ins-ended":     "Ended.",
		"sending-off":        "The account may not send any more; what waited in its Outbox is held.",
		"sending-on":         "The account may send again.",
		"alias-added":        "The alias is there.",
		"alias-saved":        "Saved: it holds for the next message.",
		"alias-removed":      "The alias is removed.",
		"list-added":         "The list is there. Now add its members.",
		"list-saved":         "Saved: it holds for the next message.",
		"list-members":       "The members are changed.",
		"list-removed":       "The list is removed.",
		"mask-on":            "Mail for it is taken again.",
		"mask-off":           "Mail for it is refused from now on.",
		"mask-removed":       "The address is removed for ever.",
	}
}

// machine is the pages about how the house does.
func (m *room) machine() map[string]page.Handler {
	return map[string]page.Handler{}
}

// machineDone is the same of pages about the machine; words begin with that of the page ("queue-retried").
func machineDone() map[string]string {
	return map[string]string{}
}
