package page

import (
	"fmt"
	"html/template"
	"math"
	"strconv"
	"strings"
)

// ChartKind is how a Chart shows its numbers.
type ChartKind byte

const (
	Bars    ChartKind = iota // the series of a place stand one on the other
	Beside                   // the series of a place stand side by side
	Lines                    // a line for each series
	fewMost = 5              // names below the picture
)

// The tones of a Series; colours belong to style.css.
const (
	ToneGood  = "good"
	ToneBad   = "bad"
	ToneDoubt = "doubt"
	ToneOne   = "one"
	ToneTwo   = "two"
	ToneThree = "three"
)

// Series is one row of numbers of a Chart, a number for each of its places. NaN: nothing is known.
type Series struct {
	Name   string
	Tone   string
	Values []float64
}

// Chart is a picture of numbers, made here, so that no page needs a script for it. The same numbers stand below as a table, for those
// who do not see the picture, and to copy.
type Chart struct {
	Title  string
	Kind   ChartKind
	Places []string // along the bottom: days, hours, names
	Of     string   // what the places are: "Day"
	Series []Series
	Show   func(float64) string // a number in words; nil: as it is
}

// The size of a picture in its own units; the page gives it the width that there is.
const (
	chartWide, chartHigh                         = 360.0, 180.0
	chartLeft, chartRight, chartTop, chartBottom = 44.0, 4.0, 8.0, 20.0
	letterWide                                   = 6.5
)

// HTML is the chart as a part of a page.
func (c Chart) HTML() template.HTML {
	var b strings.Builder
	fmt.Fprintf(&b, `<figure class="chart"><figcaption>%s</figcaption>`, esc(c.Title))
	if c.highest() == 0 {
		b.WriteString(`<p class="faint">Nothing in this time.</p></figure>`)
		return template.HTML(b.String())
	}
	fmt.Fprintf(&b, `<svg viewBox="0 0 %g %g" role="img" aria-label="%s">`, chartWide, chartHigh, esc(c.words()))
	top := c.scale(&b)
	if c.Kind == Lines {
		c.lines(&b, top)
	} else {
		c.bars(&b, top)
	}
	c.places(&b)
	b.WriteString(`</svg>`)
	if len(c.Series) > 1 {
		b.WriteString(`<ul class="legend">`)
		for _, s := range c.Series {
			fmt.Fprintf(&b, `<li><svg viewBox="0 0 10 10" aria-hidden="true"><rect class="tone-%s" width="10" height="10"/></svg>%s</li>`, esc(s.Tone), esc(s.Name))
		}
		b.WriteString(`</ul>`)
	}
	c.table(&b)
	b.WriteString(`</figure>`)
	return template.HTML(b.String())
}

func esc(s string) string { return template.HTMLEscapeString(s) }

// number is a value in words.
func (c Chart) number(v float64) string {
	switch {
	case math.IsNaN(v):
		return "unknown"
	case c.Show != nil:
		return c.Show(v)
	}
	return strconv.FormatFloat(math.Round(v*100)/100, 'f', -1, 64)
}

// at is the value of a series at a place; NaN where it has none.
func (s Series) at(i int) float64 {
	if i < len(s.Values) && !math.IsInf(s.Values[i], 0) {
		return s.Values[i]
	}
	return math.NaN()
}

// words is what the picture shows, for ears: the sum of each series, or its last value where sums mean nothing.
func (c Chart) words() string {
	parts := make([]string, 0, len(c.Series))
	for _, s := range c.Series {
		v, how := 0.0, " in all"
		for i := range c.Places {
			if x := s.at(i); !math.IsNaN(x) && c.Kind == Lines {
				v, how = x, " at the end"
			} else if !math.IsNaN(x) {
				v += x
			}
		}
		parts = append(parts, s.Name+": "+c.number(v)+how)
	}
	return c.Title + ". " + strings.Join(parts, ", ") + ". The table below has every number."
}

// highest is the largest value that is shown.
func (c Chart) highest() float64 {
	most := 0.0
	for i := range c.Places {
		sum := 0.0
		for _, s := range c.Series {
			if v := s.at(i); !math.IsNaN(v) && v > 0 {
				sum += v
				most = max(most, v)
			}
		}
		if c.Kind == Bars {
			most = max(most, sum)
		}
	}
	return most
}

// round is the end of a scale that reaches v: 1, 2 or 5 and noughts.
func round(v float64) float64 {
	if v <= 0 {
		return 1
	}
	unit := math.Pow(10, math.Floor(math.Log10(v)))
	for _, f := range []float64{1, 2, 5, 10} {
		if v <= f*unit*(1+1e-9) {
			return f * unit
		}
	}
	return 10 * unit
}

// scale draws the lines behind the picture with their numbers, and says what the top one is.
func (c Chart) scale(b *strings.Builder) (top float64) {
	top = round(c.highest())
	steps := 2
	if top >= 4 || c.Show != nil {
		steps = 4
	} else if top == 1 {
		steps = 1
	}
	if lead := top / math.Pow(10, math.Floor(math.Log10(top))); math.Round(lead) == 5 && top >= 5 {
		steps = 5
	}
	for i := range steps + 1 {
		v := top * float64(i) / float64(steps)
		y := c.high(v, top)
		fmt.Fprintf(b, `<line class="grid" x1="%g" x2="%g" y1="%.1f" y2="%.1f"/><text class="scale" x="%g" y="%.1f">%s</text>`,
			chartLeft, chartWide-chartRight, y, y, chartLeft-4, y+4, esc(c.number(v)))
	}
	return top
}

// high is where a value stands.
func (c Chart) high(v, top float64) float64 {
	room := chartHigh - chartTop - chartBottom
	return chartTop + room*(1-min(1, max(0, v/top)))
}

// width is the room of one place.
func (c Chart) width() float64 {
	return (chartWide - chartLeft - chartRight) / float64(len(c.Places))
}

func (c Chart) bars(b *strings.Builder, top float64) {
	room := c.width()
	wide := room * 0.8
	for i, place := range c.Places {
		x, below := chartLeft+room*float64(i)+room*0.1, 0.0
		for j, s := range c.Series {
			v := s.at(i)
			if math.IsNaN(v) || v <= 0 {
				continue
			}
			left, w := x, wide
			if c.Kind == Beside {
				w = wide / float64(len(c.Series))
				left, below = x+w*float64(j), 0
			}
			y, foot := c.high(below+v, top), c.high(below, top)
			fmt.Fprintf(b, `<rect class="tone-%s" x="%.1f" y="%.1f" width="%.1f" height="%.1f"><title>%s, %s: %s</title></rect>`,
				esc(s.Tone), left, y, max(0.5, w), max(0.5, foot-y), esc(place), esc(s.Name), esc(c.number(v)))
			below += v
		}
	}
}

func (c Chart) lines(b *strings.Builder, top float64) {
	room := c.width()
	for _, s := range c.Series {
		var path strings.Builder
		pen := "M"
		for i := range c.Places {
			v := s.at(i)
			if math.IsNaN(v) {
				pen = "M" // a gap is a gap
				continue
			}
			x, y := chartLeft+room*(float64(i)+0.5), c.high(v, top)
			fmt.Fprintf(&path, "%s%.1f %.1f", pen, x, y)
			if pen == "M" && (i+1 >= len(c.Places) || math.IsNaN(s.at(i+1))) {
				fmt.Fprintf(b, `<circle class="tone-%s" cx="%.1f" cy="%.1f" r="2"/>`, esc(s.Tone), x, y) // a line of one point is not seen
			}
			pen = "L"
		}
		if path.Len() > 0 {
			fmt.Fprintf(b, `<path class="line line-%s" d="%s"><title>%s</title></path>`, esc(s.Tone), path.String(), esc(s.Name))
		}
	}
}

// places writes some of the names below the picture.
func (c Chart) places(b *strings.Builder) {
	longest := 1
	for _, p := range c.Places {
		longest = max(longest, len([]rune(p)))
	}
	most := max(1, min(fewMost, int((chartWide-chartLeft-chartRight)/(float64(longest+2)*letterWide)))) // names must not touch
	room, step := c.width(), (len(c.Places)+most-1)/most
	for i := 0; i < len(c.Places); i += step {
		fmt.Fprintf(b, `<text class="place" x="%.1f" y="%g">%s</text>`, chartLeft+room*(float64(i)+0.5), chartHigh-5, esc(c.Places[i]))
	}
}

// table is the same numbers in words.
func (c Chart) table(b *strings.Builder) {
	fmt.Fprintf(b, `<details><summary>As a table</summary><div class="wide" tabindex="0" role="region" aria-label="%s"><table><thead><tr><th scope="col">%s</th>`, esc(c.Title), esc(c.Of))
	for _, s := range c.Series {
		fmt.Fprintf(b, `<th scope="col" class="figure">%s</th>`, esc(s.Name))
	}
	b.WriteString(`</tr></thead><tbody>`)
	for i, place := range c.Places {
		fmt.Fprintf(b, `<tr><th scope="row">%s</th>`, esc(place))
		for _, s := range c.Series {
			fmt.Fprintf(b, `<td class="figure">%s</td>`, esc(c.number(s.at(i))))
		}
		b.WriteString(`</tr>`)
	}
	b.WriteString(`</tbody></table></div></details>`)
}
