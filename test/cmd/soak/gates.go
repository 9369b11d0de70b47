package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"rebootd.dev/test/audit"
	"rebootd.dev/test/machine"
)

// Gates of the soak: freezes on Nodes, approvals that are withdrawn, and an alert that
// fires for all. When each was closed is noted for the judge.

const (
	windowsAnnotation = "rebootd.dev/windows"
	approveAnnotation = "rebootd.dev/approval"
	// forNobody is an annotation that no daemon looks at: freezes that are planted as a fault.
	forNobody = "soak.test/windows"
	// mostAlert is for how long an alert fires.
	mostAlert = 8 * time.Second
	// settles is how long after a gate has closed a cordon may still come: the answer that it
	// rests on may be as old.
	settles = 5 * time.Second
)

// gates are those that are closed, and those that were.
type gates struct {
	url     string
	freezes string // the annotation that they are written to

	mu     sync.Mutex
	fires  bool
	closed []audit.Closed
	since  map[string]time.Time // by what, and of which node
}

// newGates serves an alert as a Prometheus does.
func newGates(ctx context.Context, planted bool) (*gates, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("serve alerts: %w", err)
	}
	g := &gates{url: "http://" + l.Addr().String(), freezes: windowsAnnotation, since: map[string]time.Time{}}
	if planted {
		g.freezes = forNobody
	}
	server := &http.Server{Handler: http.HandlerFunc(g.alerts), ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(l) }()
	context.AfterFunc(ctx, func() { _ = server.Close() })
	return g, nil
}

func (g *gates) alerts(w http.ResponseWriter, _ *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := float64(time.Now().UnixMilli()) / 1000
	result := []any{}
	if g.fires {
		result = append(result, map[string]any{"metric": map[string]string{"rebootd": "fired", "alertname": "ShopIsDown"}, "value": []any{now, fmt.Sprint(now)}})
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"status": "success", "data": map[string]any{"resultType": "vector", "result": result}})
}

// args are the daemon's.
func (g *gates) args() []string {
	return []string{"--approval", "--prometheus-url=" + g.url, `--alerts=severity="critical"`, "--alerts-watchdog=", "--alerts-lookback=0s"}
}

// closes notes that a gate is closed; node "" is every node.
func (g *gates) closes(what, node string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, is := g.since[what+" "+node]; !is {
		g.since[what+" "+node] = time.Now().Add(settles)
	}
}

// opens notes that a gate is about to open.
func (g *gates) opens(what, node string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	key := what + " " + node
	if from, is := g.since[key]; is {
		delete(g.since, key)
		if now := time.Now(); from.Before(now) {
			g.closed = append(g.closed, audit.Closed{What: what, Node: node, From: from, To: now})
		}
	}
}

// all are the times in which gates were closed.
func (g *gates) all() []audit.Closed {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]audit.Closed(nil), g.closed...)
}

func (g *gates) fire(on bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.fires = on
}

// set sets an annotation of a machine's Node, or removes it.
func (s *soak) set(ctx context.Context, m *machine.Machine, key string, value any) error {
	data, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]any{key: value}}})
	if err != nil {
		return err
	}
	return s.patchNow(ctx, m, string(data))
}

// approve approves all reboots of a machine.
func (s *soak) approve(ctx context.Context, m *machine.Machine) error {
	s.gates.opens("approval", m.Name)
	return ignore(s.set(ctx, m, approveAnnotation, "until "+time.Now().UTC().Add(24*time.Hour).Format(time.RFC3339)))
}

// withdraw withdraws the approval, for a while, of a machine that needs a reboot.
func (s *soak) withdraw(ctx context.Context, m *machine.Machine) error {
	if s.set(ctx, m, approveAnnotation, nil) == nil {
		s.gates.closes("approval", m.Name)
	}
	return ignore(m.Touch("not approved"))
}

// freeze freezes a machine that needs a reboot.
func (s *soak) freeze(ctx context.Context, m *machine.Machine) error {
	now := time.Now().UTC()
	const minute = "2006-01-02T15:04"
	value := fmt.Sprintf("freeze: %s..%s", now.Format(minute), now.Add(10*time.Minute).Format(minute))
	if s.set(ctx, m, s.gates.freezes, value) == nil {
		s.gates.closes("freeze", m.Name)
	}
	return ignore(m.Touch("frozen"))
}

func (s *soak) thaw(ctx context.Context, m *machine.Machine) error {
	s.gates.opens("freeze", m.Name)
	return ignore(s.set(ctx, m, s.gates.freezes, nil))
}

// alert has an alert fire for a while, which holds everybody up.
func (s *soak) alert(context.Context, *machine.Machine) error {
	s.gates.fire(true)
	s.gates.closes("alert", "")
	d := time.Duration(s.rng.IntN(int(mostAlert)))
	s.wg.Go(func() {
		time.Sleep(d) // while it fires
		s.quiet()
	})
	return nil
}

func (s *soak) quiet() {
	s.gates.opens("alert", "")
	s.gates.fire(false)
}

// forgotten notes that all that was written on a Node is about to go with it.
func (s *soak) forgotten(m *machine.Machine) {
	s.gates.opens("freeze", m.Name)
	s.gates.opens("approval", m.Name)
}

// opened opens all gates.
func (s *soak) opened(ctx context.Context) error {
	s.quiet()
	for _, m := range s.machines {
		for _, open := range []func(context.Context, *machine.Machine) error{s.thaw, s.approve} {
			if err := open(ctx, m); err != nil {
				return err
			}
		}
	}
	return nil
}
