package demo

import (
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/posthouse-mail/posthouse/web/admin"
)

// Who runs the demo from the web pages, and the secret of his authenticator: as well known as the password, and as good for nothing else.
const (
	Operator = "operator@" + alpha
	Secret   = "POSTHOUSEPOSTHOUSEPOSTHOUSEPOSTH"
)

// codeEvery is how long a code of an authenticator holds (RFC 6238 section 4.1).
const codeEvery = 30 * time.Second

// Code is what an authenticator with the Secret shows at a time (RFC 6238 section 4.2, RFC 4226 section 5.3).
func Code(at time.Time) (string, error) {
	key, err := base32.StdEncoding.DecodeString(Secret)
	if err != nil {
		return "", err
	}
	sum := hmac.New(sha1.New, key)
	_, _ = sum.Write(binary.BigEndian.AppendUint64(nil, uint64(at.Unix()/int64(codeEvery/time.Second)))) // a hash never fails
	all := sum.Sum(nil)
	from := all[len(all)-1] & 15
	return fmt.Sprintf("%06d", binary.BigEndian.Uint32(all[from:from+4])&0x7fffffff%1_000_000), nil
}

// operator makes the account that runs the house, and returns codes that open its pages once each. What an earlier run made is there
// already; its codes are void.
func operator(ctx context.Context, h *admin.House) ([]string, error) {
	_, err := h.AddAccount(ctx, admin.NewAccount{Addresses: []string{Operator}, Name: "Operator", Password: Password})
	var known *admin.Error
	if err != nil && (!errors.As(err, &known) || known.Class != admin.Conflict) {
		return nil, err
	}
	yes := true
	if _, err := h.SetAccount(ctx, Operator, admin.Change{Operator: &yes}); err != nil {
		return nil, err
	}
	// A code is good once: the one of now is left for whoever signs in.
	code, err := Code(time.Now().Add(-codeEvery))
	if err != nil {
		return nil, err
	}
	return h.StartSecondFactor(ctx, Operator, admin.Authenticator{Secret: Secret, Code: code})
}
