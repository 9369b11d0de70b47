package daemon

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"rebootd.dev/daemon/api"
)

// queueAPI has Nodes, and counts what is asked.
type queueAPI struct {
	NodeAPI
	nodes       map[string]*metav1.PartialObjectMetadata
	down        bool
	gets, lists int
}

func (a *queueAPI) GetNodeMetadata(_ context.Context, name string) (*metav1.PartialObjectMetadata, error) {
	a.gets++
	if a.down {
		return nil, errors.New("no answer")
	}
	if n := a.nodes[name]; n != nil {
		return n, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "nodes"}, name)
}

func (a *queueAPI) ListNodeMetadata(context.Context, metav1.ListOptions) (*metav1.PartialObjectMetadataList, error) {
	a.lists++
	if a.down {
		return nil, errors.New("no answer")
	}
	out := new(metav1.PartialObjectMetadataList)
	for _, n := range a.nodes {
		out.Items = append(out.Items, *n)
	}
	return out, nil
}

// A line is passed on, after a look at the one Node that is next, as long as that is
// any good; else it is put together anew.
func TestLineIsPassedOn(t *testing.T) {
	since := time.Now().Add(-time.Hour)
	queued := func(name, zone string, change ...func(*metav1.PartialObjectMetadata)) *metav1.PartialObjectMetadata {
		n := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
			Name: name, Labels: map[string]string{"zone": zone},
			Annotations: map[string]string{api.OperationAnnotation: fmt.Sprintf(`{"v":1,"id":"x","phase":"Queued","since":%q,"bootID":"b","requested":%q,"lock":"l"}`, since.Format(time.RFC3339), since.Format(time.RFC3339))},
		}}
		since = since.Add(time.Second) // in the order of the list
		for _, f := range change {
			f(n)
		}
		return n
	}
	held := func(n *metav1.PartialObjectMetadata) { n.Annotations[api.HoldAnnotation] = "" }
	deleted := func(n *metav1.PartialObjectMetadata) { n.DeletionTimestamp = new(metav1.Now()) }
	in := func(phase string) func(*metav1.PartialObjectMetadata) {
		return func(n *metav1.PartialObjectMetadata) {
			n.Annotations[api.OperationAnnotation] = strings.Replace(n.Annotations[api.OperationAnnotation], "Queued", phase, 1)
		}
	}
	const fresh = time.Minute
	for name, c := range map[string]struct {
		nodes       []*metav1.PartialObjectMetadata
		line        string
		turn        string
		age         time.Duration
		down        bool
		want        string
		wantTurn    string
		gets, lists int
	}{
		"the next waits":             {nodes: []*metav1.PartialObjectMetadata{queued("a", "1"), queued("b", "1"), queued("c", "1")}, line: "b c", age: fresh, want: "b c", gets: 1},
		"the next has gone":          {nodes: []*metav1.PartialObjectMetadata{queued("b", "1", in("Draining")), queued("c", "1")}, line: "a b c", age: fresh, want: "c", gets: 3},
		"it does not want to":        {nodes: []*metav1.PartialObjectMetadata{queued("b", "1", in("Waiting")), queued("c", "1")}, line: "b c", age: fresh, want: "c", gets: 2},
		"it is held":                 {nodes: []*metav1.PartialObjectMetadata{queued("b", "1", held), queued("c", "1")}, line: "b c", age: fresh, want: "c", gets: 2},
		"it is being deleted":        {nodes: []*metav1.PartialObjectMetadata{queued("b", "1", deleted), queued("c", "1")}, line: "b c", age: fresh, want: "c", gets: 2},
		"this node is no candidate":  {nodes: []*metav1.PartialObjectMetadata{queued("self", "1"), queued("c", "1")}, line: "self c", age: fresh, want: "c", gets: 2},
		"all have gone":              {nodes: []*metav1.PartialObjectMetadata{queued("c", "1")}, line: "a b", age: fresh, want: "c", gets: 2, lists: 1},
		"many have gone":             {nodes: []*metav1.PartialObjectMetadata{queued("x", "1")}, line: "a b c d e f x", age: fresh, want: "x", gets: lineMisses + 1, lists: 1},
		"there was none":             {nodes: []*metav1.PartialObjectMetadata{queued("c", "1")}, age: fresh, want: "c", lists: 1},
		"it is old":                  {nodes: []*metav1.PartialObjectMetadata{queued("a", "1"), queued("b", "1")}, line: "b", age: lineAge + time.Minute, want: "a b", lists: 1},
		"it is from the future":      {nodes: []*metav1.PartialObjectMetadata{queued("a", "1"), queued("b", "1")}, line: "b", age: -time.Minute, want: "a b", lists: 1},
		"its age is not known":       {nodes: []*metav1.PartialObjectMetadata{queued("a", "1"), queued("b", "1")}, line: "b", age: 1e6 * time.Hour, want: "a b", lists: 1},
		"nobody answers":             {nodes: []*metav1.PartialObjectMetadata{queued("a", "1")}, line: "a", age: fresh, down: true, gets: 1, lists: 1},
		"the turn is yet to come":    {nodes: []*metav1.PartialObjectMetadata{queued("a", "1"), queued("b", "2")}, line: "a b", turn: "b", age: fresh, want: "a b", wantTurn: "b", gets: 1},
		"the turn has come":          {nodes: []*metav1.PartialObjectMetadata{queued("b", "2"), queued("c", "2")}, line: "b c", turn: "b", age: fresh, want: "b c", wantTurn: "b", gets: 1},
		"the zone has changed":       {nodes: []*metav1.PartialObjectMetadata{queued("b", "1"), queued("c", "2")}, line: "b c", turn: "self b", age: fresh, want: "b c", wantTurn: "c", gets: 1},
		"it is the zone of the next": {nodes: []*metav1.PartialObjectMetadata{queued("c", "1")}, line: "b c", turn: "b", age: fresh, want: "c", gets: 2},
		"another zone's turn":        {nodes: []*metav1.PartialObjectMetadata{queued("c", "2")}, line: "b c", turn: "b", age: fresh, want: "c", wantTurn: "c", gets: 2},
		"a turn in a new line":       {nodes: []*metav1.PartialObjectMetadata{queued("c", "2"), queued("d", "1", in("Draining"))}, age: fresh, want: "c", wantTurn: "c", lists: 1},
		"halted, so nobody waits": {nodes: []*metav1.PartialObjectMetadata{queued("c", "2"), queued("d", "1", in("Halted"), func(n *metav1.PartialObjectMetadata) {
			n.Annotations[api.OperationAnnotation] = strings.Replace(n.Annotations[api.OperationAnnotation], "{", `{"failure":{"reason":"Unhealthy","message":""},`, 1)
		}, held)}, age: fresh, want: "c", lists: 1},
	} {
		t.Run(name, func(t *testing.T) {
			nodes := &queueAPI{nodes: map[string]*metav1.PartialObjectMetadata{}, down: c.down}
			for _, n := range c.nodes {
				nodes.nodes[n.Name] = n
			}
			clock := newClock(time.Now)
			had := api.Line{Nodes: strings.Fields(c.line), Turn: strings.Fields(c.turn), At: clock.now().Add(-c.age)}
			who := succession{
				api: nodes, node: "self", lock: "l", same: "zone", clock: clock, log: zerolog.Nop(),
				line: func() api.Line { return had },
			}
			got := who.next(t.Context(), "zone=1")
			if s := strings.Join(got.Nodes, " "); s != c.want || strings.Join(got.Turn, " ") != c.wantTurn {
				t.Errorf("%q, the turn of %q; want %q and %q", s, got.Turn, c.want, c.wantTurn)
			}
			if nodes.gets != c.gets || nodes.lists != c.lists {
				t.Errorf("by %d gets and %d lists, want %d and %d", nodes.gets, nodes.lists, c.gets, c.lists)
			}
			if c.lists == 0 && !got.At.Equal(had.At) {
				t.Error("a line that is passed on is none the younger")
			}
		})
	}
}
