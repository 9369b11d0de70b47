package daemon

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/backoff"
	"rebootd.dev/daemon/printable"
	"rebootd.dev/daemon/reply"
)

const (
	// eventQueue is how many Events are kept while the API server is away. More
	// are dropped, the oldest first: the log has them all.
	eventQueue = 64
	// eventTries is how often an Event is sent before it is dropped.
	eventTries = 20
	// eventNamespace is where Events on objects without a namespace belong.
	eventNamespace = metav1.NamespaceDefault
	component      = "rebootd"
)

// events sends Events on the Node in the order in which they came, in the
// background: nothing ever waits for one.
type events struct {
	sink NodeAPI
	name string
	log  zerolog.Logger

	mu      sync.Mutex
	uid     types.UID
	waiting []entry
	added   chan struct{}
	seq     int
}

// entry is an Event that is to be sent, or a place in the queue that somebody
// waits to be reached.
type entry struct {
	event   *corev1.Event
	reached chan struct{}
}

func newEvents(sink NodeAPI, node string, log zerolog.Logger) *events {
	return &events{sink: sink, name: node, log: log, added: make(chan struct{}, 1)}
}

// node tells which Node the Events are about.
func (e *events) node(uid types.UID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.uid = uid
}

func (e *events) add(kind string, reason api.Reason, message string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.seq++
	e.pushNew(fmt.Sprintf("%x.%x", time.Now().UnixNano(), e.seq), kind, reason, message)
}

// once adds an Event, unless the API server still has the same from before, perhaps of
// an earlier start of the daemon.
func (e *events) once(kind string, reason api.Reason, message string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	sum := sha256.Sum256([]byte(string(e.uid) + " " + string(reason) + " " + message))
	e.pushNew(hex.EncodeToString(sum[:12]), kind, reason, message)
}

// pushNew is called with mu held.
func (e *events) pushNew(id, kind string, reason api.Reason, message string) {
	now := metav1.NewTime(time.Now())
	e.push(entry{event: &corev1.Event{
		ObjectMeta:          metav1.ObjectMeta{Namespace: eventNamespace, Name: clipName(e.name) + "." + id},
		InvolvedObject:      corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: e.name, UID: e.uid},
		Reason:              string(reason),
		Message:             printable.Line(message, maxMessage),
		Type:                kind,
		Source:              corev1.EventSource{Component: component, Host: e.name},
		FirstTimestamp:      now,
		LastTimestamp:       now,
		Count:               1,
		ReportingController: "rebootd.dev/" + component,
		ReportingInstance:   printable.Line(e.name, 128),
	}})
}

// push is called with mu held.
func (e *events) push(x entry) {
	e.waiting = append(e.waiting, x)
	for len(e.waiting) > eventQueue {
		if first := e.waiting[0]; first.reached != nil {
			close(first.reached)
		}
		e.waiting = e.waiting[1:]
	}
	select {
	case e.added <- struct{}{}:
	default:
	}
}

// flush waits until what was added before has been sent or dropped, but not
// beyond ctx.
func (e *events) flush(ctx context.Context) {
	reached := make(chan struct{})
	e.mu.Lock()
	e.push(entry{reached: reached})
	e.mu.Unlock()
	select {
	case <-reached:
	case <-ctx.Done():
	}
}

// clipName leaves room in the name of an Event, which may have 253 characters,
// for what makes it unique.
func clipName(s string) string { return s[:min(len(s), 200)] }

// first is the Event that is to be sent next, nil if there is none.
func (e *events) first() *corev1.Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(e.waiting) > 0 {
		x := e.waiting[0]
		if x.reached == nil {
			return x.event
		}
		close(x.reached)
		e.waiting = e.waiting[1:]
	}
	return nil
}

func (e *events) drop(ev *corev1.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.waiting) > 0 && e.waiting[0].event == ev {
		e.waiting = e.waiting[1:]
	}
}

func (e *events) run(ctx context.Context) {
	var pauses backoff.Pauses
	for {
		ev := e.first()
		if ev == nil {
			select {
			case <-e.added:
				continue
			case <-ctx.Done():
				return
			}
		}
		err := e.sink.CreateEvent(ctx, ev)
		switch {
		case err == nil || apierrors.IsAlreadyExists(err): // by an earlier try, whose answer was lost
			pauses.Reset()
			e.drop(ev)
		case ctx.Err() != nil:
			return
		case pauses.Failed() >= eventTries || !reply.Unreachable(err):
			e.log.Warn().Err(err).Str("reason", ev.Reason).Msg("an Event on the Node could not be recorded; leaving it out")
			pauses.Reset()
			e.drop(ev)
		default:
			pauses.Wait(ctx, err)
		}
	}
}
