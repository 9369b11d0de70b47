package daemon

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"rebootd.dev/daemon/backoff"
	"rebootd.dev/daemon/decide"
	"rebootd.dev/daemon/sentinel"
	"rebootd.dev/reboot"
)

// hostWorker knows what the machine says of itself: its sentinels, its boot, its
// userspace.
type hostWorker struct {
	bg        *background
	host      Host
	log       zerolog.Logger
	metrics   *Metrics
	userspace userspaceReader
	kexec     bool // a kexec is allowed

	sentinels     []decide.Sentinel
	sentinelsRead bool
	notes         []string // with them, that the log has
	problems      []string // with them, as the watcher says
	told          []string // of that, and of what is spent, the log has
	boot          decide.Boot
	bootRead      bool
	toldUserspace bool // that systemd cannot be asked
}

func newHostWorker(c Config, bg *background) *hostWorker {
	w := &hostWorker{bg: bg, host: c.Host, log: c.Log, metrics: c.Metrics, userspace: userspaceReader{c.Userspace}, kexec: c.Policy.AllowKexec}
	w.boot.Userspace.Pending = true
	return w
}

func (w *hostWorker) begin() {
	start(w.bg, w.userspace.run, w.seeUserspace, func(struct{}, bool) {})
}

// missing says what has not been read yet, "" if nothing.
func (w *hostWorker) missing() string {
	switch {
	case !w.sentinelsRead:
		return "reading the sentinel"
	case !w.bootRead:
		return "reading the boot ID"
	case w.boot.Userspace.Pending && !w.toldUserspace:
		return "asking systemd for its count of soft reboots"
	default:
		return ""
	}
}

// seeSentinels takes in the sentinels. The boot time is read again with them: it moves
// when the clock is set.
func (w *hostWorker) seeSentinels(s sentinel.State) {
	w.sentinelsRead, w.sentinels = true, make([]decide.Sentinel, 0, len(s.Files))
	for _, f := range s.Files {
		w.sentinels = append(w.sentinels, decide.Sentinel{SentinelFile: f.SentinelFile, ModTime: f.ModTime, Content: f.Content, Packages: f.Packages})
	}
	w.problems = s.Problems
	for _, n := range s.Notes {
		if !slices.Contains(w.notes, n) {
			w.log.Info().Str("note", n).Msg("a sentinel is looked at by another name")
		}
	}
	w.notes = s.Notes
	w.readBoot()
}

func (w *hostWorker) readBoot() {
	w.bootRead = true
	b, err := w.host.Boot()
	switch {
	case err == nil:
		w.boot.ID, w.boot.Time, w.boot.Problem = b.ID, b.Time, ""
	case w.boot.ID == "":
		w.boot.Problem = err.Error()
	default:
		w.log.Warn().Err(err).Msg("cannot read the boot's identity again; continuing with what was read before")
	}
}

func (w *hostWorker) follow(decided) bool {
	if w.boot.ID == "" && w.sentinelsRead {
		w.readBoot()
	}
	return true
}

func (w *hostWorker) facts(f *decide.Facts) {
	f.Boot, f.Uptime = w.boot, w.host.Uptime()
	f.Boot.KexecLoaded = w.kexec && w.host.KexecLoaded()
}

// request is what asks for a reboot, with what the Node says if it has been read.
func (w *hostWorker) request(n *nodeWorker) decide.Request {
	annotation, deadline := "", time.Time{}
	if n.view != nil {
		annotation, deadline = n.view.request, n.view.deadline
	}
	q := decide.RequestOf(w.sentinels, w.boot, annotation, n.record, n.served)
	q.DeadlineByPeople = deadline
	q.Problems = slices.Concat(w.problems, q.Problems)
	if n.view != nil { // before that nothing is known of what was served
		w.tell(q.Problems, q.Invalid)
	}
	return q
}

// tell tells once, in the log, what is wrong with sentinels.
func (w *hostWorker) tell(problems, invalid []string) {
	once := func(all []string, message string) {
		for _, p := range all {
			if !slices.Contains(w.told, p) {
				w.log.Warn().Str("problem", p).Msg(message)
			}
		}
	}
	once(problems, "a sentinel requests nothing, or cannot be watched or read properly")
	once(invalid, "a sentinel says something that is ignored")
	w.told = slices.Concat(problems, invalid)
	w.metrics.problems.Set(float64(len(w.told)))
}

// seeUserspace takes in what systemd has said, or why it could not be asked.
func (w *hostWorker) seeUserspace(u userspaceFound) {
	if u.err == nil {
		w.boot.Userspace = decide.Userspace{Known: true, SoftReboots: u.found.SoftReboots, Since: u.found.Since}
		return
	}
	w.boot.Userspace.Pending = u.again
	if !w.toldUserspace {
		w.toldUserspace = true
		if u.again {
			w.log.Warn().Err(u.err).Msg("cannot ask systemd for its count of soft reboots; retrying, and ordering no soft reboot meanwhile")
		} else {
			w.log.Debug().Err(u.err).Msg("this machine does not count soft reboots; ordering none")
		}
	}
}

// userspaceReader asks systemd, in the background.
type userspaceReader struct {
	read func(ctx context.Context) (reboot.Userspace, error)
}

type userspaceFound struct {
	found reboot.Userspace
	err   error
	again bool // it will be asked again
}

// run asks until systemd has answered, or there is none that could: what it says does
// not change while the daemon runs, since a soft reboot ends the daemon.
func (r userspaceReader) run(ctx context.Context, say func(userspaceFound)) struct{} {
	var pauses backoff.Pauses
	for ctx.Err() == nil {
		u, err := r.read(ctx)
		again := err != nil && !errors.Is(err, reboot.ErrNoSoftReboots)
		say(userspaceFound{u, err, again})
		if !again {
			break
		}
		pauses.Wait(ctx, err)
	}
	return struct{}{}
}
