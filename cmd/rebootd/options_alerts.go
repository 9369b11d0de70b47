package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"rebootd.dev/daemon/alerts"
)

// alertSettings are those of the gate of alerts.
type alertSettings struct {
	PrometheusURL       string
	PrometheusCA        string
	PrometheusCert      string
	PrometheusKey       string
	PrometheusTokenFile string
	PrometheusHeaders   []string
	Alerts              []string
	AlertsIgnore        string
	AlertsWatchdog      string
	AlertsLookback      time.Duration
}

const (
	// hiddenValue is shown in place of a header's value, which may be a password.
	hiddenValue = "HIDDEN"
	// maxLookback is longer than any alert's "for".
	maxLookback = 24 * time.Hour
)

func alertOptions() []option {
	return []option{
		text("prometheus-url", "", "none", "the Prometheus that is asked for alerts, or what answers as one, such as `http://prometheus.monitoring:9090`; `/api/v1/query` is added to it", func(c *config) *string { return &c.PrometheusURL }, func(v string) error {
			if v == "" {
				return nil
			}
			_, err := alerts.ParseURL(v)
			return err
		}),
		text("prometheus-ca", "", "the system's; where it has none, Mozilla's, which are built in", "the file with the certificates by which Prometheus is trusted", func(c *config) *string { return &c.PrometheusCA }, checkFile),
		text("prometheus-cert", "", "none", "the file with the client certificate for Prometheus", func(c *config) *string { return &c.PrometheusCert }, checkFile),
		text("prometheus-key", "", "none", "the file with the key of `--prometheus-cert`", func(c *config) *string { return &c.PrometheusKey }, checkFile),
		text("prometheus-token-file", "", "none", "the file with the bearer token for Prometheus; like the other files, it is read anew for each query", func(c *config) *string { return &c.PrometheusTokenFile }, checkFile),
		{
			flag: "prometheus-header", about: "none", list: true, separator: ";", usage: "a header for Prometheus, such as `X-Scope-OrgID: tenant`; may be repeated; `check-config` hides its value",
			set: func(c *config, v string) error {
				_, value, err := alerts.ParseHeader(v)
				if value == hiddenValue {
					err = errors.New("has what check-config shows in place of the value: put the value there")
				}
				c.PrometheusHeaders = append(c.PrometheusHeaders, v)
				return err
			},
			get: func(c *config) any {
				var out []string
				for _, h := range c.PrometheusHeaders {
					name, _, _ := alerts.ParseHeader(h)
					out = append(out, name+": "+hiddenValue)
				}
				return out
			},
		},
		{
			flag: "alerts", about: "none", list: true, separator: ";", usage: "label matchers, such as `severity=\"critical\"`: while an alert that they match fires, no node is rebooted; may be repeated. With `node=\"$node\"` or `instance=~\"$instance\"` in them, they match alerts about the node itself, which must not fire after its boot, either",
			set: func(c *config, v string) error {
				c.Alerts = append(c.Alerts, v)
				_, err := alerts.ParseSelector(v)
				return err
			},
			get: func(c *config) any { return c.Alerts },
		},
		text("alerts-ignore", "InfoInhibitor", "", "a regular expression that matches the whole names of alerts that do not count; rebootd's own (`Rebootd…`) never do", func(c *config) *string { return &c.AlertsIgnore }, func(v string) error {
			return alerts.CheckRegexp(v)
		}),
		text("alerts-watchdog", `alertname="Watchdog"`, "", "label matchers of an alert that always fires: no answer counts without it; empty = an answer without alerts is believed, though no rule may be evaluated", func(c *config) *string { return &c.AlertsWatchdog }, checkWatchdog),
		atMost(maxLookback, span("alerts-lookback", "15m", "for how long no alert must have fired, and alerts must have been evaluated; longer than the `for` of the alerts; `0` = only alerts that fire now count", func(c *config) *time.Duration { return &c.AlertsLookback }, 0)),
	}
}

// atMost is an option for a duration that has a limit.
func atMost(limit time.Duration, o option) option {
	set := o.set
	o.set = func(c *config, v string) error {
		if d, err := time.ParseDuration(v); err == nil && d > limit {
			return fmt.Errorf("%q is more than %s", v, limit)
		}
		return set(c, v)
	}
	return o
}

func checkWatchdog(v string) error {
	if v == "" {
		return nil
	}
	s, err := alerts.ParseSelector(v)
	switch {
	case err != nil:
		return err
	case s.AlertName() == "":
		return fmt.Errorf(`%q does not name the alert: it must have alertname="…"`, v)
	case s.OfNode():
		return fmt.Errorf("%q must not be about the node", v)
	}
	return nil
}

// check refuses settings that make no sense together.
func (s *alertSettings) check() error {
	var errs []error
	refuse := func(when bool, format string, args ...any) {
		if when {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	https, given := strings.HasPrefix(s.PrometheusURL, "https:"), s.PrometheusURL != ""
	refuse(given && len(s.Alerts) == 0, `--prometheus-url needs --alerts: say which alerts block reboots, such as --alerts='severity="critical"'`)
	refuse(!given && len(s.Alerts) > 0, "--alerts needs --prometheus-url: say where to ask")
	refuse((s.PrometheusCert == "") != (s.PrometheusKey == ""), "--prometheus-cert and --prometheus-key must be given together")
	refuse(given && !https && (s.PrometheusCA != "" || s.PrometheusCert != ""), "--prometheus-ca and --prometheus-cert are for a --prometheus-url with https")
	refuse(s.PrometheusTokenFile != "" && s.header().Get("Authorization") != "", "--prometheus-token-file and --prometheus-header='Authorization: …' cannot be given together")
	return errors.Join(errs...)
}

func (s *alertSettings) header() http.Header {
	out := http.Header{}
	for _, h := range s.PrometheusHeaders {
		if name, value, err := alerts.ParseHeader(h); err == nil {
			out.Add(name, value)
		}
	}
	return out
}

// gate is the gate of alerts. What load would have refused is left out.
func (s *alertSettings) gate(healthTimeout time.Duration, overdue func(context.Context) ([]string, error), log zerolog.Logger) *alerts.Gate {
	g := &alerts.Gate{Overdue: overdue, Ignore: s.AlertsIgnore, Lookback: s.AlertsLookback, HealthTimeout: healthTimeout, Log: warn(log)}
	for _, a := range s.Alerts {
		if sel, err := alerts.ParseSelector(a); err == nil {
			g.Alerts = append(g.Alerts, sel)
		}
	}
	if sel, err := alerts.ParseSelector(s.AlertsWatchdog); err == nil {
		g.Watchdog = &sel
	}
	if u, err := alerts.ParseURL(s.PrometheusURL); err == nil {
		g.Ask = (&alerts.Server{URL: u, CA: s.PrometheusCA, Cert: s.PrometheusCert, Key: s.PrometheusKey, TokenFile: s.PrometheusTokenFile, Header: s.header()}).Query
	}
	return g
}
