package main

import "strings"

// spdx is the SPDX expression of a licence's text, "" for one that it does not know. A text with several licences (a module that
// contains another one) has all of them.
func spdx(text string) string {
	words := strings.ToLower(strings.Join(strings.Fields(text), " "))
	has := func(all ...string) bool {
		for _, s := range all {
			if !strings.Contains(words, s) {
				return false
			}
		}
		return true
	}
	const (
		redistribution = "redistribution and use in source and binary forms"
		endorse        = "endorse or promote products"
	)
	var all []string
	if has("apache license", "version 2.0") {
		all = append(all, "Apache-2.0")
	}
	switch {
	case has(redistribution, endorse):
		all = append(all, "BSD-3-Clause")
	case has(redistribution):
		all = append(all, "BSD-2-Clause")
	}
	if has("permission is hereby granted, free of charge, to any person obtaining a copy") {
		all = append(all, "MIT")
	}
	if has("permission to use, copy, modify, and") && has("for any purpose with or without fee is hereby granted, provided that") {
		all = append(all, "ISC")
	}
	if has("mozilla public license", "version 2.0") || has("mozilla public license, v. 2.0") {
		all = append(all, "MPL-2.0")
	}
	if has("free and unencumbered software released into the public domain") {
		all = append(all, "Unlicense")
	}
	if has("creative commons", "cc0 1.0 universal") {
		all = append(all, "CC0-1.0")
	}
	return strings.Join(all, " AND ")
}
