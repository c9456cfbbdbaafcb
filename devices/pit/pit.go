// Package pit models the 8254 programmable interval timer of a PC and port 61h.
//
// Specifications: [8254] (Intel 231164-005); port 61h from [PIIX3 NMISC].
// Modelled: modes 0 to 5, binary and BCD, latch and read-back, gates, the output of
// counter 0 as interrupt, of counter 1 as refresh toggle and of counter 2 in port
// 61h. Not modelled: the speaker's sound and the parity and I/O check inputs of
// port 61h, which read 0. Linux calibrates the TSC through port 61h bit 5
// (arch/x86/kernel/tsc.c pit_calibrate_tsc), so OUT2 follows guest time exactly.
//
// Everything is computed from the tick at which a count was loaded, so that nothing
// drifts. Counter 0's line shows rising edges: in the periodic modes it rests high
// and dips for no time at each one. Edges that the clock jumped over are one edge.
package pit

import (
	"fmt"

	"godwit/devices"
	"godwit/devices/ticks"
)

// Hz is the input clock: 14.31818 MHz / 12.
const Hz = 1193182

// Ports of the timer.
const (
	Port   = 0x40
	Port61 = 0x61
)

// evOut is the next rising edge of counter 0's output.
const evOut devices.EventID = 0

// refreshTicks is the period of the refresh request, 15.085 us: the count that
// firmware gives counter 1.
const refreshTicks = 18

// Wiring is what the timer is connected to.
type Wiring struct {
	ID    string
	IRQ   devices.Line // counter 0's output
	Clock devices.Clock
}

type state struct {
	Counters [3]counter `cbor:"1,keyasint"`
	P61      uint8      `cbor:"2,keyasint"` // port 61h, bits that can be written
	// DUE is the tick of counter 0's next rising edge; 0: none.
	DUE int64 `cbor:"3,keyasint"`
}

// PIT is the timer.
type PIT struct {
	state
	w Wiring
}

// New returns the timer as after power-on: no counter counts.
func New(w Wiring) *PIT {
	p := &PIT{w: w}
	p.powerOn()
	return p
}

func (p *PIT) powerOn() {
	p.state = state{}
	p.Counters[0].GATE, p.Counters[1].GATE = true, true
	for i := range p.Counters {
		p.Counters[i].RW = rwBoth
	}
}

// ID returns the device's stable name.
func (p *PIT) ID() string { return p.w.ID }

// State returns the guest-visible state.
func (p *PIT) State() any { return &p.state }

// Reset stops all counters. The 8254 has no reset pin and its state is undefined
// after power-on.
func (p *PIT) Reset(kind devices.ResetKind) {
	if kind == devices.Init {
		return
	}
	p.powerOn()
	p.w.IRQ.Set(false)
	p.w.Clock.Never(evOut)
}

// Restored checks a decoded state.
func (p *PIT) Restored() error {
	for i := range p.Counters {
		if err := p.Counters[i].check(); err != nil {
			return fmt.Errorf("restore %s: counter %d: %w", p.w.ID, i, err)
		}
	}
	if p.P61&^p61Mask != 0 {
		return fmt.Errorf("restore %s: reserved bits set in port 61h %#x", p.w.ID, p.P61)
	}
	if p.DUE < 0 || p.DUE > maxTick {
		return fmt.Errorf("restore %s: next edge at tick %d, at most %d", p.w.ID, p.DUE, int64(maxTick))
	}
	return nil
}

// now is the number of input clock ticks so far.
func (p *PIT) now() int64 { return int64(ticks.Of(p.w.Clock.Now(), Hz)) }

// Event handles a rising edge of counter 0.
func (p *PIT) Event(devices.EventID) {
	t := p.now()
	p.Counters[0].settle(t)
	if p.DUE != 0 && t >= p.DUE {
		p.w.IRQ.Set(false)
		p.w.IRQ.Set(true)
	}
	p.plan(t)
}

// plan asks for counter 0's next rising edge after t.
func (p *PIT) plan(t int64) {
	due, ok := p.Counters[0].nextRise(t)
	if !ok {
		p.DUE = 0
		p.w.Clock.Never(evOut)
		return
	}
	p.DUE = due
	p.w.Clock.At(ticks.At(uint64(due), Hz), evOut)
}

// output drives the line to counter 0's level after the guest wrote to it. Why:
// the one-clock dips of modes 2 and 4 are left to Event, which gives their edge.
func (p *PIT) output(t int64) {
	c := &p.Counters[0]
	p.w.IRQ.Set(c.MODE != modeTerminal || c.out(t))
	p.plan(t)
}
