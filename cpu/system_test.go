package cpu

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"godwit/cpu/isa"
)

// Code from real mode to 64-bit mode as a kernel does it: GDT, CR4, CR3, EFER,
// CR0, far jump, then the TSS and the IDT.
func TestEntersLongMode(t *testing.T) {
	r := newRig(t)
	r.long(0) // writes the tables
	r.Reset()
	r.real()
	r.put(0x500, "ff00 00200000")         // GDTR
	r.put(0x510, "ff0f 0010000000000000") // IDTR
	r.put(rigCode, "fa"+                  // cli
		"0f01160005"+ // lgdt [0x500]
		"66b8a0000000 0f22e0"+ // mov eax, PAE|PGE; mov cr4, eax
		"66b800000100 0f22d8"+ // mov eax, pml4; mov cr3, eax
		"66b9800000c0 66b800090000 6631d2 0f30"+ // EFER = LME|NXE
		"66b8010001800f22c0"+ // cr0 = PG|WP|PE
		"66ea 00900000 0800") // jmp 8:0x9000
	r.put(0x9000, "66b81000 8ed0 8ed8 31c0 8ee0"+ // ss, ds = data; fs = null
		"66b83800 0f00d8"+ // ltr
		"0f011c2510050000"+ // lidt [0x510]
		"48bc 0060000000000000"+ // mov rsp
		"cc f4")
	r.steps(13)
	require.Equal(t, uint64(0x9000), r.RIP)
	assert.Equal(t, isa.Mode64, r.mode)
	assert.NotZero(t, r.EFER&eferLMA)
	r.steps(8)
	assert.Equal(t, uint64(rigTSS), r.TR.Base)
	assert.Equal(t, byte(0x8b), r.ram[rigGDT+selTSS+5], "TSS is busy")
	r.steps(2) // mov rsp; int3
	require.Equal(t, isr(vecBP), r.RIP)
	assert.Equal(t, uint64(0x6000-40), r.R[RSP])
	assert.Equal(t, []uint64{selCode64, flagsFixed | flagZF | flagPF, 0x6000, selData},
		[]uint64{r.get64(0x5fe0), r.get64(0x5fe8), r.get64(0x5ff0), r.get64(0x5ff8)})
}

// One instruction at user or kernel level in 64-bit mode, and the exception it
// raises.
func TestRaises(t *testing.T) {
	tests := []struct {
		name string
		cpl  uint8
		code string
		vec  uint64
		err  uint64
		has  bool
	}{
		{"hlt", 3, "f4", vecGP, 0, true},
		{"cli", 3, "fa", vecGP, 0, true},
		{"in", 3, "e460", vecGP, 0, true},
		{"mov cr0", 3, "0f20c0", vecGP, 0, true},
		{"rdmsr", 3, "0f32", vecGP, 0, true},
		{"lgdt", 3, "0f011425 00050000", vecGP, 0, true},
		{"int 20h", 3, "cd20", vecGP, 0x20<<3 | 2, true},
		{"ud2", 3, "0f0b", vecUD, 0, false},
		{"swapgs", 3, "0f01f8", vecGP, 0, true},
		{"clac", 3, "0f01ca", vecUD, 0, false},
		{"wrfsbase off", 0, "f3480faed0", vecUD, 0, false},
		{"mov cr1", 0, "0f20c8", vecUD, 0, false},
		{"mov ss, null", 3, "31c08ed0", vecGP, 0, true},
		{"mov ss, kernel", 3, "b810000000 8ed0", vecGP, 0x10, true},
		{"mov ds, beyond", 0, "b800f00000 8ed8", vecGP, 0xf000, true},
		{"mov ds, tss", 0, "b838000000 8ed8", vecGP, 0x38, true},
		{"ltr busy", 0, "b838000000 0f00d8 0f00d8", vecGP, 0x38, true},
		{"unknown msr", 0, "b978563412 0f32", vecGP, 0, true},
		{"efer reserved", 0, "b9800000c0 b8ffffffff ba00000000 0f30", vecGP, 0, true},
		{"lstar not canonical", 0, "b9820000c0 ba00008000 0f30", vecGP, 0, true},
		{"pf not present", 3, "8b042500004000", vecPF, pfU, true},
		{"pf write", 0, "89042500004000", vecPF, pfW, true},
		{"not canonical", 0, "48b80000000000800000 8b00", vecGP, 0, true},
		{"stack not canonical", 0, "48bc0000000001800000 50", vecSS, 0, true},
		{"fxsave misaligned", 0, "0fae042504050000", vecGP, 0, true},
		{"sysret user", 3, "480f07", vecGP, 0, true},
		{"iret to nowhere", 0, "48c7042400000000 48c7442408f8ff0000 48cf", vecGP, 0xfff8, true},
		{"div by zero", 3, "31c9 f7f1", vecDE, 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			r.long(tt.cpl)
			r.put(rigCode, tt.code)
			if r.get64(rigGDT+selTSS)>>41&1 == 0 && tt.cpl == 3 {
				r.ram[rigGDT+selTSS+5] = 0x8b
			}
			old := r.R[RSP]
			for n := 0; r.RIP >= rigCode && r.RIP < rigCode+64; n++ {
				require.Less(t, n, 8, "no exception")
				old = r.R[RSP]
				if old>>47 == 1 {
					r.put64(rigIDT+16*vecSS, r.get64(rigIDT+16*vecSS)|1<<32)
					r.put64(rigTSS+tssIST1, 0x5000)
				}
				r.Step()
			}
			require.Equal(t, isr(tt.vec), r.RIP)
			sp := r.R[RSP]
			if tt.has {
				assert.Equal(t, tt.err, r.get64(sp))
				sp += 8
			}
			assert.Equal(t, old, r.get64(sp+24), "saved RSP")
			assert.NotZero(t, r.get64(sp+16)&flagRF, "faults save RF")
			assert.Equal(t, uint8(0), r.CPL)
			if tt.cpl == 3 {
				assert.Equal(t, uint64(selUser64), r.get64(sp+8))
				assert.Equal(t, uint16(0), r.Seg[isa.SS].Sel)
			}
		})
	}
}

func TestDoubleAndTripleFault(t *testing.T) {
	r := newRig(t)
	r.long(0)
	r.put64(rigIDT+16*vecGP, 0) // #GP -> #NP(13*8+2+EXT)... type 0 is #GP: contributory twice
	r.put(rigCode, "8e d8 f4")
	r.R[RAX] = 0xf000
	r.Step()
	require.Equal(t, isr(vecDF), r.RIP)
	assert.Equal(t, uint64(0), r.get64(r.R[RSP]), "error code")
	assert.Equal(t, uint64(1), r.Count)

	r.put64(rigIDT+16*vecDF, 0)
	r.RIP = rigCode
	r.Step()
	assert.Equal(t, Shutdown, r.Activity)
	assert.False(t, r.Interruptible())
}

func TestPageFaultInDelivery(t *testing.T) {
	r := newRig(t)
	r.long(0)
	r.put64(rigIDT+16*vecUD, r.get64(rigIDT+16*vecUD)|1<<32)
	r.put64(rigTSS+tssIST1, 0x400000) // not mapped
	r.put(rigCode, "0f0b")
	r.Step()
	require.Equal(t, isr(vecPF), r.RIP, "benign, then #PF: serially")
	assert.Equal(t, uint64(0x3ffff8), r.CR2)
	assert.Equal(t, uint64(pfW), r.get64(r.R[RSP]))
	assert.Equal(t, uint64(rigCode), r.get64(r.R[RSP]+8))
}

func TestExternalInterrupts(t *testing.T) {
	r := newRig(t)
	r.long(3)
	r.RFLAGS |= flagIF
	r.put(rigCode, "90")
	r.put(isr(0x40), "90 48cf")
	r.Step()
	r.lapic.raise(0x40)
	require.True(t, r.Interrupt())
	assert.Equal(t, isr(0x40), r.RIP)
	assert.Equal(t, uint64(2), r.Count)
	assert.Zero(t, r.RFLAGS&flagIF)
	assert.Equal(t, uint64(rigStack-40), r.R[RSP])
	assert.Zero(t, r.get64(r.R[RSP]+16)&flagRF)
	r.lapic.raise(0x41)
	assert.False(t, r.Interrupt(), "IF is clear")
	r.steps(2) // nop, iretq
	assert.Equal(t, uint64(rigCode+1), r.RIP)
	assert.Equal(t, uint8(3), r.CPL)
	assert.Equal(t, uint64(0x6000), r.R[RSP])
	require.True(t, r.Interrupt())
	assert.Equal(t, isr(0x41), r.RIP)
}

func TestInterruptShadow(t *testing.T) {
	r := newRig(t)
	r.long(0)
	r.put(rigCode, "fb f4 90 8ed0 90") // sti; hlt; nop; mov ss, eax; nop
	r.lapic.raise(0x30)
	r.Step()
	assert.False(t, r.Interruptible(), "after STI")
	r.Step()
	assert.Equal(t, Halted, r.Activity)
	require.True(t, r.Interrupt())
	assert.Equal(t, Running, r.Activity)
	assert.Equal(t, uint64(rigCode+2), r.get64(r.R[RSP]))

	r.RIP, r.RFLAGS, r.R[RAX] = rigCode+3, flagsFixed|flagIF|flagTF, selData
	r.flat(isa.CS, selCode64)
	r.changed()
	r.lapic.raise(0x31)
	r.Step()
	assert.Equal(t, uint64(rigCode+5), r.RIP, "MOV SS holds back traps")
	assert.False(t, r.Interruptible(), "and interrupts")
	r.Step()
	assert.Equal(t, isr(vecDB), r.RIP)
	assert.Equal(t, uint64(dr6One|dr6BS), r.DR[6])
}

func TestNMI(t *testing.T) {
	r := newRig(t)
	r.long(0)
	r.put(isr(vecNMI), "48cf")
	r.NMI()
	r.steps(1)
	assert.Equal(t, isr(vecNMI), r.RIP)
	r.NMI()
	assert.False(t, r.Interruptible(), "blocked until IRET")
	r.Step()
	assert.Equal(t, uint64(rigCode), r.RIP)
	assert.True(t, r.Interruptible())
}

// TestNMIAfterFaultingIRET: IRET to a null selector faults; whether another NMI
// comes before the handler's first instruction depends on the vendor.
func TestNMIAfterFaultingIRET(t *testing.T) {
	for _, amd := range []bool{false, true} {
		r := newRig(t)
		r.long(0)
		r.amd = amd
		r.put(isr(vecNMI), "48cf")
		r.NMI()
		r.steps(1)
		r.NMI()
		r.put64(r.R[RSP]+8, 0) // CS
		r.Step()
		require.Equal(t, isr(vecGP), r.RIP)
		assert.Equal(t, !amd, r.Interruptible())
		assert.Equal(t, amd, r.NMIBlocked)
	}
}

func TestSyscallAndSysret(t *testing.T) {
	r := newRig(t)
	r.long(3)
	r.STAR = 0x0023<<48 | selCode64<<32 // sysret: 64-bit CS 0x33, SS 0x2b
	r.LSTAR, r.FMASK = rigUser, flagIF|flagTF
	r.RFLAGS |= flagIF | flagCF
	r.put(rigCode, "0f05")
	r.put(rigUser, "480f07")
	r.Step()
	assert.Equal(t, uint64(rigUser), r.RIP)
	assert.Equal(t, uint8(0), r.CPL)
	assert.Equal(t, uint64(rigCode+2), r.R[RCX])
	assert.Equal(t, uint64(flagsFixed|flagIF|flagCF), r.R[11])
	assert.Equal(t, uint64(flagsFixed|flagCF), r.RFLAGS)
	assert.Equal(t, uint16(selCode64), r.Seg[isa.CS].Sel)
	assert.Equal(t, uint16(selData), r.Seg[isa.SS].Sel)
	r.Step()
	assert.Equal(t, uint64(rigCode+2), r.RIP)
	assert.Equal(t, uint16(selUser64), r.Seg[isa.CS].Sel)
	assert.Equal(t, uint16(selUserDS), r.Seg[isa.SS].Sel)
	assert.Equal(t, uint64(flagsFixed|flagIF|flagCF), r.RFLAGS)
	assert.Equal(t, uint8(3), r.CPL)
}

func TestProtected32(t *testing.T) {
	r := newRig(t)
	r.protected32(3)
	r.RFLAGS |= flagIF
	r.put(rigCode, "cc 90")
	r.put(isr(vecBP), "cf")
	r.Step()
	require.Equal(t, isr(vecBP), r.RIP)
	sp := uint64(rigStack - 20)
	assert.Equal(t, sp, r.R[RSP])
	assert.Equal(t, []uint32{rigCode + 1, selUser32, flagsFixed | flagIF, 0x6000, selUserDS},
		[]uint32{r.get32(sp), r.get32(sp + 4), r.get32(sp + 8), r.get32(sp + 12), r.get32(sp + 16)})
	assert.Equal(t, uint16(selData), r.Seg[isa.SS].Sel)
	r.flat(isa.FS, selData) // the handler's
	r.Step()
	assert.Equal(t, uint64(rigCode+1), r.RIP)
	assert.Equal(t, uint8(3), r.CPL)
	assert.Equal(t, uint64(0x6000), r.R[RSP])
	assert.Equal(t, Segment{}, r.Seg[isa.FS], "not usable by level 3")
	assert.Equal(t, uint16(selUserDS), r.Seg[isa.DS].Sel)
}

func TestCallGate32(t *testing.T) {
	r := newRig(t)
	r.protected32(3)
	r.put64(rigGDT+selGate, rigUser|selCode32<<16|1<<32|0xec<<40) // one parameter
	r.put(rigCode, "6a77 9a 00000000 5300")                       // push 0x77; call 53:0
	r.put(rigUser, "ca0400")                                      // retf 4
	r.steps(2)
	require.Equal(t, uint64(rigUser), r.RIP)
	assert.Equal(t, uint8(0), r.CPL)
	assert.Equal(t, uint64(rigStack-20), r.R[RSP])
	assert.Equal(t, uint32(0x77), r.get32(rigStack-12))
	assert.Equal(t, uint32(selUser32), r.get32(rigStack-16))
	r.Step()
	assert.Equal(t, uint64(rigCode+9), r.RIP)
	assert.Equal(t, uint8(3), r.CPL)
	assert.Equal(t, uint64(0x6000), r.R[RSP])
}

func TestVM86(t *testing.T) {
	r := newRig(t)
	r.protected32(0)
	r.put(rigCode, "cf")
	frame := []uint32{0, 0x900, flagVM | flagIOPL | flagsFixed, 0x500, 0x40, 0x11, 0x22, 0x33, 0x44}
	for i, v := range frame {
		r.put64(0x6000+uint64(i)*4, uint64(v))
	}
	r.put(0x9000, "cc")
	r.put64(rigIDT+8*vecBP, r.get64(rigIDT+8*vecBP))
	r.Step()
	require.True(t, r.vm86())
	assert.Equal(t, uint64(0x400), r.Seg[isa.SS].Base)
	assert.Equal(t, uint64(0x220), r.Seg[isa.DS].Base)
	assert.Equal(t, isa.Mode16, r.mode)
	r.Step()
	require.Equal(t, isr(vecBP), r.RIP)
	assert.False(t, r.vm86())
	assert.Equal(t, uint32(1), r.get32(r.R[RSP]))
	assert.Equal(t, uint32(0x900), r.get32(r.R[RSP]+4))
	assert.Equal(t, uint32(0x44), r.get32(rigStack-4), "GS")
	assert.Equal(t, uint32(0x11), r.get32(rigStack-16), "ES")
	assert.Equal(t, Segment{}, r.Seg[isa.GS])
}

func TestRealMode(t *testing.T) {
	r := newRig(t)
	r.real()
	r.put(rigCode, "b80010 8ed8 fb cd21 9a 00002009") // mov ax; mov ds; sti; int 21h; call 920:0
	r.put(isr(0x21), "cf")
	r.put(0x9200, "cb")
	r.steps(4)
	assert.Equal(t, uint64(0x10000), r.Seg[isa.DS].Base)
	require.Equal(t, isr(0x21), r.RIP)
	assert.Zero(t, r.RFLAGS&flagIF)
	r.Step()
	assert.NotZero(t, r.RFLAGS&flagIF)
	r.Step()
	assert.Equal(t, uint64(0x9200), r.Seg[isa.CS].Base+r.RIP)
	assert.Equal(t, uint16(rigCode+13), r.get16(r.R[RSP]))
	r.Step()
	assert.Equal(t, uint64(rigCode+13), r.RIP)
	assert.Equal(t, uint64(0x6000), r.R[RSP])
}

func TestIOPermissions(t *testing.T) {
	r := newRig(t)
	r.long(3)
	r.TR.Limit = 0x67 + 0x20
	r.put(rigTSS+tssIOMap, "6800")
	r.ram[rigTSS+0x68+0x60/8] = 0xfe // port 60 allowed, 61 not
	r.put(rigCode, "e460 e560")
	r.Step()
	assert.Equal(t, uint64(0x60), r.R[RAX])
	r.Step()
	assert.Equal(t, isr(vecGP), r.RIP, "four ports from 60")
}

func TestPortOutput(t *testing.T) {
	r := newRig(t)
	r.long(0)
	r.R[RAX], r.R[RDX] = 0x11223344, 0x3f8
	r.put(rigCode, "ee 66ef ef e680")
	r.steps(4)
	assert.Equal(t, []portWrite{{0x3f8, 1, 0x44}, {0x3f8, 2, 0x3344}, {0x3f8, 4, 0x11223344}, {0x80, 1, 0x44}}, r.bus.outs)
	assert.True(t, r.event)
}

func TestPushfPopf(t *testing.T) {
	tests := []struct {
		name   string
		cpl    uint8
		had, v uint64
		want   uint64
		code   string
	}{
		{"kernel", 0, 0, ^uint64(0), flagsUser | flagIF | flagIOPL | flagsFixed, "9d"},
		{"user", 3, flagIF, ^uint64(0) &^ (flagIF | flagTF), flagsUser&^flagTF | flagIF | flagsFixed, "9d"},
		{"user, iopl 3", 3, flagIF | flagIOPL, 0, flagIOPL | flagsFixed, "9d"},
		{"word keeps the upper half", 0, flagID, 0, flagID | flagsFixed, "669d"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			r.long(tt.cpl)
			r.RFLAGS |= tt.had
			r.put64(r.R[RSP], tt.v)
			r.put(rigCode, tt.code)
			r.Step()
			assert.Equal(t, tt.want, r.RFLAGS)
		})
	}
}

func TestFxsaveRoundTrip(t *testing.T) {
	for _, tt := range []struct{ name, save, load string }{
		{"fxsave", "480fae042500f00000", "480fae0c2500f00000"},
		{"xsave", "480fae242500f00000", "480fae2c2500f00000"},
		{"xsavec", "480fc7242500f00000", "480fae2c2500f00000"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			r.long(0)
			r.XCR0 = r.model.xcr0
			r.R[RAX], r.R[RDX] = 0xffffffff, 0xffffffff
			r.put(rigCode, tt.save+tt.load)
			for i := range r.V {
				r.V[i][0], r.V[i][1] = uint64(i)*3+1, uint64(i)<<60|5
			}
			for i := range r.ST {
				r.ST[i] = F80{Mant: 1<<63 | uint64(i), SE: uint16(0x4000 + i)}
			}
			// A pending exception: without one AMD's processors save no pointers.
			r.FCW, r.FSW, r.FTW, r.FIP, r.MXCSR = 0x37e, 5<<11|0x8081, 0x5a, 0x123456789abc, 0x9fc0
			want := r.Arch
			r.Step()
			r.V, r.ST, r.FSW, r.FTW, r.FIP, r.MXCSR = [16][4]uint64{}, [8]F80{}, 0, 0, 0, 0
			r.Step()
			assert.Equal(t, want.V, r.V)
			assert.Equal(t, want.ST, r.ST)
			assert.Equal(t, []any{want.FSW, want.FTW, want.FIP, want.MXCSR}, []any{r.FSW, r.FTW, r.FIP, r.MXCSR})
		})
	}
}

func TestXrstorRejectsBadHeaders(t *testing.T) {
	for off, v := range map[uint64]uint64{512: 1 << 40, 520: 1, 528: 1} {
		r := newRig(t)
		r.long(0)
		r.XCR0 = r.model.xcr0
		r.put(rigCode, "0fae2c2500f00000")
		r.put64(0xf000+off, v)
		r.Step()
		assert.Equal(t, isr(vecGP), r.RIP, "offset %d", off)
	}
}

func TestFPUChecks(t *testing.T) {
	tests := []struct {
		name     string
		cr0, cr4 uint64
		code     string
		vec      uint64
	}{
		{"fninit ts", cr0TS, 0, "dbe3", vecNM},
		{"fninit em", cr0EM, 0, "dbe3", vecNM},
		{"fwait mp ts", cr0TS, 0, "9b", vecNM},
		{"ldmxcsr ts", cr0TS, 0, "0fae142500f00000", vecNM},
		{"ldmxcsr em", cr0EM, 0, "0fae142500f00000", vecUD},
		{"ldmxcsr no osfxsr", 0, cr4OSFXSR, "0fae142500f00000", vecUD},
		{"xsave off", 0, cr4OSXSAVE, "0fae242500f00000", vecUD},
		{"emms em", cr0EM, 0, "0f77", vecUD},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			r.long(0)
			r.CR0 |= tt.cr0
			r.CR4 &^= tt.cr4
			r.put(rigCode, tt.code)
			r.Step()
			assert.Equal(t, isr(tt.vec), r.RIP)
		})
	}
}
