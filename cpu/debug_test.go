package cpu

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"godwit/cpu/isa"
)

// The instruction after a load of SS: what was put off comes once, and an
// instruction breakpoint is lost on Intel's processors only.
func TestAfterMovSS(t *testing.T) {
	const at = rigCode + 7 // behind mov ss, [0x500]
	for _, tt := range []struct {
		name  string
		intel bool
		next  string
		dr7   uint64
		count int // debug exceptions
		dr6   uint64
	}{
		{"watchpoint and nop", false, "90", 0xf0001, 1, 1},
		{"watchpoint and icebp are one", false, "f1", 0xf0001, 1, 1},
		{"watchpoint and int 1 are two", false, "cd01", 0xf0001, 2, 1},
		{"breakpoint on amd", false, "90", 0x8, 1, 2},
		{"breakpoint on intel", true, "90", 0x8, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			r.amd = !tt.intel
			r.long(0)
			r.put(0x500, "1000")
			r.put(rigCode, "8e142500050000"+tt.next+"f4")
			r.put(isr(vecDB), "48ffc3 48cf") // inc rbx; iretq
			r.DR[0], r.DR[1], r.DR[7] = 0x500, at, tt.dr7|dr7One
			for n := 0; r.Activity == Running && n < 40; n++ {
				if r.Interrupt() {
					continue
				}
				if r.RIP == isr(vecDB) {
					r.put64(r.R[RSP]+16, r.get64(r.R[RSP]+16)|flagRF)
				}
				r.Step()
			}
			assert.Equal(t, Halted, r.Activity)
			assert.Equal(t, uint64(tt.count), r.R[RBX])
			assert.Equal(t, tt.dr6|dr6One, r.DR[6])
		})
	}
}

// DEBUGCTL.BTF makes single steps of branches only, until the next #DB.
func TestStepsBranches(t *testing.T) {
	for _, tt := range []struct {
		name, code string
		after      uint64 // where the trap is met
	}{
		{"jmp", "90 90 eb00 90 90", 4},
		{"jcc taken", "90 31c0 7402 9090 90", 7},
		{"jcc not taken, then call", "31c0 7502 9090 e800000000 90", 11},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			r.long(0)
			r.put(rigCode, tt.code)
			r.MSRs.DebugCtl = debugBTF
			r.RFLAGS |= flagTF
			for n := 0; r.RIP != isr(vecDB) && n < 10; n++ {
				r.Step()
			}
			assert.Equal(t, uint64(rigCode)+tt.after, r.get64(r.R[RSP]))
			assert.Equal(t, uint64(dr6One|dr6BS), r.DR[6])
			assert.Zero(t, r.MSRs.DebugCtl)
			assert.Equal(t, isa.Mode64, r.mode)
		})
	}
}

// ICEBP leaves DR6 alone and lifts general detection, as every #DB does.
func TestICEBP(t *testing.T) {
	r := newRig(t)
	r.long(0)
	r.put(rigCode, "f1")
	r.DR[6], r.DR[7] = dr6One|3, dr7One|dr7GD
	r.Step()
	assert.Equal(t, isr(vecDB), r.RIP)
	assert.Equal(t, uint64(rigCode+1), r.get64(r.R[RSP]))
	assert.Equal(t, uint64(dr6One|3), r.DR[6])
	assert.Equal(t, uint64(dr7One), r.DR[7])
}

// What MSRs refuse: values without a meaning, in each register that knows some.
func TestRefusedMSRs(t *testing.T) {
	r := newRig(t)
	r.long(0)
	for _, tt := range []struct {
		n    uint32
		v    uint64
		want bool
	}{
		{0x400, 0, true},
		{0x400, all64, true},
		{0x400, 1, false},
		{0x401, 1, false},
		{0x402, 0xaaaa, true},
		{0x200, 6, true},
		{0x200, 2, false},
		{0x200, 7, false},
		{0x200, 1 << 8, false},
		{0x201, 1 << 11, true},
		{0x201, 1, false},
		{0x250, 0x0606060606060606, true},
		{0x250, 2, false},
		{0x277, 7, true},
		{0x277, 2, false},
		{0x277, 8, false},
		{0x2ff, 0xc06, true},
		{0x2ff, 3, false},
		{0x2ff, 1 << 12, false},
		{0xfe, 0, false},
		{0xc0000100, 1 << 47, false},
		{0xc0000100, 0xffff800000000000, true},
		{0x1d9, 4, false},
		{0x6e1, 0, false},
		{0x174, 1 << 32, false},
		{0xc0000103, 1 << 32, false},
		{0xc0000084, 1 << 32, false},
	} {
		assert.Equal(t, tt.want, r.writeMSR(tt.n, tt.v), "%#x = %#x", tt.n, tt.v)
	}
}

// With 5-level paging possible, registers take its addresses whether it is on or
// not; accesses and the instruction pointer do not.
func TestWideAddresses(t *testing.T) {
	const wide = 0x00ffffffffff0000
	r := newRig(t)
	r.long(0)
	assert.False(t, r.writeMSR(0xc0000101, wide))
	r.model, _ = LookupModel("max")
	for _, n := range []uint32{0x175, 0x176, 0xc0000082, 0xc0000083, 0xc0000100, 0xc0000101, 0xc0000102} {
		assert.True(t, r.writeMSR(n, wide), "%#x", n)
		assert.False(t, r.writeMSR(n, wide<<1), "%#x", n)
	}
	assert.False(t, r.canonical(wide))
	r.put(rigCode, "65 8b042500000000") // mov eax, gs:[0]
	r.Step()
	assert.Equal(t, isr(vecGP), r.RIP)
}

// LGDT and LIDT with 16-bit operands load 24 bits of base; SGDT and SIDT store
// all of it at either size [SDM 2 LGDT].
func TestNarrowTables(t *testing.T) {
	for _, tt := range []struct {
		code string
		base uint64
	}{
		{"0f01160005 0f01060006", 0x345678},
		{"66 0f01160005 0f01060006", 0x12345678},
		{"0f011e0005 66 0f010e0006", 0x345678},
		{"66 0f011e0005 0f010e0006", 0x12345678},
	} {
		r := newRig(t)
		r.real()
		r.put(0x500, "ffee 78563412")
		r.put(rigCode, tt.code)
		r.steps(2)
		assert.Equal(t, tt.base<<16|0xeeff, r.get64(0x600)&0xffffffffffff, tt.code)
	}
}

// A far call with REX.W pushes 8 bytes each, also where an AMD processor reads an
// offset of 4.
func TestWideFarCall(t *testing.T) {
	for _, tt := range []struct {
		code string
		size uint64
	}{
		{"48ff1c2500050000", 8}, // call far [0x500], REX.W
		{"ff1c2500050000", 4},
	} {
		r := newRig(t)
		r.long(0)
		sp := r.R[RSP]
		r.put64(0x500, rigUser|selCode64<<32)
		r.put(rigCode, tt.code)
		r.steps(1)
		assert.Equal(t, uint64(rigUser), r.RIP)
		assert.Equal(t, sp-2*tt.size, r.R[RSP])
		assert.Equal(t, uint32(rigCode+len(tt.code)/2), r.get32(r.R[RSP]))
		assert.Equal(t, uint32(selCode64), r.get32(r.R[RSP]+tt.size))
	}
}

// REX.W on a far branch: Intel's processors and max read a 64-bit offset, AMD's
// 32 bits of it.
func TestWideFarPointers(t *testing.T) {
	for _, tt := range []struct {
		model string
		want  uint64
	}{{"max", 0x9000}, {"x86-64-v2-intel", 0x9000}, {"x86-64-v2", isr(vecGP)}} {
		r := newRig(t)
		r.model, _ = LookupModel(tt.model)
		r.amd = r.model.amd()
		r.long(0)
		r.put64(0x500, 0x9000, selCode64)
		r.put(rigCode, "48ff2c2500050000") // jmp far [0x500]
		r.Step()
		assert.Equal(t, tt.want, r.RIP, tt.model)
	}
}
