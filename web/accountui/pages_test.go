package accountui

import (
	"testing"

	"github.com/posthouse-mail/posthouse/web/page/pagetest"
)

// TestPagesForEars: what a screen reader says of each page makes sense.
func TestPagesForEars(t *testing.T) { pagetest.Ears(t, pages) }
