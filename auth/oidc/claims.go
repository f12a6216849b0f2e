package oidc

import (
	"encoding/json"
	"fmt"
)

// claims is what a token says, by name.
type claims map[string]json.RawMessage

// text is a claim that is a text; empty: it is none.
func (c claims) text(name string) (v string) {
	if json.Unmarshal(c[name], &v) != nil {
		return ""
	}
	return v
}

// list is a claim that is a list of texts.
func (c claims) list(name string) (v []string) {
	if json.Unmarshal(c[name], &v) != nil {
		return nil
	}
	return v
}

// address is the claim that has the account's. email is what people may have typed themselves: it counts when the provider has seen that
// it is theirs (OpenID Connect Core 1.0 section 5.1). Some providers write that as a text.
func (c claims) address(name string) (string, error) {
	v := c.text(name)
	if v == "" {
		return "", fmt.Errorf("%w: there is no claim %q", ErrAddress, name)
	}
	var sure bool
	if name == "email" && (json.Unmarshal(c["email_verified"], &sure) != nil || !sure) && c.text("email_verified") != "true" {
		return "", fmt.Errorf("%w: %q is not verified", ErrAddress, clip(v))
	}
	return v, nil
}
