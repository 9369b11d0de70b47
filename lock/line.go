package lock

import (
	"encoding/json"
	"slices"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
)

// Line is who is to have a slot next, as the one sees it that gives it up. It is a
// courtesy of the others, for as many seconds as it has names.
type Line struct {
	Nodes []string  // the first is to have it at once; at most maxLine are kept
	At    time.Time // when it was put together
	// Turn are those of them that are of another zone than the one that is open. Nodes
	// of that zone that do not stand before the first of these leave free slots alone:
	// else the zone would never be free for another.
	Turn []string
}

// maxLine bounds a line: each name costs the others a second.
const maxLine = 16

// lineSchema is the number of the schema of LineAnnotation.
const lineSchema = 1

// line is what LineAnnotation says. The first name is NextAnnotation's, as older
// versions know it.
type line struct {
	V     int       `json:"v"`
	Nodes []string  `json:"nodes"`
	At    time.Time `json:"at"`
	Turn  []string  `json:"turn,omitempty"`
}

// annotate puts a line into the annotations of a slot that is given up; what is
// nil is removed.
func (l Line) annotate(annotations map[string]any) error {
	annotations[NextAnnotation], annotations[LineAnnotation] = nil, nil
	if len(l.Nodes) == 0 {
		return nil
	}
	annotations[NextAnnotation] = l.Nodes[0]
	data, err := json.Marshal(line{V: lineSchema, Nodes: l.Nodes[1:min(len(l.Nodes), maxLine)], At: l.At.UTC(), Turn: l.Turn})
	if err != nil {
		return err
	}
	annotations[LineAnnotation] = string(data)
	return nil
}

// lineOf is the line that a slot carries. What cannot be read, and what a newer
// version has written, is as if it were not there.
func lineOf(lease *coordinationv1.Lease) Line {
	if lease == nil || lease.Annotations[NextAnnotation] == "" {
		return Line{}
	}
	out := Line{Nodes: []string{lease.Annotations[NextAnnotation]}}
	var further line
	if err := json.Unmarshal([]byte(lease.Annotations[LineAnnotation]), &further); err != nil || further.V != lineSchema {
		return out
	}
	out.At, out.Turn = further.At, further.Turn
	for _, node := range further.Nodes {
		if len(out.Nodes) == maxLine {
			break
		}
		if node != "" && !slices.Contains(out.Nodes, node) {
			out.Nodes = append(out.Nodes, node)
		}
	}
	return out
}

// Line is what the slot that is held carried when it was taken, without this node.
func (l *Lock) Line() Line {
	out := lineOf(l.getHeld())
	out.Nodes = slices.DeleteFunc(out.Nodes, func(n string) bool { return n == l.cfg.Node })
	return out
}
