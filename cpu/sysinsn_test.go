package cpu

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"godwit/cpu/isa"
)

// One system instruction in 64-bit mode at level 0, registers before and after.
func TestSystemInstructions(t *testing.T) {
	tests := []struct {
		name, code string
		set        func(r *rig)
		check      func(t *testing.T, r *rig)
	}{
		{"lar data", "0f02c1", rcx(selUserDS), func(t *testing.T, r *rig) {
			assert.Equal(t, uint64(0x00c0f300), r.R[RAX]&0x00f0ff00)
			assert.NotZero(t, r.RFLAGS&flagZF)
		}},
		{"lar absent", "0f02c1", rcx(0xf8), unseen},
		{"lar null", "0f02c1", rcx(0), unseen},
		{"lsl", "480f03c1", rcx(selData), func(t *testing.T, r *rig) { assert.Equal(t, uint64(0xffffffff), r.R[RAX]) }},
		{"lsl tss", "480f03c1", rcx(selTSS), func(t *testing.T, r *rig) { assert.Equal(t, uint64(0x67), r.R[RAX]) }},
		{"verr", "0f00e1", rcx(selCode64), func(t *testing.T, r *rig) { assert.NotZero(t, r.RFLAGS&flagZF) }},
		{"verw code", "0f00e9", rcx(selCode64), unseen},
		{"verw data", "0f00e9", rcx(selData), func(t *testing.T, r *rig) { assert.NotZero(t, r.RFLAGS&flagZF) }},
		{"sgdt", "0f01042500f00000", nil, func(t *testing.T, r *rig) {
			assert.Equal(t, uint16(0xff), r.get16(0xf000))
			assert.Equal(t, uint64(rigGDT), r.get64(0xf002))
		}},
		{"sldt clears the upper half", "0f00c0", rax(^uint64(0)), func(t *testing.T, r *rig) { assert.Equal(t, uint64(0), r.R[RAX]) }},
		{"str", "0f00c8", nil, func(t *testing.T, r *rig) { assert.Equal(t, uint64(selTSS), r.R[RAX]) }},
		{"smsw", "480f01e0", nil, func(t *testing.T, r *rig) { assert.Equal(t, r.CR0, r.R[RAX]) }},
		{"lmsw keeps pe", "0f01f0", rax(cr0TS), func(t *testing.T, r *rig) {
			assert.Equal(t, uint64(cr0PE|cr0TS), r.CR0&(cr0PE|cr0MP|cr0TS))
		}},
		{"clts", "0f06", func(r *rig) { r.CR0 |= cr0TS }, func(t *testing.T, r *rig) { assert.Zero(t, r.CR0&cr0TS) }},
		{"mov fs, sel", "8ee1", rcx(selData), func(t *testing.T, r *rig) { assert.Equal(t, uint16(selData), r.Seg[isa.FS].Sel) }},
		{
			"mov fs, null clears the base", "8ee1", func(r *rig) { r.Seg[isa.FS].Base = 5; r.R[RCX] = 0 },
			func(t *testing.T, r *rig) { assert.Equal(t, uint64(0), r.R[regFS]) },
		},
		{"lfs, whose offset is never wider than 32 bits on AMD", "480fb40c2500f00000", func(r *rig) { r.put64(0xf000, 0x9abcdef0|selData<<32) }, func(t *testing.T, r *rig) {
			assert.Equal(t, uint64(0x9abcdef0), r.R[RCX])
			assert.Equal(t, uint16(selData), r.Seg[isa.FS].Sel)
		}},
		{
			"wrfsbase", "f3480faed1", func(r *rig) { r.CR4 |= cr4FSGSBASE; r.R[RCX] = 0xffff800000001234 },
			func(t *testing.T, r *rig) { assert.Equal(t, uint64(0xffff800000001234), r.R[regFS]) },
		},
		{
			"rdgsbase 32", "f30faec9", func(r *rig) { r.CR4 |= cr4FSGSBASE; r.Seg[isa.GS].Base = 0x1234567890 },
			func(t *testing.T, r *rig) { assert.Equal(t, uint64(0x34567890), r.R[RCX]) },
		},
		{"rdtscp", "0f01f9", func(r *rig) { r.TSCAux = 7 }, func(t *testing.T, r *rig) {
			assert.Equal(t, []uint64{10, 7, 0}, []uint64{r.R[RAX], r.R[RCX], r.R[RDX]})
		}},
		{"rdpid", "f3480fc7f9", func(r *rig) { r.TSCAux = 9 }, func(t *testing.T, r *rig) { assert.Equal(t, uint64(9), r.R[RCX]) }},
		{"rdrand", "660fc7f1", rcx(0xffff0000), func(t *testing.T, r *rig) {
			assert.Equal(t, uint64(0xffffcdef), r.R[RCX])
			assert.Equal(t, uint64(flagCF), r.RFLAGS&flagsStatus)
		}},
		{"xsetbv", "0f01d1", func(r *rig) { r.R[RAX] = 3 }, func(t *testing.T, r *rig) { assert.Equal(t, uint64(3), r.XCR0) }},
		{"xgetbv", "0f01d0", func(r *rig) { r.XCR0 = 0x203; r.R[RDX] = 5 }, func(t *testing.T, r *rig) {
			assert.Equal(t, []uint64{0x203, 0}, []uint64{r.R[RAX], r.R[RDX]})
		}},
		{
			"wrpkru", "0f01ef", func(r *rig) { r.CR4 |= cr4PKE; r.R[RAX] = 0x55555554 },
			func(t *testing.T, r *rig) { assert.Equal(t, uint32(0x55555554), r.PKRU) },
		},
		{"invpcid", "660f38820c2500f00000", func(r *rig) { r.R[RCX] = 2 }, nil},
		{"invlpg beyond", "0f013c2500000040", nil, nil},
		{"mov cr8", "440f22c1", rcx(9), func(t *testing.T, r *rig) { assert.Equal(t, uint8(9), r.lapic.tpr) }},
		{"mov from cr8", "440f20c1", func(r *rig) { r.lapic.tpr = 4 }, func(t *testing.T, r *rig) { assert.Equal(t, uint64(4), r.R[RCX]) }},
		{"lahf", "9f", func(r *rig) { r.RFLAGS |= flagCF | flagSF }, func(t *testing.T, r *rig) { assert.Equal(t, uint64(0x8300), r.R[RAX]) }},
		{"sahf", "9e", rax(0xff00), func(t *testing.T, r *rig) { assert.Equal(t, uint64(0xd5), r.RFLAGS&flagsStatus) }},
		{"cmc", "f5", nil, func(t *testing.T, r *rig) { assert.NotZero(t, r.RFLAGS&flagCF) }},
		{"std", "fd", nil, func(t *testing.T, r *rig) { assert.NotZero(t, r.RFLAGS&flagDF) }},
		{"stac", "0f01cb", func(r *rig) { r.CR4 |= cr4SMAP; r.changed() }, func(t *testing.T, r *rig) { assert.Equal(t, mmuKernelAC, r.mmu) }},
		{"clflush", "0fae3c2500f00000", nil, nil},
		{"prefetch of nothing", "0f180c2500000040", nil, nil},
		{"fninit", "dbe3", func(r *rig) { r.FCW = 0 }, func(t *testing.T, r *rig) { assert.Equal(t, uint16(fcwInit), r.FCW) }},
		{"fnstsw", "dfe0", func(r *rig) { r.FSW = 0x1234 }, func(t *testing.T, r *rig) { assert.Equal(t, uint64(0x1234), r.R[RAX]) }},
		{"fldcw unmasks", "d92c2500f00000", func(r *rig) { r.FSW = 1; r.put64(0xf000, 0x37e) }, func(t *testing.T, r *rig) {
			assert.Equal(t, uint16(0x8081), r.FSW)
		}},
		{"stmxcsr", "0fae1c2500f00000", nil, func(t *testing.T, r *rig) { assert.Equal(t, uint32(mxcsrReset), r.get32(0xf000)) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			r.long(0)
			if tt.set != nil {
				tt.set(r)
			}
			r.put(rigCode, tt.code)
			r.Step()
			require.Equal(t, uint64(rigCode+len(tt.code)/2), r.RIP)
			if tt.check != nil {
				tt.check(t, r)
			}
		})
	}
}

func rax(v uint64) func(*rig) { return func(r *rig) { r.R[RAX] = v } }
func rcx(v uint64) func(*rig) { return func(r *rig) { r.R[RCX] = v } }

// unseen: ZF is clear and the destination unchanged.
func unseen(t *testing.T, r *rig) {
	assert.Zero(t, r.RFLAGS&flagZF)
	assert.Zero(t, r.R[RAX])
}

// The same instructions where they must be refused.
func TestSystemInstructionsRefused(t *testing.T) {
	tests := []struct {
		name, code string
		cpl        uint8
		set        func(r *rig)
		vec        uint64
	}{
		{"umip", "0f00c8", 3, func(r *rig) { r.CR4 |= cr4UMIP }, vecGP},
		{"xsetbv without x87", "0f01d1", 0, rax(2), vecGP},
		{"xsetbv avx", "0f01d1", 0, rax(7), vecGP},
		{"xsetbv user", "0f01d1", 3, rax(3), vecGP},
		{"rdpkru off", "0f01ee", 3, nil, vecUD},
		{"invpcid kind", "660f38820c2500f00000", 0, rcx(4), vecGP},
		{"wrfsbase not canonical", "f3480faed1", 3, func(r *rig) { r.CR4 |= cr4FSGSBASE; r.R[RCX] = 1 << 47 }, vecGP},
		{"mov cr8 beyond", "440f22c1", 0, rcx(16), vecGP},
		{"dr4 with de", "0f21e0", 0, func(r *rig) { r.CR4 |= cr4DE }, vecUD},
		{"dr7 upper half", "0f23f8", 0, rax(1 << 32), vecGP},
		{"lldt ldt bit", "0f00d1", 0, rcx(0x0c), vecGP},
		{"lldt data", "0f00d1", 0, rcx(selData), vecGP},
		{"ltr null", "0f00d9", 0, rcx(0), vecGP},
		{"mov cs", "8ec9", 0, rcx(selData), vecUD},
		{"monitor missing", "0f01c8", 0, nil, vecUD},
		{"sysenter on amd", "0f34", 3, nil, vecUD},
		{"rdpmc", "0f33", 3, nil, vecGP},
		{"ldmxcsr reserved", "0fae142500f00000", 0, func(r *rig) { r.put64(0xf000, 1<<16) }, vecGP},
		{"fxrstor mxcsr", "0fae0c2500f00000", 0, func(r *rig) { r.put64(0xf018, 1<<16) }, vecGP},
		{"#mf pending", "9b", 0, func(r *rig) { r.FSW = 0x8081; r.FCW = 0x37e }, vecMF},
		{"far jump to data", "ff2c2500f00000", 0, func(r *rig) { r.put64(0xf000, selData<<32) }, vecGP},
		{"far jump to user code", "ff2c2500f00000", 0, func(r *rig) { r.put64(0xf000, selUser64<<32) }, vecGP},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			r.long(tt.cpl)
			if tt.set != nil {
				tt.set(r)
			}
			r.put(rigCode, tt.code)
			r.Step()
			require.Equal(t, isr(tt.vec), r.RIP)
		})
	}
}

// SMAP applies to what delivery reads and writes by itself, whatever AC says.
func TestDeliveryUnderSMAP(t *testing.T) {
	r := newRig(t)
	r.long(0)
	r.put(rigCode, "0f0b")
	r.CR4 |= cr4SMAP
	r.RFLAGS |= flagAC
	r.changed()
	r.put64(rigPML4+0x2000, 0x87) // everything is a user page
	r.Step()
	assert.Equal(t, Shutdown, r.Activity, "the IDT is out of reach")
}

func TestCallGate64(t *testing.T) {
	r := newRig(t)
	r.long(3)
	r.put64(rigGDT+selGate, rigUser|selCode64<<16|0xec<<40, 0)
	r.put(rigCode, "ff1c2500f00000") // call far [0xf000]
	r.put64(0xf000, (selGate|3)<<32)
	r.put(rigUser, "48cb")
	r.Step()
	require.Equal(t, uint64(rigUser), r.RIP)
	assert.Equal(t, uint8(0), r.CPL)
	assert.Equal(t, uint64(rigStack-32), r.R[RSP])
	assert.Equal(t, uint16(0), r.Seg[isa.SS].Sel)
	assert.Equal(t, []uint64{rigCode + 7, selUser64, 0x6000, selUserDS},
		[]uint64{r.get64(rigStack - 32), r.get64(rigStack - 24), r.get64(rigStack - 16), r.get64(rigStack - 8)})
	r.Step()
	assert.Equal(t, uint64(rigCode+7), r.RIP)
	assert.Equal(t, uint64(0x6000), r.R[RSP])
	assert.Equal(t, uint8(3), r.CPL)
}

// 64-bit code jumps to compatibility mode, where an interrupt returns to.
func TestCompatibilityMode(t *testing.T) {
	r := newRig(t)
	r.long(3)
	r.put(rigCode, "ff2c2500f00000")
	r.put64(0xf000, selUser32<<32|rigUser)
	r.put(rigUser, "cc 40") // int3; inc eax
	r.put(isr(vecBP), "48cf")
	r.Step()
	require.Equal(t, isa.Mode32, r.mode)
	r.Step()
	require.Equal(t, isa.Mode64, r.mode)
	assert.Equal(t, uint64(selUser32), r.get64(r.R[RSP]+8))
	r.Step()
	require.Equal(t, uint64(rigUser+1), r.RIP)
	require.Equal(t, isa.Mode32, r.mode)
	r.Step()
	assert.Equal(t, uint64(1), r.R[RAX], "40 is no REX prefix here")
}

// In virtual-8086 mode below IOPL 3, VME redirects INT n to the task's own
// vectors, with VIF for IF.
func TestVME(t *testing.T) {
	r := newRig(t)
	r.protected32(0)
	r.CR4 |= cr4VME
	r.RFLAGS = flagsFixed | flagVM | flagVIF | flagIF
	r.CPL = 3
	for i := range r.Seg {
		r.realSegment(i, 0)
	}
	r.changed()
	r.TR.Limit = 0xfff
	r.put64(rigTSS+0x60, 0x0100<<48) // I/O bitmap at 0x100, redirection below
	r.ram[rigTSS+0x100-32+0x31/8] = 1 << (0x31 & 7)
	r.put(0x30*4, "00900000")
	r.put(rigCode, "cd30 cd31")
	r.put(0x9000, "fa 9c 9d fb cf")
	r.Step()
	require.Equal(t, uint64(0x9000), r.RIP)
	assert.NotZero(t, r.get16(r.R[RSP]+4)&flagIF, "VIF in place of IF")
	assert.Zero(t, r.RFLAGS&flagVIF)
	r.RFLAGS |= flagVIF
	r.Step()
	assert.Zero(t, r.RFLAGS&flagVIF, "cli")
	r.Step()
	assert.Zero(t, r.get16(r.R[RSP])&flagIF, "pushf")
	r.steps(2)
	assert.NotZero(t, r.RFLAGS&flagVIF, "sti")
	r.Step()
	assert.Equal(t, uint64(rigCode+2), r.RIP)
	assert.NotZero(t, r.RFLAGS&flagVIF)
	r.Step()
	assert.Equal(t, isr(vecGP), r.RIP, "not redirected: to the monitor")
}

// Hypercalls: by either instruction, refused to user code, unknown numbers said
// to be so; an IPI goes to the APICs that exist.
func TestHypercalls(t *testing.T) {
	for _, tt := range []struct {
		name string
		cpl  uint8
		rax  uint64
		set  uint64
		want int64
		sent int
	}{
		{"unknown", 0, 77, 0, -1000, 0},
		{"user code", 3, 1, 0, -1, 0},
		{"poll", 0, 1, 0, 0, 0},
		{"ipi to all", 0, 10, ^uint64(0), 1, 1},
		{"ipi to nobody there", 0, 10, 0xf0, 0, 0},
	} {
		for _, code := range []string{"0f01c1", "0f01d9"} {
			t.Run(tt.name, func(t *testing.T) {
				r := newRig(t)
				r.long(tt.cpl)
				r.R[RAX], r.R[RBX], r.R[RSI] = tt.rax, tt.set, 0x30
				r.put(rigCode, code)
				r.Step()
				require.Equal(t, uint64(rigCode+3), r.RIP)
				assert.Equal(t, tt.want, int64(r.R[RAX]))
				assert.Len(t, r.lapic.sent, tt.sent)
			})
		}
	}
}
