package cpu

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"godwit/cpu/fp"
	"godwit/cpu/isa"
)

// vendorRig is a machine of a model in 64-bit mode, with code at its RIP.
func vendorRig(t *testing.T, m *Model, code string) *rig {
	r := newRig(t)
	r.model, r.amd = m, m.amd()
	r.long(0)
	r.put(rigCode, code)
	return r
}

// byModel runs f for every model with what is right for its vendor.
func byModel(t *testing.T, name string, amd, intel uint64, f func(t *testing.T, m *Model, want uint64)) {
	for _, m := range Models {
		want := intel
		if m.amd() {
			want = amd
		}
		t.Run(name+" "+m.Name, func(t *testing.T) { f(t, m, want) })
	}
}

// TestVendorFlags: results that the manuals leave undefined are those of the
// vendor's processors, on both engines; see undefined.go. RAX, RDX and RBX are
// a, d and b; CL is 3, all flags are set.
func TestVendorFlags(t *testing.T) {
	const a, d, b = 0x4123456789abcdef, 0x99, 0xc000000000000007
	for _, tt := range []struct {
		name, code string
		amd, intel uint64
	}{
		{"shl", "48d3e0", 0x14, 0x804},
		{"shl by a constant", "48c1e003", 0x14, 0x804},
		{"shl 32", "c1e003", 0x14, 0x804},
		{"shr", "48d3e8", 0x15, 0x5},
		{"shr 32 by a constant", "c1e805", 0x14, 0x804},
		{"sar by a constant", "48c1f803", 0x15, 0x5},
		{"rol", "48d3c0", 0xd4, 0x8d4},
		{"rol by a constant", "48c1c003", 0xd4, 0x8d4},
		{"rol 32 by a constant", "c1c003", 0xd4, 0x8d4},
		{"rol of memory", "48c10425000500000b", 0x8d5, 0x8d5},
		{"ror 32 by a constant", "c1c803", 0xd5, 0x8d5},
		{"ror by a constant", "48c1c803", 0xd5, 0x8d5},
		{"ror by 1", "48d1c8", 0x8d5, 0x8d5},
		{"rcl", "48d3d0", 0xd4, 0x8d4},
		{"rcr", "48d3d8", 0xd5, 0x8d5},
		{"rcl, a whole turn", "c0d009", 0xd5, 0x8d5},
		{"shld", "480fa5d8", 0x14, 0x804},
		{"shld 16 by 20", "660fa4d814", 0x10, 0x0},
		{"shrd", "480fadd8", 0x95, 0x885},
		{"shrd 16 by 20", "660facd814", 0x814, 0x84},
		{"mul", "48f7e3", 0x8d5, 0x801},
		{"mul 32", "f7e3", 0x8d5, 0x881},
		{"imul", "480fafc3", 0x8d5, 0x801},
		{"imul 32 by a constant", "6bc37f", 0xd4, 0x0},
		{"div", "48f7f0", 0x811, 0x8d5},
		{"lzcnt", "f3480fbdc3", 0x840, 0x40},
	} {
		byModel(t, tt.name, tt.amd, tt.intel, func(t *testing.T, m *Model, want uint64) {
			for _, blocks := range []bool{false, true} {
				r := vendorRig(t, m, tt.code)
				r.R[RAX], r.R[RDX], r.R[RBX], r.R[RCX] = a, d, b, 3
				r.put64(0x500, a)
				r.RFLAGS |= flagsStatus
				if blocks {
					r.CPU.Run(r.Count + 1)
				} else {
					r.Step()
				}
				r.Canonical()
				assert.Equal(t, want, r.RFLAGS&flagsStatus, "blocks %v", blocks)
			}
		})
	}
}

// Where vendors differ, the model's vendor rules.
func TestVendorDifferences(t *testing.T) {
	tests := []struct {
		name, code string
		amd, intel uint64 // RIP afterwards
		set        func(r *rig)
	}{
		{"sysenter in long mode", "0f34", isr(vecUD), rigUser, func(r *rig) { r.SysenterCS, r.SysenterEIP = selCode64, rigUser }},
		{"sysexit in long mode at level 3", "0f35", isr(vecUD), isr(vecGP), func(r *rig) {
			r.SysenterCS, r.CPL = selCode64, 3
			r.changed()
		}},
		{"syscall in compatibility mode", "0f05", rigUser, isr(vecUD), func(r *rig) {
			r.STAR, r.CSTAR = selCode64<<32, rigUser
			r.flat(isa.CS, selUser32)
			r.CPL = 3
			r.changed()
		}},
		{"sysret to nowhere", "480f07", 1 << 47, isr(vecGP), func(r *rig) { r.R[RCX], r.R[11] = 1<<47, flagsFixed }},
		{"fs before its base", "648b00", isr(vecGP), rigCode + 3, func(r *rig) {
			r.R[RAX], r.Seg[isa.FS].Base = 1<<47, 0xffff800000005000
			r.changed()
		}},
		{"near jump with 66", "66e910000000", rigCode + 0x14, rigCode + 0x16, func(*rig) {}},
		{"loopne with f3", "f3e010", rigCode + 0x13, rigCode + 3, func(r *rig) { r.RFLAGS, r.R[RCX] = r.RFLAGS|flagZF, 2 }},
		{"call of no address", "ffd0", isr(vecGP), isr(vecGP), func(r *rig) { r.R[RAX] = 1 << 47 }},
		{"far jump beyond 4 GiB to 32-bit code", "48ff2c2500050000", isr(vecGP), rigUser, func(r *rig) { r.put64(0x500, 1<<32|rigUser, selCode32) }},
		{"ins of none from a port", "f36c", isr(vecGP), isr(vecGP), func(r *rig) {
			r.CPL = 3
			r.changed()
		}},
		{"misaligned over the end of addresses", "488b00", isr(vecGP), isr(vecAC), func(r *rig) { alignmentChecked(r, 1<<47-1) }},
		{"misaligned movdqu", "f30f6f00", isr(vecAC), rigCode + 4, func(r *rig) { alignmentChecked(r, 0x501) }},
		{"misaligned xsave", "0fae20", isr(vecGP), isr(vecAC), func(r *rig) { alignmentChecked(r, 0x501) }},
		{"access around 4 GiB", "8b00", isr(vecGP), rigCode + 2, func(r *rig) {
			r.EFER, r.CR4 = 0, 0
			r.protected32(0)
			r.R[RAX] = 0xfffffffe
		}},
		{"prefetch of a register", "0f0dc0", isr(vecUD), rigCode + 3, func(*rig) {}},
	}
	for _, tt := range tests {
		byModel(t, tt.name, tt.amd, tt.intel, func(t *testing.T, m *Model, want uint64) {
			r := vendorRig(t, m, tt.code)
			tt.set(r)
			r.Step()
			assert.Equal(t, want, r.RIP)
		})
	}
}

// TestVendorResults: the same for what instructions leave behind.
func TestVendorResults(t *testing.T) {
	for _, tt := range []struct {
		name, code string
		amd, intel uint64
		set        func(r *rig)
		get        func(r *rig) uint64
	}{
		{"top of stack after emms", "0f77", 0, 3, func(r *rig) { r.FSW = 3 << 11 }, func(r *rig) uint64 { return uint64(r.FSW >> 11) }},
		{"32-bit push of a selector", "0fa0", selData, 0xaaaa0000 | selData, func(r *rig) {
			r.protected32(0)
			r.flat(isa.FS, selData)
			r.R[RSP] = 0x5004
			r.put64(0x5000, 0xaaaaaaaa)
		}, func(r *rig) uint64 { return uint64(r.get32(0x5000)) }},
		{"rep with a 32-bit count of zero", "67f3a4", 5 << 32, 0, func(r *rig) { r.R[RCX] = 5 << 32 }, func(r *rig) uint64 { return r.R[RCX] }},
		{"what a call of no address pushed", "ffd0", 0x1111, rigCode + 2, func(r *rig) {
			r.R[RAX], r.R[RSP] = 1<<47, 0x5008
			r.put64(0x5000, 0x1111)
		}, func(r *rig) uint64 { return r.get64(0x5000) }},
		{"rdi of rep stos of none", "67f3aa", 5 << 32, 0, func(r *rig) { r.R[RCX], r.R[RDI] = 0, 5<<32 }, func(r *rig) uint64 { return r.R[RDI] }},
		{"bound below its lower bound", "6200", isr(vecPF), isr(vecBR), func(r *rig) {
			r.flat(isa.CS, selCode32)
			r.R[RAX] = 2<<20 - 4
			r.bus.mmio[2<<20-4] = 1 << 30
			r.changed()
		}, func(r *rig) uint64 { return r.RIP }},
		{"nan of dpps", "660f3a40c1f4", 0x7fc00001, 0x7fc00002, func(r *rig) {
			r.V[0], r.V[1] = [4]uint64{0x3f8000003f800000, 0x3f8000003f800000}, [4]uint64{0x7fc000027fc00001, 0}
			r.MXCSR = mxcsrReset
		}, func(r *rig) uint64 { return r.V[0][1] }},
		{"first fault of maskmovdqu", "660ff7c1", 2 << 20, 2<<20 + 6, func(r *rig) { r.R[RDI] = 2<<20 - 2 }, func(r *rig) uint64 { return r.CR2 }},
		{"xsave of nothing before an absent page", "0fae20", isr(vecPF), rigCode + 3, func(r *rig) {
			r.XCR0 = xX87 | xSSE
			r.put64(rigPML4+0x2010, 0x87) // the image begins on the page before, its header on this one
			r.R[RAX] = 4<<20 - headerOff
		}, func(r *rig) uint64 { return r.RIP }},
		{"pause with rex.b", "f34190", 0x99, 0x11, func(r *rig) { r.R[RAX], r.R[8] = 0x11, 0x99 }, func(r *rig) uint64 { return r.R[RAX] }},
		{"iret to code at an inner level, stack at the end of memory", "48cf", isr(vecPF), isr(vecGP), func(r *rig) {
			r.flat(isa.CS, selUser64)
			r.CPL, r.R[RSP] = 3, 2<<20-24
			r.bus.mmio[2<<20-16] = selCode64
			r.bus.mmio[2<<20-24], r.bus.mmio[2<<20-8] = rigUser, flagsFixed
			r.changed()
		}, func(r *rig) uint64 { return r.RIP }},
		{"frame pointer of enter on a 16-bit stack", "c8000000", 0x1fffe, 0xfffe, func(r *rig) {
			r.EFER, r.CR4 = 0, 0
			r.protected32(0)
			r.Seg[isa.SS].Attr &^= segDB
			r.R[RSP] = 0x10002
			r.changed()
		}, func(r *rig) uint64 { return r.R[RBP] }},
		{"ten bytes of which two cannot be written", "db38", 0x11, 0xc000000000000000, func(r *rig) {
			r.FCW, r.FTW, r.ST[0] = fcwInit, 1, F80{3 << 62, 0x3fff}
			r.EFER, r.CR4 = 0, 0
			r.protected32(0)
			r.R[RAX] = 0x4ff8
			r.Seg[isa.DS].Limit = 0x5000
			r.put64(0x4ff8, 0x11)
			r.changed()
		}, func(r *rig) uint64 { return r.get64(0x4ff8) }},
		{"flags of repe cmpsb on its way", "f3a6", flagZF | flagPF, flagCF, func(r *rig) {
			r.R[RCX], r.R[RSI], r.R[RDI] = 2, 0x5000, 0x5000
			r.RFLAGS |= flagCF
		}, func(r *rig) uint64 { return r.RFLAGS & flagsStatus }},
		{"x87 data pointer without an exception", "dd00", 0x5000, 0x77, func(r *rig) { r.R[RAX], r.FDP, r.FCW, r.FTW = 0x5000, 0x77, fcwInit, 0 }, func(r *rig) uint64 { return r.FDP }},
		{"x87 opcode without an exception", "d9e8", 0x1e8, 0x77, func(r *rig) { r.FOP, r.FCW, r.FTW = 0x77, fcwInit, 0 }, func(r *rig) uint64 { return uint64(r.FOP) }},
		{"x87 opcode with an unmasked exception", "d9c0", 0x1c0, 0x1c0, func(r *rig) { r.FOP, r.FCW = 0x77, 0x37e }, func(r *rig) uint64 { return uint64(r.FOP) }},
		{"fscale of a denormal by zero, underflow not masked", "d9fd", fswSummary | uint64(fp.DE|fp.UE), uint64(fp.DE), func(r *rig) {
			r.FCW, r.FTW, r.ST = 0x36f, 3, [8]F80{0: {Mant: 0x3ba7822}}
		}, func(r *rig) uint64 { return uint64(r.FSW) }},
		{"x87 code segment", "d9e8", selCode64, 0, func(*rig) {}, func(r *rig) uint64 { return uint64(r.FCS) }},
		{"far return with a selector at the end of memory", "cb", isr(vecPF), rigUser, func(r *rig) {
			r.R[RSP] = 2<<20 - 6
			r.bus.mmio[2<<20-6], r.bus.mmio[2<<20-2] = rigUser, selCode64
		}, func(r *rig) uint64 { return r.RIP }},
		{"pointers without an exception", "480fae00", 0, 0x1234, func(r *rig) { r.R[RAX], r.FIP = 0x5000, 0x1234 }, func(r *rig) uint64 { return r.get64(0x5008) }},
	} {
		byModel(t, tt.name, tt.amd, tt.intel, func(t *testing.T, m *Model, want uint64) {
			r := vendorRig(t, m, tt.code)
			tt.set(r)
			r.Step()
			assert.Equal(t, want, tt.get(r))
		})
	}
}

// alignmentChecked makes code that of a user with alignment checking on, and RAX
// an address.
func alignmentChecked(r *rig, rax uint64) {
	r.CR0 |= cr0AM
	r.CR4 |= cr4OSXSAVE | cr4OSFXSR
	r.RFLAGS |= flagAC
	r.CPL, r.R[RAX] = 3, rax
	r.changed()
}
