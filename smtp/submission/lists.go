package submission

import "github.com/posthouse-mail/posthouse/auth"

// listsRefuse refuses a message that is for lists only, and that one of them does not take, while its sender listens.
func (s *session) listsRefuse(header []byte) error {
	if s.d.o.Lists == nil || s.message.fromCount == 0 {
		return nil
	}
	var refused error
	for _, to := range s.To {
		r := to.Route
		if len(r.Lists) != 1 || len(r.Local)+len(r.Remote) > 0 || r.Lists[0].Role != auth.ListPost {
			return nil
		}
		if err := s.d.o.Lists.Refuse(s.ctx, r.Lists[0].List, header); err != nil && refused == nil {
			refused = err
		}
	}
	return refused
}
