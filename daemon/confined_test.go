package daemon

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestProbePolicy(t *testing.T) {
	nodes := schema.GroupResource{Resource: "nodes"}
	ours := apierrors.NewForbidden(nodes, "a", errors.New("ValidatingAdmissionPolicy 'rebootd-own-node' with binding 'rebootd-own-node' denied request: rebootd may change nothing of its node's metadata, its labels for instance, but annotations"))
	for name, tc := range map[string]struct {
		answers []error // the last one stays
		want    confinement
		asked   int
		took    time.Duration
	}{
		"refused by the policy":               {[]error{ours}, confined, 1, 0},
		"the policy is not compiled yet":      {[]error{nil, ours}, confined, 2, 15 * time.Second},
		"accepted":                            {[]error{nil}, unconfined, 2, 15 * time.Second},
		"accepted once, then no answer":       {[]error{nil, errors.New("refused"), ours}, confined, 3, 25 * time.Second},
		"no answer at first":                  {[]error{errors.New("refused"), errors.New("refused"), ours}, confined, 3, 30 * time.Second},
		"not allowed at all":                  {[]error{apierrors.NewForbidden(nodes, "a", errors.New(`User "rebootd" cannot patch resource "nodes"`))}, unclear, maxProbes, 2550 * time.Second},
		"refused by somebody else's policy":   {[]error{apierrors.NewForbidden(nodes, "a", errors.New("ValidatingAdmissionPolicy 'labels' with binding 'labels' denied request: no such label"))}, unclear, maxProbes, 2550 * time.Second},
		"refused by a webhook, with our word": {[]error{apierrors.NewInternalError(errors.New(ours.Error()))}, unclear, maxProbes, 2550 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				asked, began := 0, time.Now()
				got := probePolicy(t.Context(), func(context.Context) error {
					asked++
					return tc.answers[min(asked, len(tc.answers))-1]
				})
				if took := time.Since(began); got != tc.want || asked != tc.asked || took != tc.took {
					t.Errorf("%v after %d probes in %s, want %v after %d in %s", got, asked, took, tc.want, tc.asked, tc.took)
				}
			})
		})
	}
}

// The words by which the policy is known are the shipped policy's.
func TestPolicyWords(t *testing.T) {
	data, err := os.ReadFile("../deploy/base/policy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, words, _ := strings.Cut(policyWords, ": ")
	for _, want := range []string{"name: " + ownNodePolicy + "\n", "message: " + words} {
		if !strings.Contains(string(data), want) {
			t.Errorf("deploy/base/policy.yaml does not have %q", want)
		}
	}
}
