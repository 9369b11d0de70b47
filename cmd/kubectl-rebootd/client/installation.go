package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// Installation is what is asked of the API server about the installation. The kinds are
// read as JSON into what is needed of them: their own types weigh a megabyte.
type Installation interface {
	// Policies are the ValidatingAdmissionPolicies of the cluster.
	Policies(ctx context.Context) ([]Policy, error)
	// PolicyBindings are what puts them in force.
	PolicyBindings(ctx context.Context) ([]PolicyBinding, error)
	// DaemonSets are those of a namespace, or of all with "".
	DaemonSets(ctx context.Context, namespace string) ([]DaemonSet, error)
	// PodsIn are the pods of a namespace that a label selector selects.
	PodsIn(ctx context.Context, namespace, selector string) ([]corev1.Pod, error)
	// Metrics are those that a pod serves on a port, asked for through the API server.
	Metrics(ctx context.Context, namespace, pod string, port int) ([]byte, error)
	// ServerTime is the API server's clock, to the second, below it.
	ServerTime(ctx context.Context) (time.Time, error)
}

// Policy is a ValidatingAdmissionPolicy.
type Policy struct {
	Metadata metav1.ObjectMeta `json:"metadata"`
	Spec     struct {
		FailurePolicy   string `json:"failurePolicy"`
		MatchConditions []struct {
			Name       string `json:"name"`
			Expression string `json:"expression"`
		} `json:"matchConditions"`
	} `json:"spec"`
}

// PolicyBinding is a ValidatingAdmissionPolicyBinding.
type PolicyBinding struct {
	Metadata metav1.ObjectMeta `json:"metadata"`
	Spec     struct {
		PolicyName        string          `json:"policyName"`
		ValidationActions []string        `json:"validationActions"`
		MatchResources    *MatchResources `json:"matchResources"`
	} `json:"spec"`
}

// MatchResources is what a binding is confined to: as much as tells whether it is.
type MatchResources struct {
	NamespaceSelector    metav1.LabelSelector `json:"namespaceSelector"`
	ObjectSelector       metav1.LabelSelector `json:"objectSelector"`
	ResourceRules        []json.RawMessage    `json:"resourceRules"`
	ExcludeResourceRules []json.RawMessage    `json:"excludeResourceRules"`
}

// Confines says whether anything is left out.
func (m *MatchResources) Confines() bool {
	selects := func(s metav1.LabelSelector) bool { return len(s.MatchLabels)+len(s.MatchExpressions) > 0 }
	return m != nil && (selects(m.NamespaceSelector) || selects(m.ObjectSelector) || len(m.ResourceRules)+len(m.ExcludeResourceRules) > 0)
}

// DaemonSet is a DaemonSet.
type DaemonSet struct {
	Metadata metav1.ObjectMeta `json:"metadata"`
	Spec     struct {
		Selector metav1.LabelSelector `json:"selector"`
		Template struct {
			Spec struct {
				ServiceAccountName string `json:"serviceAccountName"`
				Containers         []struct {
					Image string `json:"image"`
				} `json:"containers"`
			} `json:"spec"`
		} `json:"template"`
	} `json:"spec"`
	Status struct {
		Desired      int   `json:"desiredNumberScheduled"`
		Current      int   `json:"currentNumberScheduled"`
		Ready        int   `json:"numberReady"`
		Updated      int   `json:"updatedNumberScheduled"`
		Misscheduled int   `json:"numberMisscheduled"`
		Observed     int64 `json:"observedGeneration"`
	} `json:"status"`
}

// Policies implements [Installation].
func (c *Client) Policies(ctx context.Context) ([]Policy, error) {
	return listJSON[Policy](ctx, c.core, "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies")
}

// PolicyBindings implements [Installation].
func (c *Client) PolicyBindings(ctx context.Context) ([]PolicyBinding, error) {
	return listJSON[PolicyBinding](ctx, c.core, "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings")
}

// DaemonSets implements [Installation].
func (c *Client) DaemonSets(ctx context.Context, namespace string) ([]DaemonSet, error) {
	path := "/apis/apps/v1/daemonsets"
	if namespace != "" {
		path = "/apis/apps/v1/namespaces/" + namespace + "/daemonsets"
	}
	return listJSON[DaemonSet](ctx, c.core, path)
}

// listJSON reads a whole list.
func listJSON[T any](ctx context.Context, client rest.Interface, path string) ([]T, error) {
	data, err := client.Get().AbsPath(path).SetHeader("Accept", "application/json").Do(ctx).Raw()
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", path, err)
	}
	var list struct {
		Items []T `json:"items"`
	}
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("read the list of %s: %w", path, err)
	}
	return list.Items, nil
}

// PodsIn implements [Installation].
func (c *Client) PodsIn(ctx context.Context, namespace, selector string) ([]corev1.Pod, error) {
	list, opts := new(corev1.PodList), metav1.ListOptions{LabelSelector: selector}
	if err := c.core.Get().Namespace(namespace).Resource("pods").VersionedParams(&opts, parameters).Do(ctx).Into(list); err != nil {
		return nil, fmt.Errorf("list the pods in the namespace %s: %w", namespace, err)
	}
	return list.Items, nil
}

// Metrics implements [Installation].
func (c *Client) Metrics(ctx context.Context, namespace, pod string, port int) ([]byte, error) {
	data, err := c.core.Get().Namespace(namespace).Resource("pods").Name(pod+":"+strconv.Itoa(port)).SubResource("proxy").Suffix("metrics").
		SetHeader("Accept", "text/plain").Do(ctx).Raw()
	if err != nil {
		return nil, fmt.Errorf("get the metrics of the pod %s/%s: %w", namespace, pod, err)
	}
	return data, nil
}

// ServerTime implements [Installation]. Whatever the answer is, it has a date.
func (c *Client) ServerTime(ctx context.Context) (time.Time, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.core.Get().AbsPath("/version").URL().String(), nil)
	if err != nil {
		return time.Time{}, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return time.Time{}, fmt.Errorf("ask the API server for the time: %w", err)
	}
	_ = resp.Body.Close()
	at, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return time.Time{}, fmt.Errorf("read the API server's time: %w", err)
	}
	return at, nil
}
