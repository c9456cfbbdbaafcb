package migrate

import (
	"fmt"
	"math"
	"time"
)

// A guest that writes to its disks faster than they travel is held to a budget of blocks
// between two harvests. How much that slows it down follows from how many blocks it
// writes in a time when it is free: a curve like that of memory, by which MaxSlowdown
// bounds what budgets may be.

// sample notes how many blocks the guest has written since the last harvest, where it may
// write freely; done: now is a harvest.
func (o *disksOut) sample(now time.Duration, done bool) {
	t := now - o.since
	for _, x := range o.all {
		if !o.on || o.budget >= 0 || t <= 0 {
			x.curve = x.curve[:0]
			continue
		}
		n := uint32(x.d.Dirty())
		if last := x.curve.end().Pages; n > last+last/16 || done {
			x.curve = append(x.curve, CurvePoint{t, n})
		}
		if done {
			x.free, x.curve = x.curve, nil
		}
	}
}

// most is how many blocks the guest has written at most after a time of freedom.
func (x *diskOut) most(t time.Duration) int {
	for _, p := range x.free {
		if t > 0 && p.T >= t {
			return int(p.Pages)
		}
	}
	end := x.free.end()
	if end.T == 0 || t <= 0 {
		return 0
	}
	return int(math.Ceil(float64(end.Pages) * float64(t) / float64(end.T)))
}

// unbind lets the guest write freely.
func (o *disksOut) unbind() {
	o.budget, o.lowest, o.held = -1, -1, 0
	if o.on {
		for _, x := range o.all {
			x.d.Budget(-1)
		}
	}
}

// hold bounds the blocks written between two harvests, but not to fewer than would be
// written in so much freedom.
func (o *disksOut) hold(blocks int, freedom time.Duration) {
	o.budget = 0
	for _, x := range o.all {
		b := max(blocks/len(o.all), 1, x.most(freedom))
		x.d.Budget(b)
		o.budget += b
	}
	if o.held++; o.lowest < 0 || float64(o.budget) < 0.97*float64(o.lowest) {
		o.lowest, o.held = o.budget, 0
	}
}

// maxHeld is how often in a row a budget may not have become lower than ever before there is
// no more hope.
const maxHeld = 3

// holdDisks halves what may be written to disks until the next harvest, which is expected
// after t.
func (s *Source) holdDisks(t time.Duration) error {
	o := &s.disks
	n := o.dirty()
	if o.budget >= 0 {
		n = min(n, o.budget)
	}
	freedom := time.Duration(0)
	if s.o.MaxSlowdown > 0 {
		freedom = time.Duration((1 - s.o.MaxSlowdown) * float64(t))
	}
	o.hold(n/2, freedom)
	s.emit(Event{What: EventBudget, Round: s.number + 1, Budget: uint32(o.budget), Unit: "blocks"})
	if o.held < maxHeld || s.o.MaxSlowdown == 0 {
		return nil
	}
	why := fmt.Sprintf("a budget that slows what the guest writes to its disks by at most %.0f %% does not get below %d blocks", 100*s.o.MaxSlowdown, o.budget)
	return &Error{Code: Stalled, Text: why, Verdict: s.cost.verdict}
}

// tightenDisks does that where what is written to disks alone would take more than its
// share of the downtime. It tells whether there is hope that this helps.
func (s *Source) tightenDisks(t time.Duration) (helps bool, err error) {
	o := &s.disks
	if !o.on || s.diskTime(o.dirty()).Seconds() <= diskShare*s.o.MaxDowntime.Seconds() {
		return false, nil
	}
	err = s.holdDisks(t)
	return o.held == 0, err
}
