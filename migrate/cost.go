package migrate

import (
	"math"
	"math/bits"
	"slices"
	"time"
)

// costs is what was measured, for estimates.
type costs struct {
	present uint32    // pages to send first
	first   float64   // wire bytes for a page never sent; 0: unknown
	again   pageCosts // of pages dirtied again
	state   int       // bytes of the state sections; 0: unknown
	harvest time.Duration
	free    Curve         // the last with no budget
	held    time.Duration // under a budget
	verdict *Verdict
}

// pageCost is what a page dirtied again cost, in wire bytes, when it had so much
// time to be written to.
type pageCost struct {
	bytes float64 // a page
	ran   time.Duration
	pages float64 // dirtied in that time
}

// at is the cost of a page when so many were dirtied in another time. Where only
// some lines of a page travel, their number goes with the number of stores to a
// page: the shorter the time, the fewer.
func (c pageCost) at(ran time.Duration, pages float64) float64 {
	const lines, head = PageSize / lineSize, linesHead + pageHead
	l := (c.bytes - head) / lineSize
	if l <= 1 || l > 0.65*lines || c.ran <= 0 || ran <= 0 || pages < 1 {
		return c.bytes
	}
	stores := -lines * math.Log(1-l/lines) * c.pages / c.ran.Seconds() * ran.Seconds() / pages
	return head + lineSize*max(1, lines*(1-math.Exp(-stores/lines)))
}

// pageCosts are the latest, the newest last, of passes of many lengths: a page of
// which all lines have changed in a long one says nothing of a short one.
type pageCosts []pageCost

// costsKept is how many of them count.
const costsKept = 4

func (s pageCosts) known() bool { return len(s) > 0 }

// add takes in a newer cost, in place of one of about the same time.
func (s *pageCosts) add(c pageCost) {
	*s = slices.DeleteFunc(*s, func(o pageCost) bool {
		return float64(o.ran) > 0.8*float64(c.ran) && float64(o.ran) < 1.25*float64(c.ran)
	})
	*s = append(*s, c)
	*s = (*s)[max(0, len(*s)-costsKept):]
}

// at is the cost of a page when so many were dirtied in a time: between the nearest
// two that were seen, or from the nearest one.
func (s pageCosts) at(ran time.Duration, pages float64) float64 {
	var below, above pageCost
	for _, c := range s {
		if c.ran <= ran && c.ran >= below.ran {
			below = c
		}
		if c.ran >= ran && (above.ran == 0 || c.ran <= above.ran) {
			above = c
		}
	}
	switch {
	case above.ran == 0:
		return below.at(ran, pages)
	case below.ran == 0 || below.ran == above.ran:
		return above.at(ran, pages)
	}
	part := math.Log(float64(ran)/float64(below.ran)) / math.Log(float64(above.ran)/float64(below.ran))
	return below.bytes + part*(above.bytes-below.bytes)
}

// changesMost is in how many pages changes are looked for at the end of a pass.
const changesMost = 128

// learn finds out what the pages dirtied in a time would cost now, as the pager would
// send them, from what has become of some of them.
func (s *Source) learn(some []Change, ran time.Duration, pages float64) {
	if len(some) == 0 {
		return
	}
	content, seen := 0, map[[LeafSize]byte]bool{}
	for _, c := range some {
		switch n := bits.OnesCount64(c.Lines); {
		case n == 0 || c.Leaf == zeroLeaf:
		case n <= maxLines:
			content += linesHead + n*lineSize
		case seen[c.Leaf]:
			content += dupSize
		default:
			content += PageSize
			seen[c.Leaf] = true
		}
	}
	s.cost.again.add(pageCost{pageHead + float64(content)*s.pager.codec.shrinks()/float64(len(some)), ran, pages})
}

// Guesses until something is measured.
const (
	pageHead   = 1 // its kind; what else is around it is little
	guessPage  = PageSize + 8
	guessState = 64 << 10
	guessWork  = 4 * time.Millisecond // draining and encoding here; restoring, hashing and a durable record there
	leastPage  = lineSize + linesHead // cost of a page of which one line changed
	frames     = 2048                 // bytes around the state
)

func (c *costs) harvested(i PassInfo, took time.Duration) {
	c.harvest = took
	if i.StateBytes > 0 {
		c.state = i.StateBytes
	}
}

// floor is the predicted downtime without any page.
func (s *Source) floor() time.Duration {
	state := s.cost.state
	if state == 0 {
		state = guessState
	}
	return s.cost.harvest + guessWork + s.link.rtt*3/2 + seconds(float64(state+frames)/s.link.carries())
}

// costOf is what a page costs that was dirtied with pages others in a time.
func (s *Source) costOf(ran time.Duration, pages float64) float64 {
	switch {
	case s.cost.again.known():
		return s.cost.again.at(ran, pages)
	case s.cost.first > 0:
		return s.cost.first
	}
	return guessPage
}

// downtime predicts it for a stop now, with so many pages dirtied in a time.
func (s *Source) downtime(ran time.Duration, left float64) time.Duration {
	return s.floor() + seconds(left*s.costOf(ran, left)/s.link.carries())
}

// diskTime is how long so many blocks of disks take.
func (s *Source) diskTime(blocks int) time.Duration {
	return seconds(s.disks.cost(blocks) / s.link.carries())
}
