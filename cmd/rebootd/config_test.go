package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"rebootd.dev/daemon/decide"
	"rebootd.dev/reboot"
)

var env = []string{"NODE_NAME=node-1"}

func TestDefaults(t *testing.T) {
	c, _, err := load(nil, env)
	if err != nil {
		t.Fatal(err)
	}
	want := &config{
		NodeName: "node-1", Namespace: "rebootd", HostRoot: "/", Sentinels: []string{"/run/reboot-needed", "/run/reboot-required"}, LockName: "rebootd", Slots: 1,
		Drain: true, DrainTimeout: 30 * time.Minute, DrainTimeoutPolicy: decide.Rollback, Preflight: preflightOn, VolumeTimeout: 2 * time.Minute,
		NodeLease: leaseAuto, NodeLeaseNamespace: "medik8s-leases", NodeLeaseDuration: 30 * time.Minute,
		Hooks: "/etc/rebootd", HookTimeout: 5 * time.Minute, RebootMethod: "command", RebootCommand: "systemctl reboot", rebootArgv: []string{"systemctl", "reboot"},
		RebootTimeout: 15 * time.Minute, HealthTimeout: 15 * time.Minute, MetricsAddress: ":9650", LogLevel: "info", LogFormat: "json",
		alertSettings:  alertSettings{AlertsIgnore: "InfoInhibitor", AlertsWatchdog: `alertname="Watchdog"`, AlertsLookback: 15 * time.Minute},
		windowSettings: windowSettings{WindowEnd: "finish", WindowReserve: "auto"},
	}
	if diff := cmp.Diff(want, c, cmp.AllowUnexported(config{})); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// A flag beats the environment, which beats the file, which beats the default.
func TestPrecedence(t *testing.T) {
	path := file(t, "slots: 2\nsettle: 2s\ndrainTimeout: 2m\nsentinel: [/run/a, /run/b]\n")
	c, _, err := load([]string{"--config", path, "--slots=4"}, append(env, "REBOOTD_SLOTS=3", "REBOOTD_SETTLE=3s", "REBOOTD_UNKNOWN=x", "REBOOTD_SERVICE_HOST=10.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	if c.Slots != 4 || c.Settle != 3*time.Second || c.DrainTimeout != 2*time.Minute || c.HealthTimeout != 15*time.Minute || len(c.Sentinels) != 2 {
		t.Errorf("%+v", c)
	}
	c, _, err = load([]string{"--sentinel=/run/x", "--sentinel", "/run/y"}, append(env, "REBOOTD_CONFIG="+path, "REBOOTD_SENTINEL=/run/z"))
	if err != nil || cmp.Diff([]string{"/run/x", "/run/y"}, c.Sentinels) != "" || c.Slots != 2 {
		t.Errorf("%+v, %v", c, err)
	}
}

// A list is taken apart where its values end: at commas, or at what it says where they may
// have commas. A flag is one value.
func TestLists(t *testing.T) {
	commas, semicolons := option{list: true}, option{list: true, separator: ";"}
	for _, tt := range []struct {
		o     option
		value string
		want  []string
	}{
		{commas, "/run/a, /run/b", []string{"/run/a", "/run/b"}},
		{commas, "", []string{""}},
		{semicolons, "Sat,Sun 00:00-24:00; Mon 01:00-02:00 UTC", []string{"Sat,Sun 00:00-24:00", "Mon 01:00-02:00 UTC"}},
		{semicolons, "a;", []string{"a", ""}}, // and is refused
		{option{}, "a,b;c", []string{"a,b;c"}},
	} {
		var got []string
		for _, g := range split(tt.o, tt.value, "here") {
			got = append(got, g.value)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%q (-want +got)\n%s", tt.value, diff)
		}
	}
}

// The gates of the node itself, as they are written and printed.
func TestNodeGates(t *testing.T) {
	for text, want := range map[string]string{
		"{}":                        "approval: false\nwaitForDaemonsets: false\n",
		"waitForDaemonsets: true\n": "approval: false\nwaitForDaemonsets: true\n",
		"waitForDaemonsets: app!=flaky\napproval: true\n":                                                           "approval: true\nwaitForDaemonsets: app!=flaky\n",
		"blockingPods:\n- metadata.namespace=ml,app in (a, b)\n- batch\nblockingConditions:\n- X=True\n- Y!=True\n": "blockingConditions:\n- X=True\n- Y!=True\napproval: false\nblockingPods:\n- metadata.namespace=ml,app in (a, b)\n- batch\nwaitForDaemonsets: false\n",
	} {
		c, _, err := load([]string{"--config=" + file(t, text)}, env)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		var out strings.Builder
		if err := c.write(&out); err != nil || !strings.Contains(out.String(), want) {
			t.Errorf("%q is printed as\n%s\nwant\n%s", text, out.String(), want)
		}
		again, _, err := load([]string{"--config=" + file(t, out.String())}, env)
		if err != nil || fmt.Sprint(again.BlockingPods, again.BlockingConditions, again.Approval, again.WaitForDaemonSets) != fmt.Sprint(c.BlockingPods, c.BlockingConditions, c.Approval, c.WaitForDaemonSets) {
			t.Errorf("what is printed for %q is read as %+v, %v", text, again, err)
		}
	}
	c, _, err := load([]string{"--wait-for-daemonsets", "--blocking-pods=a,b", "--blocking-pods=c"}, env)
	if err != nil || !c.WaitForDaemonSets || c.DaemonSetPods != nil || len(c.BlockingPods) != 2 {
		t.Errorf("%+v, %v", c, err)
	}
	for text, want := range map[string]bool{"true": true, "True": true, "1": true, "FALSE": false, "0": false} {
		c, _, err := load(nil, append(env, "REBOOTD_WAIT_FOR_DAEMONSETS="+text))
		if err != nil || c.WaitForDaemonSets != want || c.DaemonSetPods != nil {
			t.Errorf("%s is read as %t of %v, %v", text, c.WaitForDaemonSets, c.DaemonSetPods, err)
		}
	}
	if _, _, err := load([]string{"--config=" + file(t, "approval: \"true\"\n")}, env); err == nil {
		t.Error("text is taken for a bool that it cannot stand for")
	}
	if _, _, err := load([]string{"--blocking-pods=a", "--blocking-pods=a"}, env); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Error(err)
	}
}

// Each bad value is refused, wherever it stands, and the error says where and what.
func TestBadValues(t *testing.T) {
	dir := t.TempDir()
	for flag, values := range map[string][]string{
		"node-name":             {"Node_1", "-x"},
		"kubeconfig":            {"/nonexistent", dir},
		"namespace":             {"a.b", "UPPER", ""},
		"host-root":             {"relative", "/nonexistent", "/etc/passwd"},
		"sentinel":              {"run/x", "/", ""},
		"lock-name":             {"UPPER", "", "a_b", strings.Repeat("a", 250)},
		"slots":                 {"0", "-1", "one", "1.5", ""},
		"drain":                 {"maybe", ""},
		"blocking-conditions":   {"", "KernelDeadlock", "X=true", "Ready!=True", "RebootRequired=True"},
		"prometheus-url":        {"prometheus:9090", "http://user:pass@a", "http://a/api/v1/query"},
		"prometheus-ca":         {"/nonexistent", dir},
		"prometheus-cert":       {"/nonexistent"},
		"prometheus-key":        {"/nonexistent"},
		"prometheus-token-file": {"/nonexistent"},
		"prometheus-header":     {"", "X", "X: HIDDEN", "Host: a"},
		"alerts":                {"", "critical", `a="b",c`, `alertstate="pending"`, `a=~"("`},
		"alerts-ignore":         {"("},
		"alerts-watchdog":       {"Watchdog", `severity="none"`, `alertname="Watchdog",node="$node"`},
		"alerts-lookback":       {"-1s", "soon", "25h"},
		"drain-timeout":         {"30", "-1m", "soon", ""},
		"drain-timeout-policy":  {"panic", ""},
		"preflight":             {"maybe", "", "true"},
		"reboot-command":        {"", "   ", "'unbalanced"},
		"hooks":                 {"etc/rebootd"},
		"hook-timeout":          {"0s", "soon"},
		"reboot-method":         {"", "kured"},
		"wall-message":          {"a\nb", strings.Repeat("x", 201), "\xff"},
		"allow-soft-reboot":     {"perhaps"},
		"allow-kexec":           {"", "2"},
		"system-running":        {"soon"},
		"health-command":        {"'unbalanced"},
		"reboot-timeout":        {"0s", "-1s", "x"},
		"health-timeout":        {"0s", "1ns"},
		"settle":                {"-1s", "5"},
		"metrics-address":       {"9650", "host:port", ":70000"},
		"log-level":             {"loud", ""},
		"log-format":            {"xml", ""},
		"dry-run":               {"2"},
		"window":                {"", "soon", "Mon-Fri 22:00", "25:00-26:00", "01:00-02:00 Mars/Olympus", "freeze: 2027-01-03..2026-12-20"},
		"window-end":            {"", "stop"},
		"window-reserve":        {"", "-1m", "30", "last"},
		"blocking-pods":         {"", "app in training", "spec.nodeName=x"},
		"wait-for-daemonsets":   {"", "app in x", "yes", "On", "off", "no"},
		"approval":              {"maybe"},
	} {
		for _, v := range values {
			if _, _, err := load([]string{"--" + flag + "=" + v}, env); err == nil || !strings.Contains(err.Error(), "--"+flag) {
				t.Errorf("--%s=%q: %v", flag, v, err)
			}
			if _, _, err := load(nil, append(env, envName(flag)+"="+v)); err == nil || !strings.Contains(err.Error(), envName(flag)) {
				t.Errorf("%s=%q: %v", envName(flag), v, err)
			}
		}
	}
}

func TestBadFiles(t *testing.T) {
	for text, want := range map[string]string{
		"nodeNam: x":                "unknown key nodeNam",
		"slots: 1\nslots: 2":        "slots",
		"slots: two":                "key slots",
		"slots: 1.5":                "key slots",
		"drain: \"yes\"":            "key drain",
		"drainTimeout: 30":          "key drainTimeout",
		"sentinel: []":              "key sentinel",
		"sentinel: [/run/a, 3]":     "key sentinel",
		"sentinel: [/a, /a]":        "given twice",
		"- a list":                  "not a mapping",
		"just words":                "not a mapping",
		"a: [":                      "yaml",
		"drain-timeout: 30m":        "unknown key drain-timeout",
		"config: /etc/other.yaml":   "unknown key config",
		"settle: 1s\nbogus: {a: 1}": "unknown key bogus",

		"slots: 1\n---\nslots: 2\n":     "more than one YAML document",
		"---\n---\nslots: 2\n":          "more than one YAML document",
		"slots: 1\n...\nslots: 2\n":     "document start",
		"slots: 1\n---\n# x\n---\na: b": "more than one YAML document",
		"slots: 1\n--- [\n":             "yaml",
	} {
		if _, _, err := load([]string{"--config=" + file(t, text)}, env); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	if _, _, err := load([]string{"--config=/nonexistent"}, env); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("a file that is missing: %v", err)
	}
	if c, _, err := load([]string{"--config=" + file(t, "{}")}, env); err != nil || c.Slots != 1 {
		t.Errorf("a file without settings: %v", err)
	}
	if c, _, err := load([]string{"--config=" + file(t, "# ours\n---\nslots: 3\n---\n# no more\n")}, env); err != nil || c.Slots != 3 {
		t.Errorf("a file with an empty document at its end: %v", err)
	}
}

// An error is one printable line, whatever the file has in it.
func TestErrorsArePrintable(t *testing.T) {
	var stderr bytes.Buffer
	code := run([]string{"check-config", "--config", file(t, `"a\nMAINPID=1\e[2J\u202e": 1`)}, env, io.Discard, &stderr)
	if got := stderr.String(); code != exitUsage || !strings.HasSuffix(got, "unknown key a MAINPID=1[2J\n") || strings.Count(got, "\n") != 1 {
		t.Errorf("exit status %d: %q", code, got)
	}
}

// Everything that is wrong is said in one go.
func TestAllErrorsAtOnce(t *testing.T) {
	path := file(t, "unknownKey: 1\nsettle: never\n")
	_, _, err := load([]string{"--config=" + path, "--slots=0", "--no-such-flag", "--kubeconfig=/nonexistent", "left", "over"}, append(env, "REBOOTD_DRAIN=perhaps"))
	for _, want := range []string{"unknownKey", "key settle", "--slots", "no-such-flag", "--kubeconfig", `"left"`, `"over"`, "REBOOTD_DRAIN"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nlacks %s", err, want)
		}
	}
}

// Settings that are no good together are refused together.
func TestContradictions(t *testing.T) {
	for args, want := range map[string]string{
		"--reboot-method=logind --reboot-command=/sbin/reboot":     "the method is logind",
		"--allow-kexec --reboot-command=/sbin/reboot":              "used for every level of reboot",
		"--allow-soft-reboot --reboot-command=/sbin/reboot":        "used for every level of reboot",
		"--wall-message=x --reboot-command=/sbin/reboot":           "add the message to the command",
		"--allow-soft-reboot --allow-kexec":                        "",
		"--allow-soft-reboot --allow-kexec --reboot-method=logind": "",
		"--settle=20m":                                    "--settle must be shorter than --health-timeout",
		"--settle=1m --health-timeout=1m":                 "--settle must be shorter than --health-timeout",
		"--settle=59s --health-timeout=1m":                "",
		"--settle=20m --health-timeout=30m":               "",
		"--completion-timeout=1h":                         "--completion-timeout must not be longer than --drain-timeout",
		"--completion-timeout=30m":                        "",
		"--completion-timeout=1h --drain-timeout=0":       "",
		"--drain-timeout=0 --drain-timeout-policy=force":  "--drain-timeout-policy=force has no effect with --drain-timeout=0",
		"--drain-timeout=0 --drain-timeout-policy=reboot": "--drain-timeout-policy=reboot has no effect with --drain-timeout=0",
		"--drain-timeout=0":                               "",
		"--drain=false --wait-for-jobs":                   "--wait-for-jobs has no effect with --drain=false",
		"--drain=false --completion-timeout=1m":           "--completion-timeout has no effect with --drain=false",
		"--drain=false --drain-timeout=1m":                "",
	} {
		_, _, err := load(strings.Fields(args), env)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want) || len(flatten(err)) != 1) {
			t.Errorf("%s: %v", args, err)
		}
	}
	// What is refused by itself is not refused again for what it is not.
	for _, arg := range []string{"--settle=x", "--health-timeout=x", "--drain-timeout=x", "--completion-timeout=x"} {
		if _, _, err := load([]string{arg}, env); err == nil || len(flatten(err)) != 1 {
			t.Errorf("%s: %v", arg, err)
		}
	}
}

// The machine is rebooted as the settings say.
func TestRebooter(t *testing.T) {
	systemctl := []string{"systemctl", "reboot"}
	for args, want := range map[string]reboot.Rebooter{
		"":                              {Command: systemctl},
		"--reboot-command=/sbin/reboot": {Command: []string{"/sbin/reboot"}},
		"--reboot-method=logind":        {Logind: true, Command: systemctl},
		"--wall-message=soon":           {Command: systemctl, Message: "soon"},
	} {
		cfg, _, err := load(strings.Fields(args), env)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(cfg.rebooter(), want); diff != "" {
			t.Errorf("%s (-settings +want)\n%s", args, diff)
		}
	}
}

// What check-config prints leads to the same configuration.
func TestCheckConfigRoundTrip(t *testing.T) {
	args := []string{"--window=sat,sun 00:00-24:00", "--window=freeze: 2026-12-20..2027-01-03 Europe/Berlin", "--window-reserve=90m", "--slots=3", "--sentinel=/run/a", "--sentinel=/run/b", "--drain-timeout=0", "--reboot-command=sh -c 'sleep 1; reboot'", "--metrics-address=", "--drain=false", "--log-level=debug", "--health-command=ok \x1b[2J\u202e\u009b '\"1\\' \U0001f642\U000e0041", "--sentinel=/run/\u202ec"}
	var first, second, stderr bytes.Buffer
	if code := run(append([]string{"check-config"}, args...), env, &first, &stderr); code != 0 {
		t.Fatalf("exit status %d: %s", code, &stderr)
	}
	if strings.ContainsFunc(first.String(), func(c rune) bool { return c != '\n' && !unicode.IsPrint(c) }) {
		t.Errorf("printed something that is not printable: %q", first.String())
	}
	if code := run([]string{"check-config", "--config", file(t, first.String())}, nil, &second, &stderr); code != 0 {
		t.Fatalf("exit status %d: %s", code, &stderr)
	}
	if diff := cmp.Diff(first.String(), second.String()); diff != "" {
		t.Errorf("(-first +second)\n%s", diff)
	}
	a, _, _ := load(args, env)
	b, _, _ := load([]string{"--config", file(t, first.String())}, nil)
	if diff := cmp.Diff(a, b, cmp.AllowUnexported(config{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("(-flags +file)\n%s", diff)
	}
}

// The binary itself: exit status 2, every error on standard error, nothing
// touched.
func TestBinaryRefuses(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "rebootd")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	root := t.TempDir()
	cmd := exec.Command(bin, "--host-root="+root, "--node-name=Bad_Name", "--slots=0")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if cmd.ProcessState.ExitCode() != 2 || stdout.Len() != 0 || strings.Count(stderr.String(), "\n") != 2 {
		t.Errorf("%v\nstdout: %s\nstderr: %s", err, &stdout, &stderr)
	}
	if entries, _ := os.ReadDir(root); len(entries) != 0 {
		t.Errorf("%d files were made", len(entries))
	}
	for _, args := range [][]string{{"version"}, {"help"}, {"--help"}, {"check-config", "--node-name=n"}} {
		if out, err := exec.Command(bin, args...).Output(); err != nil || len(out) == 0 {
			t.Errorf("%q: %v, %q", args, err, out)
		}
	}
	if err := exec.Command(bin, "bogus").Run(); err == nil || err.(*exec.ExitError).ExitCode() != 2 {
		t.Errorf("an unknown command: %v", err)
	}
}

func FuzzFile(f *testing.F) {
	f.Add("slots: 2\nsentinel: [/run/a]\n")
	f.Add("drain: false\nsettle: 1h\n# comment\n")
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(t.TempDir(), "c")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, _, err := load([]string{"--config=" + path}, env)
		if err != nil || len(c.PrometheusHeaders) > 0 { // whose values are not printed
			return
		}
		// What was accepted can be printed, and is accepted again.
		var out bytes.Buffer
		if err := c.write(&out); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := load([]string{"--config=" + path}, env); err != nil {
			t.Errorf("%q became %q: %v", text, &out, err)
		}
	})
}

// A sentinel that comes back after each boot is named without any setting, and windows of
// the Node's own are obeyed without any.
func TestGatesThatAreAskedByDefault(t *testing.T) {
	c, _, err := load(nil, env)
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, r := range gates(c, parts{}) {
		used[r.gate.Kind().Name] = r.used
	}
	for name, want := range map[string]bool{"min-uptime": true, "window": true, "freeze": true, "policy": true, "preflight": true, "interval": false, "approval": false, "conditions": false, "alerts": false, "pods": false, "daemonsets": false} {
		if got, there := used[name]; got != want || !there {
			t.Errorf("%s: %t, want %t", name, got, want)
		}
	}
}
