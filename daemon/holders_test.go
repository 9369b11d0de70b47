package daemon

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"rebootd.dev/daemon/api"
	"rebootd.dev/lock"
)

// recordsAPI answers with Nodes that have these records.
type recordsAPI struct {
	NodeAPI
	records map[string]string
	err     error
	asked   atomic.Int32
}

func (a *recordsAPI) GetNodeMetadata(_ context.Context, name string) (*metav1.PartialObjectMetadata, error) {
	a.asked.Add(1)
	record, there := a.records[name]
	switch {
	case a.err != nil:
		return nil, a.err
	case !there:
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "nodes"}, name)
	}
	n := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{}}}
	if record != "" {
		n.Annotations[api.OperationAnnotation] = record
	}
	return n, nil
}

// Whoever waits is told who holds each slot, how far that one has come since when and, if
// it has halted, why.
func TestWhatHoldersDo(t *testing.T) {
	at := time.Date(2026, 5, 4, 1, 2, 3, 0, time.UTC)
	record := `{"v":1,"id":"i","bootID":"b","since":"2026-05-04T01:02:03Z",`
	a := &recordsAPI{records: map[string]string{
		"drains": record + `"phase":"Draining"}`,
		"halted": record + `"phase":"Halted","failure":{"reason":"Unhealthy","message":"not healthy within 15m0s: ` + strings.Repeat("x", 500) + `"}}`,
		"newer":  `{"v":2}`,
		"idle":   "",
	}}
	holder := func(slot int, node string) lock.Holder {
		return lock.Holder{Slot: fmt.Sprintf("rebootd-%d", slot), Node: node, Since: at}
	}
	for node, want := range map[string]string{
		"drains": "rebootd-0 is held by drains, Draining since 2026-05-04T01:02:03Z",
		"halted": "rebootd-0 is held by halted, Halted since 2026-05-04T01:02:03Z (Unhealthy: not healthy within 15m0s: x",
		"newer":  "rebootd-0 is held by newer, whose record cannot be read",
		"idle":   "rebootd-0 is held by idle since 2026-05-04T01:02:03Z",
		"gone":   "rebootd-0 is held by gone, which is not a Node of this cluster",

		lock.NewerHolder: "rebootd-0 is held by a newer version of rebootd",
	} {
		h := holder(0, node)
		if node == lock.NewerHolder {
			h.Since = time.Time{} // as the lock has it
		}
		got := holderLook{a, []lock.Holder{h}, 1}.run(t.Context(), nil)
		var halts bool
		if got, halts = strings.CutSuffix(got, "; the rollout is halted: kubectl rebootd why "+node); halts != (node == "halted") {
			t.Errorf("%s: told as halted: %t", node, halts)
		}
		if !strings.HasPrefix(got, want) || len(got) > len(want)+maxFailure || node != "halted" && got != want {
			t.Errorf("%s: %q", node, got)
		}
	}
	if got := (holderLook{a, []lock.Holder{holder(0, "halted"), holder(1, "drains")}, 2}).run(t.Context(), nil); strings.Contains(got, "the rollout is halted") {
		t.Errorf("of two slots one is halted: %q", got)
	}
	if got := (holderLook{a, []lock.Holder{holder(0, "halted")}, 2}).run(t.Context(), nil); strings.Contains(got, "the rollout is halted") || !strings.HasSuffix(got, "; halted has halted: kubectl rebootd why halted") {
		t.Errorf("of two slots one is halted, and one is free: %q", got)
	}
	var many []lock.Holder
	for i := range 6 {
		many = append(many, holder(i, "idle"))
	}
	a.asked.Store(0)
	if got := (holderLook{a, many, len(many)}).run(t.Context(), nil); !strings.HasSuffix(got, "; 3 more slots are held") || a.asked.Load() != maxNamed {
		t.Errorf("of six, with %d requests: %q", a.asked.Load(), got)
	}
	a.err = errors.New("connection refused")
	if got := (holderLook{a, many[:1], 1}).run(t.Context(), nil); got != "rebootd-0 is held by idle since 2026-05-04T01:02:03Z" {
		t.Errorf("while the API server is away: %q", got)
	}
}

// Who is waited for is told within seconds of when the Leases have said so, however long that
// takes; until then nobody is asked.
func TestHoldersThatComeLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bg, settle := testBackground(t)
		a := &recordsAPI{records: map[string]string{"h": ""}}
		w := &holderWatch{bg: bg, api: a, node: "n"}
		turn := func() {
			time.Sleep(heartbeat)
			w.follow(time.Now(), true)
			settle()
		}
		for range 30 {
			turn()
		}
		if a.asked.Load() != 0 || w.text != "" {
			t.Errorf("%d requests: %q", a.asked.Load(), w.text)
		}
		w.holders = []lock.Holder{{Slot: "rebootd-0", Node: "h"}}
		turn()
		turn() // by 2*firstLook
		if a.asked.Load() != 1 || w.text != "rebootd-0 is held by h" {
			t.Errorf("%d requests: %q", a.asked.Load(), w.text)
		}
	})
}

// Thousands wait while nobody holds a slot, during a pause for instance: they do not all look
// at once when somebody takes one.
func TestHoldersThatComeWhileManyWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bg, settle := testBackground(t)
		a := &recordsAPI{records: map[string]string{"h": ""}}
		const many = 1000
		var all []*holderWatch
		for i := range many {
			all = append(all, &holderWatch{bg: bg, api: a, node: fmt.Sprint("n", i)})
		}
		second := func() {
			for range 20 {
				for _, w := range all {
					w.follow(time.Now(), true)
				}
				settle()
				time.Sleep(time.Second / 20)
			}
		}
		for range 100 {
			second()
		}
		for _, w := range all {
			w.holders = []lock.Holder{{Slot: "rebootd-0", Node: "h"}}
		}
		most, before := int32(0), a.asked.Load()
		for range 30 {
			asked := a.asked.Load()
			second()
			most = max(most, a.asked.Load()-asked)
		}
		if before != 0 || a.asked.Load() != many || most > many/5 {
			t.Errorf("%d, then %d requests, up to %d in a second", before, a.asked.Load(), most)
		}
	})
}

// However often slots change hands, a node that waits for eight hours looks, and changes
// what it tells people, some fifty times; and it tells soon who is waited for.
func TestWaitingCostsLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bg, settle := testBackground(t)
		a := &recordsAPI{records: map[string]string{}}
		w := &holderWatch{bg: bg, api: a, node: "n"}
		began, changes, told, first := time.Now(), 0, "", time.Duration(0)
		for time.Since(began) < 8*time.Hour {
			w.holders = []lock.Holder{{Slot: "rebootd-0", Node: fmt.Sprintf("h%d", time.Since(began)/(5*time.Minute))}}
			w.follow(time.Now(), true)
			settle()
			if w.text != told {
				if changes++; first == 0 {
					first = time.Since(began)
				}
				told = w.text
			}
			time.Sleep(heartbeat)
		}
		if a.asked.Load() > 60 || changes > 60 || changes < 10 || first > 30*time.Second {
			t.Errorf("%d requests, %d changes, the first after %s", a.asked.Load(), changes, first)
		}
		if w.follow(time.Now(), false); w.text != "" {
			t.Errorf("it waits no more, and says %q", w.text)
		}
	})
}
