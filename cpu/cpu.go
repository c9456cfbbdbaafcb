// Package cpu is the x86-64 processor: its state, its memory management unit
// and its engines.
//
// Two engines execute the same decoded instructions. The reference interpreter
// (Step) fetches, decodes and executes one instruction at a time with every
// flag computed at once. The block interpreter runs translated blocks of 16-byte
// ops with lazy flags, and leaves to the reference everything rare: faults in
// the making, device accesses, changes of code or page tables. Both must agree
// in every bit of Arch at every count.
//
// Modelled: see docs/SPECIFICATION.md. The package knows memory, and of the rest
// of the machine only the two interfaces Bus and IntCtl.
package cpu

import (
	"godwit/cpu/fp"
	"godwit/cpu/isa"
	"godwit/mem"
)

// Bus is what instructions reach beyond memory.
type Bus interface {
	ReadMMIO(pa uint64, size int) uint64
	WriteMMIO(pa uint64, size int, v uint64)
	In(port uint16, size int) uint32
	Out(port uint16, size int, v uint32)
	TSC() uint64  // the machine's time stamp counter at the current count
	Rand() uint64 // RDRAND: the machine's PRNG
}

// IntCtl is the vCPU's local APIC as instructions see it.
type IntCtl interface {
	// Vector tells the vector to deliver; false when none is pending any more. Ack
	// takes it. Why apart: a delivery that memory refuses must not have begun.
	Vector() (vector uint8, ok bool)
	Ack() (vector uint8, ok bool)
	TPR() uint8 // CR8: the task priority class, 0 to 15
	SetTPR(class uint8)
	ReadMSR(n uint32) (uint64, bool) // false: #GP
	WriteMSR(n uint32, v uint64) bool
	// SendIPI sends the interrupt that an ICR value describes to the APIC with
	// that ID; false when there is none.
	SendIPI(id, icr uint32) bool
}

// CPU is one vCPU. Only the machine goroutine may touch it.
type CPU struct {
	Arch

	// Lazy flags: while lzOp is not lzNone, the status flags are those of the
	// operation lzOp on lzA and lzB, and RFLAGS's are stale.
	lzA, lzB uint64
	lzOp     uint8

	// Count is the machine's count while this vCPU runs.
	Count uint64

	intr    bool // the local APIC has something to deliver
	inBlock bool // a block is running: rare accesses are refused with stepReq
	stepReq bool // the access was refused: the reference must execute the instruction
	quick   bool // the rest of a line of REP MOVS or REP STOS may be done in one go
	stalled bool // memory refused an access: the instruction is to be executed again

	trying     bool // stores are noted in undos, see attempt.go
	undoTables bool // one of them was to page tables
	undos      []undo
	undoBreaks uint64 // DBPending before

	event bool // the instruction reached a device or changed what may be delivered
	yield bool // PAUSE, HLT: the slice ends

	stepTF bool // TF was set when the instruction began

	limit  uint64    // Count at which Run ends
	left   int64     // counts until then, but for those of the block that runs
	memGen uint64    // mem.Gen seen
	gens   [8]uint32 // generations by mode and rights, 0 is none yet; see gen
	curGen uint32    // the one in force since the last call of gen

	fault   Fault
	nextRIP uint64 // where the running instruction goes
	mmu     int    // index of the TLB in use: mmuUser...
	mode    isa.Mode
	kind    codeKind
	wide    [2]bool  // FS, GS: flat but for their base
	sse     bool     // SSE instructions may run: constant within blocks
	in      isa.Inst // the instruction Step runs
	code    [15]byte // its bytes, as far as they were fetched
	env     fp.Env   // floating-point environment of the SSE instruction running

	mem    *mem.Memory
	ram    []byte
	bus    Bus
	apic   IntCtl
	model  *Model
	amd    bool // the model's vendor
	shared *Shared
	id     int

	wallClock int64 // Unix seconds at guest time 0

	tlb      [numMMU]tlb
	jump     jumpCache
	apicBase uint64 // page of the local APIC, which hides memory below it; all ones when it answers nowhere
	stats    Stats
}

// Stats counts what happened, for people; nothing of it is state.
type Stats struct {
	Blocks, Translated, Steps, Walks, TLBFills, TLBFlushes, CodeDrops uint64
	Undefined                                                         uint64 // #UD raised for encodings that are not implemented
	LastUndefined                                                     Undefined
	UnknownMSRs                                                       uint64 // #GP raised for MSRs that do not exist
	LastMSR                                                           uint32 // the last of them
}

// Undefined is an encoding that is not implemented, and where it was met.
type Undefined struct {
	RIP   uint64
	Bytes [15]byte
	Len   uint8 // bytes that could be read
}

// New makes vCPU id in its power-on state.
func New(id int, model *Model, m *mem.Memory, sh *Shared, bus Bus, apic IntCtl) *CPU {
	c := &CPU{id: id, model: model, mem: m, ram: m.Bytes(), bus: bus, apic: apic, shared: sh}
	sh.cpus = append(sh.cpus, c)
	c.model, c.amd = model, model.amd()
	c.apicBase = ^uint64(0)
	for i := range c.tlb {
		c.tlb[i].init()
	}
	c.jump.init()
	c.Reset()
	return c
}

// ID is the vCPU's number.
func (c *CPU) ID() int { return c.id }

// Stats tells what happened since New.
func (c *CPU) Stats() Stats { return c.stats }

// INTR is the local APIC's interrupt request to the core.
func (c *CPU) INTR(level bool) { c.intr = level; c.event = true }

// NMI requests a non-maskable interrupt.
func (c *CPU) NMI() { c.NMIPending = true; c.event = true }

// changed re-derives what depends on control registers, segments and CPL.
// Every change of them ends with it.
func (c *CPU) changed() {
	switch {
	case c.EFER&eferLMA != 0 && c.Seg[isa.CS].Attr&segL != 0:
		c.mode = isa.Mode64
	case c.Seg[isa.CS].Attr&segDB != 0:
		c.mode = isa.Mode32
	default:
		c.mode = isa.Mode16
	}
	c.kind = codeKind(c.mode)
	if c.mode == isa.Mode32 && c.flat() {
		c.kind = kindFlat
		c.wide = [2]bool{c.Seg[isa.FS].wide(), c.Seg[isa.GS].wide()}
	}
	c.R[isa.RegZero] = 0
	c.R[regFS] = c.Seg[isa.FS].Base
	c.R[regGS] = c.Seg[isa.GS].Base
	switch {
	case c.CPL == 3:
		c.mmu = mmuUser
	case c.CR4&cr4SMAP != 0 && c.RFLAGS&flagAC == 0:
		c.mmu = mmuKernel
	default:
		c.mmu = mmuKernelAC
	}
}

// codeKind is what translated code depends on: the mode, and in 32-bit mode
// whether segments can be left out of account.
type codeKind uint8

// kindFlat follows the three modes.
const kindFlat codeKind = 3

// flat tells whether CS, DS and SS are 4 GiB from address 0 and DS and SS
// writable: then an offset is a linear address, and few of them need a look at
// the limit.
func (c *CPU) flat() bool {
	cs, ds, ss := &c.Seg[isa.CS], &c.Seg[isa.DS], &c.Seg[isa.SS]
	return c.protected() && cs.Base|ds.Base|ss.Base == 0 && cs.Limit == 0xffffffff &&
		ds.wide() && ss.wide() && ss.Attr&segDB != 0
}

// wide tells whether every offset into a data segment may be read and written.
func (s *Segment) wide() bool {
	return s.Limit == 0xffffffff && s.Attr&(segP|segS|segCode|segDown|segWritable) == segP|segS|segWritable
}

// longMode tells whether IA-32e mode is active (64-bit or compatibility).
func (c *CPU) longMode() bool { return c.EFER&eferLMA != 0 }

// realMode tells real-address mode; VM86 is vm86.
func (c *CPU) realMode() bool { return c.CR0&cr0PE == 0 }

func (c *CPU) vm86() bool { return c.RFLAGS&flagVM != 0 }

// protected tells protected mode proper: neither real nor VM86.
func (c *CPU) protected() bool { return c.CR0&cr0PE != 0 && c.RFLAGS&flagVM == 0 }

// ripMask limits an instruction pointer. One that runs past 0xffff in a 16-bit
// segment does not wrap: the segment's limit stops it.
func (c *CPU) ripMask() uint64 {
	if c.mode == isa.Mode64 {
		return ^uint64(0)
	}
	return 0xffffffff
}
