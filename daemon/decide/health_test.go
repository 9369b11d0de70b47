package decide

import (
	"testing"
	"time"

	"rebootd.dev/daemon/api"
)

// The node has its time from the begin of the verification; to settle, it has more.
func TestHealthTimeout(t *testing.T) {
	all := newSteps(t)
	ill := func(s *situation) { s.f.Node.Checks = "a check fails" }
	healthyAfter := func(d time.Duration) func(*situation) {
		return func(s *situation) { s.healthySince = t0.Add(d) }
	}
	at := func(d time.Duration) func(*situation) { return func(s *situation) { s.f.Now = t0.Add(d) } }
	settle := func(d time.Duration) func(*situation) { return func(s *situation) { s.p.Settle = d } }
	running := func(d time.Duration) func(*situation) { return func(s *situation) { s.f.Running = d } }
	// The record of an older version says nothing of the uptime.
	older := func(s *situation) { s.r.Began = nil }
	clockSet := func(s *situation) {
		s.r.Began = &api.Began{Since: t0, UptimeMillis: s.f.Now.Sub(s.f.Boot.Time).Milliseconds() - 60_000}
	}
	crashed := func(s *situation) { // a minute ago, for the second time since the verification began
		s.r.Began = &api.Began{Since: t0, UptimeMillis: 30_000, BootID: "boot-crashed"}
		s.f.Boot.Time = s.f.Now.Add(-time.Minute)
	}
	otherBoot := func(s *situation) { s.r.Began.UptimeMillis = 24 * 3600_000 }
	for name, tc := range map[string]struct {
		change []func(*situation)
		want   api.Reason
	}{
		"ill, and there is time":                     {[]func(*situation){ill, at(14 * time.Minute)}, api.ReasonVerifying},
		"ill to the end":                             {[]func(*situation){ill, at(15 * time.Minute)}, api.ReasonUnhealthy},
		"ill to the end, begun on another boot":      {[]func(*situation){ill, at(14 * time.Minute), otherBoot}, api.ReasonUnhealthy},
		"ill to the end, over crashes and boots":     {[]func(*situation){ill, at(15 * time.Minute), crashed}, api.ReasonUnhealthy},
		"ill to the end, by an older record":         {[]func(*situation){ill, at(15 * time.Minute), older}, api.ReasonUnhealthy},
		"the clock was set forward by hours":         {[]func(*situation){ill, at(15 * time.Minute), clockSet}, api.ReasonVerifying},
		"the daemon was away while the time ran out": {[]func(*situation){ill, at(16 * time.Minute), running(time.Second)}, api.ReasonVerifying},
		"and has looked at it for two minutes":       {[]func(*situation){ill, at(18 * time.Minute), running(2 * time.Minute)}, api.ReasonUnhealthy},
		"healthy after 7 min, settles 10":            {[]func(*situation){healthyAfter(7 * time.Minute), settle(10 * time.Minute), at(15 * time.Minute)}, api.ReasonVerifying},
		"and has settled":                            {[]func(*situation){healthyAfter(7 * time.Minute), settle(10 * time.Minute), at(17 * time.Minute)}, api.ReasonRebootVerified},
		"settles for longer than the limit":          {[]func(*situation){healthyAfter(time.Minute), settle(time.Hour), at(50 * time.Minute)}, api.ReasonVerifying},
	} {
		t.Run(name, func(t *testing.T) {
			s := base(aRecord(api.PhaseVerifying)).but(tc.change...)
			all.add(name, s, s.step())
			if step := s.step(); step.Reason != tc.want {
				t.Errorf("%+v, want %s", step, tc.want)
			}
		})
	}
}

// What has fallen ill and recovers after the halt ends the operation once it has settled.
func TestHaltedNodeRecovers(t *testing.T) {
	halted := aRecord(api.PhaseHalted, func(r *api.Record) { r.Failure = &api.Failure{Reason: api.ReasonUnhealthy, Message: "not healthy"} })
	at := func(d time.Duration) Step {
		return base(halted).but(func(s *situation) { s.f.Now, s.healthySince = t0.Add(time.Hour+d), t0.Add(time.Hour) }).step()
	}
	if step := at(time.Second); step.Do != DoWait || step.Reason != api.ReasonUnhealthy || !step.Until.Equal(t0.Add(time.Hour+time.Minute)) {
		t.Errorf("%+v", step)
	}
	if step := at(time.Minute); step.Do != DoRestore || step.Reason != api.ReasonRebootVerified {
		t.Errorf("%+v", step)
	}
}

// Why a node does not count as healthy: the kubelet must have spoken on this boot, and
// since a soft reboot.
func TestAiling(t *testing.T) {
	soft := aRecord(api.PhaseVerifying, func(r *api.Record) { r.Soft = true })
	for name, tc := range map[string]struct {
		s    situation
		want string
	}{
		"healthy":                     {base(aRecord(api.PhaseVerifying)), ""},
		"the kubelet's other boot":    {base(aRecord(api.PhaseVerifying)).but(func(s *situation) { s.f.Node.KubeletBoot = "boot-1" }), "the kubelet has not reported this boot yet"},
		"not Ready":                   {base(aRecord(api.PhaseVerifying)).but(func(s *situation) { s.f.Node.Ready, s.f.Node.ReadyMessage = false, "starting" }), "the Node is not Ready: starting"},
		"a check":                     {base(aRecord(api.PhaseVerifying)).but(func(s *situation) { s.f.Node.Checks = "a check fails" }), "a check fails"},
		"silent since a soft reboot":  {base(soft).but(func(s *situation) { s.f.Node.Heartbeat = t0.Add(-time.Second) }), "the kubelet has not reported since the soft reboot"},
		"it spoke in the same second": {base(soft).but(func(s *situation) { s.f.Node.Heartbeat, s.f.Boot.Userspace.Since = t0, t0.Add(time.Second/2) }), ""},
	} {
		if got := Ailing(tc.s.ready().f); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}
