package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"rebootd.dev/daemon/conditions"
	"rebootd.dev/daemon/pods"
)

// nodeGates are the settings of the gates that look at the node itself.
type nodeGates struct {
	BlockingConditions []conditions.Rule
	Approval           bool
	BlockingPods       []pods.Selector
	WaitForDaemonSets  bool
	DaemonSetPods      *pods.Selector // of those that are waited for; nil: of all
}

func nodeGateOptions() []option {
	return []option{
		{
			flag: "blocking-conditions", list: true, about: "none",
			usage: "a condition of the Node that blocks the reboot and, after the boot, keeps the node from being healthy: `TYPE=STATUS`, or `TYPE!=STATUS` for every other status, such as `KernelDeadlock=True`; may be repeated. `Unknown` always blocks; a condition that is not there blocks with `!=` only",
			set: func(c *config, v string) error {
				return addTo(&c.BlockingConditions, v, conditions.ParseRule)
			},
			get: func(c *config) any { return asGiven(c.BlockingConditions) },
		},
		boolean("approval", "false", "each reboot needs approval, by the annotation `rebootd.dev/approval` on the Node: the ID of the operation, which the condition says, or `until` and a time, for every operation that begins before then", func(c *config) *bool { return &c.Approval }),
		{
			flag: "blocking-pods", list: true, separator: ";", about: "none",
			usage: "pods that block the reboot of the node that they run on: a selector of labels, and of fields such as `metadata.namespace`, as kubectl has them: `metadata.namespace=ml,app in (train, tune)`; may be repeated",
			set: func(c *config, v string) error {
				return addTo(&c.BlockingPods, v, pods.ParseSelector)
			},
			get: func(c *config) any { return asGiven(c.BlockingPods) },
		},
		{
			flag: "wait-for-daemonsets", def: "false", bare: "true", orText: true,
			usage: "the node is healthy only when the pods of DaemonSets on it are Ready after the boot: `true`, `false`, or a selector of those that count, as for `--blocking-pods`",
			set: func(c *config, v string) error {
				var err error
				if c.WaitForDaemonSets, err = strconv.ParseBool(v); err == nil {
					return nil
				}
				// Taken for a label, it would select no pod, and none would be waited for.
				if slices.Contains([]string{"yes", "no", "on", "off"}, strings.ToLower(v)) {
					return fmt.Errorf("%q is neither true nor false nor a selector", v)
				}
				c.WaitForDaemonSets = true
				s, err := pods.ParseSelector(v)
				c.DaemonSetPods = &s
				return err
			},
			get: func(c *config) any {
				if c.DaemonSetPods != nil {
					return c.DaemonSetPods.String()
				}
				return c.WaitForDaemonSets
			},
		},
	}
}

// addTo reads a value of a list that may have it once.
func addTo[T fmt.Stringer](list *[]T, value string, parse func(string) (T, error)) error {
	one, err := parse(value)
	if err != nil {
		return err
	}
	if slices.Contains(asGiven(*list), one.String()) {
		return fmt.Errorf("%q is given twice", one)
	}
	*list = append(*list, one)
	return nil
}

// asGiven are the values of a list as they are written.
func asGiven[T fmt.Stringer](list []T) []string {
	out := []string{}
	for _, one := range list {
		out = append(out, one.String())
	}
	return out
}
