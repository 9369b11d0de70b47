package alerts

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"rebootd.dev/daemon/gate"
)

// The parts of an answer are told apart by a label.
const (
	partLabel = "rebootd"

	partFired  = "fired"  // when alerts fired last, by name, or 1 if that is not known
	partActive = "active" // since when the alerts are active that fire now, by name
	partLife   = "life"   // when the watchdog was evaluated last
	partSince  = "since"  // since when the watchdog is evaluated

	// aboutNode is added to the parts that are about this node alone.
	aboutNode = "-node"
)

// maxStep is how exactly it is known when an alert ended.
const maxStep = 30 * time.Second

// ownAlerts are the names of the alerts that rebootd ships. They say that a node waits too
// long, among others: they must not have it wait.
const ownAlerts = "Rebootd.*"

// query is what Prometheus is asked, in one request: which alerts count, and proof that
// they are evaluated.
//
// It looks back, since after a restart of Prometheus an alert that fired all along is
// pending for its whole "for". The names of alerts are all that it asks for: hundreds of
// alerts with long labels come down to a few.
func (g *Gate) query(v gate.View) string {
	var parts []string
	add := func(part, expr string) {
		parts = append(parts, fmt.Sprintf("label_replace(%s,%q,%q,\"\",\"\")", expr, partLabel, part))
	}
	after := rebooted(v)
	for _, about := range []string{"", aboutNode} {
		var fired, active []string
		for _, s := range g.Alerts {
			if s.OfNode() != (about == aboutNode) {
				continue
			}
			sel := s.of(v.Node) + g.ignored()
			firing := fmt.Sprintf(`ALERTS{alertstate="firing",%s}`, sel)
			if !after && g.Lookback > 0 {
				back, step := promDuration(g.Lookback), promDuration(min(maxStep, max(g.Lookback/10, time.Second)))
				fired = append(fired, fmt.Sprintf("max_over_time(timestamp(%s)[%s:%s])", firing, back, step), fmt.Sprintf("max_over_time(%s[%s])", firing, back))
			} else {
				fired = append(fired, fmt.Sprintf("timestamp(%s)", firing))
			}
			active = append(active, fmt.Sprintf("(ALERTS_FOR_STATE{%s} and ignoring(alertstate) %s)", sel, firing))
		}
		if len(fired) == 0 || after && about == "" {
			continue
		}
		// After the reboot the youngest counts, and before it people are told of the oldest.
		age := "min"
		if after {
			age = "max"
		}
		add(partFired+about, fmt.Sprintf("max by(alertname)(%s)", strings.Join(fired, " or ")))
		add(partActive+about, fmt.Sprintf("%s by(alertname)(%s)", age, strings.Join(active, " or ")))
	}
	if g.Watchdog != nil {
		sel := g.Watchdog.of(v.Node)
		add(partLife, fmt.Sprintf(`max(timestamp(ALERTS{alertstate="firing",%s}))`, sel))
		add(partSince, fmt.Sprintf("min(ALERTS_FOR_STATE{%s})", sel))
	}
	return strings.Join(parts, " or ")
}

// ignored is the matcher that leaves out what never counts.
func (g *Gate) ignored() string {
	never := []string{ownAlerts}
	if g.Watchdog != nil {
		never = append(never, regexp.QuoteMeta(g.Watchdog.AlertName()))
	}
	if g.Ignore != "" {
		never = append(never, "(?:"+g.Ignore+")")
	}
	return ",alertname!~" + strconv.Quote(strings.Join(never, "|"))
}

// promDuration is d as Prometheus reads it.
func promDuration(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) + "ms" }
