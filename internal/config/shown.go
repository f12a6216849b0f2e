package config

import (
	"reflect"
)

// Shown is one setting as people read it.
type Shown struct {
	Field
	Table   string // heading of its table in the file: "[limits]"
	About   string // what the table is for
	Value   string // as it is written in the file; of a repeated table those of all its entries
	Default string
}

// Describe tells every setting of c, in the order of the file.
func Describe(c *Config) []Shown {
	value, usual, tables := values(c), defaults(), sections()
	out := make([]Shown, 0, len(value))
	for _, f := range Fields() {
		table, _ := split(f.Key)
		out = append(out, Shown{Field: f, Table: heading(table), About: tables[table], Value: value[f.Key], Default: usual[f.Key]})
	}
	return out
}

// values is every setting's value by key.
func values(c *Config) map[string]string {
	out := make(map[string]string)
	walk("", reflect.ValueOf(*c), out)
	return out
}
