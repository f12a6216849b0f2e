package mailauth

import (
	"errors"
	"fmt"
)

// Result is the outcome of one check, in the words of RFC 8601 section 2.7.
type Result string

const (
	None      Result = "none"      // nothing was claimed
	Pass      Result = "pass"      // the claim holds
	Fail      Result = "fail"      // it does not
	SoftFail  Result = "softfail"  // SPF: probably not
	Neutral   Result = "neutral"   // the claim says nothing
	Policy    Result = "policy"    // it holds, but in a way that we do not trust
	TempError Result = "temperror" // could not be found out now
	PermError Result = "permerror" // can never be found out: it is written wrong
)

// verdict is a Result other than Pass on its way up, with the reason for people.
type verdict struct {
	result Result
	reason string
}

func (v *verdict) Error() string { return v.reason }

func because(r Result, format string, args ...any) error {
	return &verdict{r, fmt.Sprintf(format, args...)}
}

// resultOf reads the Result out of an error; nil is Pass.
func resultOf(err error) (Result, string) {
	if err == nil {
		return Pass, ""
	}
	if v, ok := errors.AsType[*verdict](err); ok {
		return v.result, v.reason
	}
	return TempError, err.Error()
}
