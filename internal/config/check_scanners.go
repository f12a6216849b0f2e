package config

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// scannersWait is how long the helpers of one way may take together: whoever sends waits ten minutes for an answer behind the message
// (RFC 5321 section 4.5.3.2.6), and sends it once more when there was none, though it was taken.
const scannersWait = 8 * time.Minute

// scanners checks those who look at messages. What is not said has a default.
func (k *checker) scanners() {
	names := map[string]bool{}
	waits := map[string]time.Duration{}
	for i, s := range k.c.Scanners {
		key := func(name string) string { return "scanners." + strconv.Itoa(i) + "." + name }
		name := s.Name
		if name == "" {
			name = s.Kind
		}
		if names[name] {
			k.fail("scanners."+strconv.Itoa(i), fmt.Sprintf("two helpers are called %q", name), `Give one of them a name: name = "clamav".`)
		}
		names[name] = true
		k.oneOf(key("kind"), s.Kind, ScannerRspamd, ScannerMilter)
		if !scannerAddress(s.Address) {
			k.fail(key("address"), fmt.Sprintf("%q is no address", s.Address), remedyFor("scanners[].address"))
		}
		for _, way := range s.On {
			k.oneOf(key("on"), way, ScanInbound, ScanSubmission)
		}
		k.oneOf(key("on_failure"), s.OnFailure, "", OnFailureAccept, OnFailureTempfail, OnFailureJunk)
		k.oneOf(key("obey"), s.Obey, "", ObeyReject, ObeyAll, ObeyNone)
		if s.OnFailure == OnFailureJunk && slices.Contains(s.On, ScanSubmission) {
			k.fail(key("on_failure"), "mail of our users has no Junk to go to", `Write "accept" or "tempfail", or another entry for on = ["submission"].`)
		}
		if s.Timeout.Duration != 0 {
			k.duration(key("timeout"), s.Timeout, "100ms", "5m")
		}
		ways := s.On
		if len(ways) == 0 {
			ways = []string{ScanInbound}
		}
		for _, way := range ways {
			before := waits[way]
			waits[way] += cmp.Or(s.Timeout.Duration, 10*time.Second)
			if before <= scannersWait && waits[way] > scannersWait && s.Timeout.Duration <= 5*time.Minute {
				k.fail(key("timeout"), fmt.Sprintf("the helpers for %s may take %v together, and senders do not wait so long", way, waits[way]), "Write times that are 8m together at most; few helpers need more than 30s.")
			}
		}
		if s.Weight < 0 || s.Weight > 10 {
			k.fail(key("weight"), "out of bounds", "Write 0.1 to 10.0.")
		}
		if s.Connections < 0 || s.Connections > 1000 {
			k.fail(key("connections"), "out of bounds", "Write 1 to 1000.")
		}
		if s.MaxSize < 0 || s.MaxSize > 1<<30 {
			k.fail(key("max_size"), "out of bounds", "Write up to 1GiB.")
		}
		if s.Kind == ScannerMilter && (s.TLS || s.CAFile != "" || s.PasswordFile != "" || s.Obey != "" || s.Weight != 0) {
			k.fail("scanners."+strconv.Itoa(i), "a milter has no password, TLS, obey or weight", "Remove these lines.")
		}
	}
}

func (k *checker) oneOf(key, value string, of ...string) {
	if !slices.Contains(of, value) {
		of = slices.DeleteFunc(of, func(s string) bool { return s == "" })
		k.fail(key, fmt.Sprintf("%q is unknown", value), `Write "`+strings.Join(of, `" or "`)+`".`)
	}
}

func scannerAddress(s string) bool {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		return strings.HasPrefix(path, "/")
	}
	host, port, err := net.SplitHostPort(s)
	n, bad := strconv.ParseUint(port, 10, 16)
	return err == nil && bad == nil && host != "" && n > 0
}
