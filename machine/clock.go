package machine

import (
	"math/bits"

	"godwit/devices"
)

// Segment is a stretch of guest time that is linear in the count: at count
// Count it was Base nanoseconds, and each further count adds Num/Den. Guest time
// is a function of the count; only a new segment, which is an input event or an
// idle jump, moves it otherwise.
type Segment struct {
	Count uint64 `cbor:"1,keyasint"`
	Base  int64  `cbor:"2,keyasint"`
	Num   uint32 `cbor:"3,keyasint"`
	Den   uint32 `cbor:"4,keyasint"`
}

// at is guest time at a count of the segment.
func (s *Segment) at(count uint64) devices.Nanos {
	hi, lo := bits.Mul64(count-s.Count, uint64(s.Num))
	q, _ := bits.Div64(hi%uint64(s.Den), lo, uint64(s.Den))
	return devices.Nanos(s.Base + int64(q))
}

// count is the first count at which guest time has reached t.
func (s *Segment) count(t devices.Nanos) uint64 {
	if int64(t) <= s.Base {
		return s.Count
	}
	hi, lo := bits.Mul64(uint64(int64(t)-s.Base), uint64(s.Den))
	var c uint64
	lo, c = bits.Add64(lo, uint64(s.Num-1), 0)
	hi += c
	if hi >= uint64(s.Num) {
		return ^uint64(0)
	}
	q, _ := bits.Div64(hi, lo, uint64(s.Num))
	n := s.Count + q
	if n < s.Count {
		return ^uint64(0)
	}
	return n
}

// jump makes t the present time at a count: time goes on from there at the same
// rate.
func (s *Segment) jump(count uint64, t devices.Nanos) {
	s.Count, s.Base = count, int64(t)
}

// deadline is one entry of the event queue. It is data, so it can be saved.
type deadline struct {
	At  int64  `cbor:"1,keyasint"` // guest time
	Dev uint16 `cbor:"2,keyasint"` // index among the machine's devices
	Ev  uint8  `cbor:"3,keyasint"`
}

func (d deadline) before(e deadline) bool {
	if d.At != e.At {
		return d.At < e.At
	}
	if d.Dev != e.Dev {
		return d.Dev < e.Dev
	}
	return d.Ev < e.Ev
}

// queue holds the deadlines in order of time, device and event.
type queue []deadline

// set enters a deadline in place of the same event's earlier one.
func (q *queue) set(d deadline) {
	q.remove(d.Dev, d.Ev)
	i := len(*q)
	*q = append(*q, d)
	for ; i > 0 && d.before((*q)[i-1]); i-- {
		(*q)[i] = (*q)[i-1]
	}
	(*q)[i] = d
}

func (q *queue) remove(dev uint16, ev uint8) {
	for i, d := range *q {
		if d.Dev == dev && d.Ev == ev {
			*q = append((*q)[:i], (*q)[i+1:]...)
			return
		}
	}
}

// devClock is a device's view of guest time.
type devClock struct {
	m   *Machine
	dev uint16
}

func (c *devClock) Now() devices.Nanos { return c.m.Now() }

func (c *devClock) At(t devices.Nanos, ev devices.EventID) {
	c.m.st.Queue.set(deadline{int64(t), c.dev, uint8(ev)})
}

func (c *devClock) Never(ev devices.EventID) { c.m.st.Queue.remove(c.dev, uint8(ev)) }
