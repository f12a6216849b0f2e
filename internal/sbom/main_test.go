package main

import (
	"debug/buildinfo"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"
	"testing"
	"time"
)

func TestSPDX(t *testing.T) {
	for text, want := range map[string]string{
		"Apache License\n   Version 2.0, January 2004":                                                                                       "Apache-2.0",
		"Redistribution and use in source and\nbinary forms ... used to endorse or promote products":                                         "BSD-3-Clause",
		"Redistribution and use in source and binary forms, with or without":                                                                 "BSD-2-Clause",
		"Permission is hereby granted, free of charge, to any\nperson obtaining a copy":                                                      "MIT",
		"Permission to use, copy, modify, and distribute this software for any purpose with or without fee is hereby granted, provided that": "ISC",
		"Permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is hereby granted.":            "",
		"Mozilla Public License, version 2.0":                                                                                                "MPL-2.0",
		"This is free and unencumbered software released into the public domain.":                                                            "Unlicense",
		"Creative Commons Legal Code CC0 1.0 Universal":                                                                                      "CC0-1.0",
		"Apache License Version 2.0 ... Redistribution and use in source and binary forms":                                                   "Apache-2.0 AND BSD-2-Clause",
		"All rights reserved.": "",
		"":                     "",
	} {
		if got := spdx(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// TestParts: the binary's list leads to sources and licences; a module that is nowhere stops it.
func TestParts(t *testing.T) {
	info := &buildinfo.BuildInfo{GoVersion: "go1.26.8 X:none", Deps: nil}
	parts, err := partsOf(info)
	if err != nil {
		t.Fatal(err)
	}
	if len(parts) != 1 || parts[0].path != "std" || parts[0].version != "1.26.8" || parts[0].license != "BSD-3-Clause" {
		t.Errorf("%+v", parts)
	}
	info.Deps = []*debug.Module{{Path: "github.com/spf13/cobra", Version: "v1.10.2", Sum: "h1:x"}}
	if parts, err = partsOf(info); err != nil {
		t.Fatal(err)
	}
	if len(parts) != 2 || parts[1].path != "github.com/spf13/cobra" || parts[1].license != "Apache-2.0" || parts[1].sum != "h1:x" {
		t.Errorf("%+v", parts)
	}
}

func TestLicenseText(t *testing.T) {
	dir := t.TempDir()
	if _, err := licenseText(dir); err == nil {
		t.Error("a module without a licence passes")
	}
	for name, text := range map[string]string{"LICENSE-MIT.txt": "one\r\n", "NOTICE": "two", "licensing.go": "no", "README.md": "no", "COPYING.md": "three\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := licenseText(dir); err != nil || got != "three\n\none\n\ntwo" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestDocument(t *testing.T) {
	house := product{path: "example.org/house", version: "v1.0.0+x", binary: []byte("binary"), made: time.Unix(0, 0).UTC()}
	parts := []part{{path: "std", version: "1.26.8", license: "BSD-3-Clause"}, {path: "example.org/a", version: "v1.2.3", sum: "h1:x", license: "MIT"}}
	out, err := cyclonedx(house, parts)
	if err != nil {
		t.Fatal(err)
	}
	again, err := cyclonedx(house, parts)
	if err != nil || string(again) != string(out) {
		t.Error("two documents of one binary differ", err)
	}
	var doc bom
	if err := json.Unmarshal(out, &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Format != "CycloneDX" || len(doc.Components) != 2 || doc.Components[1].PURL != "pkg:golang/example.org/a@v1.2.3" || doc.Metadata.Component.PURL != "pkg:golang/example.org/house@v1.0.0%2Bx" {
		t.Errorf("%s", out)
	}
	// Every reference must name something, once.
	refs := map[string]int{doc.Metadata.Component.Ref: 1}
	for _, c := range doc.Components {
		refs[c.Ref]++
	}
	for _, d := range doc.Dependencies {
		for _, ref := range append(d.DependsOn, d.Ref) {
			if refs[ref] != 1 {
				t.Errorf("%s is there %d times", ref, refs[ref])
			}
		}
	}
	if !regexp.MustCompile(`^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(doc.Serial) {
		t.Errorf("serial %s", doc.Serial)
	}
}

func TestLicenses(t *testing.T) {
	const same = "the same text"
	parts := []part{{path: "std", version: "1.26.8", license: "BSD-3-Clause", text: "go's"}, {path: "a", version: "v1", license: "MIT", text: same}, {path: "b", version: "v2", license: "MIT", text: same}}
	got := licenses("ours", parts)
	for _, want := range []string{"ours", "Go's runtime and library 1.26.8 (BSD-3-Clause)", "\na v1\nb v2\n\nthe same text\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if strings.Count(got, same) != 1 {
		t.Error("a text is there twice")
	}
}
