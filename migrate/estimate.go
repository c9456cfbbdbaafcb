package migrate

import (
	"math"
	"time"
)

// model predicts how pre-copy goes on. All sizes are bytes on the connection:
// what a page costs there, against what the connection carries.
type model struct {
	pages     uint32                                         // of memory
	curve     Curve                                          // how fast they are dirtied
	first     float64                                        // pages the pass that begins now sends
	firstCost float64                                        // wire bytes for each of them
	cost      func(ran time.Duration, pages float64) float64 // wire bytes for a page dirtied again
	sure      bool                                           // cost was measured
	speed     float64                                        // wire bytes a second
	floor     time.Duration                                  // downtime without pages
	pass      time.Duration                                  // time a pass takes without pages
	asked     time.Duration                                  // downtime
	disk      float64                                        // bytes a second that are written to disks, as they travel
}

// course is how pre-copy goes under one reading of the model.
type course struct {
	converges bool
	passes    int
	total     time.Duration // to the end of the stop
	downtime  time.Duration // the least
	pages     float64       // left then
	rate      float64       // pages dirtied a second, in the end
	wire      float64       // bytes of these on the connection
}

const maxCourse = 200 // passes

// follow plays pre-copy through. low takes the most favourable reading: nothing
// new is dirtied beyond what the curve shows. slow is the share of its speed that
// the writer is held to.
func (m *model) follow(low bool, speed, slow float64) course {
	t := m.pass + seconds(m.first*m.firstCost/speed)
	c := course{downtime: math.MaxInt64, total: t}
	for c.passes = 1; c.passes < maxCourse; c.passes++ {
		ran := time.Duration(float64(t) * slow)
		d := m.dirtied(ran, low)
		cost := m.cost(ran, d)
		if low && !m.sure {
			cost = leastPage
		}
		disk := m.disk * ran.Seconds()
		if low {
			disk = 0
		}
		down := m.floor + seconds((d*cost+disk)/speed)
		if down < c.downtime {
			c.downtime, c.pages, c.rate = down, d, d/max(t.Seconds(), 1e-9)
			c.wire = c.rate * cost
		}
		if down <= m.asked {
			c.converges = true
			break
		}
		next := m.pass + seconds((d*cost+disk)/speed)
		if next > t-t/200 { // no longer shrinks
			break
		}
		t = next
		c.total += t
	}
	c.total += c.downtime
	return c
}

// dirtied is D(t). Beyond the curve it goes on as in the curve's last half, or,
// read low, no further.
func (m *model) dirtied(t time.Duration, low bool) float64 {
	var prev CurvePoint
	for _, p := range m.curve {
		if t <= p.T {
			span := max(p.T-prev.T, 1)
			return float64(prev.Pages) + float64(p.Pages-prev.Pages)*float64(t-prev.T)/float64(span)
		}
		prev = p
	}
	if low || prev.T == 0 {
		return float64(prev.Pages)
	}
	half := m.dirtied(prev.T/2, true)
	slope := (float64(prev.Pages) - half) / float64(prev.T-prev.T/2)
	return min(float64(prev.Pages)+slope*float64(t-prev.T), float64(m.pages))
}

// verdict says whether pre-copy comes to an end.
func (m *model) verdict() *Verdict {
	high, low := m.follow(false, m.speed, 1), m.follow(true, m.speed, 1)
	c := high
	v := &Verdict{Answer: Unsure, Asked: m.asked, Floor: m.floor, Speed: m.speed}
	switch {
	case high.converges:
		v.Answer = Converges
	case !low.converges && low.downtime > m.asked+m.asked/4:
		v.Answer, c = Hopeless, low
		v.NeedBPS = m.needSpeed()
		v.NeedRate = m.needRate()
	}
	v.Total, v.Downtime, v.Passes, v.Pages = c.total, c.downtime, c.passes, uint32(c.pages)
	v.Dirtied, v.Wire = c.rate*PageSize, c.wire
	return v
}

// needSpeed is the least speed at which pre-copy converges; 0 if none does.
func (m *model) needSpeed() float64 {
	return bisect(m.speed, m.speed*1e4, func(s float64) bool {
		faster := *m
		faster.floor = m.floor // part of it shrinks with the speed; a little on the safe side
		return faster.follow(false, s, 1).converges
	})
}

// needRate is the share of its present rate at which the writer would let
// pre-copy converge; 0 if not even at rest.
func (m *model) needRate() float64 {
	if x := bisect(1, 1e6, func(x float64) bool { return m.follow(false, m.speed, 1/x).converges }); x > 0 {
		return 1 / x
	}
	return 0
}

// bisect is the least x, to 1 %, for which ok holds, as it does for all beyond.
func bisect(low, high float64, ok func(float64) bool) float64 {
	if !ok(high) {
		return 0
	}
	for high > low*1.01 {
		if mid := math.Sqrt(low * high); ok(mid) {
			high = mid
		} else {
			low = mid
		}
	}
	return high
}

func seconds(s float64) time.Duration {
	if s >= math.MaxInt64/2e9 {
		return math.MaxInt64 / 2
	}
	return time.Duration(s * 1e9)
}

// stallWatch finds out that passes no longer shrink: what remains is no less than
// the least of the passes before the window, to 4 %. It looks at pass ends only
// and tolerates rises in between.
type stallWatch struct{ at []stallSample }

type stallSample struct {
	t    time.Duration
	left float64 // wire bytes
}

// Bounds of the window of a stallWatch.
const (
	stallWindow   = 40 * time.Second
	stallPasses   = 3 // or so many passes, whichever is shorter
	stallMinimum  = 1 - 0.04
	stallMinWatch = 2 // passes that must lie before the window
)

// sample notes a pass end and tells whether it is stalled.
func (w *stallWatch) sample(t time.Duration, left float64) bool {
	w.at = append(w.at, stallSample{t, left})
	least, older := math.Inf(1), 0
	for i, s := range w.at {
		if t-s.t >= stallWindow || len(w.at)-1-i >= stallPasses {
			least = min(least, s.left)
			older++
		}
	}
	return older >= stallMinWatch && left >= least*stallMinimum
}
