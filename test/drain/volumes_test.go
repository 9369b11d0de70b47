package drain

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	words "rebootd.dev/daemon/api"
	"rebootd.dev/drain"
	"rebootd.dev/test/cluster"
)

// attach makes a VolumeAttachment, as the attach-detach controller does, for a
// volume on the node, and a claim bound to it.
func (b *bed) attach(volume, claim, node string) {
	b.Helper()
	_, err := shared.Client.CoreV1().PersistentVolumeClaims(b.ns).Create(b.ctx, &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: claim, Namespace: b.ns},
		Spec: corev1.PersistentVolumeClaimSpec{
			VolumeName: volume, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		},
	}, metav1.CreateOptions{})
	b.must(err)
	_, err = shared.Client.StorageV1().VolumeAttachments().Create(b.ctx, &storagev1.VolumeAttachment{
		ObjectMeta: metav1.ObjectMeta{Name: "va-" + volume},
		Spec: storagev1.VolumeAttachmentSpec{
			Attacher: "test.rebootd.dev", NodeName: node, Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: &volume},
		},
	}, metav1.CreateOptions{})
	b.must(err)
	b.Cleanup(func() {
		_ = shared.Client.StorageV1().VolumeAttachments().Delete(b.Context(), "va-"+volume, metav1.DeleteOptions{})
	})
}

func claimed(claim string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: "data", VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim},
		}})
	}
}

func (b *bed) detach(volume string) {
	b.Helper()
	b.must(shared.Client.StorageV1().VolumeAttachments().Delete(b.ctx, "va-"+volume, metav1.DeleteOptions{}))
}

// detail waits until the progress's detail contains the words.
func (b *bed) detail(words string) {
	b.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		b.mu.Lock()
		detail := b.last.Detail
		b.mu.Unlock()
		if strings.Contains(detail, words) {
			return
		}
		select {
		case <-b.ctx.Done():
			b.Fatalf("the detail is %q, want %q in it", detail, words)
		case err := <-b.done:
			b.Fatalf("drained (%v) while %q was expected", err, words)
		case <-tick.C:
		}
	}
}

// The node is drained when the volumes of the pods that have left are detached;
// those of pods that stay, and of other nodes, are not waited for.
func TestVolumes(t *testing.T) {
	b := newBed(t)
	v := func(s string) string { return fmt.Sprintf("%s-%s", b.ns, s) }
	b.attach(v("goes"), "goes", b.node)
	b.attach(v("stays"), "stays", b.node)
	b.attach(v("other"), "other", b.other)
	b.pod("db", claimed("goes"))
	b.pod("agent", func(p *corev1.Pod) {
		claimed("stays")(p)
		p.Annotations[words.PodDrainAnnotation] = "skip"
	})
	b.ready("db", "agent")
	b.start(func(c *drain.Config, _ *drain.Options) { c.VolumeTimeout = time.Minute })
	b.detail("waiting for volumes to be detached: " + v("goes"))
	detached := time.Now()
	b.detach(v("goes"))
	p := b.drained()
	if took := time.Since(detached); took > 2*time.Second {
		t.Errorf("drained %s after the volume was detached", took)
	}
	if strings.Contains(p.Summary, "attached") {
		t.Errorf("summary %q", p.Summary)
	}
}

// A volume that is not detached is not waited for longer than is allowed, and
// told.
func TestVolumeThatIsNotDetached(t *testing.T) {
	b := newBed(t)
	volume := b.ns + "-stuck"
	b.attach(volume, "stuck", b.node)
	b.pod("db", func(p *corev1.Pod) {
		claimed("stuck")(p)
		p.Annotations[cluster.Sim+"term-seconds"] = "6" // beyond the least time of a drain
	})
	b.ready("db")
	began := time.Now()
	b.start(func(c *drain.Config, _ *drain.Options) { c.VolumeTimeout = 3 * time.Second })
	p := b.drained()
	if took := time.Since(began); took < 8*time.Second || took > 14*time.Second {
		t.Errorf("drained after %s, want about 3 s after the pod's 6 s", took)
	}
	if want := "drained: 1 drained; volumes still attached: " + volume; p.Summary != want {
		t.Errorf("summary %q, want %q", p.Summary, want)
	}
}

// A node whose status names attached volumes, as after a restart of the daemon
// when the pods are gone already, is waited for, too.
func TestVolumesAfterARestart(t *testing.T) {
	b := newBed(t)
	volume := b.ns + "-left"
	b.attach(volume, "left", b.node)
	_, err := shared.Client.CoreV1().Nodes().Patch(b.ctx, b.node, "application/strategic-merge-patch+json",
		fmt.Appendf(nil, `{"status":{"volumesAttached":[{"name":"kubernetes.io/csi/test^%s","devicePath":""}]}}`, volume), metav1.PatchOptions{}, "status")
	b.must(err)
	b.start(func(c *drain.Config, _ *drain.Options) { c.VolumeTimeout = time.Minute })
	b.detail("waiting for volumes to be detached: " + volume)
	b.detach(volume)
	b.drained()
}
