package admin

import (
	"time"

	"github.com/posthouse-mail/posthouse/auth"
)

// Words for a setting of an account.
const (
	AsHouse = "house" // as the house has it
	On      = "on"
	Off     = "off"
)

// maxHold is the longest time for which all of an account's messages may be held up.
const maxHold = 24 * time.Hour

// keeping sets what becomes of an account's own messages: c.Hold is a duration, Off or AsHouse, c.SentCopy On, Off or AsHouse.
func (c *Change) keeping(s *auth.AccountSettings) error {
	if c.Hold != nil {
		switch *c.Hold {
		case AsHouse:
			s.Hold = 0
		case Off:
			s.Hold = -1
		default:
			d, err := time.ParseDuration(*c.Hold)
			if err != nil || d < time.Second || d > maxHold {
				return invalid("hold is a duration from 1s to 24h, off, or house")
			}
			s.Hold = d
		}
	}
	if c.SentCopy != nil {
		n, ok := map[string]int8{AsHouse: 0, On: 1, Off: -1}[*c.SentCopy]
		if !ok {
			return invalid("sent copy is on, off, or house")
		}
		s.SentCopy = n
	}
	return nil
}

// holdOf and sentCopyOf are the words for what is set; empty: as the house has it.
func holdOf(s auth.AccountSettings) string {
	switch {
	case s.Hold > 0:
		return s.Hold.String()
	case s.Hold < 0:
		return Off
	}
	return ""
}

func sentCopyOf(s auth.AccountSettings) string {
	return map[int8]string{1: On, -1: Off}[s.SentCopy]
}
