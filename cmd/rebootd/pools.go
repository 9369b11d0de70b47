package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
)

// poolsKey is the file's key with the pools: what nodes have of their own by their labels.
const poolsKey = "pools"

// ofProcess are the settings that the process has whatever its node is, or that are needed
// before the Node can be read. A pool cannot have its own.
var ofProcess = []string{"node-name", "kubeconfig", "namespace", "host-root", "metrics-address", "log-level", "log-format"}

// poolContent is a pool as the file has it.
type poolContent struct {
	name, match string
	selector    labels.Selector
	keys        map[string][]given
}

// pool is a part of the cluster's nodes that has settings of its own.
type pool struct {
	name     string
	match    string // as written
	selector labels.Selector
	settings *config  // the effective ones of its nodes
	beaten   []string // which of its keys have no effect, and why
}

// readPools takes the pools out of the file's keys.
func readPools(opts []option, raw map[string]any, path string) (out []poolContent, errs []error) {
	v, there := raw[poolsKey]
	if !there {
		return nil, nil
	}
	delete(raw, poolsKey)
	list, ok := v.([]any)
	if !ok || len(list) == 0 {
		return nil, []error{fmt.Errorf("%s: key %s: must be a list of pools, each with name, match and the settings that differ", path, poolsKey)}
	}
	var names []string
	for i, v := range list {
		p, poolErrs := readPool(opts, v, fmt.Sprintf("%s: pool %d", path, i+1), path)
		if p.name != "" && slices.Contains(names, p.name) {
			poolErrs = append(poolErrs, fmt.Errorf("%s: pool %q: there is another pool of this name", path, p.name))
		}
		names, out, errs = append(names, p.name), append(out, p), append(errs, poolErrs...)
	}
	return out, errs
}

// readPool reads one. at is what it is called before its name is known.
func readPool(opts []option, v any, at, path string) (p poolContent, errs []error) {
	raw, ok := v.(map[string]any)
	if !ok {
		return p, []error{fmt.Errorf("%s: not a mapping of keys to values", at)}
	}
	name, _ := raw["name"].(string)
	if err := checkNamespace(name); err != nil {
		errs = append(errs, fmt.Errorf("%s: key name: %w", at, err))
	} else {
		p.name, at = name, fmt.Sprintf("%s: pool %q", path, name)
	}
	p.match, _ = raw["match"].(string)
	var err error
	if p.selector, err = labels.Parse(p.match); err != nil {
		errs = append(errs, fmt.Errorf("%s: key match: %q is not a valid label selector: %w", at, p.match, err))
	} else if p.selector.Empty() {
		errs = append(errs, fmt.Errorf("%s: key match: must be a label selector such as \"pool=db\"; settings for all nodes belong to the top level of the file", at))
	}
	delete(raw, "name")
	delete(raw, "match")
	for _, flag := range ofProcess {
		if _, there := raw[keyName(flag)]; there {
			errs = append(errs, fmt.Errorf("%s: key %s: is not for a pool: it is needed before the node's labels are known, or is the process's own", at, keyName(flag)))
			delete(raw, keyName(flag))
		}
	}
	keys, keyErrs := readKeys(opts, raw, at)
	if len(keys) == 0 && len(errs)+len(keyErrs) == 0 {
		errs = append(errs, fmt.Errorf("%s: has no settings of its own", at))
	}
	p.keys = keys
	return p, append(errs, keyErrs...)
}

// pools are those of the file with their effective settings. What is wrong at the top level,
// too, is told there.
func (l layers) pools(in fileContent, top []error) (out []*pool, errs []error) {
	told := map[string]bool{}
	for _, err := range top {
		told[err.Error()] = true
	}
	for _, p := range in.pools {
		settings, wrong := l.settings(in.keys, p.keys)
		for _, err := range wrong {
			if told[err.Error()] {
				continue
			}
			if who := fmt.Sprintf("pool %q", p.name); !strings.Contains(err.Error(), who) {
				err = fmt.Errorf("%s: %w", who, err)
			}
			errs = append(errs, err)
		}
		out = append(out, &pool{p.name, p.match, p.selector, settings, l.beaten(p)})
	}
	return out, errs
}

// beaten are sentences about the keys of a pool that a flag or the environment beats.
func (l layers) beaten(p poolContent) (out []string) {
	for _, o := range l.opts {
		if _, has := p.keys[o.flag]; !has {
			continue
		}
		by := ""
		if _, is := l.env[envName(o.flag)]; is {
			by = "environment variable " + envName(o.flag)
		}
		if _, is := l.flags[o.flag]; is {
			by = "--" + o.flag
		}
		if by != "" {
			out = append(out, fmt.Sprintf("pool %q: key %s has no effect: %s beats it", p.name, keyName(o.flag), by))
		}
	}
	return out
}

// sharedLocks refuses a lock whose nodes do not agree on how many may be down, and where:
// the highest number would count for all of them.
func sharedLocks(c *config) error {
	type user struct {
		who string
		c   *config
	}
	all := []user{{"the top level", c}}
	for _, p := range c.pools {
		all = append(all, user{fmt.Sprintf("pool %q", p.name), p.settings})
	}
	var errs []error
	for i, b := range all {
		for _, a := range all[:i] {
			if a.c.LockName != b.c.LockName {
				continue
			}
			if a.c.Slots != b.c.Slots {
				errs = append(errs, fmt.Errorf("%s: shares the lock %s with %s, but has slots %d, not %d, and the highest would count for both: give it a lockName of its own, or the same slots", b.who, b.c.LockName, a.who, b.c.Slots, a.c.Slots))
			}
			if a.c.Same != b.c.Same {
				errs = append(errs, fmt.Errorf("%s: shares the lock %s with %s, but has same %q, not %q: give it a lockName of its own, or the same label", b.who, b.c.LockName, a.who, b.c.Same, a.c.Same))
			}
			break
		}
	}
	return errors.Join(errs...)
}

// of is the first pool that a node with these labels is in, nil if it is in none.
func (c *config) of(node labels.Set) *pool {
	for _, p := range c.pools {
		if p.selector.Matches(node) {
			return p
		}
	}
	return nil
}

// in are the effective settings of the nodes of a pool, nil for those that are in none.
func (c *config) in(p *pool) *config {
	if p == nil {
		return c
	}
	return p.settings
}

// poolName is what people call a pool, "" for none.
func poolName(p *pool) string {
	if p == nil {
		return ""
	}
	return p.name
}
