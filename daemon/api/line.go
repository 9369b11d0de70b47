package api

import (
	"encoding/json"
	"slices"
	"time"
)

// Line is who is to have a slot next, as the one sees it that releases it. It is a
// courtesy of the others, for as many seconds as it has names.
type Line struct {
	Nodes []string  // the first is to have it at once; at most MaxLine are kept
	At    time.Time // when it was put together
	// Turn are those of them that are of another zone than the one that is open. Nodes
	// of that zone that do not stand before the first of these leave free slots alone:
	// else the zone would never be free for another.
	Turn []string
}

// line is what LineAnnotation says. The first name is NextAnnotation's, as older
// versions know it.
type line struct {
	V int `json:"v"`
	// Next is NextAnnotation's value. An older version changes that one and leaves this
	// annotation as it is: then the line is not this one's.
	Next  string    `json:"next,omitempty"`
	Nodes []string  `json:"nodes"`
	At    time.Time `json:"at"`
	Turn  []string  `json:"turn,omitempty"`
}

// Annotations are the values of NextAnnotation and LineAnnotation that say this line;
// "" is for an annotation that is absent.
func (l Line) Annotations() (next, further string, err error) {
	if len(l.Nodes) == 0 {
		return "", "", nil
	}
	data, err := json.Marshal(line{V: LineSchema, Next: l.Nodes[0], Nodes: l.Nodes[1:min(len(l.Nodes), MaxLine)], At: l.At.UTC(), Turn: l.Turn})
	return l.Nodes[0], string(data), err
}

// ParseLine is the line that the values of NextAnnotation and LineAnnotation say. What
// cannot be read, what a newer version has written and what belongs to another next node
// is as if it were absent.
func ParseLine(next, further string) Line {
	if next == "" {
		return Line{}
	}
	out := Line{Nodes: []string{next}}
	var rest line
	if err := json.Unmarshal([]byte(further), &rest); err != nil || rest.V != LineSchema || rest.Next != "" && rest.Next != next {
		return out
	}
	out.At, out.Turn = rest.At, rest.Turn
	for _, node := range rest.Nodes {
		if len(out.Nodes) == MaxLine {
			break
		}
		if node != "" && !slices.Contains(out.Nodes, node) {
			out.Nodes = append(out.Nodes, node)
		}
	}
	return out
}

// Without is the line without some of its nodes.
func (l Line) Without(gone func(node string) bool) Line {
	l.Nodes = slices.DeleteFunc(slices.Clone(l.Nodes), gone)
	return l
}
