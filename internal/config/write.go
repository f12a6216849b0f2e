package config

import (
	"fmt"
	"strings"
)

// Example is a settings file that says every default, ready to be changed.
func Example() string {
	var b strings.Builder
	b.WriteString(`# Settings of posthouse. Lines that begin with "#name =" show the defaults: remove the # to change one.
# "posthouse check config" reads this file and says what is wrong with it; "posthouse serve" does the same first.
# Durations: "30s", "5m", "1h30m", "2d". Sizes: "50MiB". Domains, accounts and aliases are not here: see
# "posthouse domain add", "posthouse account add" and "posthouse alias add".
`)
	value := defaults()
	last := ""
	for _, f := range Fields() {
		table, name := split(f.Key)
		if table != last {
			writeTable(&b, table)
			last = table
		}
		writeField(&b, f, name, value[f.Key])
	}
	return b.String()
}

// shown reports whether the example carries the line as one to be filled in.
func shown(key string) bool {
	return key == "hostname" || key == "data" || strings.HasPrefix(key, "tls.certificates")
}

func writeTable(b *strings.Builder, table string) {
	fmt.Fprintf(b, "\n# %s.\n", sections()[table])
	name, repeated := strings.CutSuffix(table, "[]")
	if !repeated {
		fmt.Fprintf(b, "[%s]\n", name)
	} else if shown(table) {
		fmt.Fprintf(b, "[[%s]]\n", name)
	} else {
		fmt.Fprintf(b, "#[[%s]]\n", name)
	}
}

func writeField(b *strings.Builder, f Field, name, value string) {
	fmt.Fprintf(b, "\n# %s.\n", f.What)
	if f.Why != "" {
		fmt.Fprintf(b, "# %s\n", f.Why)
	}
	if f.Example != "" {
		value = f.Example
	}
	mark := "#"
	if shown(f.Key) {
		mark = ""
	}
	fmt.Fprintf(b, "%s%s = %s\n", mark, name, value)
}

// split cuts the table off a key.
func split(key string) (table, name string) {
	i := strings.LastIndexByte(key, '.')
	if i < 0 {
		return "", key
	}
	return key[:i], key[i+1:]
}

// Markdown is docs/config.md.
func Markdown() string {
	var b strings.Builder
	b.WriteString(`# Settings

<!-- Made of internal/config/fields.go; do not edit. After a change: go test ./internal/config -update -->

One TOML file, ` + "`posthouse serve --config FILE`" + `. Every setting has a default; only ` + "`hostname`" + ` must be written, and the
certificates where clients come from outside. An unknown name or a wrong value stops the start and names line, column and remedy;
` + "`posthouse check config --config FILE`" + ` does the same without starting. SIGHUP (or ` + "`posthouse reload`" + `) reads the file again: certificates,
sizes, recipients and waits of [limits] for new connections, the quota of new accounts, [pop3], submission.trusted and the log's level change
at once; the log says which other settings wait for a restart, and a wrong file changes nothing.
Paths that are not absolute start at the file's folder. ` + "`posthouse config example`" + ` prints this as a file.

Durations are written ` + "`30s`, `5m`, `1h30m`, `2d`" + `; sizes ` + "`512KiB`, `50MiB`, `5GiB`" + ` (powers of 1024).
`)
	value := defaults()
	last := "none"
	for _, f := range Fields() {
		table, name := split(f.Key)
		if table != last {
			fmt.Fprintf(&b, "\n## %s\n\n%s.\n\n| setting | default | meaning | reason |\n|---|---|---|---|\n", heading(table), sections()[table])
			last = table
		}
		shown := "`" + value[f.Key] + "`"
		if value[f.Key] == "" || value[f.Key] == `""` {
			shown = "none"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", name, shown, cell(f.What)+".", cell(f.Why))
	}
	return b.String()
}

// cell keeps a text inside its column.
func cell(s string) string { return strings.ReplaceAll(s, "|", "\\|") }

func heading(table string) string {
	if table == "" {
		return "Top of the file"
	}
	if name, repeated := strings.CutSuffix(table, "[]"); repeated {
		return "[[" + name + "]]"
	}
	return "[" + table + "]"
}
