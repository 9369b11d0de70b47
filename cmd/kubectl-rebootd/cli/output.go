package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"
)

// schemaVersion is the apiVersion of what -o json and -o yaml print. Within a version,
// fields are only added.
const schemaVersion = "rebootd.dev/v1"

// object is what -o json and -o yaml print: one object with its kind.
type object struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
}

func kind(name string) object { return object{schemaVersion, name} }

// output is the format of a command's data.
type output string

// outputFlag adds -o to a command that can print in these formats besides the table.
func outputFlag(c *cobra.Command, o *output, formats ...string) {
	c.Flags().StringVarP((*string)(o), "output", "o", "", "format: "+strings.Join(formats, "|"))
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
	pre := c.PreRunE
	c.PreRunE = func(c *cobra.Command, args []string) error {
		if *o != "" && !slices.Contains(formats, string(*o)) {
			return usagef("-o %s is not known; one of %s is", *o, strings.Join(formats, ", "))
		}
		if pre != nil {
			return pre(c, args)
		}
		return nil
	}
}

// encode prints v as JSON or YAML.
func (e *env) encode(o output, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err == nil && o == "yaml" {
		data, err = yaml.JSONToYAML(data)
	}
	if err != nil {
		return fmt.Errorf("encode as %s: %w", o, err)
	}
	_, err = fmt.Fprintln(e.out, strings.TrimSuffix(string(data), "\n"))
	return err
}

// table prints rows in columns. A cell may have colours: paint.
func table(w io.Writer, rows [][]string) error {
	for _, line := range layout(rows) {
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}

// hue is a colour of a terminal.
type hue string

// The hues; each says the same everywhere.
const (
	plain  hue = ""
	bold   hue = "1"
	dim    hue = "2"
	red    hue = "31" // needs a person
	green  hue = "32" // all is well
	yellow hue = "33" // under way, or waits
	cyan   hue = "36"
)

// colored says whether to colour.
func (e *env) colored() bool {
	switch {
	case e.flags.noColor || e.flags.color == "never":
		return false
	case e.flags.color == "always":
		return true
	case e.getenv("NO_COLOR") != "" || e.getenv("TERM") == "dumb":
		return false
	}
	_, _, is := e.terminal()
	return is
}

// paint colours a text.
func (e *env) paint(h hue, text string) string {
	if h == plain || text == "" || !e.colored() {
		return text
	}
	return "\x1b[" + string(h) + "m" + text + "\x1b[0m"
}

// clock says a moment as people say it: the time of day today, else with the day.
func (e *env) clock(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	t, now := t.In(e.zone), e.now().In(e.zone)
	switch days := t.Sub(now).Hours() / 24; {
	case t.YearDay() == now.YearDay() && t.Year() == now.Year():
		return t.Format("15:04 MST")
	case days > -6 && days < 6:
		return t.Format("Mon 15:04 MST")
	default:
		return t.Format("2006-01-02 15:04 MST")
	}
}

// ago says how long something lasts, in one unit or two: 45s, 12m, 3h20m, 5d.
func ago(d time.Duration) string {
	d = max(0, d)
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 24*time.Hour:
		h, m := int(d.Hours()), int(d.Minutes())%60
		if m == 0 {
			return fmt.Sprintf("%dh", h)
		}
		return fmt.Sprintf("%dh%dm", h, m)
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}
