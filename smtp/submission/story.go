package submission

import (
	"strings"

	"github.com/posthouse-mail/posthouse/smtp/mailauth"
	"github.com/posthouse-mail/posthouse/store/story"
)

// telling begins the story of a message: who is logged in stands in it.
func (s *session) telling(id string) {
	s.Telling(id)
	if s.who.authed {
		s.Tale.Account, s.Tale.Owners = s.who.main.String(), []uint32{uint32(s.who.id)}
	}
}

// signed tells who signed the message.
func (s *session) signed(keys []mailauth.SigningKey) {
	names := make([]string, 0, len(keys))
	for _, k := range keys {
		names = append(names, k.Selector+"._domainkey."+k.Domain)
	}
	s.Learned(story.Event{At: s.d.o.Now(), Step: story.Signed, Text: strings.Join(names, ", ")})
}
