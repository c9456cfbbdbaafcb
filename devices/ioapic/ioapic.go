// Package ioapic models the I/O APIC of a PC: 24 inputs that it turns into
// interrupt messages.
//
// Specifications: [82093AA] (Intel 290566-001); the EOI register from
// [ICH9 EOIR]. Modelled: version 20h with its EOI register, edge and level
// triggering, remote IRR, all delivery modes (the local APICs interpret them).
// Not modelled: polarity (lines say asserted or not; the bit is kept and has no
// effect), the arbitration register's bus.
package ioapic

import (
	"fmt"

	"godwit/devices"
	"godwit/devices/bus"
)

// Base is the usual physical address of the window, Pins the number of inputs.
const (
	Base = 0xfec00000
	Pins = 24
)

// Window offsets [82093AA 3.1], [ICH9 EOIR].
const (
	offIndex = 0x00
	offData  = 0x10
	offEOI   = 0x40
)

// Registers behind the index [82093AA 3.2].
const (
	regID    = 0x00
	regVER   = 0x01
	regARB   = 0x02
	regREDIR = 0x10

	version = 0x20 | (Pins-1)<<16
	idMask  = 0x0f000000
)

// Redirection entry [82093AA 3.2.4].
const (
	entLogical   = 1 << 11
	entPolarity  = 1 << 13
	entRemoteIRR = 1 << 14
	entLevel     = 1 << 15
	entMask      = 1 << 16
	entDestPos   = 56
	entWritable  = 0xff<<entDestPos | entMask | entLevel | entPolarity | 0xfff
	entReset     = entMask
)

// msiBase is the address of interrupt messages; the destination is in bits 19:12
// and the mode in bit 2 [SDM 3A 11.11.1].
const (
	msiBase    = 0xfee00000
	msiLogical = 1 << 2
	msiAssert  = 1 << 14
)

// Wiring is what the chip is connected to.
type Wiring struct {
	ID  string
	Bus bus.MSI // to the local APICs
}

type state struct {
	APICID uint32       `cbor:"1,keyasint"` // bits 27:24
	SEL    uint8        `cbor:"2,keyasint"` // IOREGSEL
	IN     uint32       `cbor:"3,keyasint"` // input levels
	REDIR  [Pins]uint64 `cbor:"4,keyasint"`
}

// IOAPIC is the chip.
type IOAPIC struct {
	state
	w Wiring
}

// New returns the chip as after power-on: all inputs masked.
func New(w Wiring) *IOAPIC {
	a := &IOAPIC{w: w}
	a.powerOn()
	return a
}

// powerOn keeps the input levels: they belong to whoever drives them.
func (a *IOAPIC) powerOn() {
	a.state = state{IN: a.IN}
	for i := range a.REDIR {
		a.REDIR[i] = entReset
	}
}

// ID returns the device's stable name.
func (a *IOAPIC) ID() string { return a.w.ID }

// State returns the guest-visible state.
func (a *IOAPIC) State() any { return &a.state }

// Reset brings the registers to their initial values.
func (a *IOAPIC) Reset(kind devices.ResetKind) {
	if kind != devices.Init {
		a.powerOn()
	}
}

// Restored checks a decoded state.
func (a *IOAPIC) Restored() error {
	if a.APICID&^idMask != 0 || a.IN>>Pins != 0 {
		return fmt.Errorf("restore %s: id %#x or inputs %#x beyond %#x and %d inputs", a.w.ID, a.APICID, a.IN, uint32(idMask), Pins)
	}
	for i, e := range a.REDIR {
		if e&^(entWritable|entRemoteIRR) != 0 || e&entRemoteIRR != 0 && e&entLevel == 0 {
			return fmt.Errorf("restore %s: entry %d is %#x: reserved bits, or remote IRR without level", a.w.ID, i, e)
		}
	}
	return nil
}

// Event does nothing: the chip has no timers.
func (a *IOAPIC) Event(devices.EventID) {}

// SetIRQ drives input n, 0 to 23.
func (a *IOAPIC) SetIRQ(n int, level bool) {
	if n < 0 || n >= Pins {
		return
	}
	bit := uint32(1) << n
	old := a.IN
	if !level {
		a.IN &^= bit
		return
	}
	a.IN |= bit
	if a.REDIR[n]&entLevel != 0 {
		a.service(n)
	} else if old&bit == 0 && a.REDIR[n]&entMask == 0 {
		a.send(n) // edges at a masked input are lost [82093AA 3.2.4]
	}
}

type input struct {
	a *IOAPIC
	n int
}

func (i input) Set(level bool) { i.a.SetIRQ(i.n, level) }

// Input returns input n as a line.
func (a *IOAPIC) Input(n int) devices.Line { return input{a, n} }

// EOI is the local APICs' end of interrupt for a level-triggered vector: entries
// that are still asserted interrupt again [82093AA 3.2.4].
func (a *IOAPIC) EOI(vector uint8) {
	for n := range a.REDIR {
		if a.REDIR[n]&entRemoteIRR != 0 && uint8(a.REDIR[n]) == vector {
			a.REDIR[n] &^= entRemoteIRR
			a.service(n)
		}
	}
}

// service sends a level-triggered input's message if it is due.
func (a *IOAPIC) service(n int) {
	e := a.REDIR[n]
	if e&(entLevel|entMask|entRemoteIRR) != entLevel || a.IN>>n&1 == 0 {
		return
	}
	// Why first: the message may come back as an EOI before send returns. Only the
	// fixed and lowest priority modes are ended by one [82093AA 3.2.4].
	if mode := e >> 8 & 7; mode <= 1 {
		a.REDIR[n] |= entRemoteIRR
	}
	a.send(n)
}

// Wakes tells whether an input that is not masked sends what wakes a vCPU that takes no
// interrupts.
func (a *IOAPIC) Wakes() bool {
	for _, e := range a.REDIR {
		if e&entMask == 0 && bus.Wakes(uint32(e)) {
			return true
		}
	}
	return false
}

// send sends entry n's interrupt as a message [SDM 3A 11.11].
func (a *IOAPIC) send(n int) {
	e := a.REDIR[n]
	addr := msiBase | e>>entDestPos<<12
	if e&entLogical != 0 {
		addr |= msiLogical
	}
	a.w.Bus.MSI(addr, uint32(e&(entLevel|0x7ff))|msiAssert)
}

// Windows lists the chip's memory window.
func (a *IOAPIC) Windows() []bus.Window {
	return []bus.Window{{Name: "mmio", Base: Base, Size: 0x1000, Handler: a}}
}

// Read answers a guest's read. Registers are 32 bits wide on 16-byte boundaries.
func (a *IOAPIC) Read(off uint64, size int) uint64 {
	var v uint32
	switch off {
	case offIndex:
		v = uint32(a.SEL)
	case offData:
		v = a.readReg(a.SEL)
	}
	if size < 4 {
		v &= 1<<(8*size) - 1
	}
	return uint64(v)
}

// Write takes a guest's write; only the index can be written in less than 32 bits.
func (a *IOAPIC) Write(off uint64, size int, v uint64) {
	switch {
	case off == offIndex:
		a.SEL = uint8(v)
	case size < 4:
	case off == offData:
		a.writeReg(a.SEL, uint32(v))
	case off == offEOI:
		a.EOI(uint8(v))
	}
}

func (a *IOAPIC) readReg(r uint8) uint32 {
	switch {
	case r == regID || r == regARB:
		return a.APICID
	case r == regVER:
		return version
	case r >= regREDIR && r < regREDIR+2*Pins:
		e := a.REDIR[(r-regREDIR)/2]
		return uint32(e >> (32 * (r & 1)))
	}
	return 0
}

func (a *IOAPIC) writeReg(r uint8, v uint32) {
	switch {
	case r == regID:
		a.APICID = v & idMask
	case r >= regREDIR && r < regREDIR+2*Pins:
		a.writeEntry(int(r-regREDIR)/2, r&1 != 0, v)
	}
}

// writeEntry writes half of an entry. Why remote IRR falls with level mode: it has
// no meaning for edges, and Linux ends interrupts of older chips that way
// (io_apic.c __eoi_ioapic_pin).
func (a *IOAPIC) writeEntry(n int, upper bool, v uint32) {
	e := a.REDIR[n]
	keep := e & entRemoteIRR
	if upper {
		e = e&0xffffffff | uint64(v)<<32
	} else {
		e = e&^0xffffffff | uint64(v)
	}
	e = e&entWritable | keep
	if e&entLevel == 0 {
		e &^= entRemoteIRR
	}
	a.REDIR[n] = e
	a.service(n)
}

// Regs describes the chip's registers; the entries are reached through the index.
func (a *IOAPIC) Regs() []devices.Reg { return regs }

var regs = makeRegs()

func makeRegs() []devices.Reg {
	rs := []devices.Reg{
		{Space: "mmio", Off: offIndex, Size: 4, Name: "IOREGSEL", Mask: 0xff, Bits: "7:0 INDEX", Ref: "[82093AA 3.1.1]"},
		{Space: "mmio", Off: offData, Size: 4, Name: "IOWIN", Mask: 0xffffffff, Banked: true, Bits: "31:0 DATA", Ref: "[82093AA 3.1.2]"},
		{Space: "mmio", Off: offEOI, Size: 4, Name: "EOI", Acc: devices.WO, Mask: 0xff, Bits: "7:0 VECTOR", Ref: "[ICH9 EOIR]"},
		{Space: "index", Off: regID, Size: 4, Name: "IOAPICID", Mask: idMask, Banked: true, Bits: "27:24 ID", Ref: "[82093AA 3.2.1]"},
		{Space: "index", Off: regVER, Size: 4, Name: "IOAPICVER", Acc: devices.RO, Reset: version, Banked: true, Bits: "23:16 ENTRIES | 7:0 VERSION", Ref: "[82093AA 3.2.2]"},
		{Space: "index", Off: regARB, Size: 4, Name: "IOAPICARB", Acc: devices.RO, Banked: true, Bits: "27:24 ID", Ref: "[82093AA 3.2.3]"},
	}
	for n := range uint64(Pins) {
		rs = append(rs, devices.Reg{
			Space: "index", Off: regREDIR + 2*n, Size: 8, Name: fmt.Sprintf("IOREDTBL%d", n),
			Mask: entWritable, Reset: entReset, Banked: true,
			Bits: "63:56 DEST | 16 MASK | 15 LEVEL | 14 RIRR | 13 POL | 12 STATUS | 11 LOGICAL | 10:8 MODE | 7:0 VECTOR",
			Ref:  "[82093AA 3.2.4]",
		})
	}
	return rs
}

// Peek tells a register by its index in Regs, without side effects.
func (a *IOAPIC) Peek(i int) uint64 {
	switch r := regs[i]; {
	case r.Space == "mmio":
		return a.Read(r.Off, 4)
	case r.Size == 8:
		return a.REDIR[(r.Off-regREDIR)/2]
	default:
		return uint64(a.readReg(uint8(r.Off)))
	}
}
