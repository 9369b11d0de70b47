package lease

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"rebootd.dev/daemon/api"
)

// However many wait, the first of them goes soon, and few go before they can have
// seen that it has.
func TestSpread(t *testing.T) {
	const seen = 100 * time.Millisecond // from an apply until all others know
	for _, n := range []int{1, 10, 100, 1000, 5000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			const runs = 50
			var early int
			var first time.Duration
			for range runs {
				var at []time.Duration
				for range n {
					d := spread(0)
					if d < 0 || d > spreadOver {
						t.Fatalf("a delay of %s", d)
					}
					at = append(at, d)
				}
				slices.Sort(at)
				first += at[0]
				i, _ := slices.BinarySearch(at, at[0]+seen)
				early += i
			}
			t.Logf("first after %s, %.1f before it is seen, on average", first/runs, float64(early)/runs)
			if early > 8*runs {
				t.Errorf("of %d that wait %.1f go at the same time, on average, want no more than 8", n, float64(early)/runs)
			}
		})
	}
}

func (v *view) seeFree(annotations map[string]string) {
	v.see(watch.Added, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "l-0", UID: "u", Annotations: annotations}})
}

// A turn is fakeAPI from when the slot can be taken, and is drawn once.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		next := map[string]string{api.NextAnnotation: "a", api.LineAnnotation: `{"v":1,"nodes":["b","c"],"at":"2026-01-01T00:00:00Z","new":1}`}
		for node, want := range map[string]time.Duration{"a": 0, "b": time.Second, "c": 2 * time.Second, "d": 3 * time.Second} {
			v := (&fakeAPI{}).lock(t, node).newView()
			v.seeFree(map[string]string{api.PausedAnnotation: "x", api.NextAnnotation: next[api.NextAnnotation], api.LineAnnotation: next[api.LineAnnotation]})
			if _, ok := v.plan(time.Now()); ok {
				t.Fatal("has a turn during a pause")
			}
			time.Sleep(time.Hour)
			v.seeFree(next)
			at, ok := v.plan(time.Now())
			if in := time.Until(at); !ok || in < want || in > want+spreadOver || node != "d" && in != want {
				t.Errorf("when a pause is lifted %s goes after %s, want %s", node, in, want)
			}
			time.Sleep(100 * time.Millisecond)
			v.seeFree(next)
			if again, _ := v.plan(time.Now()); !again.Equal(at) {
				t.Errorf("%s has another turn after a change that means nothing", node)
			}
			v.seeFree(nil)
			if again, _ := v.plan(time.Now()); time.Until(again) > spreadOver {
				t.Errorf("%s goes after %s when nobody is named any more", node, time.Until(again))
			}
		}
	})
}

// What cannot be read, or a newer version has written, is no line; a long one is cut.
func TestLine(t *testing.T) {
	for name, text := range map[string]string{
		"absent": "", "nonsense": "{", "newer": `{"v":2,"nodes":["b"]}`, "another type": `["b"]`,
	} {
		lease := slotOf("")
		lease.Annotations = map[string]string{api.NextAnnotation: "a", api.LineAnnotation: text}
		if got := lineOf(&lease).Nodes; !slices.Equal(got, []string{"a"}) {
			t.Errorf("%s: %v", name, got)
		}
	}
	var long api.Line
	for i := range 40 {
		long.Nodes = append(long.Nodes, fmt.Sprintf("n%d", i))
	}
	said := map[string]any{}
	if err := annotate(said, long); err != nil {
		t.Fatal(err)
	}
	lease := slotOf("")
	lease.Annotations = map[string]string{api.NextAnnotation: said[api.NextAnnotation].(string), api.LineAnnotation: said[api.LineAnnotation].(string)}
	if got := lineOf(&lease).Nodes; !slices.Equal(got, long.Nodes[:api.MaxLine]) {
		t.Errorf("of 40 names are left %v", got)
	}
	l := (&fakeAPI{}).lock(t, "n1")
	l.setHeld(&lease)
	if got := l.Line().Nodes; len(got) != api.MaxLine-1 || slices.Contains(got, "n1") {
		t.Errorf("the line of its holder: %v", got)
	}
}
