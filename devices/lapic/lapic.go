// Package lapic models the local APICs of all vCPUs and the bus between them.
//
// Specification: [SDM 3A 11] (xAPIC and x2APIC). Modelled: all registers, fixed,
// lowest priority, NMI, INIT, start-up and ExtINT delivery, one-shot, periodic and
// TSC-deadline timer, EOI broadcast and its suppression, the error status register,
// both modes and their transitions. Not modelled: SMI (dropped), the focus
// processor, thermal and CMCI sources (their LVT entries are kept), APIC IDs above
// 254 in xAPIC mode, bus arbitration: of equal priorities the lowest APIC index
// takes a lowest-priority interrupt.
//
// The timer counts BusHz before its divider. Expiries that the clock jumped over
// are one interrupt, and the next one keeps the phase.
package lapic

import (
	"fmt"
	"math/bits"

	"godwit/devices"
	"godwit/devices/bus"
)

// BusHz is the timer's input frequency: one count is one nanosecond.
const BusHz = 1_000_000_000

// DefaultBase is where the registers are after reset.
const DefaultBase = 0xfee00000

// IA32_APIC_BASE [SDM 3A 11.4.4].
const (
	baseBSP    = 1 << 8
	baseX2APIC = 1 << 10
	baseEnable = 1 << 11
	baseMode   = baseX2APIC | baseEnable
	pageMask   = 0xfff
)

// Core is what a local APIC does to its vCPU.
type Core interface {
	// INTR says whether Ack would give a vector.
	INTR(level bool)
	NMI()
	// Init is the INIT signal: the vCPU resets and, unless it is the bootstrap
	// processor, waits for SIPI.
	Init()
	// SIPI starts a waiting vCPU at vector<<12; others ignore it.
	SIPI(vector uint8)
}

// TSC is the time stamp counter of the vCPU.
type TSC interface {
	TSC() uint64
	// Time returns the first instant at which the counter has reached tsc, the
	// last one there is if that is out of range.
	Time(tsc uint64) devices.Nanos
}

// ExtINT is the controller behind LINT0 that supplies vectors: the PIC.
type ExtINT interface {
	Ack() uint8
	Vector() uint8 // what Ack would return, without its effects
}

// Wiring is what a local APIC is connected to.
type Wiring struct {
	ID       string
	APICID   uint32
	BSP      bool
	PhysBits uint8 // width of physical addresses, for IA32_APIC_BASE
	Core     Core
	Clock    devices.Clock
	TSC      TSC
	PIC      ExtINT
	Bus      *Bus
}

// state is the architectural state, and the levels of the inputs.
type state struct {
	BASE uint64    `cbor:"1,keyasint"` // IA32_APIC_BASE
	TPR  uint8     `cbor:"2,keyasint"`
	LDR  uint32    `cbor:"3,keyasint"` // xAPIC
	DFR  uint32    `cbor:"4,keyasint"` // xAPIC
	SVR  uint32    `cbor:"5,keyasint"`
	ISR  [8]uint32 `cbor:"6,keyasint"`
	TMR  [8]uint32 `cbor:"7,keyasint"`
	IRR  [8]uint32 `cbor:"8,keyasint"`
	ESR  uint32    `cbor:"9,keyasint"`  // as last latched by a write
	ERR  uint32    `cbor:"10,keyasint"` // errors since then
	ICR  uint64    `cbor:"11,keyasint"` // x2APIC layout: the destination in 63:32
	LVT  [7]uint32 `cbor:"12,keyasint"`
	TICR uint32    `cbor:"13,keyasint"` // timer initial count
	TDCR uint32    `cbor:"14,keyasint"` // timer divide configuration
	// TSTART is when the present count-down began; valid while TRUN.
	TSTART devices.Nanos `cbor:"15,keyasint"`
	TRUN   bool          `cbor:"16,keyasint"`
	TSCD   uint64        `cbor:"17,keyasint"` // IA32_TSC_DEADLINE
	EXT    bool          `cbor:"18,keyasint"` // an ExtINT message is pending
	LINT   [2]bool       `cbor:"19,keyasint"` // input levels
}

// LAPIC is one local APIC.
type LAPIC struct {
	state
	w Wiring
}

// New returns a local APIC as after power-on and puts it on its bus.
func New(w Wiring) *LAPIC {
	l := &LAPIC{w: w}
	l.powerOn()
	w.Bus.apics = append(w.Bus.apics, l)
	return l
}

func (l *LAPIC) powerOn() {
	l.BASE = DefaultBase | baseEnable
	if l.w.BSP {
		l.BASE |= baseBSP
	}
	l.clear()
}

// clear resets all registers but IA32_APIC_BASE [SDM 3A 11.4.7.1]; the inputs
// belong to whoever drives them.
func (l *LAPIC) clear() {
	l.state = state{BASE: l.BASE, LINT: l.LINT, DFR: 0xffffffff, SVR: 0xff}
	for i := range l.LVT {
		l.LVT[i] = lvtMasked
	}
}

// ID returns the device's stable name.
func (l *LAPIC) ID() string { return l.w.ID }

// State returns the guest-visible state.
func (l *LAPIC) State() any { return &l.state }

// Reset brings the registers to their initial values; INIT keeps the mode
// [SDM 3A 11.4.7.3, 11.12.5.1].
func (l *LAPIC) Reset(kind devices.ResetKind) {
	if kind == devices.Init {
		l.clear()
	} else {
		l.powerOn()
	}
	l.arm()
	l.update()
}

// Restored checks a decoded state.
func (l *LAPIC) Restored() error {
	if !l.validBase(l.BASE) {
		return fmt.Errorf("restore %s: IA32_APIC_BASE is %#x", l.w.ID, l.BASE)
	}
	if l.SVR&^svrMask != 0 || l.DFR&dfrMask != dfrMask || l.LDR&^ldrMask != 0 || l.TDCR&^tdcrMask != 0 {
		return fmt.Errorf("restore %s: reserved bits in SVR %#x, DFR %#x, LDR %#x or TDCR %#x", l.w.ID, l.SVR, l.DFR, l.LDR, l.TDCR)
	}
	for i, v := range l.LVT {
		if v&^(lvtWritable[i]|lvtRemoteIRR) != 0 || l.SVR&svrEnable == 0 && v&lvtMasked == 0 {
			return fmt.Errorf("restore %s: LVT entry %d is %#x with SVR %#x", l.w.ID, i, v, l.SVR)
		}
	}
	if low := l.ISR[0] | l.TMR[0] | l.IRR[0]; low&0xffff != 0 {
		return fmt.Errorf("restore %s: vectors below 16 are pending or in service: %#x", l.w.ID, low&0xffff)
	}
	if l.TRUN && (l.TICR == 0 || l.TSTART < minStart || l.TSTART > maxStart) {
		return fmt.Errorf("restore %s: timer runs with count %d from %d ns (%d to %d)",
			l.w.ID, l.TICR, l.TSTART, int64(minStart), int64(maxStart))
	}
	if uint32(l.ICR)&^icrMask != 0 || l.ESR&^errMask != 0 || l.ERR&^errMask != 0 {
		return fmt.Errorf("restore %s: reserved bits in ICR %#x, ESR %#x or pending errors %#x", l.w.ID, l.ICR, l.ESR, l.ERR)
	}
	return nil
}

// VirtualWire leaves the APIC as firmware does: enabled by software, and on the
// bootstrap processor with LINT0 passing on the PIC's interrupts and LINT1 NMIs.
func (l *LAPIC) VirtualWire() {
	l.SVR |= svrEnable
	if l.w.BSP {
		l.LVT[lvtLINT0] = modeExtINT << 8
		l.LVT[lvtLINT1] = modeNMI << 8
	}
	l.update()
}

// Base returns the page of the memory-mapped registers, and whether accesses to it
// reach them.
func (l *LAPIC) Base() (pa uint64, enabled bool) {
	return l.BASE &^ pageMask, l.BASE&baseMode == baseEnable
}

// Enabled reports whether IA32_APIC_BASE enables the APIC at all: CPUID.1:EDX.9.
func (l *LAPIC) Enabled() bool { return l.BASE&baseEnable != 0 }

func (l *LAPIC) x2apic() bool { return l.BASE&baseMode == baseMode }

// validBase rejects reserved bits and x2APIC mode without the APIC
// [SDM 3A 11.12.5].
func (l *LAPIC) validBase(v uint64) bool {
	width := max(l.w.PhysBits, 32)
	reserved := pageMask &^ uint64(baseBSP|baseMode)
	if width < 64 {
		reserved |= ^uint64(0) << width
	}
	return v&reserved == 0 && v&baseMode != baseX2APIC
}

// writeBase writes IA32_APIC_BASE; false is #GP [SDM 3A 11.12.5 Figure 11-27].
func (l *LAPIC) writeBase(v uint64) bool {
	from, to := l.BASE&baseMode, v&baseMode
	switch {
	case !l.validBase(v):
		return false
	case from == baseMode && to == baseEnable: // x2APIC goes back only through disabled
		return false
	case from == 0 && to == baseMode:
		return false
	}
	l.BASE = v
	if to == 0 {
		// Why: an APIC enabled again is as after power-up [SDM 3A 11.4.3].
		l.clear()
		l.arm()
	}
	if to == baseMode && from != baseMode {
		l.ICR &= 0xffffffff
	}
	l.update()
	return true
}

// TPR returns the task priority as CR8 shows it, 0 to 15.
func (l *LAPIC) TPR() uint8 { return l.state.TPR >> 4 }

// SetTPR is a write of CR8 [SDM 3A 11.8.6].
func (l *LAPIC) SetTPR(v uint8) {
	l.state.TPR = v << 4
	l.update()
}

// vectors is a set of 256 vectors in registers of 32.
type vectors = [8]uint32

func highest(s *vectors) int {
	for i := 7; i >= 0; i-- {
		if s[i] != 0 {
			return 32*i + 31 - bits.LeadingZeros32(s[i])
		}
	}
	return -1
}

func setBit(s *vectors, v uint8, on bool) {
	s[v>>5] &^= 1 << (v & 31)
	if on {
		s[v>>5] |= 1 << (v & 31)
	}
}

func hasBit(s *vectors, v uint8) bool { return s[v>>5]>>(v&31)&1 != 0 }

// ppr is the processor priority [SDM 3A 11.8.3.1].
func (l *LAPIC) ppr() uint8 {
	isr := uint8(max(highest(&l.ISR), 0))
	if l.state.TPR>>4 >= isr>>4 {
		return l.state.TPR
	}
	return isr & 0xf0
}

// deliverable is the vector that the vCPU can take now, or -1.
func (l *LAPIC) deliverable() int {
	v := highest(&l.IRR)
	if v>>4 <= int(l.ppr()>>4) {
		return -1
	}
	return v
}

// Pending reports whether Ack would give a vector.
func (l *LAPIC) Pending() bool { return l.extPending() || l.deliverable() >= 0 }

func (l *LAPIC) update() { l.w.Core.INTR(l.Pending()) }

// Ack takes the most urgent interrupt: one of the PIC's before the APIC's own,
// which task priority does not hold back [SDM 3A 11.8.1].
func (l *LAPIC) Ack() (vector uint8, ok bool) {
	if l.extPending() {
		l.EXT = false
		vector = l.w.PIC.Ack()
		l.update()
		return vector, true
	}
	v := l.deliverable()
	if v < 0 {
		return 0, false
	}
	setBit(&l.IRR, uint8(v), false)
	setBit(&l.ISR, uint8(v), true)
	l.update()
	return uint8(v), true
}

// Vector gives the vector that Ack would, without its effects.
func (l *LAPIC) Vector() (vector uint8, ok bool) {
	if l.extPending() {
		return l.w.PIC.Vector(), true
	}
	v := l.deliverable()
	return uint8(max(v, 0)), v >= 0
}

// accept takes a fixed interrupt [SDM 3A 11.8.4].
func (l *LAPIC) accept(vector uint8, level bool) {
	if vector < 16 {
		l.raise(errRecvVector)
		return
	}
	setBit(&l.IRR, vector, true)
	setBit(&l.TMR, vector, level)
	l.update()
}

// eoi ends the most urgent interrupt in service [SDM 3A 11.8.5].
func (l *LAPIC) eoi() {
	n := highest(&l.ISR)
	if n < 0 {
		return
	}
	v := uint8(n)
	setBit(&l.ISR, v, false)
	if hasBit(&l.TMR, v) {
		l.eoiLINT(v)
		if l.SVR&svrNoBroadcast == 0 {
			l.w.Bus.eoi(v)
		}
	}
	l.update()
}

// raise notes an error and interrupts once for each kind until ESR is written
// [SDM 3A 11.5.3].
func (l *LAPIC) raise(bit uint32) {
	if l.ERR&bit != 0 {
		return
	}
	l.ERR |= bit
	l.fire(lvtError)
}

// Windows lists the register page at its initial place; the vCPU's address space
// follows Base.
func (l *LAPIC) Windows() []bus.Window {
	return []bus.Window{{Name: "mmio", Base: DefaultBase, Size: pageMask + 1, Handler: l}}
}
