package page

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// shots is where the pictures go, to be looked at.
const shots = "../../../bin/page"

// TestBrowser has a real browser show the pages, narrow and wide, in light and dark, and
// print them: nothing is loaded, nothing is cut, everything can be read.
func TestBrowser(t *testing.T) {
	c := startChromium(t)
	if err := os.MkdirAll(shots, 0o755); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range []string{"empty", "three", "forty", "halted", "nights", "large", "hostile"} {
		file := filepath.Join(dir, name+".html")
		if err := os.WriteFile(file, HTML(sample(name), options), 0o600); err != nil {
			t.Fatal(err)
		}
		c.look(1280, "light")
		c.open(file)
		for _, look := range []struct {
			width  int
			scheme string
		}{{1280, "light"}, {1280, "dark"}, {768, "light"}, {320, "light"}, {320, "dark"}} {
			what := fmt.Sprintf("%s-%d-%s", name, look.width, look.scheme)
			c.look(look.width, look.scheme)
			for _, w := range c.wide() {
				t.Errorf("%s: wider than the window: %s", what, w)
			}
			for _, f := range c.faint() {
				t.Errorf("%s: hard to read: %s", what, f)
			}
			if name == "halted" || name == "forty" && look.width == 1280 {
				c.picture(what)
			}
		}
		c.look(1280, "dark") // a dark desktop prints on white paper
		c.print(name)
		if got := c.title(); !strings.HasPrefix(got, options.Title) {
			t.Errorf("%s: the title is %q", name, got)
		}
		for _, complaint := range c.complaints(file) {
			t.Errorf("%s: %s", name, complaint)
		}
	}
}

func (c *chromium) title() (s string) {
	c.eval("document.title", &s)
	return s
}

// wide is what reaches beyond the window, or is cut within its own element.
func (c *chromium) wide() (out []string) {
	c.eval(`(() => {
		const out = [], all = document.scrollingElement;
		if (all.scrollWidth > innerWidth) out.push("the page: " + all.scrollWidth + " of " + innerWidth);
		for (const e of document.querySelectorAll("main *")) {
			if (e.closest("svg") || e.closest(".unseen") || e.closest(".stack thead")) continue;
			const r = e.getBoundingClientRect();
			if (r.width > 0 && (r.right > innerWidth + 0.5 || r.left < -0.5)) out.push(e.tagName + "." + e.className + " " + Math.round(r.left) + ".." + Math.round(r.right) + " " + e.textContent.slice(0, 40));
		}
		return out.slice(0, 5);
	})()`, &out)
	return out
}

// faint is text with less contrast to what is behind it than 4.5:1, or smaller than 10.5 px.
func (c *chromium) faint() (out []string) {
	c.eval(`(() => {
		const rgb = s => s.match(/[\d.]+/g).map(Number);
		const light = c => { const [r, g, b] = c.map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b };
		const behind = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c.slice(0, 3) } return [255, 255, 255] };
		const out = new Set();
		for (const e of document.querySelectorAll("main *")) {
			if (e.closest("svg") || ![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
			const style = getComputedStyle(e), a = light(rgb(style.color).slice(0, 3)), b = light(behind(e));
			const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
			if (ratio < 4.5) out.add(e.tagName + "." + e.className + ": contrast " + ratio.toFixed(2));
			if (parseFloat(style.fontSize) < 10.5) out.add(e.tagName + "." + e.className + ": " + style.fontSize);
		}
		return [...out].slice(0, 5);
	})()`, &out)
	return out
}

// picture takes a picture of the whole page.
func (c *chromium) picture(name string) {
	c.t.Helper()
	var size struct {
		CSS struct{ Width, Height float64 } `json:"cssContentSize"`
	}
	c.call("Page.getLayoutMetrics", nil, &size)
	var shot struct {
		Data string `json:"data"`
	}
	c.call("Page.captureScreenshot", map[string]any{
		"captureBeyondViewport": true,
		"clip":                  map[string]any{"x": 0, "y": 0, "width": size.CSS.Width, "height": min(size.CSS.Height, 6000), "scale": 1},
	}, &shot)
	c.save(name+".png", shot.Data)
}

func (c *chromium) save(name, data string) {
	c.t.Helper()
	raw, err := base64.StdEncoding.DecodeString(data)
	if err == nil {
		err = os.WriteFile(filepath.Join(shots, name), raw, 0o600)
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// pages are how many sheets of A4 a page may take in print, at the most.
var pages = map[string]int{"empty": 1, "three": 2, "forty": 4, "halted": 3, "nights": 5, "large": 20, "hostile": 5}

var sheet = regexp.MustCompile(`/Type\s*/Page[^s]`)

// print prints the page as PDF, without backgrounds, as browsers do unless told otherwise.
func (c *chromium) print(name string) {
	c.t.Helper()
	c.call("Emulation.setEmulatedMedia", map[string]any{"media": "print", "features": []map[string]string{{"name": "prefers-color-scheme", "value": "dark"}}}, nil)
	// As wide as A4 has between its margins.
	c.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": 695, "height": 900, "deviceScaleFactor": 1, "mobile": false}, nil)
	for _, w := range c.wide() {
		c.t.Errorf("%s: wider than the paper: %s", name, w)
	}
	var paper string
	c.eval(`getComputedStyle(document.body).backgroundColor`, &paper)
	if paper != "rgb(255, 255, 255)" {
		c.t.Errorf("%s: paper is %s", name, paper)
	}
	var pdf struct {
		Data string `json:"data"`
	}
	c.call("Page.printToPDF", map[string]any{"preferCSSPageSize": true}, &pdf)
	c.save(name+".pdf", pdf.Data)
	raw, _ := base64.StdEncoding.DecodeString(pdf.Data)
	n := len(sheet.FindAll(raw, -1))
	if n == 0 || n > pages[name] {
		c.t.Errorf("%s: %d pages in print; %s at most", name, n, strconv.Itoa(pages[name]))
	}
}
