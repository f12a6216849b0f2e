// Figures measures the store by itself, on a real disk, and prints each figure
// with the required one beside it. R is the raw rate of "append 4 KB, fdatasync" in the same
// folder, taken right before and after each run, so that figures compare across machines.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"runtime/pprof"
)

func main() {
	dir := flag.String("dir", "/var/tmp", "where the data folders are made: a real disk")
	only := flag.String("run", "", "regular expression of the figures to take")
	n := flag.Int("n", 20000, "messages of a delivery run")
	grown := flag.Int("grown", 1_000_000, "messages of the grown store")
	profile := flag.String("cpuprofile", "", "write a CPU profile to this file")
	flag.Parse()
	if *profile != "" {
		f, err := os.Create(*profile)
		if err != nil {
			fmt.Fprintln(os.Stderr, "figures:", err)
			os.Exit(1)
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			fmt.Fprintln(os.Stderr, "figures:", err)
			os.Exit(1)
		}
		defer pprof.StopCPUProfile()
	}
	if err := run(*dir, *only, *n, *grown); err != nil {
		fmt.Fprintln(os.Stderr, "figures:", err)
		pprof.StopCPUProfile()
		os.Exit(1)
	}
}

// row is one figure.
type row struct {
	name, value, required string
	holds                 bool
}

// bench is one run of the program.
type bench struct {
	dir   string
	n     int
	grown int
	rows  []row
}

// figure is one measurement; it may add several rows.
type figure struct {
	name string
	take func(*bench) error
}

// figures is every measurement, in the order of the store's table; those of other parts come last, because what they leave in memory would count
// for the store.
func figures() []figure {
	return []figure{
		{"deliver-slow", (*bench).deliverSlow},
		{"deliver-real", (*bench).deliverReal},
		{"syncs", (*bench).syncs},
		{"store-latency", (*bench).storeLatency},
		{"mix", (*bench).mix},
		{"written", (*bench).written},
		{"cpu", (*bench).cpu},
		{"mailbox", (*bench).mailbox},
		{"compact", (*bench).compact},
		{"backup", (*bench).backup},
		{"import", (*bench).importMaildir},
		{"grown", (*bench).grownStore},
		{"junk", (*bench).junk},
		{"queue", (*bench).waitingRoom},
		{"checks", (*bench).checks},
		{"pages", (*bench).pages},
		{"setup", (*bench).dryRun},
	}
}

func run(dir, only string, n, grown int) error {
	pattern, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	b := &bench{n: n, grown: grown}
	if b.dir, err = os.MkdirTemp(dir, "posthouse-figures-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	fmt.Printf("%d cores, %s\n| figure | measured | required | holds |\n|---|---|---|---|\n", runtime.NumCPU(), runtime.Version())
	for _, f := range figures() {
		if !pattern.MatchString(f.name) {
			continue
		}
		if err := f.take(b); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		for _, r := range b.rows {
			fmt.Printf("| %s | %s | %s | %v |\n", r.name, r.value, r.required, r.holds)
			if !r.holds {
				err = errMissed
			}
		}
		b.rows = nil
	}
	return err
}

var errMissed = errors.New("a required figure was missed")

func (b *bench) add(holds bool, name, required, format string, args ...any) {
	b.rows = append(b.rows, row{name: name, value: fmt.Sprintf(format, args...), required: required, holds: holds})
}
