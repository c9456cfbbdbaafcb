// Package hpet models the high precision event timer of a PC.
//
// Specification: [HPET 1.0a] (Intel, October 2004). Modelled: a 64-bit counter at
// 100 MHz, three timers that can be periodic, edge and level interrupts, legacy
// replacement routing. Not modelled: interrupts by front-side bus messages; the only
// input of the I/O APIC that timers can be routed to is 8.
//
// Everything is computed from guest time, so that nothing drifts. A periodic timer
// that guest time jumped over fires once and goes on with the next instant of its
// series. As the PIT's, an edge interrupt's line rests high and dips for no time at
// each new edge.
package hpet

import (
	"fmt"

	"godwit/devices"
	"godwit/devices/bus"
	"godwit/devices/ticks"
)

// Base is where PCs have the timer.
const (
	Base = 0xfed00000
	Size = 0x400
)

// Hz is the frequency of the main counter.
const Hz = 100_000_000

// Timers is how many comparators there are; timer n's match is event n.
const Timers = 3

const (
	period     = 1_000_000_000_000_000 / Hz // fs
	capability = period<<32 | 0x8086<<16 | capLegacy | cap64 | (Timers-1)<<8 | 1

	capLegacy = 1 << 15
	cap64     = 1 << 13

	confEnable = 1 << 0 // GEN_CONF
	confLegacy = 1 << 1
	confMask   = 3

	timLevel    = 1 << 1 // Tn_CONF
	timEnable   = 1 << 2
	timPeriodic = 1 << 3
	timSet      = 1 << 6
	tim32       = 1 << 8
	timMask     = timLevel | timEnable | timPeriodic | tim32 | 0x1f<<timRoutePos
	timFixed    = 1<<pinRTC<<32 | 1<<5 | 1<<4 // routes, 64 bits, periodic

	timRoutePos = 9
	pinRTC      = 8
)

// Register offsets [HPET 1.0a 2.3.1].
const (
	regID      = 0x000
	regCONF    = 0x010
	regSTA     = 0x020
	regCOUNTER = 0x0f0
	regTimers  = 0x100
	timerSize  = 0x20
	offCONF    = 0x00
	offCOMP    = 0x08
)

// Wiring is what the timer is connected to. The PIT and the RTC interrupt through
// it (see Input), because it can replace them.
type Wiring struct {
	ID    string
	Clock devices.Clock
	Timer devices.Line // IRQ 0
	RTC   devices.Line // IRQ 8
}

type timer struct {
	Conf   uint64 `cbor:"1,keyasint"` // writable bits of Tn_CONF
	Set    bool   `cbor:"2,keyasint"` // VAL_SET: the next write of the comparator sets its value too
	Comp   uint64 `cbor:"3,keyasint"`
	Period uint64 `cbor:"4,keyasint"` // ticks
	Out    bool   `cbor:"5,keyasint"` // an edge interrupt's line rests high
}

type state struct {
	Conf uint8 `cbor:"1,keyasint"`
	Sta  uint8 `cbor:"2,keyasint"` // level interrupts, by timer
	// Offset is the counter while it stands still, else the counter less the ticks
	// of guest time.
	Offset uint64        `cbor:"3,keyasint"`
	Timer  [Timers]timer `cbor:"4,keyasint"`
	// Inputs are the levels of the PIT's and the RTC's lines.
	Inputs [2]bool `cbor:"5,keyasint"`
}

// HPET is the timer block.
type HPET struct {
	state
	w Wiring
}

// New returns the block as after power-on: the counter stands still.
func New(w Wiring) *HPET {
	h := &HPET{w: w}
	h.powerOn()
	return h
}

func (h *HPET) powerOn() {
	h.state = state{Inputs: h.Inputs}
	for i := range h.Timer {
		h.Timer[i].Comp = ^uint64(0)
	}
}

// ID returns the device's stable name.
func (h *HPET) ID() string { return h.w.ID }

// State returns the guest-visible state.
func (h *HPET) State() any { return &h.state }

// Reset brings the block to its initial state.
func (h *HPET) Reset(kind devices.ResetKind) {
	if kind == devices.Init {
		return
	}
	h.powerOn()
	for i := range h.Timer {
		h.w.Clock.Never(devices.EventID(i))
	}
	h.drive()
}

// Restored checks a decoded state.
func (h *HPET) Restored() error {
	if h.Conf&^confMask != 0 || h.Sta>>Timers != 0 {
		return fmt.Errorf("restore %s: reserved bits set in GEN_CONF %#x or GINTR_STA %#x", h.w.ID, h.Conf, h.Sta)
	}
	for i := range h.Timer {
		t := &h.Timer[i]
		if t.Conf&^timMask != 0 {
			return fmt.Errorf("restore %s: timer %d: reserved bits set in Tn_CONF %#x", h.w.ID, i, t.Conf)
		}
		if t.clip(t.Comp) != t.Comp || t.clip(t.Period) != t.Period {
			return fmt.Errorf("restore %s: timer %d: comparator %#x or period %#x is wider than 32 bits", h.w.ID, i, t.Comp, t.Period)
		}
	}
	return nil
}

// Windows lists the device's registers.
func (h *HPET) Windows() []bus.Window {
	return []bus.Window{{Name: "mmio", Base: Base, Size: Size, Handler: h}}
}

// input is a line that the block can replace.
type input struct {
	h *HPET
	n int
}

func (i input) Set(level bool) {
	i.h.Inputs[i.n] = level
	i.h.drive()
}

// Input returns the line that the PIT (n = 0) or the RTC (n = 1) drives.
func (h *HPET) Input(n int) devices.Line { return input{h, n} }

func (h *HPET) running() bool { return h.Conf&confEnable != 0 }

// legacy tells whether timers 0 and 1 replace the PIT and the RTC
// [HPET 1.0a 2.3.5].
func (h *HPET) legacy() bool { return h.Conf&confMask == confMask }

// now is guest time in ticks of the counter.
func (h *HPET) now() uint64 { return ticks.Of(h.w.Clock.Now(), Hz) }

func (h *HPET) counter() uint64 {
	if h.running() {
		return h.Offset + h.now()
	}
	return h.Offset
}

// clip is a value as wide as the timer compares.
func (t *timer) clip(v uint64) uint64 {
	if t.Conf&tim32 != 0 {
		return v & 0xffffffff
	}
	return v
}

// plan asks for the timer's next match. One that is this very tick has been: the
// counter must come to the comparator, which then is a whole turn away.
func (h *HPET) plan(n int) {
	t := &h.Timer[n]
	left := t.clip(t.Comp - h.counter())
	if left == 0 && t.Conf&tim32 != 0 {
		left = 1 << 32
	}
	at := h.now() + left
	if !h.running() || left == 0 || at < left {
		h.w.Clock.Never(devices.EventID(n))
		return
	}
	h.w.Clock.At(ticks.At(at, Hz), devices.EventID(n))
}

// Event is a timer's match.
func (h *HPET) Event(ev devices.EventID) {
	n := int(ev)
	if n >= Timers || !h.running() {
		return
	}
	t := &h.Timer[n]
	if t.Conf&timPeriodic != 0 && t.Period != 0 {
		late := t.clip(h.counter() - t.Comp)
		t.Comp = t.clip(t.Comp + (late/t.Period+1)*t.Period)
	}
	h.plan(n)
	h.fire(n)
}

// fire raises the timer's interrupt.
func (h *HPET) fire(n int) {
	t := &h.Timer[n]
	if t.Conf&timLevel != 0 {
		h.Sta |= 1 << n
	} else if t.Conf&timEnable != 0 {
		t.Out = false
		h.drive()
		t.Out = true
	}
	h.drive()
}

// level is the timer's output.
func (h *HPET) level(n int) bool {
	t := &h.Timer[n]
	if !h.running() || t.Conf&timEnable == 0 {
		return false
	}
	return t.Out || t.Conf&timLevel != 0 && h.Sta&(1<<n) != 0
}

// drive sets both lines.
func (h *HPET) drive() {
	timer, rtc := h.Inputs[0], h.Inputs[1]
	if h.legacy() {
		timer, rtc = h.level(0), h.level(1)
	}
	for n := range h.Timer {
		if (!h.legacy() || n > 1) && h.Timer[n].Conf>>timRoutePos&0x1f == pinRTC {
			rtc = rtc || h.level(n)
		}
	}
	h.w.Timer.Set(timer)
	h.w.RTC.Set(rtc)
}

// configure is a write of GEN_CONF: it starts and stops the counter.
func (h *HPET) configure(v uint8) {
	was := h.running()
	if was {
		h.Offset += h.now()
	}
	h.Conf = v & confMask
	if h.running() {
		h.Offset -= h.now()
	}
	for n := range h.Timer {
		if was != h.running() {
			h.Timer[n].Out = false
			h.plan(n)
		}
	}
	h.drive()
}

// configureTimer is a write of Tn_CONF [HPET 1.0a 2.3.8].
func (h *HPET) configureTimer(n int, v uint64) {
	t := &h.Timer[n]
	old := t.Conf
	t.Conf = v & timMask
	t.Set = v&timSet != 0
	if (old^t.Conf)&(timLevel|timEnable|0x1f<<timRoutePos) != 0 {
		t.Out = false
	}
	t.Comp, t.Period = t.clip(t.Comp), t.clip(t.Period)
	h.plan(n)
	h.drive()
}

// compare is a write of bits m of the comparator. That of a periodic timer is the
// period, and the comparator too if VAL_SET says so [HPET 1.0a 2.3.9.2.2].
func (h *HPET) compare(n int, v, m uint64) {
	t := &h.Timer[n]
	periodic := t.Conf&timPeriodic != 0
	if !periodic || t.Set {
		t.Comp = t.clip(t.Comp&^m | v&m)
	}
	if periodic {
		t.Period = t.clip(t.Period&^m | v&m)
	}
	t.Set = false
	h.plan(n)
}
