package drain

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"rebootd.dev/daemon/api"
)

// DefaultVolumeTimeout is how long the drain waits for the volumes of pods that have
// left to be detached. When a machine goes down with a volume attached, pods that need
// it on other nodes wait for six minutes: the attach-detach controller's
// maxWaitForUnmountDuration.
const DefaultVolumeTimeout = 2 * time.Minute

// volumePage is how many VolumeAttachments are listed at a time. They cannot be selected
// by node.
const volumePage = 500

// volumes waits, for a limited time, until the node's volumes are detached, except those
// of the pods that stay. A VolumeAttachment is deleted after the kubelet has removed the
// volume from status.volumesInUse, or has kept it there for six minutes.
type volumes struct {
	began    time.Time // of the wait; zero: not waiting
	stop     context.CancelFunc
	known    bool // whether anything is attached
	attached map[string]string
}

// volumesDetached says whether the volumes are detached, or the time for that is over.
// The wait begins with the first call.
func (r *run) volumesDetached(ctx context.Context, now time.Time) bool {
	if r.cfg.VolumeTimeout <= 0 || r.cfg.DryRun {
		return true
	}
	v := r.volumes
	if v.began.IsZero() {
		v.began = now
		ctx, v.stop = context.WithCancel(ctx)
		claims, gone := r.core.claims()
		r.wg.Go(func() { r.watchVolumes(ctx, v, claims, gone) })
	}
	return v.known && len(v.attached) == 0 || !now.Before(r.volumesUntil())
}

// forgetVolumes ends the wait: there is a pod again, which may have other volumes, or
// stay.
func (r *run) forgetVolumes() {
	if r.volumes.stop != nil {
		r.volumes.stop()
	}
	r.volumes = &volumes{}
}

func (r *run) volumesUntil() time.Time { return r.volumes.began.Add(r.cfg.VolumeTimeout) }

// claims are the claims of the pods that stay, by namespace/name, and whether a
// pod has left that had any.
func (c *core) claims() (stay [][2]string, gone bool) {
	for _, t := range c.order {
		for _, name := range t.podInfo.claims {
			if t.outcome == api.OutcomeSkipped && !t.ended {
				stay = append(stay, [2]string{t.namespace, name})
			} else {
				gone = true
			}
		}
	}
	return stay, gone
}

// left names the volumes that are waited for.
func (v *volumes) left() []string {
	var out []string
	for _, name := range v.attached {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

func (r *run) watchVolumes(ctx context.Context, v *volumes, stay [][2]string, gone bool) {
	if !gone {
		// Most nodes have none. Then only the own Node is read, not every
		// VolumeAttachment of the cluster.
		n, err := r.cfg.API.GetNode(ctx, r.cfg.Node)
		if err == nil && len(n.Status.VolumesAttached) == 0 && len(n.Status.VolumesInUse) == 0 {
			r.post(ctx, func(time.Time) { v.known = true })
			return
		}
	}
	keeps := map[string]bool{}
	for _, claim := range stay {
		pvc, err := r.cfg.API.GetClaim(ctx, claim[0], claim[1])
		switch {
		case apierrors.IsNotFound(err):
		case err != nil:
			r.cfg.OnError(fmt.Errorf("read the PersistentVolumeClaim %s/%s of a pod that stays on the node: %w; waiting for its volume like for the others", claim[0], claim[1], err))
		default:
			keeps[pvc.Spec.VolumeName] = true
		}
	}
	mine := func(a *storagev1.VolumeAttachment) (string, bool) {
		volume := a.Name
		if pv := a.Spec.Source.PersistentVolumeName; pv != nil {
			volume = *pv
		}
		return volume, a.Spec.NodeName == r.cfg.Node && !keeps[volume]
	}
	listAndWatch(ctx, r.cfg.OnError, "the VolumeAttachments", func(ctx context.Context) (string, error) {
		there := map[string]string{}
		opts := metav1.ListOptions{Limit: volumePage}
		for {
			list, err := r.cfg.API.ListVolumeAttachments(ctx, opts)
			if err != nil {
				return "", err
			}
			for i := range list.Items {
				if volume, ok := mine(&list.Items[i]); ok {
					there[list.Items[i].Name] = volume
				}
			}
			if opts.Continue = list.Continue; opts.Continue == "" {
				r.post(ctx, func(time.Time) { v.known, v.attached = true, there })
				return list.ResourceVersion, nil
			}
		}
	}, func(ctx context.Context, version string) (watch.Interface, error) {
		return r.cfg.API.WatchVolumeAttachments(ctx, metav1.ListOptions{ResourceVersion: version, AllowWatchBookmarks: true})
	}, func(ev watch.Event) {
		a, ok := ev.Object.(*storagev1.VolumeAttachment)
		if !ok {
			return
		}
		volume, isMine := mine(a)
		if !isMine {
			return
		}
		name, deleted := a.Name, ev.Type == watch.Deleted
		r.post(ctx, func(time.Time) {
			if v.attached == nil {
				v.attached = map[string]string{}
			}
			if deleted {
				delete(v.attached, name)
			} else {
				v.attached[name] = volume
			}
		})
	})
}

// volumeAPI is what the wait for volumes needs of the API server.
type volumeAPI interface {
	GetNode(ctx context.Context, name string) (*corev1.Node, error)
	GetClaim(ctx context.Context, namespace, name string) (*corev1.PersistentVolumeClaim, error)
	ListVolumeAttachments(ctx context.Context, opts metav1.ListOptions) (*storagev1.VolumeAttachmentList, error)
	WatchVolumeAttachments(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error)
}
