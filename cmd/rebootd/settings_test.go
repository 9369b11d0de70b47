package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"rebootd.dev/daemon"
	"rebootd.dev/daemon/api"
)

// inForce are settings by a file, with what they log.
type inForce struct {
	*settings
	t        *testing.T
	path     string
	log      bytes.Buffer
	registry *prometheus.Registry
}

func newInForce(t *testing.T, text string) *inForce {
	t.Helper()
	f := &inForce{t: t, path: file(t, text), registry: prometheus.NewRegistry()}
	args := []string{"--config", f.path}
	c, _, err := load(args, env)
	if err != nil {
		t.Fatal(err)
	}
	f.settings = &settings{args: args, environ: env, file: configFile(args, env), config: c, metrics: daemon.NewMetrics(f.registry, "test"), log: zerolog.New(&f.log)}
	return f
}

func (f *inForce) write(text string) {
	f.t.Helper()
	if err := os.WriteFile(f.path, []byte(text), 0o644); err != nil {
		f.t.Fatal(err)
	}
	f.reload()
}

func (f *inForce) refusedMetric() float64 {
	f.t.Helper()
	all, err := f.registry.Gather()
	if err != nil {
		f.t.Fatal(err)
	}
	for _, m := range all {
		if m.GetName() == "rebootd_config_refused" {
			return m.GetMetric()[0].GetGauge().GetValue()
		}
	}
	f.t.Fatal("no metric")
	return 0
}

// A daemon is followed by another when the labels, the file or the end of an operation have
// it so, and by none when nothing that matters to its node has changed.
func TestSettingsFollow(t *testing.T) {
	f := newInForce(t, twoPools)
	db, web := daemon.Standing{Labels: map[string]string{"pool": "db"}}, daemon.Standing{Labels: map[string]string{"pool": "web"}}
	is := func(w *wiring, pool, lock string, slots int, drain time.Duration) {
		t.Helper()
		d, err := api.ParseDaemon(w.mark)
		if err != nil || w.pool != pool || d.Pool != pool || w.cfg.LockName != lock || w.cfg.Slots != slots || w.cfg.DrainTimeout != drain {
			t.Fatalf("pool %s, %s, lock %s, %d slots, drain %s", w.pool, w.mark, w.cfg.LockName, w.cfg.Slots, w.cfg.DrainTimeout)
		}
	}
	fit := func(now daemon.Standing, want bool) {
		t.Helper()
		for range 2 {
			if got := f.fits(now); got != want {
				t.Fatalf("fits: %t", got)
			}
		}
	}
	is(f.first(), "", "rebootd", 1, 40*time.Minute)
	fit(web, true)
	fit(db, false)
	is(f.following(), "db", "rebootd-db", 2, 2*time.Hour)
	fit(db, true)

	// The node is moved while it drains: timeouts change at once, the lock when it is done.
	at := web
	at.Lock = "rebootd-db"
	fit(at, false)
	is(f.following(), "", "rebootd-db", 2, 40*time.Minute)
	fit(at, true)
	fit(web, false)
	is(f.following(), "", "rebootd", 1, 40*time.Minute)

	// It is moved there and back before the daemon could leave.
	fit(db, false)
	fit(web, true)
	is(f.following(), "", "rebootd", 1, 40*time.Minute)

	// What changes in a pool of others concerns nobody else.
	f.write(strings.Replace(twoPools, "2h", "3h", 1))
	fit(web, true)
	fit(db, false)
	f.write(strings.Replace(twoPools, "40m", "50m", 1))
	fit(web, false)
	is(f.following(), "", "rebootd", 1, 50*time.Minute)

	// The number of slots of a lock under which the node is at work is that from before.
	f.write("slots: 3")
	at = web
	at.Lock = "rebootd"
	fit(at, false)
	w := f.following()
	is(w, "", "rebootd", 1, 30*time.Minute)
	fit(web, false)
	is(f.following(), "", "rebootd", 3, 30*time.Minute)
}

// A process that starts while its node is at work under the lock of another pool uses it as
// that pool does; one that no pool has any more by its own settings.
func TestSettingsOfALockFromBefore(t *testing.T) {
	f := newInForce(t, twoPools)
	f.first()
	for lock, slots := range map[string]int{"rebootd-db": 2, "rebootd": 1, "gone": 1} {
		now := daemon.Standing{Labels: map[string]string{"gpu": "true"}, Lock: lock}
		if f.fits(now) {
			t.Fatal("fits")
		}
		if w := f.following(); w.cfg.LockName != lock || w.cfg.Slots != slots || w.pool != "gpu" {
			t.Errorf("%s: %+v", lock, w)
		}
		f.fits(daemon.Standing{})
		f.following()
	}
}

// What is wrong with the file changes nothing, is said once, and counts until it is mended.
func TestSettingsAreRefused(t *testing.T) {
	good := "slots: 2\n"
	for text, want := range map[string]string{
		"slots: 0\nfoo: 1":                       "unknown key foo",
		"":                                       "is empty",
		" \n":                                    "is empty",
		"slots: [":                               "yaml",
		"namespace: other":                       "key namespace: cannot be changed to other while the daemon runs",
		"nodeName: other":                        "key nodeName: cannot be changed",
		"hostRoot: /tmp":                         "key hostRoot: cannot be changed",
		"kubeconfig: " + os.Args[0]:              "key kubeconfig: cannot be changed",
		"pools: [{name: p, match: x, slots: 0}]": `pool "p": key slots`,
	} {
		f := newInForce(t, good)
		f.first()
		woken := 0
		f.runs(f.settings.log, func() { woken++ })
		f.write(text)
		f.reload()
		if !strings.Contains(f.whyRefused(), want) || f.config.Slots != 2 || f.refusedMetric() != 1 || woken == 0 || strings.Count(f.log.String(), `"level":"error"`) != 1 {
			t.Errorf("%s\n\t%s, slots %d, %d times woken\n%s", text, f.whyRefused(), f.config.Slots, woken, &f.log)
		}
		if strings.Contains(f.whyRefused(), "\n") {
			t.Errorf("more than one line: %q", f.whyRefused())
		}
		if !f.fits(daemon.Standing{}) {
			t.Errorf("%s: another daemon is made", text)
		}
		f.write(good)
		if f.whyRefused() != "" || f.refusedMetric() != 0 || !f.fits(daemon.Standing{}) || !strings.Contains(f.log.String(), "valid again") {
			t.Errorf("%s: still refused\n%s", text, &f.log)
		}
	}
	f := newInForce(t, good)
	if err := os.Remove(f.path); err != nil {
		t.Fatal(err)
	}
	f.reload()
	if f.whyRefused() == "" || f.config.Slots != 2 {
		t.Error("a file that is gone is not refused")
	}
}

// The hash tells settings apart, not nodes, and holds no secret.
func TestSettingsHash(t *testing.T) {
	hash := func(args ...string) string {
		t.Helper()
		c, _, err := load(args, env)
		if err != nil {
			t.Fatal(err)
		}
		return c.hash()
	}
	base := hash()
	if len(base) != 12 || base != hash() {
		t.Errorf("%q, %q", base, hash())
	}
	for _, same := range []string{"--node-name=other", "--metrics-address=:1", "--log-level=debug", "--kubeconfig=" + os.Args[0], "--drain-timeout=1800s"} {
		if hash(same) != base {
			t.Errorf("%s changes the hash", same)
		}
	}
	for _, other := range []string{"--slots=2", "--lock-name=x", "--drain=false", "--dry-run", "--sentinel=/run/x"} {
		if hash(other) == base {
			t.Errorf("%s does not change the hash", other)
		}
	}
}

// The file is seen to change by whatever way it does, once it has come to rest.
func TestWatchFile(t *testing.T) {
	dir := t.TempDir()
	put := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	// As the kubelet lays a ConfigMap out.
	must(os.Mkdir(filepath.Join(dir, "..1"), 0o755))
	put(filepath.Join(dir, "..1", "config.yaml"), "1")
	must(os.Symlink("..1", filepath.Join(dir, "..data")))
	must(os.Symlink("..data/config.yaml", filepath.Join(dir, "config.yaml")))
	path := filepath.Join(dir, "config.yaml")

	seen := make(chan string, 100)
	ended := make(chan error)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		ended <- watchFile(ctx, path, 20*time.Millisecond, func() {
			data, err := os.ReadFile(path)
			if err != nil {
				data = []byte("gone")
			}
			seen <- string(data)
		})
	}()
	await := func(want string) {
		t.Helper()
		deadline := time.After(20 * time.Second)
		for {
			select {
			case got := <-seen:
				if got == want {
					return
				}
			case <-deadline:
				t.Fatalf("%s was not seen", want)
			}
		}
	}
	await("1")
	must(os.Mkdir(filepath.Join(dir, "..2"), 0o755))
	put(filepath.Join(dir, "..2", "config.yaml"), "2")
	must(os.Symlink("..2", filepath.Join(dir, "..data_tmp")))
	must(os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	must(os.RemoveAll(filepath.Join(dir, "..1")))
	await("2")
	must(os.Remove(path))
	await("gone")
	put(path, "3")
	await("3")
	put(path+".swp", "4")
	must(os.Rename(path+".swp", path))
	await("4")
	put(path, "5")
	await("5")
	cancel()
	must(<-ended)
	for len(seen) > 0 {
		<-seen
	}
}

// What a pool has in vain, since a flag or the environment beats it, is said: a pool that was
// to have a lock of its own does not.
func TestPoolsAreBeaten(t *testing.T) {
	var stdout, stderr bytes.Buffer
	args := []string{"check-config", "--config=" + file(t, twoPools), "--node-labels=pool=web", "--lock-name=all", "--slots=2"}
	if status := run(args, append(env, "REBOOTD_DRAIN_TIMEOUT=5m"), &stdout, &stderr); status != exitOK {
		t.Fatal(status, &stderr)
	}
	for _, want := range []string{`pool "db": key lockName has no effect: --lock-name beats it`, `pool "db": key drainTimeout has no effect: environment variable REBOOTD_DRAIN_TIMEOUT beats it`} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("no %s in\n%s", want, &stderr)
		}
	}
	stderr.Reset()
	if run(args[:3], env, &stdout, &stderr); stderr.Len() > 0 {
		t.Error(&stderr)
	}
}

// check-config says which pool the node is in, and why, and asks nobody where it need not.
func TestCheckConfigPools(t *testing.T) {
	path := file(t, twoPools)
	check := func(args ...string) (out, errs string, status int) {
		var stdout, stderr bytes.Buffer
		status = run(append([]string{"check-config", "--config=" + path}, args...), env, &stdout, &stderr)
		return stdout.String(), stderr.String(), status
	}
	out, errs, status := check("--node-labels=pool=db,gpu=true")
	if status != exitOK || errs != "" || !strings.Contains(out, "#   db (pool in (db, cache), !spare): the first that matches") || !strings.Contains(out, "#   gpu (gpu=true): matches, too") || !strings.Contains(out, "\nlockName: rebootd-db\n") {
		t.Errorf("%d %s\n%s", status, errs, out)
	}
	again := file(t, out)
	if c, _, err := load([]string{"--config=" + again}, env); err != nil || c.LockName != "rebootd-db" || c.DrainTimeout != 2*time.Hour {
		t.Errorf("what it prints is no file that leads to it: %v", err)
	}
	out, _, status = check("--node-labels", "")
	if status != exitOK || !strings.Contains(out, "# no pool matches") || !strings.Contains(out, "\nlockName: rebootd\n") {
		t.Errorf("%d\n%s", status, out)
	}
	if out, errs, status = check(); status != exitOK || !strings.Contains(errs, "labels of the Node") || !strings.Contains(out, "# pool of node-1: not known") {
		t.Errorf("%d %s\n%s", status, errs, out)
	}
	for _, bad := range [][]string{{"--node-labels"}, {"--node-labels=%%"}} {
		if _, errs, status := check(bad...); status == exitOK || errs == "" {
			t.Errorf("%q: %d %s", bad, status, errs)
		}
	}
	var stdout, stderr bytes.Buffer
	if status := run([]string{"check-config"}, env, &stdout, &stderr); status != exitOK || strings.Contains(stdout.String(), "# pool") || stderr.String() != "" {
		t.Errorf("%d %s %s", status, &stderr, &stdout)
	}
	if status := run([]string{"--node-labels=x=y"}, env, &stdout, &stderr); status != exitUsage {
		t.Errorf("the daemon takes --node-labels: %d", status)
	}
}
