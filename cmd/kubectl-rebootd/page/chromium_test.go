package page

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// chromium is a headless Chromium that is driven by its DevTools protocol over a pipe:
// messages of JSON, each with a zero byte at its end.
type chromium struct {
	t       *testing.T
	in      *os.File
	mu      sync.Mutex
	last    int
	answers map[int]chan answer
	events  []event
	session string
	gone    chan struct{}
}

type answer struct {
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
}

type event struct {
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
}

// patience is for one answer: the first takes as long as Chromium needs to start.
const patience = 2 * time.Minute

// startChromium starts one, with a page of its own. make deps installs it.
func startChromium(t *testing.T) *chromium {
	t.Helper()
	if testing.Short() {
		t.Skip("needs Chromium, of Debian's packages")
	}
	path := ""
	for _, name := range []string{"chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		t.Fatal("needs Chromium: make deps installs it")
	}
	theirIn, ourOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	ourIn, theirOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	cmd := exec.Command(path, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking", "--disable-component-update",
		"--hide-scrollbars", "--force-color-profile=srgb", "--font-render-hinting=none", "--user-data-dir="+home, "--remote-debugging-pipe", "about:blank")
	cmd.Env = append(os.Environ(), "HOME="+home, "TZ=UTC", "LANG=C.UTF-8")
	cmd.ExtraFiles = []*os.File{theirIn, theirOut}
	log, err := os.Create(filepath.Join(home, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = theirIn.Close(), theirOut.Close()
	c := &chromium{t: t, in: ourOut, answers: map[int]chan answer{}, gone: make(chan struct{})}
	t.Cleanup(func() {
		_ = ourOut.Close() // ends it
		ended := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		ended.Stop()
		<-c.gone
		_, _ = ourIn.Close(), log.Close()
		if data, _ := os.ReadFile(log.Name()); t.Failed() {
			t.Logf("Chromium's log:\n%s", data)
		}
	})
	go c.read(ourIn)

	var target struct {
		ID string `json:"targetId"`
	}
	c.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct {
		ID string `json:"sessionId"`
	}
	c.call("Target.attachToTarget", map[string]any{"targetId": target.ID, "flatten": true}, &attached)
	c.session = attached.ID
	for _, domain := range []string{"Page", "Runtime", "Network", "Log", "Security"} {
		c.call(domain+".enable", nil, nil)
	}
	return c
}

func (c *chromium) read(from *os.File) {
	defer close(c.gone)
	r := bufio.NewReaderSize(from, 1<<20)
	for {
		data, err := r.ReadBytes(0)
		if err != nil {
			return
		}
		var m struct {
			ID int `json:"id"`
			answer
			event
		}
		if json.Unmarshal(data[:len(data)-1], &m) != nil {
			continue
		}
		c.mu.Lock()
		if m.ID == 0 {
			c.events = append(c.events, m.event)
		} else {
			c.answers[m.ID] <- m.answer
		}
		c.mu.Unlock()
	}
}

// call calls a method and reads its result into out, unless that is nil.
func (c *chromium) call(method string, params, out any) {
	c.t.Helper()
	answered := make(chan answer, 1)
	c.mu.Lock()
	c.last++
	id := c.last
	c.answers[id] = answered
	c.mu.Unlock()
	if params == nil {
		params = map[string]any{}
	}
	m := map[string]any{"id": id, "method": method, "params": params}
	if c.session != "" {
		m["sessionId"] = c.session
	}
	data, err := json.Marshal(m)
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.in.Write(append(data, 0)); err != nil {
		c.t.Fatalf("%s: %v", method, err)
	}
	select {
	case a := <-answered:
		if a.Error != nil {
			c.t.Fatalf("%s: %s", method, a.Error.Message)
		}
		if out != nil {
			if err := json.Unmarshal(a.Result, out); err != nil {
				c.t.Fatalf("%s: %v", method, err)
			}
		}
	case <-c.gone:
		c.t.Fatalf("%s: Chromium has ended", method)
	case <-time.After(patience):
		c.t.Fatalf("%s: no answer within %v", method, patience)
	}
}

// eval evaluates an expression in the page.
func (c *chromium) eval(expression string, out any) {
	c.t.Helper()
	var r struct {
		Result struct {
			Value json.RawMessage `json:"value"`
		} `json:"result"`
		Exception json.RawMessage `json:"exceptionDetails"`
	}
	c.call("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true}, &r)
	if r.Exception != nil {
		c.t.Fatalf("%s: %s", expression, r.Exception)
	}
	if err := json.Unmarshal(r.Result.Value, out); err != nil {
		c.t.Fatalf("%s: %v in %s", expression, err, r.Result.Value)
	}
}

// open opens a file, and waits until it is laid out.
func (c *chromium) open(file string) {
	c.t.Helper()
	c.mu.Lock()
	c.events = nil
	c.mu.Unlock()
	var r struct {
		Error string `json:"errorText"`
	}
	c.call("Page.navigate", map[string]any{"url": "file://" + file}, &r)
	if r.Error != "" {
		c.t.Fatalf("%s: %s", file, r.Error)
	}
	var ready bool
	c.eval(`new Promise(done => { const look = () => document.readyState === "complete" ? done(true) : setTimeout(look, 5); look() })`, &ready)
}

// look sets the window's width and the colour scheme.
func (c *chromium) look(width int, scheme string) {
	c.t.Helper()
	c.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false}, nil)
	c.call("Emulation.setEmulatedMedia", map[string]any{"media": "screen", "features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}}, nil)
}

// complaints are requests besides that of the page, and whatever the console says.
func (c *chromium) complaints(file string) (out []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.events {
		switch e.Method {
		case "Network.requestWillBeSent":
			var p struct {
				Request struct {
					URL string `json:"url"`
				} `json:"request"`
			}
			if _ = json.Unmarshal(e.Params, &p); p.Request.URL != "file://"+file {
				out = append(out, "a request of "+p.Request.URL)
			}
		case "Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Page.javascriptDialogOpening", "Page.windowOpen":
			out = append(out, fmt.Sprintf("%s: %s", e.Method, e.Params))
		}
	}
	return out
}
