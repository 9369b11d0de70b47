package drain

import (
	"sync"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	registrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/drain"
)

// A dry run evicts and deletes nothing, and whoever is asked about it is told that it
// is one: KubeVirt's webhook begins to move a machine when it is not.
func TestDryRun(t *testing.T) {
	b := newBed(t)
	var mu sync.Mutex
	told := map[string]bool{} // whether it was said to be one, by what was asked for
	b.reviewed(func(r *admissionv1.AdmissionRequest) *metav1.Status {
		mu.Lock()
		defer mu.Unlock()
		what := string(r.Operation) + " " + r.Resource.Resource + "/" + r.SubResource + " " + r.Name
		told[what] = r.DryRun != nil && *r.DryRun
		if r.SubResource == "eviction" && r.Name == "refused" {
			return no(429, "not now")
		}
		return nil
	}, rule(registrationv1.Delete, "pods"))
	b.pod("web", nil)
	b.pod("refused", nil)
	b.ready("web", "refused")
	mu.Lock()
	clear(told)
	mu.Unlock()
	b.start(func(c *drain.Config, o *drain.Options) {
		c.DryRun = true
		o.Limit = time.Second
	})
	b.drained()
	mu.Lock()
	defer mu.Unlock()
	for _, what := range []string{"CREATE pods/eviction web", "CREATE pods/eviction refused", "DELETE pods/ refused"} {
		if dry, asked := told[what]; !asked || !dry {
			t.Errorf("%s: asked %t, said to be a dry run %t", what, asked, dry)
		}
	}
	list, err := shared.Client.CoreV1().Pods(b.ns).List(b.ctx, metav1.ListOptions{})
	b.must(err)
	there := 0
	for _, p := range list.Items {
		if p.DeletionTimestamp == nil && p.Name != "webhook-probe" {
			there++
		}
	}
	if there != 2 {
		t.Errorf("%d of 2 pods are left by a dry run", there)
	}
}
