package decide

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"rebootd.dev/daemon/api"
)

// Request is whether a reboot is asked for, and by what.
type Request struct {
	Wanted bool
	// Pending says that it is not wanted as far as is known, and that it cannot be known
	// yet: the reboot that is asked for may have happened.
	Pending   bool
	Why       string
	Annotated bool // by the annotation, perhaps among others
	Level     api.Level
	Spent     string // when nothing is asked for: the sentinels whose reboot has happened, and why they count as such
}

// Sentinel is a file that asks for a reboot.
type Sentinel struct {
	Path     string
	ModTime  time.Time
	Content  string
	Packages []string
}

// fileTime is a time with as much of the second as tells what came first.
const fileTime = "2006-01-02T15:04:05.000Z"

// maxWhy bounds the human reason, which goes into the record and the log.
const maxWhy = 300

// RequestOf finds out whether a reboot is asked for. A sentinel that is older
// than the boot is spent: the reboot that it asked for has happened. The level is the
// highest that any asks for; the annotation asks for everything. annotation is the
// value of [api.RequestAnnotation], "" when there is none.
func RequestOf(sentinels []Sentinel, boot Boot, annotation string) Request {
	var why, old []string
	level, pending := api.SoftReboot, false
	for _, s := range sentinels {
		switch by, is := spent(s, boot); is {
		case yes:
			old = append(old, fmt.Sprintf("%s of %s is older than the %s", s.Path, s.ModTime.UTC().Format(fileTime), by))
			continue
		case unclear:
			pending = true
			continue
		}
		level = higher(level, levelOf(s.Content))
		w := fmt.Sprintf("%s since %s", s.Path, s.ModTime.UTC().Format(time.RFC3339))
		if s.Content != "" {
			w += fmt.Sprintf(" (%s)", s.Content)
		}
		if n := len(s.Packages); n > 0 {
			w += " for " + strings.Join(s.Packages[:min(n, 3)], ", ")
			if n > 3 {
				w += fmt.Sprintf(" and %d more", n-3)
			}
		}
		why = append(why, w)
	}
	annotated := annotation == api.RequestReboot
	if annotated {
		why = append(why, "annotation "+api.RequestAnnotation)
		level = api.FullReboot
	}
	if len(why) == 0 {
		return Request{Pending: pending, Spent: cut(strings.Join(old, "; "), maxWhy)}
	}
	return Request{Wanted: true, Annotated: annotated, Level: level, Why: cut(strings.Join(slices.Compact(why), "; "), maxWhy)}
}

// validUTF8 drops what is left of a character at the end.
func validUTF8(s string) string { return strings.ToValidUTF8(s, "") }
