package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

const (
	maxPolicies = 1000
	maxFailures = 10_000 // of all policies
	maxObjects  = 4 * (maxPolicies + maxFailures)
	maxCommas   = 500_000 // between members of objects and lists
	maxWord     = 4096
)

// ParseTLS reads a report; one that is larger than 20 MB, as a bomb unpacks to, is refused as soon as that is seen.
func ParseTLS(r io.Reader) (*TLS, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxText+1))
	if err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	if len(text) > maxText {
		return nil, fmt.Errorf("report: it is larger than %d octets", maxText)
	}
	if bytes.Count(text, []byte("{")) > maxObjects || bytes.Count(text, []byte(",")) > maxCommas {
		return nil, errors.New("report: it has too many elements") // each would take many times its octets
	}
	var t TLS
	if err := json.NewDecoder(bytes.NewReader(text)).Decode(&t); err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	return &t, t.check()
}

// check refuses what is no honest report; pages show it and sums add it up.
func (t *TLS) check() error {
	if len(t.Policies) == 0 || len(t.Policies) > maxPolicies {
		return fmt.Errorf("report: it has %d policies", len(t.Policies))
	}
	const first, last = 2015, 2200
	if y := t.Range.Begin.Year(); y < first || y > last || t.Range.End.Before(t.Range.Begin) || t.Range.End.Sub(t.Range.Begin) > 32*24*time.Hour {
		return fmt.Errorf("report: its time is %s to %s", t.Range.Begin, t.Range.End)
	}
	failures := 0
	for _, p := range t.Policies {
		failures += len(p.Failures)
		if p.Summary.Good < 0 || p.Summary.Bad < 0 || p.Summary.Good > 1<<40 || p.Summary.Bad > 1<<40 {
			return errors.New("report: its counts are impossible")
		}
		if len(p.Policy.Domain) > maxWord || len(p.Policy.Type) > maxWord {
			return errors.New("report: its policies have endless names")
		}
	}
	if failures > maxFailures || len(t.ID) > maxWord || len(t.Organization) > maxWord {
		return errors.New("report: it has too many failures, or endless names")
	}
	return nil
}
