package page

import (
	"encoding/xml"
	"flag"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the goldens anew")

// TestCharts: the pictures are as committed, and whole.
func TestCharts(t *testing.T) {
	days := []string{"Nov 16", "Nov 17", "Nov 18", "Nov 19", "Nov 20", "Nov 21", "Nov 22"}
	for name, c := range map[string]Chart{
		"bars": {Title: "Mail judged", Of: "Day", Places: days, Series: []Series{
			{"good", ToneGood, []float64{10, 20, 30, 5, 0, 12, 7}}, {"junk", ToneBad, []float64{1, 0, 4, 2, 30, 1, 0}},
		}},
		"beside": {Title: "Sent & received", Kind: Beside, Of: "Day", Places: days[:2], Series: []Series{{"in", ToneOne, []float64{3, 4}}, {"out", ToneTwo, []float64{1}}}},
		"lines": {Title: "Memory", Kind: Lines, Of: "Hour", Places: days, Show: func(v float64) string { return Size(int64(v)) }, Series: []Series{
			{"resident", ToneOne, []float64{1e6, 2e6, math.NaN(), 4e6, math.NaN(), 3e6, math.Inf(1)}},
		}},
		"one":   {Title: "<script>alert(1)</script>", Of: `"Day"`, Places: []string{"<b>"}, Series: []Series{{"<i>", ToneOne, []float64{1}}}},
		"zero":  {Title: "Nothing yet", Of: "Day", Places: days, Series: []Series{{"in", ToneOne, []float64{0, 0, math.NaN()}}}},
		"empty": {Title: "Nothing", Of: "Day"},
	} {
		t.Run(name, func(t *testing.T) {
			got := string(c.HTML())
			closed(t, got)
			file := filepath.Join("testdata", "chart-"+name+".html")
			if *update {
				if err := os.WriteFile(file, []byte(got+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil || got+"\n" != string(want) {
				t.Errorf("%v; now it is\n%s", err, got)
			}
			if strings.Contains(got, "style=") || strings.Contains(got, "<script") {
				t.Error("the policy of the pages forbids this")
			}
		})
	}
}

// closed looks that every element is closed.
func closed(t *testing.T, text string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(text))
	for {
		_, err := d.Token()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
	}
}

func TestScales(t *testing.T) {
	for v, want := range map[float64]float64{0: 1, 1: 1, 1.5: 2, 3: 5, 5: 5, 7: 10, 99: 100, 101: 200, 0.3: 0.5, 1e12: 1e12} {
		if got := round(v); math.Abs(got-want) > want*1e-9 {
			t.Errorf("round(%v) = %v, want %v", v, got, want)
		}
	}
}

// TestManyPlaces: a year of days is still a picture of some tens of KB.
func TestManyPlaces(t *testing.T) {
	c := Chart{Title: "A year", Of: "Day", Series: []Series{{Name: "mail", Tone: ToneOne}}}
	for i := range 366 {
		c.Places = append(c.Places, "day")
		c.Series[0].Values = append(c.Series[0].Values, float64(i))
	}
	if n := len(c.HTML()); n > 100_000 {
		t.Errorf("%d octets", n)
	}
}
