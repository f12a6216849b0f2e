package admin

import "testing"

// TestUnjudged: which mail did not come from a stranger.
func TestUnjudged(t *testing.T) {
	const ours = "by mx.one.test (posthouse) with "
	for header, want := range map[string]bool{
		"Received: from x ([198.51.100.7])\r\n\t" + ours + "ESMTPSA id 1;\r\n\tnow\r\n":               true,
		"Received: from x ([198.51.100.7])\r\n\t" + ours + "UTF8SMTPA id 1;\r\n\tnow\r\n":             true,
		"Received: from x ([198.51.100.7])\r\n\t" + ours + "LMTP id 1;\r\n\tnow\r\n":                  true,
		"Received: from x ([127.0.0.1])\r\n\t" + ours + "ESMTP id 1;\r\n\tnow\r\n":                    true,
		"Received: from x ([IPv6:::1])\r\n\t" + ours + "ESMTP id 1;\r\n\tnow\r\n":                     true,
		"Received: " + ours + "SMTP id 1;\r\n\tnow\r\n":                                               true,
		"Return-Path: <>\r\nReceived: from x ([198.51.100.7])\r\n\t" + ours + "ESMTPS id 1;\r\n\tnow": false,
		"Received: from x ([IPv6:2001:db8::1])\r\n\t" + ours + "ESMTPS id 1;\r\n\tnow\r\n":            false,
		"Received: from x ([127.0.0.1]) by mx.other.test (posthouse) with ESMTPA id 1; now\r\n":       false,
		"Subject: none\r\n": false,
		"":                  false,
	} {
		if got := unjudged([]byte(header), "mx.one.test"); (got != "") != want {
			t.Errorf("%q: %q", header, got)
		}
	}
}
