package main

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/labels"
)

const twoPools = `
lockName: rebootd
drainTimeout: 40m
settle: 1m
pools:
- name: db
  match: pool in (db, cache), !spare
  lockName: rebootd-db
  slots: 2
  drainTimeout: 2h
- name: gpu
  match: gpu=true
  lockName: rebootd-gpu
`

// The first pool that matches has its say, and what it does not say the top level has.
func TestPoolOfANode(t *testing.T) {
	c, _, err := load([]string{"--config=" + file(t, twoPools)}, env)
	if err != nil {
		t.Fatal(err)
	}
	for node, want := range map[string]struct {
		pool, lock string
		slots      int
		drain      time.Duration
	}{
		"":                        {"", "rebootd", 1, 40 * time.Minute},
		"pool=web":                {"", "rebootd", 1, 40 * time.Minute},
		"pool=db":                 {"db", "rebootd-db", 2, 2 * time.Hour},
		"pool=cache":              {"db", "rebootd-db", 2, 2 * time.Hour},
		"pool=db,spare=":          {"", "rebootd", 1, 40 * time.Minute},
		"pool=db,gpu=true":        {"db", "rebootd-db", 2, 2 * time.Hour},
		"pool=db,gpu=true,spare=": {"gpu", "rebootd-gpu", 1, 40 * time.Minute},
		"gpu=true":                {"gpu", "rebootd-gpu", 1, 40 * time.Minute},
	} {
		set, err := labels.ConvertSelectorToLabelsMap(node)
		if err != nil {
			t.Fatal(err)
		}
		p := c.of(set)
		got := c.in(p)
		if poolName(p) != want.pool || got.LockName != want.lock || got.Slots != want.slots || got.DrainTimeout != want.drain || got.Settle != time.Minute {
			t.Errorf("%s: %s, %+v", node, poolName(p), got)
		}
	}
}

// A flag beats the environment, which beats the pool, which beats the file, which beats the
// default; lists are replaced as a whole.
func TestPoolPrecedence(t *testing.T) {
	path := file(t, `
slots: 2
settle: 2s
drainTimeout: 2m
rebootTimeout: 2m
sentinel: [/run/a, /run/b]
pools:
- name: p
  match: x
  slots: 3
  settle: 3s
  drainTimeout: 3m
  sentinel: [/run/c]
`)
	c, _, err := load([]string{"--config", path, "--slots=5"}, append(env, "REBOOTD_SLOTS=4", "REBOOTD_SETTLE=4s"))
	if err != nil {
		t.Fatal(err)
	}
	p := c.pools[0].settings
	if p.Slots != 5 || p.Settle != 4*time.Second || p.DrainTimeout != 3*time.Minute || p.RebootTimeout != 2*time.Minute || p.HealthTimeout != 15*time.Minute || strings.Join(p.Sentinels, " ") != "/run/c" {
		t.Errorf("%+v", p)
	}
	if c.Slots != 5 || c.Settle != 4*time.Second || c.DrainTimeout != 2*time.Minute || strings.Join(c.Sentinels, " ") != "/run/a /run/b" {
		t.Errorf("%+v", c)
	}
}

// What is wrong in any pool is refused, with the pool's name, all of it at once, and once.
func TestBadPools(t *testing.T) {
	one := func(text string) string { return "pools:\n- name: p\n  match: x=y\n  " + text + "\n" }
	for text, want := range map[string]string{
		"pools: []":                     `key pools: must be a list of pools`,
		"pools: {}":                     `key pools: must be a list of pools`,
		"pools:":                        `key pools: must be a list of pools`,
		"pools: [words]":                `pool 1: not a mapping`,
		"pools: [{match: x, slots: 1}]": `pool 1: key name`,
		"pools: [{name: A_b, match: x, slots: 1}]":                             `pool 1: key name: "A_b"`,
		"pools: [{name: 3, match: x, slots: 1}]":                               `pool 1: key name`,
		"pools: [{name: p, slots: 1}]":                                         `pool "p": key match: must be a label selector`,
		"pools: [{name: p, match: '', slots: 1}]":                              `pool "p": key match: must be a label selector`,
		"pools: [{name: p, match: [x], slots: 1}]":                             `pool "p": key match`,
		"pools: [{name: p, match: 'x in', slots: 1}]":                          `pool "p": key match: "x in" is not a valid label selector`,
		"pools: [{name: p, match: x}]":                                         `pool "p": has no settings of its own`,
		"pools: [{name: p, match: x, slots: 1},{name: p, match: z, slots: 1}]": `pool "p": there is another pool of this name`,
		one("slots: 0"):              `pool "p": key slots`,
		one("slot: 1"):               `pool "p": unknown key slot`,
		one("sentinel: []"):          `pool "p": key sentinel`,
		one("drainTimeout: 30"):      `pool "p": key drainTimeout`,
		one("settle: 20m"):           `pool "p": --settle must be shorter than --health-timeout`,
		one("nodeName: n"):           `pool "p": key nodeName: is not for a pool`,
		one("kubeconfig: /dev/null"): `pool "p": key kubeconfig: is not for a pool`,
		one("namespace: n"):          `pool "p": key namespace: is not for a pool`,
		one("hostRoot: /"):           `pool "p": key hostRoot: is not for a pool`,
		one("metricsAddress: ':1'"):  `pool "p": key metricsAddress: is not for a pool`,
		one("logLevel: info"):        `pool "p": key logLevel: is not for a pool`,
		one("logFormat: json"):       `pool "p": key logFormat: is not for a pool`,
		one("config: /x"):            `pool "p": unknown key config`,
		one("pools: []"):             `pool "p": unknown key pools`,
		one("slots: 3"):              `pool "p": shares the lock rebootd with the top level, but has slots 3, not 1`,
		one("same: zone"):            `pool "p": shares the lock rebootd with the top level, but has same "zone", not ""`,
		"pools: [{name: p, match: x, lockName: l},{name: q, match: z, lockName: l, slots: 2}]": `pool "q": shares the lock l with pool "p"`,
	} {
		_, _, err := load([]string{"--config=" + file(t, text)}, env)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Count(err.Error(), want) != 1 {
			t.Errorf("%s\n\t%v\n\twant %s", text, err, want)
		}
	}

	_, _, err := load([]string{"--config=" + file(t, "settle: 20m\npools: [{name: p, match: x, slots: 0},{name: q, match: z, dryRun: 3, foo: 1}]")}, env)
	if err == nil {
		t.Fatal("accepted")
	}
	all := flatten(err)
	if len(all) < 4 || strings.Count(err.Error(), "--settle must be shorter") != 1 {
		t.Errorf("%d: %v", len(all), err)
	}
}
