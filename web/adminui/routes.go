package adminui

import "github.com/posthouse-mail/posthouse/web/page"

// people is the pages about who has mail here.
func (m *room) people() map[string]page.Handler {
	return map[string]page.Handler{
		"GET /admin/{$}": m.home,
	}
}

// machine is the pages about how the house does.
func (m *room) machine() map[string]page.Handler {
	return map[string]page.Handler{}
}

// peopleDone is what a page about people says after a change, by the word that page.Done names.
func peopleDone() map[string]string {
	return map[string]string{}
}

// machineDone is the same of pages about the machine; words begin with that of the page ("queue-retried").
func machineDone() map[string]string {
	return map[string]string{}
}
