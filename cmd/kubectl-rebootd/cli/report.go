package cli

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"rebootd.dev/cmd/kubectl-rebootd/page"
	"rebootd.dev/cmd/kubectl-rebootd/roll"
)

func newReport(e *env) *cobra.Command {
	var selector, since, file, title string
	c := &cobra.Command{
		Use:     "report [NODE...]",
		Example: "  " + e.name + " report --since 24h --html roll.html --title CHG-4711",
		Short:   "Make a report of the reboots for a change ticket",
		Long: `Make a report of the reboots for a change ticket: how many nodes rebooted from when to
when, what halted, failed or was stopped by force, what took long, and each node's times.

Without --html it is text in Markdown. With it, one HTML page that needs nothing from
anywhere: it can be attached, printed and archived.`,
		RunE: func(c *cobra.Command, args []string) error {
			from, err := parseSince(since, e.now(), e.zone)
			if err != nil {
				return err
			}
			r, err := e.roll(c.Context(), args, selector, from)
			if err != nil {
				return err
			}
			o := page.Options{Title: title, Version: e.versionString(), Clock: roll.Clock{Zone: e.zone}}
			switch file {
			case "":
				_, err = e.out.Write(page.Text(r, o))
			case "-":
				_, err = e.out.Write(page.HTML(r, o))
			default:
				if err = writeWhole(file, page.HTML(r, o)); err == nil {
					e.sayf("%s: %s", file, r.Verdict(o.Clock).Headline)
				}
			}
			return err
		},
	}
	rollFlags(c, &selector, &since, "24h")
	c.Flags().StringVar(&file, "html", "", "write an HTML page to this file, or with - to standard output")
	c.Flags().StringVar(&title, "title", page.DefaultTitle, "title of the report")
	_ = c.MarkFlagFilename("html", "html")
	return c
}

// writeWhole writes a file whole or not at all.
func writeWhole(file string, data []byte) error {
	if info, err := os.Stat(file); err == nil && !info.Mode().IsRegular() {
		return os.WriteFile(file, data, 0o644) // a device or a pipe: /dev/stdout
	}
	f, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".*")
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	defer os.Remove(f.Name()) // if it is not renamed
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}
