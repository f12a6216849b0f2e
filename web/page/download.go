package page

import (
	"errors"
	"net/http"
	"time"
)

// Download is a file on its way to a visitor, made while it goes. Its header goes with the first octet, so that an error before it can
// still be a page.
type Download struct {
	Media  string
	Name   string        // of the file, in letters, digits and "-. " alone; empty: none is suggested
	Wait   time.Duration // how long a part of it may take; who takes none for so long is let go. 0: the server's time for the whole
	Stands func() bool   // tells now and then whether who began it may still have it; nil: he may

	w       http.ResponseWriter
	control *http.ResponseController
	begun   bool
	until   time.Time // of the deadline
	asked   time.Time // Stands was
	since   int       // octets
}

// Between two looks at whether a visitor is still let in.
const (
	standEvery  = 10 * time.Second
	standOctets = 1 << 20
)

// PartWait is a good Wait for people.
const PartWait = 2 * time.Minute

// ErrOver ends a Download: who began it is not let in any more.
var ErrOver = errors.New("page: whoever began this download is not let in any more")

// NewDownload is one that answers with w.
func NewDownload(w http.ResponseWriter, media string) *Download {
	return &Download{Media: media, w: w, control: http.NewResponseController(w)}
}

// Write sends a part.
func (d *Download) Write(p []byte) (int, error) {
	now := time.Now()
	if d.Wait > 0 && !d.begun {
		_ = d.control.SetReadDeadline(time.Time{}) // all of the request is here; the end of its time would end the answer too
		d.asked = now
	}
	d.begin()
	if d.Stands != nil && (now.Sub(d.asked) >= standEvery || d.since >= standOctets) {
		d.asked, d.since = now, 0
		if !d.Stands() {
			return 0, ErrOver
		}
	}
	d.since += len(p)
	if d.Wait > 0 && d.until.Sub(now) < d.Wait/2 {
		d.until = now.Add(d.Wait)
		_ = d.control.SetWriteDeadline(d.until)
	}
	return d.w.Write(p)
}

func (d *Download) begin() {
	if d.begun {
		return
	}
	d.begun = true
	h := d.w.Header()
	h.Set("Content-Type", d.Media)
	if d.Name != "" {
		h.Set("Content-Disposition", `attachment; filename="`+d.Name+`"`)
		h.Set("Cache-Control", "no-store")
	}
	d.w.WriteHeader(http.StatusOK)
}

// End ends the answer. An error before the first octet comes back; one behind it cuts the answer off, which is the one way to say that
// a file is not whole. tell hears of that before.
func (d *Download) End(err error, tell func()) error {
	switch {
	case err == nil:
		d.begin()
	case d.begun:
		tell()
		panic(http.ErrAbortHandler)
	}
	return err
}
