package main

import (
	"bytes"
	"context"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"k8s.io/client-go/rest"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/gate"
	"rebootd.dev/daemon/kube"
)

// Settings of the alerts that make no sense together are refused.
func TestAlertSettings(t *testing.T) {
	pemFile := file(t, "x")
	const url, critical = "--prometheus-url=http://a", `--alerts=severity="critical"`
	for _, tt := range []struct {
		args []string
		want string // "" if accepted
	}{
		{[]string{url, critical}, ""},
		{[]string{url}, "--prometheus-url needs --alerts"},
		{[]string{critical}, "--alerts needs --prometheus-url"},
		{[]string{url, critical, "--prometheus-cert=" + pemFile}, "must be given together"},
		{[]string{url, critical, "--prometheus-key=" + pemFile}, "must be given together"},
		{[]string{url, critical, "--prometheus-ca=" + pemFile}, "with https"},
		{[]string{"--prometheus-url=https://a", critical, "--prometheus-ca=" + pemFile, "--prometheus-cert=" + pemFile, "--prometheus-key=" + pemFile}, ""},
		{[]string{url, critical, "--prometheus-token-file=" + pemFile, "--prometheus-header=X-Scope-OrgID: a"}, ""},
		{[]string{url, critical, "--prometheus-token-file=" + pemFile, "--prometheus-header=authorization: Basic a"}, "cannot be given together"},
		{[]string{url, critical, "--alerts-watchdog=", "--alerts-ignore=", "--alerts-lookback=0"}, ""},
	} {
		_, _, err := load(tt.args, env)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%q: %v, want %s", tt.args, err, tt.want)
		}
	}
}

// What may be a password is shown by no error, and not by check-config.
func TestPasswordsAreHidden(t *testing.T) {
	const secret = "hunter2hunter2"
	args := []string{"--prometheus-url=http://a", `--alerts=severity="critical"`, "--prometheus-header=Authorization: Basic " + secret, "--prometheus-header=x-scope-orgid: a;b"}
	var out, errs bytes.Buffer
	if code := run(append([]string{"check-config"}, args...), env, &out, &errs); code != exitOK || strings.Contains(out.String(), secret) {
		t.Errorf("%d\n%s%s", code, &out, &errs)
	}
	if want := "prometheusHeader:\n- 'Authorization: HIDDEN'\n- 'X-Scope-Orgid: HIDDEN'\n"; !strings.Contains(out.String(), want) {
		t.Errorf("%s\nwant\n%s", &out, want)
	}
	printed := file(t, out.String())
	for _, bad := range []string{"--prometheus-url=http://" + secret + ":" + secret + "@a", "--prometheus-url=http://a:b" + secret, "--prometheus-url=http://a?token=" + secret, "--prometheus-header=" + secret, "--prometheus-header=Host: " + secret} {
		out.Reset()
		errs.Reset()
		if code := run([]string{"check-config", bad}, env, &out, &errs); code != exitUsage || strings.Contains(errs.String()+out.String(), secret) {
			t.Errorf("%s: %d %s", bad, code, &errs)
		}
	}
	// What check-config has printed is not taken for the password.
	if _, _, err := load([]string{"--config=" + printed}, env); err == nil || !strings.Contains(err.Error(), "in place of the value") {
		t.Error(err)
	}
}

// The gate is what the settings say, and asks by all of them.
func TestAlertsGateIsWired(t *testing.T) {
	var got *http.Request
	var body string
	s := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		data, _ := io.ReadAll(r.Body)
		got, body = r, string(data)
	}))
	defer s.Close()
	ca := file(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})))
	c, _, err := load([]string{
		"--prometheus-url=" + s.URL + "/prom", `--alerts=severity="critical"`, `--alerts=a="b",node="$node"`, "--alerts-ignore=Ignored", `--alerts-watchdog=alertname="Alive"`,
		"--alerts-lookback=1h", "--prometheus-ca=" + ca, "--prometheus-token-file=" + file(t, "token"), "--prometheus-header=X-Scope-OrgID: tenant",
	}, env)
	if err != nil {
		t.Fatal(err)
	}
	var g gate.Asker
	away, err := kube.New(&rest.Config{Host: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range gates(c, parts{api: away}) {
		if r.gate.Kind().Reason == api.ReasonAlertsFiring && r.used {
			g = r.gate.(gate.Asker)
		}
	}
	if g == nil {
		t.Fatal("not registered")
	}
	if want := gate.WithSlot | gate.OnTurn | gate.BeforeUncordon; g.Kind().Binds != want {
		t.Errorf("binds %s", g.Kind().Binds)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	g.Run(ctx, gate.View{Node: gate.Node{Name: "node-1"}}, func(v gate.Verdict) {
		cancel()
		if v.State != gate.Closed {
			t.Errorf("%+v", v)
		}
	})
	if got == nil {
		t.Fatal("not asked")
	}
	if got.URL.Path != "/prom/api/v1/query" || got.Header.Get("Authorization") != "Bearer token" || got.Header.Get("X-Scope-OrgID") != "tenant" {
		t.Errorf("%s %v", got.URL, got.Header)
	}
	form, err := url.ParseQuery(body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`severity="critical"`, `a="b",node="node-1"`, `|Alive|(?:Ignored)"`, `max(timestamp(ALERTS{alertstate="firing",alertname="Alive"}))`, "[3600000ms]"} {
		if query := form.Get("query"); !strings.Contains(query, want) {
			t.Errorf("%s\nhas no %s", query, want)
		}
	}
}
