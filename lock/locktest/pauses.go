package locktest

import (
	"errors"
	"strings"
	"time"

	"rebootd.dev/lock"
)

// pauses: those that end by themselves.
func pauses() []promise {
	return []promise{
		{"a pause ends at the time that people have named, for who waits", keepPauseEnds},
		{"a pause ends at the time that people have named, for who holds a slot", keepPauseEndsForHolder},
		{"the end of a pause needs no request", keepPauseEndsUnasked},
		{"a pause that is over keeps nobody, and can be set anew", keepPauseOver},
		{"of several pauses the one that lasts longest counts", keepLongestPause},
		{"a pause whose end cannot be read does not end by itself", keepUnreadPause},
	}
}

// soon is an end of a pause that can be waited for, to a second, as people write it.
func (b *bed) soon() (time.Time, string) {
	at := time.Now().Add(b.while + time.Second).Truncate(time.Second)
	return at, at.In(time.FixedZone("", 2*60*60)).Format(time.RFC3339)
}

// before looks that something does not happen before a time.
func (b *bed) before(at time.Time, what string, happens func() bool) {
	b.Helper()
	b.never(what, time.Until(at)-200*time.Millisecond, happens)
}

func keepPauseEnds(b *bed) {
	at, until := b.soon()
	b.PauseUntil("", "an outage", until)
	m := b.member("m", 1)
	w := m.waits()
	b.eventually("it knows why, and until when", func() bool { p := w.note().Paused; return p.Why == "an outage" && p.Until.Equal(at) })
	b.before(at, "it takes a slot during the pause", w.has)
	w.gets()
	if late := time.Since(at); late > 5*time.Second+b.late {
		b.Errorf("takes a slot %s after the pause", late)
	}
	m.goesDown()
	m.comesBack()
	m.releases()
	b.clean(m)
}

func keepPauseEndsForHolder(b *bed) {
	m := b.member("m", 1)
	m.acquires()
	told := make(chan lock.Pause, 1024)
	go func() { _ = m.Keep(m.ctx, func(p lock.Pause) { told <- p }) }()
	tells := func(what string, ok func(lock.Pause) bool) {
		b.Helper()
		b.eventually("Keep tells "+what, func() bool {
			for len(told) > 0 {
				if ok(<-told) {
					return true
				}
			}
			return false
		})
	}
	at, until := b.soon()
	b.PauseUntil("", "an outage", until)
	tells("of the pause", func(p lock.Pause) bool { return p.Why == "an outage" && p.Until.Equal(at) })
	var paused *lock.PausedError
	if err := m.Fence(m.ctx); !errors.As(err, &paused) || !paused.Until.Equal(at) {
		b.Errorf("Fence: %v", err)
	}
	over := func(p lock.Pause) bool { return p == lock.Pause{} }
	b.before(at, "Keep tells that the pause is over", func() bool { return len(told) > 0 && over(<-told) })
	tells("of its end", over)
	if late := time.Since(at); late > 5*time.Second+b.late {
		b.Errorf("Keep tells of the end of the pause %s late", late)
	}
	m.goesDown()
}

func keepPauseEndsUnasked(b *bed) {
	holder, m := b.member("holder", 1), b.member("m", 1)
	holder.acquires()
	w := m.waits()
	b.eventually("it waits", func() bool { return len(w.note().Holders) == 1 })
	paused := func() bool { return w.note().Paused != lock.Pause{} }
	at, until := b.soon()
	b.PauseUntil("", "an outage", until)
	b.eventually("it knows of the pause", paused)
	asked := m.process.Link.requests()
	b.before(at, "the pause is over", func() bool { return !paused() })
	b.eventually("it knows that the pause is over", func() bool { return !paused() })
	if late := time.Since(at); late > 5*time.Second+b.late {
		b.Errorf("knows of the end of the pause %s late", late)
	}
	if n := m.process.Link.requests() - asked; n > 0 {
		b.Errorf("%d requests during the pause", n)
	}
	holder.releases()
	w.gets()
	m.goesDown()
}

func keepPauseOver(b *bed) {
	b.PauseUntil("", "yesterday", time.Now().Add(-24*time.Hour).UTC().Format(time.RFC3339))
	m := b.member("m", 1)
	m.acquires()
	m.goesDown()
	m.comesBack()
	m.releases()
	b.PauseUntil("", "tomorrow", time.Now().Add(24*time.Hour).UTC().Format(time.RFC3339))
	w := m.waits()
	w.staysOut("the lock is paused until tomorrow")
	b.Pause("")
	w.gets()
	m.goesDown()
}

func keepLongestPause(b *bed) {
	m := b.member("m", 1)
	slot := m.acquires()
	m.releases()
	first := time.Now().Add(b.while + 2*time.Second)
	at := first.Add(2 * time.Second).Truncate(time.Second)
	b.PauseUntil("", "first", first.UTC().Format(time.RFC3339))
	b.PauseUntil(slot, "second", at.UTC().Format(time.RFC3339))
	w := m.waits()
	b.eventually("it knows of the longer one", func() bool { p := w.note().Paused; return p.Why == "second" && p.Until.Equal(at) })
	if late := time.Since(first); late > -time.Second {
		b.Errorf("knows of the longer one %s after the end of the other", late)
	}
	b.before(at, "it takes a slot during the longer pause", w.has)
	w.gets()
	m.goesDown()
	_, until := b.soon()
	b.PauseUntil("", "ends", until)
	b.PauseUntil(slot, "does not", "")
	m.comesBack()
	m.releases()
	w = m.waits()
	b.eventually("it knows of the one without an end", func() bool { p := w.note().Paused; return p.Why == "does not" && p.Until.IsZero() })
	b.Pause("")
	w.gets()
	m.goesDown()
}

func keepUnreadPause(b *bed) {
	m := b.member("m", 1)
	for _, until := range []string{"tomorrow", "2026-11-28", "2026-11-28 12:00", "0"} {
		b.PauseUntil("", "an outage", until)
		w := m.waits()
		b.eventually("it says so", func() bool {
			p := w.note().Paused
			return strings.HasPrefix(p.Why, "an outage (") && strings.Contains(p.Why, `"`+until+`"`) && p.Until.IsZero()
		})
		b.never("it takes a slot", b.while/5, w.has)
		b.Pause("")
		w.gets()
		m.releases()
	}
}
