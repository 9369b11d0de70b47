package alerts

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"rebootd.dev/daemon/gate"
	"rebootd.dev/daemon/printable"
)

const (
	// lifeAge is how old the watchdog's last evaluation may be: rules are evaluated each
	// minute or more often.
	lifeAge = 3 * time.Minute
	// answerAge is by how much an answer may differ from the clock of the node.
	answerAge = 5 * time.Minute
	// orderSlack is how long before the order an alert may have begun that counts as begun
	// since: times are in seconds, and of two clocks.
	orderSlack = time.Minute
	// namedAlerts is of how many alerts people are told.
	namedAlerts = 3
	// maxName bounds the name of an alert in a message, in bytes.
	maxName = 63
)

// Sample is one of the series of an answer.
type Sample struct {
	Labels map[string]string
	At     time.Time // by the clock of Prometheus
	Value  float64
}

// alert is all alerts of one name.
type alert struct {
	name  string
	last  time.Time // when it fired last; zero: within the look-back
	since time.Time // since when it is active, if it fires now
}

// reading is what an answer says.
type reading struct {
	at          time.Time // of the answer; zero: nothing in it says so
	life, since time.Time // of the watchdog
	all, ofNode map[string]*alert
}

// read takes an answer apart. What was not asked for makes it worth nothing.
func read(answer []Sample) (reading, error) {
	r := reading{all: map[string]*alert{}, ofNode: map[string]*alert{}}
	for _, s := range answer {
		r.at = s.At
		part, alerts := s.Labels[partLabel], r.all
		if name, ok := strings.CutSuffix(part, aboutNode); ok {
			part, alerts = name, r.ofNode
		}
		name := s.Labels["alertname"]
		if (part == partFired || part == partActive) && alerts[name] == nil {
			alerts[name] = &alert{name: name}
		}
		switch part {
		case partFired:
			if s.Value > 1 {
				alerts[name].last = seconds(s.Value)
			}
		case partActive:
			alerts[name].since = seconds(s.Value)
		case partLife:
			r.life = seconds(s.Value)
		case partSince:
			r.since = seconds(s.Value)
		default:
			return reading{}, errors.New("the answer has series that were not asked for")
		}
	}
	return r, nil
}

func seconds(v float64) time.Time { return time.UnixMilli(int64(v * 1000)).UTC().Truncate(time.Second) }

// proof is an error where an answer does not prove that the alerts in it are all that fire.
func (g *Gate) proof(r reading, now time.Time) error {
	if off := r.at.Sub(now).Abs(); !r.at.IsZero() && off > answerAge {
		return fmt.Errorf("the time of the answer differs from this node's by more than %s: it is an old answer, or a clock is wrong", words(answerAge))
	}
	if g.Watchdog == nil {
		return nil
	}
	name := printable.Line(g.Watchdog.AlertName(), maxName)
	if r.life.IsZero() {
		return fmt.Errorf("the alert %s, which always fires, is not in the answer: without it, that no alert fires proves nothing; --alerts-watchdog says which alert that is", name)
	}
	if r.at.Sub(r.life) > lifeAge {
		return fmt.Errorf("the alert %s, which always fires, was evaluated last at %s: alerts are not evaluated any more", name, r.life.Format(time.RFC3339))
	}
	return nil
}

// judge says how the gate stands before the cordon.
func (g *Gate) judge(r reading) (gate.Verdict, error) {
	var why []string
	var at gate.Points
	var untils []time.Time
	if g.Watchdog != nil && g.Lookback > 0 {
		if r.since.IsZero() {
			return gate.Verdict{}, fmt.Errorf("ALERTS_FOR_STATE of the alert %s is not in the answer: it is not known since when alerts are evaluated", printable.Line(g.Watchdog.AlertName(), maxName))
		}
		if until := r.since.Add(g.Lookback); until.After(r.at) {
			at, untils = gate.WithSlot, append(untils, until)
			why = append(why, fmt.Sprintf("alerts have been evaluated since %s only, and one that fired before may be pending", r.since.Format(time.RFC3339)))
		}
	}
	for _, of := range []struct {
		alerts map[string]*alert
		at     gate.Points
		words  string
	}{{r.all, gate.WithSlot, "alerts block reboots"}, {r.ofNode, gate.OnTurn, "alerts about this node block its reboot"}} {
		if len(of.alerts) > 0 {
			at |= of.at
			why = append(why, of.words+": "+g.tell(of.alerts, g.Lookback))
			untils = append(untils, g.quiet(of.alerts)...)
		}
	}
	if at == 0 {
		return gate.Verdict{State: gate.Open}, nil
	}
	v := gate.Verdict{State: gate.Closed, At: at, Why: strings.Join(why, "; "), Until: slices.MaxFunc(untils, time.Time.Compare)}
	if slices.ContainsFunc(untils, time.Time.IsZero) {
		v.Until = time.Time{}
	}
	return v, nil
}

// judgeAfter says how the gate stands after the boot. An alert that was active before the
// reboot was ordered is not the reboot's doing: the node was rebooted all the same, past
// its deadline. ordered is how long ago that was; not known unless positive.
func (g *Gate) judgeAfter(r reading, ordered time.Duration) gate.Verdict {
	begun := map[string]*alert{}
	for name, a := range r.ofNode {
		if a.since.IsZero() || ordered <= 0 || a.since.After(r.at.Add(-ordered-orderSlack)) {
			begun[name] = a
		}
	}
	if len(begun) == 0 {
		return gate.Verdict{State: gate.Open}
	}
	return gate.Verdict{State: gate.Closed, At: gate.BeforeUncordon, Why: "alerts about this node have begun since: " + g.tell(begun, 0)}
}

// quiet is from when on each of the alerts has not fired within the look-back, if it does
// not fire again; zero where that is not known.
func (g *Gate) quiet(alerts map[string]*alert) (untils []time.Time) {
	for _, a := range alerts {
		if g.Lookback == 0 || !g.ended(a) {
			return []time.Time{{}}
		}
		untils = append(untils, a.last.Add(g.Lookback))
	}
	return untils
}

// ended says whether an alert does not fire any more, which is known only where what is
// active is.
func (g *Gate) ended(a *alert) bool {
	return a.since.IsZero() && !a.last.IsZero() && g.Watchdog != nil
}

// tell names the alerts: those first that fire, and of these the oldest. lookback is for
// how long it was looked back.
func (g *Gate) tell(alerts map[string]*alert, lookback time.Duration) string {
	var all []*alert
	for _, a := range alerts {
		all = append(all, a)
	}
	slices.SortFunc(all, func(a, b *alert) int {
		switch {
		case a.since.IsZero() != b.since.IsZero():
			return cmp.Compare(b.since.Unix(), a.since.Unix())
		case !a.since.Equal(b.since):
			return a.since.Compare(b.since)
		default:
			return cmp.Compare(a.name, b.name)
		}
	})
	var out []string
	for i, a := range all {
		if i == namedAlerts {
			out = append(out, fmt.Sprintf("and %d more", len(all)-i))
			break
		}
		name := cmp.Or(printable.Line(a.name, maxName), "without a name")
		switch {
		case !a.since.IsZero():
			name += " (active since " + a.since.Format(time.RFC3339) + ")"
		case lookback == 0: // it fires now
		case g.ended(a):
			name += " (fired until " + a.last.Format(time.RFC3339) + ")"
		default:
			name += " (fired within " + words(lookback) + ")"
		}
		out = append(out, name)
	}
	return strings.Join(out, ", ")
}

// words is a duration without the units that are zero.
func words(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
