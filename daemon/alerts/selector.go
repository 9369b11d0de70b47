package alerts

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"rebootd.dev/daemon/gate"
)

// Selector says which alerts are meant: label matchers as Prometheus has them, in which
// $node and $instance stand for the node.
type Selector struct{ matchers []matcher }

type matcher struct{ label, op, value string }

// The variables of a selector, without the dollar sign.
const (
	nodeVariable     = "node"
	instanceVariable = "instance"
)

var (
	matcherStart = regexp.MustCompile(`^\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*`)
	quoted       = regexp.MustCompile("^(?:\"(?:[^\"\\\\\\n]|\\\\.)*\"|'(?:[^'\\\\\\n]|\\\\.)*'|`[^`]*`)")
	singleQuoted = regexp.MustCompile(`\\.|"`)
	variable     = regexp.MustCompile(`\$([a-zA-Z_][a-zA-Z0-9_]*)`)
)

// ParseSelector reads label matchers, separated by commas. It refuses what Prometheus
// would refuse, and what would not mean what it seems to.
func ParseSelector(text string) (Selector, error) {
	var s Selector
	rest := strings.TrimSpace(text)
	if strings.HasPrefix(rest, "{") {
		return Selector{}, fmt.Errorf("%q: write the matchers without the braces", text)
	}
	for rest != "" {
		start := matcherStart.FindStringSubmatch(rest)
		if start == nil {
			return Selector{}, fmt.Errorf(`%q: %q does not begin with a label matcher such as severity="critical"`, text, rest)
		}
		rest = rest[len(start[0]):]
		value := quoted.FindString(rest)
		if value == "" {
			return Selector{}, fmt.Errorf("%q: the value of %s is not a string in quotes", text, start[1])
		}
		rest = strings.TrimSpace(rest[len(value):])
		m := matcher{label: start[1], op: start[2]}
		var err error
		if m.value, err = unquote(value); err == nil {
			err = m.check()
		}
		if err != nil {
			return Selector{}, fmt.Errorf("%q: the value of %s: %w", text, m.label, err)
		}
		s.matchers = append(s.matchers, m)
		if rest == "" {
			break
		}
		if rest[0] != ',' {
			return Selector{}, fmt.Errorf("%q: a comma is missing before %q", text, rest)
		}
		rest = strings.TrimSpace(rest[1:])
	}
	if len(s.matchers) == 0 {
		return Selector{}, errors.New(`must have a label matcher such as severity="critical"`)
	}
	return s, nil
}

// unquote is what a string of Prometheus's means: as in Go, but that single quotes are like
// double ones.
func unquote(s string) (string, error) {
	if s[0] == '\'' {
		s = `"` + singleQuoted.ReplaceAllStringFunc(s[1:len(s)-1], func(part string) string {
			switch part {
			case `\'`:
				return `'`
			case `"`:
				return `\"`
			}
			return part
		}) + `"`
	}
	v, err := strconv.Unquote(s)
	if err != nil {
		return "", errors.New("is not a valid string")
	}
	return v, nil
}

func (m matcher) check() error {
	if m.label == "alertstate" || m.label == "__name__" {
		return errors.New("only alerts that fire are asked for, whatever this says: leave it out")
	}
	for _, v := range variable.FindAllStringSubmatch(m.value, -1) {
		switch {
		case v[1] == instanceVariable && !m.regexp():
			return errors.New("$instance is a regular expression: use =~ or !~")
		case v[1] != nodeVariable && v[1] != instanceVariable:
			return fmt.Errorf("%s is not a variable: there are $node and $instance", v[0])
		}
	}
	if m.regexp() {
		return CheckRegexp(m.of(gate.Node{Name: "a.b", Addresses: []string{"10.0.0.1"}}))
	}
	return nil
}

// CheckRegexp is nil if Prometheus would take a regular expression.
func CheckRegexp(s string) error {
	if _, err := regexp.Compile(s); err != nil {
		return fmt.Errorf("%q is not a valid regular expression: %w", s, err)
	}
	return nil
}

func (m matcher) regexp() bool { return strings.HasSuffix(m.op, "~") }

// OfNode says whether the selector means alerts about the node, and not those of all.
func (s Selector) OfNode() bool {
	return slices.ContainsFunc(s.matchers, func(m matcher) bool { return variable.MatchString(m.value) })
}

// AlertName is the name of the one alert that is meant, "" if that is not said.
func (s Selector) AlertName() string {
	for _, m := range s.matchers {
		if m.label == "alertname" && m.op == "=" {
			return m.value
		}
	}
	return ""
}

// of is the selector in Prometheus's language.
func (s Selector) of(n gate.Node) string {
	var out []string
	for _, m := range s.matchers {
		out = append(out, m.label+m.op+strconv.Quote(m.of(n)))
	}
	return strings.Join(out, ",")
}

// of is the value that is matched, of this node.
func (m matcher) of(n gate.Node) string {
	return variable.ReplaceAllStringFunc(m.value, func(v string) string {
		switch {
		case v[1:] == instanceVariable:
			return instanceOf(n)
		case m.regexp():
			return regexp.QuoteMeta(n.Name)
		default:
			return n.Name
		}
	})
}

// instanceOf matches what the label instance says of something on the node: its name or an
// address, with or without a port.
func instanceOf(n gate.Node) string {
	names := []string{n.Name}
	for _, a := range n.Addresses {
		names = append(names, a)
		if ip, err := netip.ParseAddr(a); err == nil && ip.Is6() {
			names = append(names, "["+a+"]")
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	for i, s := range names {
		names[i] = regexp.QuoteMeta(s)
	}
	return "(?:" + strings.Join(names, "|") + `)(?::[0-9]+)?`
}
