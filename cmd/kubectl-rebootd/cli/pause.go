package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"rebootd.dev/cmd/kubectl-rebootd/client"
	"rebootd.dev/cmd/kubectl-rebootd/fleet"
	"rebootd.dev/daemon/api"
)

// pausing is a command that pauses locks, or ends that.
type pausing struct {
	e         *env
	doing     string // "pausing"
	locks     []string
	why       string
	until     time.Time
	overwrite bool
	dryRun    string
	yes       bool
	output    output
	out       changes
}

func newPause(e *env) *cobra.Command {
	p := &pausing{e: e, doing: "pausing"}
	var within, until string
	c := &cobra.Command{
		Use: "pause", Short: "Have no node of the cluster reboot, until resume or until a time",
		Long: `Pause the lock: annotates its Lease LOCK-pause with ` + api.PausedAnnotation + `, and makes that Lease where there is none. Nodes that wait keep waiting,
nodes that drain are put back, and reboots that were ordered are finished.

With --for or --until the pause ends by itself. A daemon of a version that does not know that stays paused until resume.`,
		Example: "  " + e.name + " pause --reason 'Black Friday' --for 4d",
		Args:    e.args(cobra.NoArgs),
		RunE:    func(c *cobra.Command, _ []string) error { return p.run(c, p.pause) },
	}
	p.flags(c)
	f := c.Flags()
	f.StringVar(&p.why, "reason", "", "why, for whoever waits")
	f.StringVar(&within, "for", "", "for how long: a duration such as 2d or 4h")
	f.StringVar(&until, "until", "", "until when: a time by RFC 3339")
	f.BoolVar(&p.overwrite, "overwrite", false, "replace the reason and the end of a pause that there is")
	prepare(c, func() (err error) {
		if p.why, err = checkReason(p.why); err != nil {
			return err
		}
		switch {
		case within != "" && until != "":
			return usagef("--for and --until say the same; give one")
		case within != "":
			p.until, err = e.future("for", within)
		case until != "":
			p.until, err = e.future("until", until)
		}
		return err
	}, nil)
	return c
}

func newResume(e *env) *cobra.Command {
	p := &pausing{e: e, doing: "resuming"}
	c := &cobra.Command{
		Use: "resume", Short: "End the pause of the cluster",
		Long: `End the pause of the lock: removes ` + api.PausedAnnotation + ` and ` + api.PausedUntilAnnotation + ` from every Lease of the lock that has them, and says what the reasons were.`,
		Args: e.args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return p.run(c, p.resume) },
	}
	p.flags(c)
	prepare(c, func() error { return nil }, nil)
	return c
}

func (p *pausing) flags(c *cobra.Command) {
	c.Flags().StringSliceVar(&p.locks, "lock", nil, "names of locks; all that are known by default")
	writeFlags(c, &p.dryRun, &p.yes, &p.output)
	pre := c.PreRunE
	c.PreRunE = func(c *cobra.Command, args []string) error {
		for _, lock := range p.locks {
			if wrong := validation.IsDNS1123Subdomain(api.PauseName(lock)); len(wrong) > 0 {
				return usagef("--lock: %.80q is not a valid name of a lock", lock)
			}
		}
		return pre(c, args)
	}
}

func (p *pausing) run(c *cobra.Command, each func(context.Context, client.API, fleet.Fleet, map[string]coordinationv1.Lease)) error {
	api, err := p.e.connect()
	if err != nil {
		return err
	}
	ctx, cancel := p.e.limited(c.Context())
	leases, _, err := api.Leases(ctx)
	cancel()
	if err != nil {
		return explain(err)
	}
	ctx, cancel = p.e.limited(c.Context())
	f, err := p.e.read(ctx, api, "")
	cancel()
	if err != nil { // the Leases are enough
		f = fleet.Build(nil, leases, nil, p.e.now())
	}
	by := map[string]coordinationv1.Lease{}
	for _, l := range leases {
		by[l.Name] = l
	}
	known := locksOf(f, leases)
	for _, lock := range p.locks {
		if !slices.Contains(known, lock) {
			p.e.sayf("warning: no daemon is known to use a lock %s", lock)
		}
	}
	if len(p.locks) == 0 {
		if p.locks = known; len(known) == 0 {
			p.locks = []string{fleet.DefaultLock}
			p.e.sayf("warning: no daemon is known to use a lock in the namespace %s; %s %s, the lock by default: see --lock and --namespace", p.e.flags.namespace, p.doing, fleet.DefaultLock)
		}
	}
	each(c.Context(), api, f, by)
	return p.out.end(p.e, p.output, p.dryRun != "", nil)
}

// locksOf are the locks that are known, those of which no slot was ever taken included: their
// daemons have created the Lease for a pause.
func locksOf(f fleet.Fleet, leases []coordinationv1.Lease) []string {
	known := f.Locks()
	for _, l := range leases {
		if lock, is := strings.CutSuffix(l.Name, api.PauseName("")); is && lock != "" && !slices.Contains(known, lock) {
			known = append(known, lock)
		}
	}
	return known
}

func (p *pausing) add(lease string, d deed) {
	p.out.addTo(p.e, p.output, p.dryRun != "", "lease/"+lease, d)
}

// pause pauses each lock.
func (p *pausing) pause(ctx context.Context, api client.API, f fleet.Fleet, by map[string]coordinationv1.Lease) {
	for _, lock := range p.locks {
		p.pauseOne(ctx, api, f, lock, by)
	}
}

func (p *pausing) pauseOne(ctx context.Context, c client.API, f fleet.Fleet, lock string, by map[string]coordinationv1.Lease) {
	name := api.PauseName(lock)
	lease, there := by[name]
	was, paused := lease.Annotations[api.PausedAnnotation]
	wasUntil, limited := lease.Annotations[api.PausedUntilAnnotation]
	set := map[string]any{api.PausedAnnotation: p.why, api.PausedUntilAnnotation: nil}
	d := deed{set: set, result: "paused"}
	if !p.until.IsZero() {
		set[api.PausedUntilAnnotation] = p.until.Format(time.RFC3339)
		d.result += " until " + p.e.clock(p.until)
	}
	// A pause that has ended by itself is nobody's any more.
	if t, err := time.Parse(time.RFC3339, wasUntil); err == nil && !p.e.now().Before(t) {
		paused = false
	}
	until, _ := set[api.PausedUntilAnnotation].(string)
	switch {
	case paused && was == p.why && wasUntil == until && limited == (until != ""):
		d.set, d.result = nil, "is paused already"
		p.add(name, d)
		return
	case paused && !p.overwrite:
		d.err = fmt.Errorf("the lock %s is paused already (%s); that was not changed: --overwrite replaces it", lock, pauseWords(was, wasUntil))
		p.add(name, d)
		return
	}
	p.sayWhoIsAtWork(f, lock)
	if doing := "pause the lock " + lock; there {
		d.err = p.patch(ctx, c, doing, lease, set)
	} else {
		d.err = p.create(ctx, c, doing, name, set)
	}
	p.add(name, d)
}

// create makes the Lease for a pause. A daemon may do so just then, and pauses nothing by it.
func (p *pausing) create(ctx context.Context, c client.API, doing, name string, set map[string]any) error {
	annotations := map[string]string{}
	for k, v := range set {
		if s, ok := v.(string); ok {
			annotations[k] = s
		}
	}
	limited, cancel := p.e.limited(ctx)
	defer cancel()
	_, err := c.CreateLease(limited, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: p.e.flags.namespace, Annotations: annotations}}, p.dryRun != "")
	if apierrors.IsAlreadyExists(err) {
		leases, _, errRead := c.Leases(limited)
		i := slices.IndexFunc(leases, func(l coordinationv1.Lease) bool { return l.Name == name })
		if errRead == nil && i >= 0 {
			if _, paused := api.PauseOf(leases[i].Annotations); !paused {
				return p.patch(ctx, c, doing, leases[i], set)
			}
		}
	}
	return p.because(doing, err)
}

// sayWhoIsAtWork warns of what a pause does to nodes that are worked on.
func (p *pausing) sayWhoIsAtWork(f fleet.Fleet, lock string) {
	var back, finish, older []string
	for _, n := range f.Nodes {
		if n.Daemon == nil && (n.Condition != nil || n.Record != nil) {
			older = append(older, n.Name)
		}
		switch r := n.Record; {
		case r == nil || cmp.Or(r.Lock, lock) != lock:
		case r.Phase == api.PhaseRebooting && r.Order != nil:
			finish = append(finish, n.Name)
		case r.Phase == api.PhaseDraining:
			back = append(back, n.Name)
		}
	}
	if len(back) > 0 {
		p.e.sayf("warning: draining, and will be put back: %s", names(back))
	}
	if len(finish) > 0 {
		p.e.sayf("warning: ordered already, so these still reboot: %s", names(finish))
	}
	if len(older) > 0 {
		p.e.sayf("warning: which version runs is not known of %s: older ones do not know the Lease %s, and reboot although it is paused; pause a slot for those, too: %s",
			names(older), api.PauseName(lock), p.e.again(fmt.Sprintf("kubectl -n REBOOTD annotate lease %s %s=REASON", api.SlotName(lock, 0), api.PausedAnnotation)))
	}
}

// names are up to five names, and how many more there are.
func names(all []string) string {
	if len(all) <= 5 {
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(all[:5], ", "), len(all)-5)
}

func pauseWords(why, until string) string {
	if until != "" {
		return fmt.Sprintf("%s, until %s", orNone(why), until)
	}
	return orNone(why)
}

// resume ends the pauses of the locks.
func (p *pausing) resume(ctx context.Context, c client.API, f fleet.Fleet, by map[string]coordinationv1.Lease) {
	found := false
	for _, pause := range f.Pauses {
		if !slices.Contains(p.locks, pause.Lock) {
			continue
		}
		found = true
		d := deed{
			set:    map[string]any{api.PausedAnnotation: nil, api.PausedUntilAnnotation: nil},
			result: fmt.Sprintf("resumed (it was: %s)", pauseWords(pause.Why, pause.UntilText)),
		}
		d.err = p.patch(ctx, c, "resume the lock "+pause.Lock, by[pause.Lease], d.set)
		p.add(pause.Lease, d)
	}
	if !found {
		p.e.sayf("nothing is paused")
	}
}

// patch writes annotations of a Lease that is as it was read.
func (p *pausing) patch(ctx context.Context, c client.API, doing string, lease coordinationv1.Lease, set map[string]any) error {
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": lease.UID, "resourceVersion": lease.ResourceVersion, "annotations": set}})
	for try := 1; err == nil; try++ {
		was := lease.Annotations[api.PausedAnnotation] + lease.Annotations[api.PausedUntilAnnotation]
		limited, cancel := p.e.limited(ctx)
		_, err = c.PatchLease(limited, lease.Name, body, p.dryRun != "")
		cancel()
		if !apierrors.IsConflict(err) || try == tries {
			break
		}
		// A slot changes whenever its holder renews it.
		limited, cancel = p.e.limited(ctx)
		leases, _, errRead := c.Leases(limited)
		cancel()
		i := slices.IndexFunc(leases, func(l coordinationv1.Lease) bool { return l.Name == lease.Name })
		if errRead != nil || i < 0 || leases[i].UID != lease.UID || leases[i].Annotations[api.PausedAnnotation]+leases[i].Annotations[api.PausedUntilAnnotation] != was {
			break
		}
		lease = leases[i]
		body, err = json.Marshal(map[string]any{"metadata": map[string]any{"uid": lease.UID, "resourceVersion": lease.ResourceVersion, "annotations": set}})
	}
	return p.because(doing, err)
}

func (p *pausing) because(doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err):
		return fmt.Errorf("%s: somebody else has just changed its pause, and nothing was written; look at it and try again: %w", doing, err)
	default:
		return fmt.Errorf("%s: %w", doing, explain(err))
	}
}
