package adminui

import "strings"

// verbWords is what was done, for people, by the verb in the audit log; one that is not here is shown as it is.
func verbWords() map[string]string {
	return map[string]string{
		"account add": "Account made", "account set": "Account changed", "account passwd": "Password changed", "account remove": "Account removed",
		"account forward": "Forwarding changed", "account limits": "Sending limits changed", "account send off": "Kept from sending", "account send on": "May send again",
		"account recount": "Space counted anew", "app password add": "App password made", "app password remove": "App password taken back",
		"second factor start": "Second factor begun", "second factor codes": "Recovery codes made", "second factor remove": "Second factor ended",
		"passkey add": "Passkey added", "passkey remove": "Passkey removed", "token add": "Token made", "token remove": "Token taken back",
		"alias add": "Alias set", "alias remove": "Alias removed",
		"domain add": "Domain set", "domain remove": "Domain removed", "domain quota": "Space of a domain changed", "domain limits": "Sending limits of a domain changed",
		"domain dkim rotate": "Next key made", "domain dkim remove": "Key removed", "domain dkim active": "Key signs", "domain dkim forget": "Old key forgotten",
		"list add": "List made", "list settings": "List changed", "list remove": "List removed", "list leave": "Member left", "list members add": "Members added",
		"list members remove": "Members taken out", "list members pause": "Members paused", "list members resume": "Members resumed",
		"mask new": "Masked address made", "mask on": "Masked address switched on", "mask off": "Masked address switched off", "mask remove": "Masked address removed", "mask": "Note of a masked address changed",
		"restore": "Account brought back", "undelete": "Mail brought back", "import": "Mail brought in", "export": "Mail taken out",
		"suppression add": "Address not written to", "suppression remove": "Address written to again",
		"webhook add": "Webhook made", "webhook remove": "Webhook removed", "webhook rotate": "New secret of a webhook", "directory apply": "Directory made like a file",
		"settings change": "Settings file changed", "settings restore": "Settings file put back", "backup start": "Backup begun", "backup check": "Backup check begun",
		"queue retry": "Queue: tried at once", "queue hold": "Queue: held", "queue release": "Queue: let go", "queue cancel": "Queue: given up",
		"spam set": "Junk settings changed", "spam allow": "Sender let in", "spam block": "Sender shut out", "spam forget": "Sender forgotten", "spam train": "Junk learned anew",
		"sign-ins end": "Signed out", "log level": "Log level changed", "certificate renew": "Certificate renewed", "connection end": "Connection ended", "reload": "Settings read anew", "trace protocol": "Protocol traced",
	}
}

// fieldWords is what changed, for people, by the field's name in the audit log.
func fieldWords(name string) string {
	if word, ok := map[string]string{
		"addresses": "addresses", "doors": "may use", "disabled": "closed", "operator": "runs the house", "web_only": "app passwords only", "forward": "goes on to", "keep": "keeps a copy",
		"hold": "waits in the Outbox", "sent_copy": "copies into Sent", "send_off": "kept from sending", "quota_bytes": "space (octets)", "quota_messages": "messages", "limits": "sending limits",
		"alias_of": "another name of", "catch_all": "catch-all", "send_as": "may send as it", "post": "who may post", "posters": "may post besides", "replies": "answers go to", "tag": "in front of subjects",
		"max_size": "largest message (octets)", "paused": "without mail", "login": "user name",
	}[name]; ok {
		return word
	}
	return strings.ReplaceAll(name, "_", " ")
}

// doorWord is how somebody came, by the door in the audit log.
func doorWord(door string) string {
	return map[string]string{"web": "on these pages", "socket": "by a command", "token": "by a token", "command": "by a command", "link": "by a link in mail", "house": "by itself"}[door]
}
