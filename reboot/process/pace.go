package process

import (
	"fmt"
	"sync"
	"time"
)

const (
	// paceBurst lines of output are passed on at once, and then paceRate in a second.
	paceBurst, paceRate = 200, 2
	// mostLines of one run are passed on.
	mostLines = 1000
)

// Pace bounds how many lines of what programs print are passed on, over all runs that have
// it in common: a program that prints without end must not fill the log. The zero Pace is
// ready for use. Its methods are safe for concurrent use.
type Pace struct {
	mu    sync.Mutex
	spent float64 // of the burst
	at    time.Time
}

// take says whether one more line may be passed on now.
func (p *Pace) take() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.spent, p.at = max(0, p.spent-paceRate*now.Sub(p.at).Seconds()), now
	if p.spent+1 > paceBurst {
		return false
	}
	p.spent++
	return true
}

// Paced passes on the lines of one run. It is for one goroutine.
type Paced struct {
	pace         *Pace
	output       func(line string)
	passed, left int
}

// Start begins a run.
func (p *Pace) Start(output func(line string)) *Paced { return &Paced{pace: p, output: output} }

// Line passes a line on, or leaves it out.
func (r *Paced) Line(line string) {
	if r.passed == mostLines || !r.pace.take() {
		r.left++
		return
	}
	r.passed++
	r.End()
	r.output(line)
}

// End says how many lines were left out since that was last said.
func (r *Paced) End() {
	if r.left > 0 {
		r.output(fmt.Sprintf("(lines left out: %d)", r.left))
		r.left = 0
	}
}
