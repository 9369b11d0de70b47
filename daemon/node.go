package daemon

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"rebootd.dev/daemon/decide"
	"rebootd.dev/daemon/gate"
	"rebootd.dev/daemon/kube"
)

// The annotations and the condition of the Node.
const (
	OperationAnnotation = "rebootd.dev/operation"
	ReportAnnotation    = "rebootd.dev/report"
	HoldAnnotation      = "rebootd.dev/hold"
	RequestAnnotation   = "rebootd.dev/request"

	RebootRequired corev1.NodeConditionType = "RebootRequired"
)

// nodeView is what the daemon keeps of its Node.
type nodeView struct {
	uid             types.UID
	resourceVersion string
	unschedulable   bool
	cordonForeign   bool   // by the API server's account of who has set it
	others          string // who else is at work on it
	ready           bool
	readyMessage    string
	heartbeat       time.Time // when the kubelet last said so
	bootID          string
	operation       string
	report          string
	held            bool
	hold            string
	request         string
	condition       *corev1.NodeCondition
	labels          map[string]string
	protections     map[string]string // those that it has, with their values
	lifecycle       map[corev1.NodeConditionType]corev1.NodeCondition
}

// protections are the annotations that keep autoscalers from taking away a node
// that is empty only because it was drained.
var protections = []string{
	"cluster-autoscaler.kubernetes.io/scale-down-disabled",
	"karpenter.sh/do-not-disrupt",
}

// protected is the value of those that are set here.
const protected = "true"

func (v *nodeView) unprotected() []string {
	var out []string
	for _, k := range protections {
		if _, ok := v.protections[k]; !ok {
			out = append(out, k)
		}
	}
	return out
}

func viewOf(n *corev1.Node) *nodeView {
	v := &nodeView{
		uid:             n.UID,
		resourceVersion: n.ResourceVersion,
		unschedulable:   n.Spec.Unschedulable,
		bootID:          n.Status.NodeInfo.BootID,
		labels:          n.Labels,
		protections:     map[string]string{},
		lifecycle:       map[corev1.NodeConditionType]corev1.NodeCondition{},
		operation:       n.Annotations[OperationAnnotation],
		report:          n.Annotations[ReportAnnotation],
		request:         n.Annotations[RequestAnnotation],
		readyMessage:    "the kubelet has not said so yet",
	}
	v.cordonForeign = v.unschedulable && foreignCordon(n.ManagedFields)
	for _, k := range protections {
		if value, ok := n.Annotations[k]; ok {
			v.protections[k] = value
		}
	}
	v.hold, v.held = n.Annotations[HoldAnnotation]
	if found := gate.Check(n); len(found) > 0 {
		v.others = found[0].String()
	}
	for _, c := range n.Status.Conditions {
		if isLifecycle(c.Type) {
			v.lifecycle[c.Type] = c
		}
		switch c.Type {
		case corev1.NodeReady:
			v.ready = c.Status == corev1.ConditionTrue
			v.readyMessage = fmt.Sprintf("%s: %s", c.Reason, c.Message)
			v.heartbeat = c.LastHeartbeatTime.Time
		case RebootRequired:
			v.condition = &c
		}
	}
	return v
}

// foreignCordon says whether the API server's account of who has set which field
// names somebody else as having set spec.unschedulable. Where it names nobody,
// the record's word stands.
func foreignCordon(fields []metav1.ManagedFieldsEntry) bool {
	for _, e := range fields {
		if e.FieldsV1 != nil && e.Manager != kube.FieldManager && strings.Contains(e.FieldsV1.GetRawString(), `"f:unschedulable"`) {
			return true
		}
	}
	return false
}

// older says whether v is an earlier state of the same Node than w. Resource
// versions of one resource may be compared as numbers (KEP-5504); where they are
// no numbers, the later word counts.
func (v *nodeView) older(w *nodeView) bool {
	if w == nil || v.uid != w.uid {
		return false
	}
	a, errA := strconv.ParseUint(v.resourceVersion, 10, 64)
	b, errB := strconv.ParseUint(w.resourceVersion, 10, 64)
	return errA == nil && errB == nil && a < b
}

// seeNode takes in the Node, nil when there is none. The answer to our own patch
// may overtake the watch, so an older state is not taken.
func (d *Daemon) seeNode(n *corev1.Node) {
	d.nodeRead = true
	if n == nil {
		if d.node != nil {
			d.Log.Warn().Str("node", d.NodeName).Msg("the Node is gone from the cluster; waits for it")
		}
		d.node, d.record, d.recordErr = nil, nil, nil
		return
	}
	v := viewOf(n)
	if v.older(d.node) {
		return
	}
	if d.node != nil && d.node.uid != v.uid {
		d.Log.Warn().Str("node", d.NodeName).Msg("the Node is another one of the same name; begins anew with it")
		d.slot, d.nodeLease = decide.Slot{}, decide.NodeLease{}
	}
	if d.node == nil || d.node.operation != v.operation {
		d.record, d.recordErr = nil, nil
		if v.operation != "" {
			d.record, d.recordErr = decide.ParseRecord([]byte(v.operation))
		}
	}
	d.node = v
	d.events.node(v.uid)
}

// apiUp and apiDown note whether the API server answers, and say it once.
func (d *Daemon) apiUp() {
	if d.apiErr != nil && !d.apiSince.IsZero() {
		d.Log.Info().Dur("after", d.now().Sub(d.apiSince)).Msg("the API server answers again")
	}
	d.apiErr, d.apiSince = nil, time.Time{}
	d.Metrics.apiUp(true)
}

func (d *Daemon) apiDown(err error) {
	if d.apiErr == nil {
		d.apiSince = d.now()
		d.Log.Warn().Err(err).Str("reason", string(decide.APIUnreachable)).
			Msg("the API server cannot be reached; goes on as far as possible and tries again")
	}
	d.apiErr = err
	d.Metrics.apiUp(false)
}

// watchNode keeps the loop's view of the Node until ctx ends: a list, which is
// read from the newest state, since decisions after a start rest on it, and a
// watch from there. A watch that ends is taken up where it ended.
func (d *Daemon) watchNode(ctx context.Context) {
	opts := metav1.ListOptions{FieldSelector: "metadata.name=" + d.NodeName}
	var backoff backoff
	version := ""
	for ctx.Err() == nil {
		if version == "" {
			list, err := d.API.ListNodes(ctx, opts)
			if err != nil {
				d.post(ctx, func() { d.apiDown(fmt.Errorf("list the Node %s: %w", d.NodeName, err)); d.nodeRead = d.node != nil })
				backoff.wait(ctx, err)
				continue
			}
			var n *corev1.Node
			if len(list.Items) > 0 {
				n = &list.Items[0]
			}
			version = list.ResourceVersion
			d.post(ctx, func() { d.apiUp(); d.seeNode(n) })
		}
		wo := opts
		wo.ResourceVersion, wo.AllowWatchBookmarks = version, true
		w, err := d.API.WatchNodes(ctx, wo)
		if err == nil {
			d.post(ctx, d.apiUp)
			began := time.Now()
			version, err = d.followNode(ctx, w, version)
			if err == nil && time.Since(began) > time.Second {
				backoff.reset()
				continue
			}
		}
		if apierrors.IsGone(err) || apierrors.IsResourceExpired(err) {
			version = ""
		} else if err != nil {
			d.post(ctx, func() { d.apiDown(fmt.Errorf("watch the Node %s: %w", d.NodeName, err)) })
		}
		backoff.wait(ctx, err)
	}
}

// followNode reads a watch to its end and returns the version that it came to.
func (d *Daemon) followNode(ctx context.Context, w watch.Interface, version string) (string, error) {
	defer w.Stop()
	for {
		select {
		case <-ctx.Done():
			return version, nil
		case ev, ok := <-w.ResultChan():
			if !ok {
				return version, nil
			}
			switch ev.Type {
			case watch.Error:
				return version, apierrors.FromObject(ev.Object)
			case watch.Bookmark, watch.Added, watch.Modified, watch.Deleted:
				n, ok := ev.Object.(*corev1.Node)
				if !ok {
					continue
				}
				version = n.ResourceVersion
				switch ev.Type {
				case watch.Bookmark:
				case watch.Deleted:
					d.post(ctx, func() { d.seeNode(nil) })
				default:
					d.post(ctx, func() { d.seeNode(n) })
				}
			}
		}
	}
}

// backoff makes growing, jittered pauses.
type backoff struct{ failed int }

const (
	firstBackoff = 250 * time.Millisecond
	lastBackoff  = 15 * time.Second
	// longestAsked bounds the pause that a server, or what stands before it, may ask
	// for.
	longestAsked = time.Minute
)

func (b *backoff) reset() { b.failed = 0 }

// wait waits after err, which may be nil.
func (b *backoff) wait(ctx context.Context, err error) {
	t := time.NewTimer(pauseAfter(b.failed, err))
	defer t.Stop()
	b.failed++
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// pauseAfter is the pause after err and the given number of earlier failures:
// doubled each time up to lastBackoff, and cut by up to a half at random so that
// nodes do not come back all at once after an outage. A server that asks for
// another pause gets that one at the least, and is spared the crowd the longer the
// more often it has asked.
func pauseAfter(failed int, err error) time.Duration {
	p := lastBackoff
	if failed < 10 {
		p = min(lastBackoff, firstBackoff<<failed)
	}
	if seconds, ok := apierrors.SuggestsClientDelay(err); ok && seconds > 0 {
		asked := min(time.Duration(seconds)*time.Second, longestAsked)
		return asked + rand.N(min(lastBackoff, asked<<min(failed, 4))+1)
	}
	return p/2 + rand.N(p/2)
}
