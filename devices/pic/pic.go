// Package pic models the two cascaded 8259A interrupt controllers of a PC with
// the chipset's edge/level registers.
//
// Specifications: [8259A] (Intel 231468-003); ELCR from [PIIX3 ELCR]. Modelled:
// all command words, automatic EOI, rotation, special mask and special fully nested
// modes, poll, spurious IRQ7 and IRQ15. Not modelled: MCS-80 mode (vectors are
// always the 8086's), buffered mode, and LTIM, which the ELCR replaces in PCs.
// Before initialisation, where the manual defines nothing, all inputs are masked, as
// firmware leaves them.
package pic

import (
	"fmt"

	"godwit/devices"
)

const (
	// Cascade is the master's input that the slave's output drives.
	Cascade = 2
	// spurious is the level reported when a request is gone by the time it is
	// acknowledged [8259A Interrupt Sequence].
	spurious = 7

	elcrMaster = 0xf8 // inputs 0-2 are always edge triggered [PIIX3 ELCR]
	elcrSlave  = 0xde // so are 8 and 13
)

// Wiring is what the pair is connected to.
type Wiring struct {
	ID   string
	INTR devices.Line // to the CPU, or LINT0 of the local APICs
}

// chip is the state of one 8259A.
type chip struct {
	IRR   uint8 `cbor:"1,keyasint"` // edges latched and not acknowledged
	IMR   uint8 `cbor:"2,keyasint"`
	ISR   uint8 `cbor:"3,keyasint"`
	IN    uint8 `cbor:"4,keyasint"` // input levels
	ELCR  uint8 `cbor:"5,keyasint"` // 1: level triggered
	ICW1  uint8 `cbor:"6,keyasint"` // SNGL and IC4
	ICW2  uint8 `cbor:"7,keyasint"` // vector of input 0
	ICW3  uint8 `cbor:"8,keyasint"`
	ICW4  uint8 `cbor:"9,keyasint"`
	NEXT  uint8 `cbor:"10,keyasint"` // ICW expected next, 2 to 4; 0: initialised
	FIRST uint8 `cbor:"11,keyasint"` // input of the highest priority
	RISR  bool  `cbor:"12,keyasint"` // reads give ISR
	POLL  bool  `cbor:"13,keyasint"` // the next read polls
	SMM   bool  `cbor:"14,keyasint"` // special mask mode
	RAEOI bool  `cbor:"15,keyasint"` // rotate on automatic EOI
}

type state struct {
	Master chip `cbor:"1,keyasint"`
	Slave  chip `cbor:"2,keyasint"`
}

// PIC is the pair.
type PIC struct {
	state
	w Wiring
}

// New returns the pair as after power-on.
func New(w Wiring) *PIC {
	p := &PIC{w: w}
	p.powerOn()
	return p
}

// powerOn keeps the input levels: they belong to whoever drives them.
func (p *PIC) powerOn() {
	for _, c := range []*chip{&p.Master, &p.Slave} {
		*c = chip{IMR: 0xff, IN: c.IN}
	}
	p.Master.IN &^= 1 << Cascade
}

// ID returns the device's stable name.
func (p *PIC) ID() string { return p.w.ID }

// State returns the guest-visible state.
func (p *PIC) State() any { return &p.state }

// Reset brings both chips to their state after power-on. The 8259A has no reset
// pin; the chipset's does the same.
func (p *PIC) Reset(kind devices.ResetKind) {
	if kind == devices.Init {
		return
	}
	p.powerOn()
	p.update()
}

// Restored checks a decoded state.
func (p *PIC) Restored() error {
	for i, c := range []*chip{&p.Master, &p.Slave} {
		if c.NEXT == 1 || c.NEXT > 4 || c.FIRST > 7 {
			return fmt.Errorf("restore %s: chip %d expects ICW %d (2 to 4, or 0) with first input %d (0 to 7)",
				p.w.ID, i, c.NEXT, c.FIRST)
		}
		if mask := [2]uint8{elcrMaster, elcrSlave}[i]; c.ELCR&^mask != 0 || c.ICW2&7 != 0 {
			return fmt.Errorf("restore %s: chip %d has reserved bits set in ELCR %#x or ICW2 %#x", p.w.ID, i, c.ELCR, c.ICW2)
		}
	}
	return nil
}

// Event does nothing: the chips have no timers.
func (p *PIC) Event(devices.EventID) {}

// SetIRQ drives input n, 0 to 15; 2 is the cascade and cannot be driven.
func (p *PIC) SetIRQ(n int, level bool) {
	switch {
	case n < 0 || n > 15 || n == Cascade:
		return
	case n < 8:
		p.Master.drive(uint(n), level)
	default:
		p.Slave.drive(uint(n-8), level)
	}
	p.update()
}

type input struct {
	p *PIC
	n int
}

func (i input) Set(level bool) { i.p.SetIRQ(i.n, level) }

// Input returns input n as a line.
func (p *PIC) Input(n int) devices.Line { return input{p, n} }

// Ack is the CPU's interrupt acknowledge: it returns the vector of the most urgent
// request, a spurious one if there is none [8259A Interrupt Sequence].
func (p *PIC) Ack() uint8 {
	n, ok := p.Master.request()
	if !ok {
		return p.Master.ICW2 + spurious
	}
	p.Master.acknowledge(n)
	v := p.Master.ICW2 + uint8(n)
	if n == Cascade && p.Master.ICW1&icw1SNGL == 0 {
		v = p.ackSlave()
	}
	p.update()
	return v
}

// Vector is the vector that Ack would return now. It has no effects.
func (p *PIC) Vector() uint8 {
	n, ok := p.Master.request()
	switch {
	case !ok:
		return p.Master.ICW2 + spurious
	case n != Cascade || p.Master.ICW1&icw1SNGL != 0:
		return p.Master.ICW2 + uint8(n)
	}
	if n, ok = p.Slave.request(); !ok {
		return p.Slave.ICW2 + spurious
	}
	return p.Slave.ICW2 + uint8(n)
}

func (p *PIC) ackSlave() uint8 {
	n, ok := p.Slave.request()
	if !ok {
		return p.Slave.ICW2 + spurious
	}
	p.Slave.acknowledge(n)
	// Why: the slave's output falls while it is acknowledged, so that a second
	// request gives the master's edge-triggered input a new edge.
	p.Master.drive(Cascade, false)
	return p.Slave.ICW2 + uint8(n)
}

// update passes requests on: slave to master, master to INTR.
func (p *PIC) update() {
	_, cascade := p.Slave.request()
	p.Master.drive(Cascade, cascade)
	_, intr := p.Master.request()
	p.w.INTR.Set(intr)
}

// drive sets the level of an input. Why the latch outlives the level: a lost edge
// (a timer pulse shorter than the guest's interrupt-off section) would be a lost
// tick; chipsets and QEMU keep it too, against [8259A]'s IR7 rule.
func (c *chip) drive(n uint, level bool) {
	bit := uint8(1) << n
	if !level {
		c.IN &^= bit
		return
	}
	if c.IN&bit == 0 && c.ELCR&bit == 0 {
		c.IRR |= bit
	}
	c.IN |= bit
}

// irr is the interrupt request register: latched edges and high levels.
func (c *chip) irr() uint8 { return c.IRR&^c.ELCR | c.IN&c.ELCR }

// highest returns the most urgent input in set, and its rank, 0 to 7.
func (c *chip) highest(set uint8) (n, rank uint, ok bool) {
	for rank := range uint(8) {
		n := (uint(c.FIRST) + rank) & 7
		if set>>n&1 != 0 {
			return n, rank, true
		}
	}
	return 0, 8, false
}

// request returns the input to be served now, if any: unmasked, and more urgent
// than all in service [8259A Fully Nested Mode].
func (c *chip) request() (uint, bool) {
	if c.NEXT != 0 {
		return 0, false
	}
	n, rank, ok := c.highest(c.irr() &^ c.IMR)
	if !ok {
		return 0, false
	}
	inService := c.ISR
	if c.SMM {
		inService &^= c.IMR // [8259A Special Mask Mode]
	}
	if c.ICW4&icw4SFNM != 0 && c.ICW1&icw1SNGL == 0 {
		// The slave's inputs nest among themselves, so it may interrupt again. Only
		// a master is told to be in this mode [8259A Special Fully Nested Mode].
		inService &^= 1 << Cascade
	}
	_, busy, _ := c.highest(inService)
	return n, rank < busy
}

// acknowledge moves input n into service.
func (c *chip) acknowledge(n uint) {
	bit := uint8(1) << n
	c.IRR &^= bit
	if c.ICW4&icw4AEOI == 0 {
		c.ISR |= bit
		return
	}
	if c.RAEOI {
		c.FIRST = uint8(n+1) & 7
	}
}
