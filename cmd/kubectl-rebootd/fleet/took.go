package fleet

import (
	"maps"
	"slices"
	"strings"
	"time"

	"rebootd.dev/daemon/api"
)

// took is how long reboots took before.
type took struct {
	own           map[string]spell
	typical       spell // of all nodes, the one in the middle
	nodes         int   // of how many that is
	drain, reboot []time.Duration
}

// spell is how long the parts of a reboot took; a zero reboot is not known.
type spell struct {
	drain  time.Duration
	reboot time.Duration // from the order until it was verified
	last   time.Duration // all of the last one, rounded up to the minute
}

func (s spell) whole() time.Duration { return s.drain + s.reboot }

// maxRead bounds of how many nodes is read what they have said of the past.
const maxRead = 1000

// took reads it from the nodes that have something to do, and of others as far as it takes
// to know what is typical.
func (f Fleet) took() took {
	t := took{own: map[string]spell{}}
	read := 0
	add := func(n Node) {
		if read++; read > maxRead {
			return
		}
		if s := n.took(); s.reboot > 0 {
			t.own[n.Name] = s
			t.drain, t.reboot = append(t.drain, s.drain), append(t.reboot, s.reboot)
		}
	}
	for _, n := range f.Nodes {
		if n.Record != nil {
			add(n)
		}
	}
	for _, n := range f.Nodes {
		if n.Record == nil && read < maxRead {
			add(n)
		}
	}
	t.nodes = len(t.own)
	t.typical = spell{drain: middle(t.drain), reboot: middle(t.reboot)}
	return t
}

// of is how long a reboot of a node is expected to take.
func (t took) of(name string) spell {
	if s, known := t.own[name]; known {
		return s
	}
	return t.typical
}

// took is how long reboots of the node took: the one in the middle of its history, else the
// mean of what its report has added up.
func (n Node) took() spell {
	var drains, reboots []time.Duration
	ops, _ := n.History()
	for _, o := range ops {
		if o.Result != api.ReasonRebootVerified || o.Ordered.IsZero() || !o.Ended.After(o.Ordered) {
			continue
		}
		drain := time.Duration(0)
		if !o.Cordoned.IsZero() {
			drain = max(0, o.Ordered.Sub(o.Cordoned))
		}
		drains, reboots = append(drains, drain), append(reboots, o.Ended.Sub(o.Ordered))
	}
	if len(reboots) > 0 {
		return bounded(spell{drain: middle(drains), reboot: middle(reboots), last: up(drains[0] + reboots[0])})
	}
	r := n.Report()
	if r == nil || r.Past == nil {
		return spell{}
	}
	d, b := r.Past.Drain, r.Past.Reboot
	return bounded(spell{drain: mean(d), reboot: mean(b), last: up(seconds(d.Last + b.Last))})
}

// longest is the longest that a part of a reboot is believed to have taken.
const longest = 7 * 24 * time.Hour

// bounded keeps what anybody may have written from being for ever.
func bounded(s spell) spell {
	return spell{drain: min(s.drain, longest), reboot: min(s.reboot, longest), last: min(s.last, longest)}
}

func seconds(n float64) time.Duration {
	return time.Duration(min(max(n, 0), longest.Seconds()) * float64(time.Second))
}

func mean(d api.Durations) time.Duration {
	total := d.Total()
	if total <= 0 {
		return 0
	}
	return seconds(d.Sum / float64(total))
}

// up rounds up to the minute.
func up(d time.Duration) time.Duration { return (d + time.Minute - 1).Truncate(time.Minute) }

// middle is the one in the middle, 0 of none.
func middle(all []time.Duration) time.Duration {
	if len(all) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(all))
	return s[len(s)/2]
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func joined(names []string) string {
	const most = 3
	if more := len(names) - most; more > 0 {
		return strings.Join(names[:most], ", ") + " and more"
	}
	return strings.Join(names, ", ")
}
