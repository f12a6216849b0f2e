// Package desktop shows the house to the programs that people sit in front of: Debian's Thunderbird and Debian's chromium
// (make desktop).
//
// Its tests are built with the tag desktop and need root on Linux. They run in name spaces of their own (space_test.go): a network that has
// nothing but loopback, so that no request can leave, with a DNS of the test on port 53 and every door of the house at its real port.
// house_test.go makes the house there, and a second one that it writes to. thunderbird_test.go drives Thunderbird through Marionette
// (marionette_test.go), pages_test.go gives chromium to pages.mjs, which crawls every page and walks through every flow.
package desktop
