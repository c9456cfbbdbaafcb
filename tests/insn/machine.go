// Package insn executes single instructions in user mode on our CPU, to compare
// them with what real processors do.
package insn

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"godwit/cpu"
	"godwit/cpu/isa"
	"godwit/mem"
)

// Where user memory is: code pages full of INT3, data and stack, and nothing
// around them. Every instruction starts at CodeRIP.
const (
	CodeBase  = 0x10000000
	CodeSize  = 0x10000
	CodeRIP   = CodeBase + 0x8000
	DataBase  = 0x20000000
	DataSize  = 0x2000
	StackBase = 0x30000000
	StackSize = 0x1000
)

// FlagsMask is the RFLAGS bits that user code can change and see changed: the
// status flags, DF and ID.
const FlagsMask = 0x200cd5

// Physical layout, below 2 MiB. The first 2 MiB are also mapped for the
// supervisor at sysBase.
const (
	physTables = 0x10000 // page tables: PML4, 2 PDPT, 2 PD, 3 PT
	physIDT    = 0x20000
	physGDT    = 0x21000
	physTSS    = 0x22000
	physISR    = 0x23000 // one byte per vector
	physKStack = 0x28000 // top
	physCode   = 0x30000
	physData   = 0x40000
	physStack  = 0x42000
	sysBase    = 0xffffffff80000000
	noExec     = 1 << 63
	rflagsIF   = 0x202
)

// features are those of the instructions that no named model has.
const features = "aes pclmulqdq sha_ni bmi1 bmi2 adx avx avx2 fma f16c vaes vpclmulqdq clzero"

// State is what an instruction in user mode reads and writes besides memory.
type State struct {
	R      [16]uint64 // in encoding order
	RFLAGS uint64
	MXCSR  uint32
	FCW    uint16
	FSW    uint16
	FTW    uint8         // FXSAVE's abridged tags, by physical register
	ST     [8]cpu.F80    // ST(0) to ST(7)
	V      [16][4]uint64 // YMM registers, least significant quadword first
}

// Window is some bytes of memory.
type Window struct {
	Addr uint64
	Data []byte
}

// Outcome is what an instruction did.
type Outcome struct {
	State
	RIP  uint64
	Trap int    // vector of the exception, -1 if there was none
	Err  uint64 // its error code
	CR2  uint64 // of a page fault
}

// Machine is a vCPU in user mode.
type Machine struct {
	Blocks bool // run translated blocks where possible, not the reference alone

	c   *cpu.CPU
	mem *mem.Memory
	ram []byte

	before [DataSize + StackSize]byte // data and stack at the start of an instruction
}

// noAPIC and noBus: nothing is there.
type (
	noAPIC struct{}
	noBus  struct{}
)

func (noAPIC) Vector() (uint8, bool)         { return 0, false }
func (noAPIC) Ack() (uint8, bool)            { return 0, false }
func (noAPIC) TPR() uint8                    { return 0 }
func (noAPIC) SetTPR(uint8)                  {}
func (noAPIC) ReadMSR(uint32) (uint64, bool) { return 0, false }
func (noAPIC) WriteMSR(uint32, uint64) bool  { return false }
func (noAPIC) SendIPI(uint32, uint32) bool   { return false }
func (noBus) ReadMMIO(uint64, int) uint64    { return ^uint64(0) }
func (noBus) WriteMMIO(uint64, int, uint64)  {}
func (noBus) In(uint16, int) uint32          { return ^uint32(0) }
func (noBus) Out(uint16, int, uint32)        {}
func (noBus) TSC() uint64                    { return 0 }
func (noBus) Rand() uint64                   { return 0 }

// NewMachine makes one; Close gives its memory back.
func NewMachine() (*Machine, func(), error) {
	m, err := mem.New(2 << 20)
	if err != nil {
		return nil, nil, err
	}
	model, err := cpu.LookupModel("")
	if err != nil {
		return nil, nil, err
	}
	v := &Machine{mem: m, ram: m.Bytes()}
	v.c = cpu.New(0, model.With(features), m, cpu.NewShared(m), noBus{}, noAPIC{})
	v.tables()
	return v, func() { m.Close() }, nil
}

func (v *Machine) put(pa uint64, q ...uint64) {
	for i, x := range q {
		binary.LittleEndian.PutUint64(v.ram[pa+8*uint64(i):], x)
	}
}

// tables writes page tables, descriptors and handlers.
func (v *Machine) tables() {
	const t = physTables
	v.put(t, t+0x1000|7)
	v.put(t+511*8, t+0x2000|3)
	v.put(t+0x1000, t+0x3000|7)
	v.put(t+0x2000+510*8, t+0x4000|3)
	v.put(t+0x4000, 0x83)
	for i, u := range []struct{ linear, phys, size, attr uint64 }{
		{CodeBase, physCode, CodeSize, 7}, {DataBase, physData, DataSize, noExec | 7}, {StackBase, physStack, StackSize, noExec | 7},
	} {
		pt := uint64(t + 0x5000 + 0x1000*i)
		v.put(t+0x3000+u.linear>>21*8, pt|7)
		for o := uint64(0); o < u.size; o += 4096 {
			v.put(pt+o>>12*8, u.phys+o|u.attr)
		}
	}
	for i := range v.ram[physCode : physCode+CodeSize] {
		v.ram[physCode+i] = 0xcc
	}
	v.put(physGDT, 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cff3000000ffff, 0x00affb000000ffff)
	for vec := uint64(0); vec < 32; vec++ {
		h := sysBase + physISR + vec
		v.put(physIDT+16*vec, h&0xffff|8<<16|0xee<<40|h>>16&0xffff<<48, h>>32)
	}
	v.put(physTSS+4, sysBase+physKStack)
}

// system sets everything but the instruction's own state.
func (v *Machine) system() {
	a := &v.c.Arch
	a.CR0, a.CR3, a.CR4 = 0x80050033, physTables, 0x40620 // PG AM WP NE ET MP PE; OSXSAVE OSXMMEXCPT OSFXSR PAE
	a.EFER, a.XCR0, a.CPL = 0xd01, 7, 3
	a.Seg[isa.CS] = cpu.Segment{Sel: 0x23, Attr: 0xa0fb, Limit: 0xffffffff}
	for _, s := range []int{isa.ES, isa.SS, isa.DS, isa.FS, isa.GS} {
		a.Seg[s] = cpu.Segment{Sel: 0x1b, Attr: 0xc0f3, Limit: 0xffffffff}
	}
	a.GDTR = cpu.Table{Base: sysBase + physGDT, Limit: 0x27}
	a.IDTR = cpu.Table{Base: sysBase + physIDT, Limit: 32*16 - 1}
	a.TR = cpu.Segment{Sel: 0x40, Attr: 0x8b, Limit: 0x67, Base: sysBase + physTSS}
}

// load sets the instruction's state.
func (v *Machine) load(s *State) {
	v.c.Reset()
	v.system()
	a := &v.c.Arch
	copy(a.R[:], s.R[:])
	a.RIP, a.RFLAGS = CodeRIP, s.RFLAGS&FlagsMask|rflagsIF
	a.MXCSR, a.FCW, a.FSW, a.FTW = s.MXCSR, s.FCW, s.FSW, s.FTW
	top := int(s.FSW >> 11)
	for i := range s.ST {
		a.ST[(top+i)&7] = s.ST[i]
	}
	a.V = s.V
}

// phys is where a user address is in RAM, or false.
func phys(la uint64) (uint64, bool) {
	switch {
	case la-DataBase < DataSize:
		return la - DataBase + physData, true
	case la-StackBase < StackSize:
		return la - StackBase + physStack, true
	}
	return 0, false
}

// Poke writes user memory; bytes outside it are dropped.
func (v *Machine) Poke(addr uint64, b []byte) {
	for i, x := range b {
		if pa, ok := phys(addr + uint64(i)); ok {
			v.ram[pa] = x
		}
	}
}

// Clear zeroes data and stack.
func (v *Machine) Clear() { clear(v.ram[physData : physStack+StackSize]) }

// Qword reads an aligned quadword of data or stack.
func (v *Machine) Qword(addr uint64) uint64 {
	pa, _ := phys(addr)
	return binary.LittleEndian.Uint64(v.ram[pa:])
}

// maxSteps bounds the iterations of a repeated string instruction.
const maxSteps = 1 << 17

// Run executes one instruction, with all its iterations.
func (v *Machine) Run(code []byte, s *State) (o Outcome, err error) {
	v.load(s)
	const at = physCode + CodeRIP - CodeBase
	v.mem.Write(at, code) // drops what was translated
	defer v.mem.Write(at, bytes.Repeat([]byte{0xcc}, len(code)))
	if err := v.c.Restored(); err != nil {
		return o, err
	}
	for n := 0; v.c.RIP-CodeRIP < uint64(len(code)) && n < maxSteps && v.c.Activity == cpu.Running; n++ {
		v.step()
	}
	if v.c.RIP>>63 == 0 && v.c.RIP-CodeBase >= CodeSize && v.c.Activity == cpu.Running {
		v.step() // a branch to nowhere faults at its target
	}
	if v.c.Activity != cpu.Running {
		return o, fmt.Errorf("cpu stopped in state %d", v.c.Activity)
	}
	v.c.Canonical()
	return v.outcome(), nil
}

// step takes one count.
func (v *Machine) step() {
	if v.Blocks {
		v.c.Run(v.c.Count + 1)
		return
	}
	v.c.Step()
}

// outcome reads the state, after an exception from its stack frame.
func (v *Machine) outcome() (o Outcome) {
	a := &v.c.Arch
	copy(o.R[:], a.R[:16])
	o.RIP, o.RFLAGS, o.Trap = a.RIP, a.RFLAGS, -1
	o.MXCSR, o.FCW, o.FSW, o.FTW, o.V = a.MXCSR, a.FCW, a.FSW, a.FTW, a.V
	top := int(a.FSW >> 11)
	for i := range o.ST {
		o.ST[i] = a.ST[(top+i)&7]
	}
	vec := a.RIP - (sysBase + physISR)
	if vec >= 32 {
		return o
	}
	o.Trap = int(vec)
	sp := a.R[cpu.RSP] - sysBase
	switch vec {
	case 8, 10, 11, 12, 13, 14, 17:
		o.Err = binary.LittleEndian.Uint64(v.ram[sp:])
		sp += 8
	}
	if vec == 14 {
		o.CR2 = a.CR2
	}
	frame := func(i uint64) uint64 { return binary.LittleEndian.Uint64(v.ram[sp+8*i:]) }
	o.RIP, o.RFLAGS, o.R[cpu.RSP] = frame(0), frame(2), frame(3)
	return o
}
