package admin

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
)

// ErrChanged is what an Error of class Conflict wraps when the caller had seen another version than the one that is there.
var ErrChanged = errors.New("admin: changed meanwhile")

// NotThere is the version of what is not there: who adds something with it as If does not change what another has added meanwhile.
const NotThere = "none"

// version names a record as it stands: two readers that see the same one can tell whether somebody changed it in between. It is made of
// what can be changed and not of what counts by itself (usage, last use), or every message that arrives would be a conflict.
func version(parts ...any) string {
	sum := sha256.New()
	for _, part := range parts {
		text, err := json.Marshal(part)
		if err != nil { // plain values of ours always can
			text = []byte(err.Error())
		}
		_, _ = sum.Write(append(text, '\n')) // a hash never fails
	}
	return hex.EncodeToString(sum.Sum(nil)[:8])
}

// unchanged refuses a change of something that is not as its caller has seen it. Empty: he has not looked, and means it anyway.
func unchanged(what, seen, is string) error {
	if seen == "" || seen == is {
		return nil
	}
	if seen == NotThere {
		return &Error{Conflict, what + " is here already: nothing was done; look at it as it is now", ErrChanged}
	}
	return &Error{Conflict, what + " was changed by somebody else meanwhile: nothing was done; look at it as it is now", ErrChanged}
}
