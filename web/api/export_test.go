package api

// Rated counts requests of as many tokens, each some time after the other, and returns how many of them are remembered.
func (s *Server) Rated(later func(), tokens uint32) int {
	x := newRates(s.o.Now)
	for token := range tokens {
		if done, err := x.begin(token); err == nil {
			done()
		}
		later()
	}
	return len(x.all)
}
