package pit

import "fmt"

// Counter modes [8254 Mode Definitions].
const (
	modeTerminal   = 0 // interrupt on terminal count
	modeOneShot    = 1 // hardware retriggerable one-shot
	modeRate       = 2 // rate generator
	modeSquare     = 3 // square wave
	modeSoftStrobe = 4
	modeHardStrobe = 5
)

// Read/write formats [8254 Control Word Format].
const (
	rwLow  = 1
	rwHigh = 2
	rwBoth = 3
)

// maxTick bounds ticks in a state: 2^62 ticks are 122,000 years.
const maxTick = 1 << 62

// counter is the state of one counter.
type counter struct {
	MODE  uint8  `cbor:"1,keyasint"`
	RW    uint8  `cbor:"2,keyasint"`
	BCD   bool   `cbor:"3,keyasint"`
	GATE  bool   `cbor:"4,keyasint"`
	CR    uint16 `cbor:"5,keyasint"` // count register: last count written
	COUNT uint16 `cbor:"6,keyasint"` // the count in force
	FULL  bool   `cbor:"7,keyasint"` // CR holds a whole count since the control word
	RUN   bool   `cbor:"8,keyasint"` // COUNT was loaded at START
	// START is the tick of the load; it may lie one tick ahead, and in square
	// wave mode before the true load when a half-cycle began with it.
	START int64 `cbor:"9,keyasint"`
	// SWITCH is the tick at which a periodic mode loads CR anew; 0: none.
	SWITCH int64 `cbor:"10,keyasint"`
	// DONE is the ticks counted when the gate stopped the counter.
	DONE   int64  `cbor:"11,keyasint"`
	PAUSED bool   `cbor:"12,keyasint"`
	RHIGH  bool   `cbor:"13,keyasint"` // the next unlatched read gives the high byte
	WHIGH  bool   `cbor:"14,keyasint"` // the next write is the high byte
	WLOW   uint8  `cbor:"15,keyasint"` // low byte waiting for it
	LATCH  uint16 `cbor:"16,keyasint"` // latched count
	LATN   uint8  `cbor:"17,keyasint"` // bytes of it to read
	STATUS uint8  `cbor:"18,keyasint"` // latched status
	STATL  bool   `cbor:"19,keyasint"` // there is one
}

func (c *counter) check() error {
	if c.MODE > modeHardStrobe || c.RW == 0 || c.RW > rwBoth || c.LATN > 2 {
		return fmt.Errorf("mode %d (at most 5), format %d (1 to 3) and %d latched bytes (at most 2)", c.MODE, c.RW, c.LATN)
	}
	for _, t := range []int64{c.START, c.SWITCH, c.DONE} {
		if t < -maxTick || t > maxTick {
			return fmt.Errorf("tick %d, at most %d", t, int64(maxTick))
		}
	}
	return nil
}

func (c *counter) periodic() bool { return c.MODE == modeRate || c.MODE == modeSquare }

// triggered says that a rising gate, not a written count, starts the counter.
func (c *counter) triggered() bool { return c.MODE == modeOneShot || c.MODE == modeHardStrobe }

// base is the number of states of the counting element.
func (c *counter) base() int64 {
	if c.BCD {
		return 10000
	}
	return 65536
}

// number returns what a count stands for: 0 is the largest [8254 Counter].
func (c *counter) number(v uint16) int64 {
	n := int64(v)
	if c.BCD {
		n = int64(v>>12)*1000 + int64(v>>8&15)*100 + int64(v>>4&15)*10 + int64(v&15)
	}
	if n == 0 {
		return c.base()
	}
	return n
}

// encode returns n as the counter shows it.
func (c *counter) encode(n int64) uint16 {
	n = ((n % c.base()) + c.base()) % c.base()
	if c.BCD {
		return uint16(n/1000<<12 | n/100%10<<8 | n/10%10<<4 | n%10)
	}
	return uint16(n)
}

// elapsed is the number of ticks counted at t.
func (c *counter) elapsed(t int64) int64 {
	if c.PAUSED {
		return c.DONE
	}
	return max(t-c.START, 0)
}

// high is the length of the first, high half of a square wave of n ticks.
func high(n int64) int64 { return (n + 1) / 2 }

// settle carries out a load that was due by t.
func (c *counter) settle(t int64) {
	if c.SWITCH == 0 || t < c.SWITCH {
		return
	}
	wasHigh := c.MODE == modeSquare && c.out(c.SWITCH-1)
	c.COUNT, c.START, c.SWITCH = c.CR, c.SWITCH, 0
	if wasHigh {
		// The low half begins: as if the high half of the new count were over.
		c.START -= high(c.number(c.COUNT))
	}
}

// load puts the written count in force at the next tick.
func (c *counter) load(t int64) {
	c.COUNT, c.START, c.RUN, c.SWITCH = c.CR, t+1, true, 0
	c.PAUSED, c.DONE = !c.GATE && !c.triggered(), 0
}

// written handles a whole count having been written.
func (c *counter) written(v uint16, t int64) {
	c.CR, c.FULL = v, true
	switch {
	case c.triggered():
		// waits for the gate
	case c.periodic() && c.RUN && !c.PAUSED && t >= c.START:
		c.SWITCH = c.cycleEnd(t)
	default:
		c.load(t)
	}
}

// cycleEnd is the first tick after t at which the present cycle, or half-cycle of
// a square wave, is over [8254 Mode 2, Mode 3].
func (c *counter) cycleEnd(t int64) int64 {
	n := c.number(c.COUNT)
	e := c.elapsed(t) % n
	if c.MODE == modeSquare && e < high(n) {
		return t - e + high(n)
	}
	return t - e + n
}

// setGate handles the gate input [8254 Gate Pin Operations].
func (c *counter) setGate(level bool, t int64) {
	if level == c.GATE {
		return
	}
	c.GATE = level
	switch {
	case c.triggered():
		if level && c.FULL {
			c.load(t)
		}
	case !c.RUN:
	case !level:
		c.DONE, c.PAUSED = c.elapsed(t), true
		c.SWITCH = 0 // the new count is loaded when the gate rises
	case c.periodic():
		c.load(t)
	default:
		c.START, c.PAUSED = t-c.DONE, false
	}
}

// out is the level of the OUT pin at t.
func (c *counter) out(t int64) bool {
	if !c.RUN || t < c.START && !c.PAUSED {
		return c.MODE != modeTerminal
	}
	n, e := c.number(c.COUNT), c.elapsed(t)
	switch c.MODE {
	case modeTerminal, modeOneShot:
		return e >= n
	case modeRate:
		return c.PAUSED || e%n != n-1
	case modeSquare:
		return c.PAUSED || e%n < high(n)
	}
	return e != n
}

// value is the content of the counting element at t.
func (c *counter) value(t int64) uint16 {
	if !c.RUN {
		return c.CR
	}
	n, e := c.number(c.COUNT), c.elapsed(t)
	switch c.MODE {
	case modeRate:
		return c.encode(n - e%n)
	case modeSquare:
		// Counts by two from the even number at or below n in both halves.
		e %= n
		if e >= high(n) {
			e -= high(n)
		}
		return c.encode(n - n%2 - 2*e)
	}
	return c.encode(n - e)
}

// nextRise is the first tick after t at which OUT rises by counting.
func (c *counter) nextRise(t int64) (int64, bool) {
	if !c.RUN || c.PAUSED || c.triggered() {
		return 0, false
	}
	n, e := c.number(c.COUNT), t-c.START
	switch c.MODE {
	case modeTerminal:
		return c.START + n, e < n
	case modeSoftStrobe:
		return c.START + n + 1, e < n+1
	}
	if c.SWITCH != 0 && (c.MODE == modeRate || !c.out(c.SWITCH-1)) {
		return c.SWITCH, true // the new cycle begins with OUT rising
	}
	if c.SWITCH != 0 {
		m := c.number(c.CR)
		return c.SWITCH + m - high(m), true // the low half of the new count
	}
	return t - mod(e, n) + n, true
}

// mod is e modulo n, for e not before the load by more than one tick.
func mod(e, n int64) int64 {
	if e < 0 {
		return e // the first period is still to begin
	}
	return e % n
}

// status is the status byte [8254 Read-Back Command].
func (c *counter) status(t int64) uint8 {
	v := c.RW<<4 | c.MODE<<1
	if c.out(t) {
		v |= 1 << 7
	}
	if !c.RUN || c.CR != c.COUNT || c.SWITCH != 0 || t < c.START && !c.PAUSED {
		v |= 1 << 6 // null count: the written count is not in the element yet
	}
	if c.BCD {
		v |= 1
	}
	return v
}
