package drain

import (
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"sync/atomic"

	admissionv1 "k8s.io/api/admission/v1"
	registrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// webhook has the API server ask answer before each eviction in the bed's
// namespace. It returns how often it was asked.
func (b *bed) webhook(answer func(pod string) *metav1.Status) *atomic.Int64 {
	b.Helper()
	return b.reviewed(func(r *admissionv1.AdmissionRequest) *metav1.Status { return answer(r.Name) })
}

func rule(op registrationv1.OperationType, resource string) registrationv1.RuleWithOperations {
	return registrationv1.RuleWithOperations{
		Operations: []registrationv1.OperationType{op},
		Rule:       registrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{resource}},
	}
}

// reviewed is webhook with all that one is told of a request; more are rules for other
// requests than evictions.
func (b *bed) reviewed(answer func(*admissionv1.AdmissionRequest) *metav1.Status, more ...registrationv1.RuleWithOperations) *atomic.Int64 {
	b.Helper()
	asked := new(atomic.Int64)
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review admissionv1.AdmissionReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		asked.Add(1)
		no := answer(review.Request)
		review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: no == nil, Result: no}
		_ = json.NewEncoder(w).Encode(review)
	}))
	b.Cleanup(srv.Close)
	url, none, fail := srv.URL, registrationv1.SideEffectClassNone, registrationv1.Fail
	hook := &registrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: b.ns},
		Webhooks: []registrationv1.ValidatingWebhook{{
			Name: b.ns + ".test.rebootd.dev",
			ClientConfig: registrationv1.WebhookClientConfig{
				URL: &url, CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}),
			},
			Rules:             append(more, rule(registrationv1.Create, "pods/eviction")),
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": b.ns}},
			SideEffects:       &none, FailurePolicy: &fail, AdmissionReviewVersions: []string{"v1"},
		}},
	}
	hooks := shared.Client.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	_, err := hooks.Create(b.ctx, hook, metav1.CreateOptions{})
	b.must(err)
	b.Cleanup(func() { _ = hooks.Delete(b.Context(), b.ns, metav1.DeleteOptions{}) })
	b.settled(asked)
	return asked
}

// settled waits until the API server asks the webhook: it learns of it by a watch.
func (b *bed) settled(asked *atomic.Int64) {
	b.Helper()
	probe := b.pod("webhook-probe", nil)
	for asked.Load() == 0 {
		if b.ctx.Err() != nil {
			b.Fatal("the API server does not ask the webhook")
		}
		_ = b.evict(probe.Name)
	}
	zero := int64(0)
	b.must(shared.Client.CoreV1().Pods(b.ns).Delete(b.ctx, probe.Name, metav1.DeleteOptions{GracePeriodSeconds: &zero}))
	asked.Store(0)
}
