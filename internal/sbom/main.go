// Command sbom says what a posthouse binary is made of: a CycloneDX document for machines, and a text with every licence, as those
// licences ask of whoever gives the binary away.
//
//	go run ./internal/sbom -binary bin/posthouse -version v1.2.3 -time 1700000000 -out sbom.cdx.json -licenses copyright
//
// Modules and their versions are read from the binary itself (what go version -m prints), so that the list is that of this binary
// and not that of go.mod; licences are read from the modules' sources. A module whose licence is not known stops the build.
package main

import (
	"bytes"
	"cmp"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

func main() {
	var o options
	flag.StringVar(&o.binary, "binary", "", "the binary")
	flag.StringVar(&o.version, "version", "", "its version")
	flag.Int64Var(&o.time, "time", 0, "seconds since 1970 that the document bears as its time")
	flag.StringVar(&o.out, "out", "", "where the CycloneDX document goes")
	flag.StringVar(&o.licenses, "licenses", "", "where the text of all licences goes")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

type options struct {
	binary, version, out, licenses string
	time                           int64
}

// part is one module in the binary, or Go's own library.
type part struct {
	path, version, sum string
	license            string // SPDX
	text               string // of its licence and notice files
}

func run(o options) error {
	if o.binary == "" || o.out == "" || o.licenses == "" {
		return errors.New("say -binary, -out and -licenses")
	}
	info, err := buildinfo.ReadFile(o.binary)
	if err != nil {
		return err
	}
	parts, err := partsOf(info)
	if err != nil {
		return err
	}
	own, err := os.ReadFile("LICENSE")
	if err != nil {
		return fmt.Errorf("run it in the folder of go.mod: %w", err)
	}
	binary, err := os.ReadFile(o.binary)
	if err != nil {
		return err
	}
	house := product{path: info.Main.Path, version: o.version, binary: binary, made: time.Unix(o.time, 0).UTC()}
	doc, err := cyclonedx(house, parts)
	if err != nil {
		return err
	}
	if err := os.WriteFile(o.out, doc, 0o644); err != nil {
		return err
	}
	return os.WriteFile(o.licenses, []byte(licenses(string(own), parts)), 0o644)
}

// partsOf are the modules of the binary, in the order of their paths, Go's library first.
func partsOf(info *buildinfo.BuildInfo) ([]part, error) {
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("go env GOROOT: %w", err)
	}
	std := part{path: "std", version: strings.TrimPrefix(strings.Fields(info.GoVersion)[0], "go")}
	parts := []part{std}
	folders := map[string]string{std.path: strings.TrimSpace(string(goroot))}
	var wanted []string
	for _, d := range info.Deps {
		if d.Replace != nil {
			d = d.Replace
		}
		parts = append(parts, part{path: d.Path, version: d.Version, sum: d.Sum})
		wanted = append(wanted, d.Path+"@"+d.Version)
	}
	if err := sources(wanted, folders); err != nil {
		return nil, err
	}
	for i := range parts {
		p := &parts[i]
		if p.text, err = licenseText(folders[p.path]); err != nil {
			return nil, fmt.Errorf("%s: %w", p.path, err)
		}
		if p.license = spdx(p.text); p.license == "" {
			return nil, fmt.Errorf("%s: nobody here knows the licence in %s", p.path, folders[p.path])
		}
	}
	slices.SortStableFunc(parts[1:], func(a, b part) int { return cmp.Compare(a.path, b.path) })
	return parts, nil
}

// sources asks the go command where the modules' sources are; what the build has not left in its cache is fetched.
func sources(modules []string, folders map[string]string) error {
	if len(modules) == 0 {
		return nil
	}
	cmd := exec.Command("go", append([]string{"mod", "download", "-json"}, modules...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("go mod download: %w: %s", err, stderr.Bytes())
	}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var m struct{ Path, Dir string }
		if err := d.Decode(&m); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("answer of go mod download: %w", err)
		}
		folders[m.Path] = m.Dir
	}
}

// licenseText is what the licence and notice files in the root of a module say.
func licenseText(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	var texts []string
	for _, e := range entries {
		name := strings.ToUpper(e.Name())
		name = strings.TrimSuffix(strings.TrimSuffix(name, ".MD"), ".TXT")
		stem, _, _ := strings.Cut(name, "-")
		if e.IsDir() || !slices.Contains([]string{"LICENSE", "LICENCE", "COPYING", "NOTICE", "COPYRIGHT"}, stem) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return "", err
		}
		texts = append(texts, strings.TrimSpace(strings.ReplaceAll(string(text), "\r\n", "\n")))
	}
	if len(texts) == 0 {
		return "", fmt.Errorf("no licence file in %s", dir)
	}
	return strings.Join(texts, "\n\n"), nil
}

// licenses is our licence and those of all parts; parts with the same text share it.
func licenses(own string, parts []part) string {
	w := new(strings.Builder)
	fmt.Fprintf(w, "posthouse, https://github.com/posthouse-mail/posthouse\n\n%s\n\nThe program contains these modules, under licences of their own:\n\n", strings.TrimSpace(own))
	byText := map[string][]string{}
	var texts []string
	for _, p := range parts {
		name := p.path + " " + p.version
		if p.path == "std" {
			name = "Go's runtime and library " + p.version
		}
		fmt.Fprintf(w, "    %s (%s)\n", name, p.license)
		if byText[p.text] == nil {
			texts = append(texts, p.text)
		}
		byText[p.text] = append(byText[p.text], name)
	}
	for _, text := range texts {
		fmt.Fprintf(w, "\n%s\n%s\n\n%s\n", strings.Repeat("-", 72), strings.Join(byText[text], "\n"), text)
	}
	return w.String()
}
