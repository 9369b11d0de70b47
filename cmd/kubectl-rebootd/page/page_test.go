package page

import (
	"bytes"
	"flag"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"rebootd.dev/cmd/kubectl-rebootd/roll"
)

var rewrite = flag.Bool("rewrite", false, "write the pages to testdata")

// TestGolden has pages as they are in testdata: to be read, and looked at in a browser.
func TestGolden(t *testing.T) {
	for _, name := range []string{"empty", "three", "halted", "hostile"} {
		golden(t, name+".html", bytes.Replace(HTML(sample(name), options), []byte(style), []byte("/* page.css */\n"), 1))
	}
	for _, name := range []string{"empty", "three", "forty", "halted", "nights", "hostile"} {
		golden(t, name+".md", Text(sample(name), options))
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.WriteFile(file, got, 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(string(got), "\n")); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// TestSame has the same roll give the same bytes.
func TestSame(t *testing.T) {
	for name := range samples {
		if !bytes.Equal(HTML(sample(name), options), HTML(sample(name), options)) || !bytes.Equal(Text(sample(name), options), Text(sample(name), options)) {
			t.Errorf("%s: two different pages", name)
		}
	}
}

// skeleton is a page without its words: what a browser takes for markup.
func skeleton(data []byte) string {
	var b strings.Builder
	for _, c := range string(data) {
		if strings.ContainsRune(`<>"'`, c) {
			b.WriteRune(c)
		}
	}
	return b.String()
}

// FuzzWords has no word of a cluster change the markup.
func FuzzWords(f *testing.F) {
	f.Add(evil)
	f.Add("plain")
	f.Add("\xff\x00<")
	f.Add("`--><b>")
	made := func(word string) (roll.Roll, Options) {
		return roll.Build(hostile(word), now.AddDate(0, 0, -1), now), Options{Title: word, Version: word, Clock: options.Clock}
	}
	want := HTML(made("harmless"))
	f.Fuzz(func(t *testing.T, word string) {
		word = "w" + word + "w" // one that vanishes is not shown at all
		got := HTML(made(word))
		if skeleton(got) != skeleton(want) {
			t.Errorf("%q changes the markup:\n%s", word, cmp.Diff(strings.Split(string(want), "\n"), strings.Split(string(got), "\n")))
		}
	})
}

// TestLooks has the stages told apart without their colours, and seen by people who see
// little: at least 3:1 to what is behind them, in light and dark (WCAG 1.4.11).
func TestLooks(t *testing.T) {
	shapes := map[[2]literal]string{}
	for _, s := range stages {
		shape := [2]literal{s.y, s.height}
		if other, ok := shapes[shape]; ok {
			t.Errorf("%s looks as %s does", s.name, other)
		}
		shapes[shape] = s.name
	}
	light, rest, _ := strings.Cut(string(style), "@media")
	dark, _, _ := strings.Cut(rest, "* {")
	for scheme, css := range map[string]string{"light": light, "dark": dark} {
		colors := map[string]float64{}
		for _, m := range regexp.MustCompile(`--([a-z-]+): #([0-9a-f]{6});`).FindAllStringSubmatch(css, -1) {
			colors[m[1]] = luminance(t, m[2])
		}
		for _, name := range []string{"wait", "queue", "drain-edge", "down", "verify-edge", "halt", "ink"} {
			for _, behind := range []string{"paper", "band"} {
				a, b := colors[name]+0.05, colors[behind]+0.05
				if ratio := max(a, b) / min(a, b); ratio < 3 {
					t.Errorf("%s: %s on %s has a contrast of %.2f", scheme, name, behind, ratio)
				}
			}
		}
	}
}

// luminance is that of a colour, as WCAG defines it.
func luminance(t *testing.T, hex string) (sum float64) {
	t.Helper()
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		n, err := strconv.ParseUint(hex[2*i:2*i+2], 16, 8)
		if err != nil {
			t.Fatal(err)
		}
		v := float64(n) / 255
		if v <= 0.03928 {
			v /= 12.92
		} else {
			v = math.Pow((v+0.055)/1.055, 2.4)
		}
		sum += weight * v
	}
	return sum
}

// TestMany has a page of 500 nodes made in no time, and not too large to be attached.
func TestMany(t *testing.T) {
	nodes := night{name: long, nodes: 500, begun: 500, slots: 5, from: now.Add(-20 * time.Hour), change: mishaps}.build()
	data := HTML(roll.Build(nodes, now.AddDate(0, 0, -1), now), options)
	if len(data) > 1<<20 {
		t.Errorf("%d bytes", len(data))
	}
	if n := bytes.Count(data, []byte(`role="img"`)); n != 500 {
		t.Errorf("%d bars", n)
	}
}

// TestTicks has the ticks at round times by the clock on the wall, not too many, also on
// the day on which that is set.
func TestTicks(t *testing.T) {
	for _, tt := range []struct {
		from string
		span time.Duration
		want string
	}{
		{"2026-11-27T21:00:00Z", 13 * time.Minute, "22:02 22:04 22:06 22:08 22:10 22:12"},
		{"2026-11-27T21:00:00Z", 90 * time.Minute, "22:10 22:20 22:30 22:40 22:50 23:00 23:10 23:20"},
		{"2026-11-27T21:03:00Z", 4 * time.Hour, "Fri 27 Nov/22:30 23:00 23:30 Sat 28 Nov/00:00 00:30 01:00 01:30 02:00"},
		{"2026-10-24T22:00:00Z", 6 * time.Hour, "Sun 25 Oct/01:00 02:00 03:00 04:00"},
		{"2026-03-28T23:00:00Z", 6 * time.Hour, "Sun 29 Mar/01:00 03:00 04:00 05:00 06:00"},
		{"2026-11-20T12:00:00Z", 5 * 24 * time.Hour, "Sat 21 Nov/ Sun 22 Nov/ Mon 23 Nov/ Tue 24 Nov/ Wed 25 Nov/"},
		{"2026-11-27T21:00:00Z", 0, "22:00"},
	} {
		from, err := time.Parse(time.RFC3339, tt.from)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, k := range axisOf(from, from.Add(tt.span), berlin).ticks {
			label := k.time
			if k.day != "" {
				label = k.day + "/" + k.time
			}
			got = append(got, label)
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%s for %v: %s, want %s", tt.from, tt.span, s, tt.want)
		}
	}
}

// TestPrintable has no word of whomever move a cursor or turn the text round.
func TestPrintable(t *testing.T) {
	o := options
	o.Title, o.Version = evil, evil
	for _, data := range [][]byte{HTML(sample("hostile"), o), Text(sample("hostile"), o)} {
		if i := bytes.IndexFunc(data, func(c rune) bool { return c != '\n' && !unicode.IsPrint(c) }); i >= 0 {
			t.Errorf("%q", data[max(0, i-20):i+20])
		}
	}
}
