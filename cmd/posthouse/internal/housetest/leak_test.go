package housetest

import (
	"testing"

	"go.uber.org/goleak"
)

// TestMain: when the last house has ended, nothing of any house runs on.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
