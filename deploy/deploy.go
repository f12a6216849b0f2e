// Package deploy has the files that posthouse setup installs.
package deploy

import _ "embed" // for Unit

// Unit is the systemd unit of the house.
//
//go:embed posthouse.service
var unit string

// Unit is the text of posthouse.service.
func Unit() string { return unit }
