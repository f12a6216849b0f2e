package api

// finds is the lists by page, and what a domain's page is made of.
func (s *Server) finds() {
	h := s.o.House
	take(s, "POST /v1/find/accounts", seen|directory, "Shows a page of the accounts that are looked for.", h.FindAccounts)
	take(s, "POST /v1/find/aliases", seen|directory, "Shows a page of the aliases that are looked for.", h.FindAliases)
	take(s, "POST /v1/find/lists", seen|directory, "Shows a page of the mailing lists that are looked for.", h.FindLists)
	take(s, "POST /v1/find/masks", seen|directory, "Shows a page of the masked addresses of all accounts.", h.FindMasks)
	take(s, "POST /v1/find/domains", seen|directory, "Shows a page of the domains, with what is in them and what the last check found.", h.FindDomains)
	name(s, "GET /v1/domains/{name}/all", seen|directory, "Shows all that is known of a domain without asking DNS.", h.DomainDetail)
}
