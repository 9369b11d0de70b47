// Command count reads what `go test -json` prints from standard input, shows
// each package's result and the output of what failed or was skipped, and ends
// with one line that counts the tests. It fails if a test failed, if a package
// did, or if nothing ran.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

type event struct {
	Action, Package, ImportPath, Test, Output string
	Elapsed                                   float64
}

func main() {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 64<<20)
	output := map[string]*strings.Builder{}
	var passed, failed, skipped, broken int
	for in.Scan() {
		var e event
		if err := json.Unmarshal(in.Bytes(), &e); err != nil || e.Action == "" {
			fmt.Println(in.Text()) // not from a test: a build's own words
			continue
		}
		key := e.Package + e.ImportPath + " " + e.Test
		switch e.Action {
		case "output", "build-output":
			if output[key] == nil {
				output[key] = new(strings.Builder)
			}
			output[key].WriteString(e.Output)
			if strings.HasPrefix(e.Output, "measured: ") { // worth knowing of a test that passes, too
				fmt.Print(e.Output)
			}
			continue
		case "pass", "fail", "skip", "build-fail":
		default:
			continue
		}
		text := ""
		if b := output[key]; b != nil {
			text = b.String()
			delete(output, key)
		}
		if e.Test == "" {
			if e.Action == "fail" || e.Action == "build-fail" {
				broken++
				fmt.Print(text)
			}
			if e.Action != "skip" && e.Package != "" {
				fmt.Printf("%-5s %s %.1fs\n", e.Action, e.Package, e.Elapsed)
			}
			continue
		}
		switch e.Action {
		case "pass":
			passed++
		case "fail":
			failed++
			fmt.Print(text)
		case "skip":
			skipped++
			fmt.Print(text)
		}
	}
	if err := in.Err(); err != nil {
		fmt.Fprintln(os.Stderr, "count: read the tests' output:", err)
		os.Exit(1)
	}
	if broken > 0 && failed == 0 {
		failed = broken
	}
	fmt.Printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped)
	if failed > 0 || broken > 0 || passed == 0 {
		os.Exit(1)
	}
}
