package cpu

import (
	"encoding/binary"
	"encoding/hex"
	"math/bits"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"godwit/cpu/isa"
)

func TestModelsHaveHandlers(t *testing.T) {
	for _, m := range Models {
		for i := range isa.Rows {
			r := &isa.Rows[i]
			if r.Attrs&isa.AttrAVX != 0 && !m.on["avx"] {
				continue // AES and PCLMULQDQ with VEX
			}
			if r.CPUID != 0 && m.has[r.CPUID] && handlers[r.Op] == nil {
				t.Errorf("%s has %s, but %s (%s) has no handler", m.Name, isa.Features[r.CPUID], r.Text, r.Enc)
			}
		}
	}
}

// Every name in a model is a CPUID bit or selects instructions, and every bit
// has one name.
func TestFeatureTable(t *testing.T) {
	type place struct {
		cpuidReg
		bit uint8
	}
	known, bits := map[string]bool{"ospke": true}, map[place]string{}
	for i := range features {
		f := &features[i]
		assert.False(t, known[f.name], f.name)
		known[f.name] = true
		p := place{f.cpuidReg, f.bit}
		assert.Empty(t, bits[p], "%s has the bit of another", f.name)
		bits[p] = f.name
	}
	for _, m := range Models {
		for _, name := range m.Features() {
			assert.True(t, known[name], name)
		}
	}
	_, err := LookupModel("pentium")
	assert.ErrorContains(t, err, `cpu model "pentium"`)
}

// TestPVClock checks that the page tells the time that RDTSC does.
func TestPVClock(t *testing.T) {
	r := newRig(t)
	r.long(0)
	r.SetWallClock(0x12345678)
	r.TSCAdjust = 1000
	require.True(t, r.writeMSR(msrWallClock, 0x8000))
	require.True(t, r.writeMSR(msrSystemTime, 0x9000|1))
	v, ok := r.readMSR(msrSystemTime)
	require.True(t, ok)
	require.Equal(t, uint64(0x9001), v)
	var b [32]byte
	r.m.Read(0x8000, b[:12])
	assert.Equal(t, "020000007856341200000000", hex.EncodeToString(b[:12]))
	r.m.Read(0x9000, b[:])
	le := binary.LittleEndian
	for _, ns := range []uint64{0, 1, 999, 1 << 40} {
		delta := (ns + 1000 - le.Uint64(b[8:])) << b[28]
		hi, lo := bits.Mul64(delta, uint64(le.Uint32(b[24:])))
		assert.Equal(t, ns, le.Uint64(b[16:])+hi<<32|lo>>32)
	}
	assert.Equal(t, byte(1), b[29], "stable")
}

func TestCPUID(t *testing.T) {
	r := newRig(t)
	r.long(0)
	v := func(leaf, sub uint32) [4]uint32 { return r.cpuid(leaf, sub) }
	b, d, e := vendorWords("AuthenticAMD")
	assert.Equal(t, [4]uint32{maxLeaf, b, e, d}, v(0, 0))
	assert.Equal(t, v(1, 0)[eax], v(0x80000001, 0)[eax])
	assert.Equal(t, uint32(0x00a00f11), v(1, 0)[eax])
	assert.Equal(t, uint32(0x3028), v(0x80000008, 0)[eax])
	assert.Equal(t, uint32(1<<8), v(0x80000007, 0)[edx]&(1<<8), "invariant TSC")
	assert.Equal(t, [4]uint32{}, v(0x17, 0))
	assert.Equal(t, [4]uint32{0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d}, v(0x40000000, 0))
	assert.Equal(t, [4]uint32{1<<3 | 1<<24}, v(0x40000001, 0))
	assert.Equal(t, [4]uint32{}, v(0x40000002, 0))
	assert.Equal(t, [4]uint32{}, v(0x80000022, 0))
	assert.Equal(t, [4]uint32{}, v(7, 1))

	r.CR4 &^= cr4OSXSAVE
	assert.Zero(t, v(1, 0)[ecx]>>27&1)
	r.CR4 |= cr4OSXSAVE | cr4PKE
	assert.NotZero(t, v(1, 0)[ecx]>>27&1)
	assert.NotZero(t, v(7, 0)[ecx]>>4&1)
	assert.NotZero(t, v(1, 0)[edx]>>9&1)
	r.lapic.base &^= 1 << 11
	assert.Zero(t, v(1, 0)[edx]>>9&1, "APIC disabled")

	r.XCR0 = xX87
	assert.Equal(t, uint32(576), v(0xd, 0)[ebx])
	assert.Equal(t, uint32(840), v(0xd, 0)[ecx])
	r.XCR0 = xX87 | xSSE | xPKRU
	assert.Equal(t, uint32(840), v(0xd, 0)[ebx])
	assert.Equal(t, uint32(584), v(0xd, 1)[ebx])
	assert.Equal(t, [4]uint32{8, 832, 0, 0}, v(0xd, 9))
	assert.Equal(t, [4]uint32{}, v(0xd, 2))

	r.put(rigCode, "0fa2")
	r.R[RAX], r.R[RCX] = 0xffffffff_80000000, 5
	r.Step()
	assert.Equal(t, uint64(maxExtLeaf), r.R[RAX])
}

func TestTopology(t *testing.T) {
	r := newRig(t)
	for i := 1; i < 3; i++ {
		New(i, r.model, r.m, r.shared, r.bus, r.lapic)
	}
	c := r.shared.cpus[2]
	require.Equal(t, WaitSIPI, c.Activity)
	assert.Equal(t, uint32(2<<24|3<<16|8<<8), c.cpuid(1, 0)[ebx])
	assert.Equal(t, [4]uint32{2, 3, 2<<8 | 1, 2}, c.cpuid(0xb, 1))
	assert.Equal(t, uint32(2<<12|2), c.cpuid(0x80000008, 0)[ecx])
	assert.Equal(t, uint32(2), c.cpuid(0x8000001e, 0)[eax])
	c.SIPI(0x9a)
	assert.Equal(t, Running, c.Activity)
	assert.Equal(t, uint64(0x9a000), c.Seg[isa.CS].Base+c.RIP)
	c.SIPI(0x10)
	assert.Equal(t, uint64(0x9a000), c.Seg[isa.CS].Base, "no second start")
}

// Storage registers keep exactly the bits of their mask, and refuse others.
func TestStoredMSRs(t *testing.T) {
	r := newRig(t)
	r.long(0)
	for i := range msrTable {
		m := &msrTable[i]
		if m.at == nil || m.write != nil || m.need != "" && !r.model.feature(m.need) {
			continue
		}
		require.True(t, r.writeMSR(m.n, m.mask), "%s %#x", m.name, m.n)
		v, ok := r.readMSR(m.n)
		require.True(t, ok, m.name)
		assert.Equal(t, m.mask, v, m.name)
		if m.mask != all64 {
			bad := ^m.mask & (m.mask + 1)
			assert.False(t, r.writeMSR(m.n, m.mask|bad), "%s bit %#x", m.name, bad)
		}
	}
}

func TestMSRRules(t *testing.T) {
	tests := []struct {
		name string
		n    uint32
		v    uint64
		ok   bool
	}{
		{"PAT", 0x277, 0x0007040600070401, true},
		{"PAT reserved type", 0x277, 2, false},
		{"default type", 0x2ff, 0xc06, true},
		{"default type reserved", 0x2ff, 0x100, false},
		{"default type UC-", 0x2ff, 7, false},
		{"fixed range", 0x250, 0x0606060606060606, true},
		{"fixed range type", 0x250, 0x0706060606060606, false},
		{"LSTAR", 0xc0000082, 0xffff800000000000, true},
		{"LSTAR not canonical", 0xc0000082, 0x0000800000000000, false},
		{"EFER without LME under paging", 0xc0000080, eferSCE | eferNXE, false},
		{"EFER LMA is ignored", 0xc0000080, eferLME | eferNXE, true},
		{"EFER SVME", 0xc0000080, eferLME | 1<<12, false},
		{"machine check status", 0x401, 0, true},
		{"machine check status set", 0x401, 1, false},
		{"barrier", 0x49, 1, true},
		{"asynchronous page faults", 0x4b564d02, 0x12345043, true},
		{"asynchronous page faults, reserved", 0x4b564d02, 0x12345053, false},
		{"read-only", 0x10a, 0, false},
		{"unknown", 0x12345, 0, false},
		{"x2APIC off", 0x802, 0, false},
		{"no such feature", 0xda0, 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			r.long(0)
			assert.Equal(t, tt.ok, r.writeMSR(tt.n, tt.v))
		})
	}
	r := newRig(t)
	_, ok := r.readMSR(0x12345)
	assert.False(t, ok)
	assert.Equal(t, uint64(1), r.stats.UnknownMSRs)
	assert.Equal(t, uint32(0x12345), r.stats.LastMSR)
}

func TestTSC(t *testing.T) {
	r := newRig(t)
	r.long(3)
	r.put(rigCode, "0f31")
	require.True(t, r.writeMSR(0x10, 1000)) // the bus counts 10 per read
	r.Step()
	assert.Equal(t, uint64(1010), r.R[RAX])
	r.CR4 |= cr4TSD
	r.RIP = rigCode
	r.Step()
	assert.Equal(t, isr(vecGP), r.RIP)
}

func TestFSBaseMSR(t *testing.T) {
	r := newRig(t)
	r.long(0)
	r.put(rigCode, "b9000100c0 b800100000 ba00000000 0f30 64488b0425 08000000 0f01f8")
	r.put64(0x1008, 0x1122)
	r.steps(5)
	assert.Equal(t, uint64(0x1122), r.R[RAX])
	r.KernelGSBase = 0xffff800000000000
	r.steps(1)
	assert.Equal(t, uint64(0xffff800000000000), r.R[regGS])
}

func TestControlRegisters(t *testing.T) {
	tests := []struct {
		name string
		ok   bool
		set  func(r *rig) bool
	}{
		{"cr0 upper half", false, func(r *rig) bool { return r.setCR0(r.CR0 | 1<<32) }},
		{"cr0 nw without cd", false, func(r *rig) bool { return r.setCR0(r.CR0 | cr0NW) }},
		{"cr0 paging off in 64-bit code", false, func(r *rig) bool { return r.setCR0(r.CR0 &^ cr0PG) }},
		{"cr0 ts", true, func(r *rig) bool { return r.setCR0(r.CR0 | cr0TS) }},
		{"cr3 beyond physical addresses", false, func(r *rig) bool { return r.setCR3(1 << 40) }},
		{"cr3 no flush without pcid", false, func(r *rig) bool { return r.setCR3(rigPML4 | 1<<63) }},
		{"cr4 pae off", false, func(r *rig) bool { return r.setCR4(r.CR4 &^ cr4PAE) }},
		{"cr4 la57 missing", false, func(r *rig) bool { return r.setCR4(r.CR4 | cr4LA57) }},
		{"cr4 vmxe", false, func(r *rig) bool { return r.setCR4(r.CR4 | 1<<13) }},
		{"cr4 pcide", true, func(r *rig) bool { return r.setCR4(r.CR4|cr4PCIDE) && r.setCR3(rigPML4|5|1<<63) && r.CR3 == rigPML4|5 }},
		{"cr4 pcide with a pcid", false, func(r *rig) bool { return r.setCR3(rigPML4|8) && r.setCR4(r.CR4|cr4PCIDE) }},
		{"cr4 smap", true, func(r *rig) bool { return r.setCR4(r.CR4|cr4SMAP) && r.mmu == mmuKernel }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			r.long(0)
			assert.Equal(t, tt.ok, tt.set(r))
		})
	}
}

func TestDebugRegisters(t *testing.T) {
	r := newRig(t)
	r.long(0)
	r.put(rigCode, "0f23f0 0f21f0 0f23f8 0f21c0") // mov dr6, rax; mov rax, dr6; mov dr7, rax; mov rax, dr0
	r.R[RAX] = 0xf
	r.steps(2)
	assert.Equal(t, uint64(dr6One|0xf), r.R[RAX])
	r.R[RAX] = dr7GD
	r.steps(2)
	assert.Equal(t, isr(vecDB), r.RIP)
	assert.Equal(t, uint64(dr6One|dr6BD), r.DR[6])
	assert.Equal(t, uint64(dr7One), r.DR[7], "GD is lifted")
	assert.Equal(t, uint64(rigCode+9), r.get64(r.R[RSP]), "a fault")
}

func TestRestored(t *testing.T) {
	r := newRig(t)
	r.long(3)
	r.V[7][1], r.ST[2].SE, r.MSRs.MTRRVar[3] = 5, 6, 7
	b, err := cbor.Marshal(&r.Arch)
	require.NoError(t, err)
	s := newRig(t)
	require.NoError(t, cbor.Unmarshal(b, &s.Arch))
	require.NoError(t, s.Restored())
	assert.Equal(t, r.Arch, s.Arch)
	assert.Equal(t, isa.Mode64, s.mode)
	assert.Equal(t, mmuUser, s.mmu)

	for name, spoil := range map[string]func(a *Arch){
		"cpl":               func(a *Arch) { a.CPL = 4 },
		"activity":          func(a *Arch) { a.Activity = 4 },
		"interrupt shadow":  func(a *Arch) { a.Shadow = 2 },
		"cr3":               func(a *Arch) { a.CR3 = 1 << 50 },
		"cr4":               func(a *Arch) { a.CR4 = 1 << 13 },
		"efer":              func(a *Arch) { a.EFER &^= eferLMA },
		"rflags":            func(a *Arch) { a.RFLAGS = 1 << 40 },
		"rflags is 0x20002": func(a *Arch) { a.RFLAGS = flagVM | flagsFixed },
		"mxcsr":             func(a *Arch) { a.MXCSR = 1 << 16 },
	} {
		s := newRig(t)
		s.Arch = r.Arch
		spoil(&s.Arch)
		assert.ErrorContains(t, s.Restored(), "cpu0: "+name)
	}
}

func TestResetAndInit(t *testing.T) {
	r := newRig(t)
	assert.Equal(t, uint64(0xfffffff0), r.Seg[isa.CS].Base+r.RIP)
	assert.Equal(t, uint64(0x60000010), r.CR0)
	assert.Equal(t, uint64(0x00a00f11), r.R[RDX])
	r.long(3)
	r.V[1][0], r.PAT, r.LSTAR = 5, 0x0606060606060606, 77
	r.Init()
	assert.Equal(t, isa.Mode16, r.mode)
	assert.Equal(t, uint64(cr0ET), r.CR0)
	assert.Equal(t, []uint64{5, 0x0606060606060606, 77, 0}, []uint64{r.V[1][0], r.PAT, r.LSTAR, r.EFER})
}

func TestIntelCaches(t *testing.T) {
	r := newRig(t)
	var err error
	r.model, err = LookupModel("x86-64-v2-intel")
	require.NoError(t, err)
	assert.Equal(t, uint32(0x000806f8), r.cpuid(1, 0)[eax])
	for sub, size := range []uint32{32 << 10, 32 << 10, 512 << 10, 16 << 20, 0} {
		v := r.cpuid(4, uint32(sub))
		if size == 0 {
			assert.Zero(t, v[eax]&31)
			continue
		}
		assert.Equal(t, size, (v[ebx]>>22+1)*(v[ebx]&0xfff+1)*(v[ecx]+1))
	}
}

// A model takes changes after its name: CPUID, CR4 and instructions follow.
func TestModelChanges(t *testing.T) {
	m, err := LookupModel("max,-pcid,+spec_ctrl")
	require.NoError(t, err)
	assert.Equal(t, "max,-pcid,+spec_ctrl", m.Name)
	assert.Zero(t, m.cr4&cr4PCIDE)
	assert.Zero(t, m.words[cpuidReg{1, 0, ecx}]>>17&1, "pcid")
	assert.NotZero(t, m.words[cpuidReg{7, 0, edx}]>>26&1, "spec_ctrl")
	whole, err := LookupModel("max")
	require.NoError(t, err)
	assert.NotZero(t, whole.cr4&cr4PCIDE, "the model itself stays")
	for _, bad := range []string{"max,", "max,pcid", "max,+avx512f", "max,-", "8086,-pcid"} {
		_, err := LookupModel(bad)
		assert.Error(t, err, bad)
	}
}

// Stock kernels and system tests read or write these in their first second, some
// of them where a fault is fatal. Those with a feature of their own in CPUID are
// there with it; those of the local APIC answer as it does.
func TestMSRChecklist(t *testing.T) {
	ranges := [][2]uint32{
		{0x10, 0x10},
		{0x17, 0x17},
		{0x1b, 0x1b},
		{0x34, 0x34},
		{0x3a, 0x3b},
		{0x48, 0x49},
		{0x8b, 0x8b},
		{0xce, 0xce},
		{0xfe, 0xfe},
		{0x10a, 0x10a},
		{0x140, 0x140},
		{0x174, 0x176},
		{0x179, 0x17b},
		{0x1a0, 0x1a0},
		{0x1d9, 0x1d9},
		{0x200, 0x20f},
		{0x250, 0x250},
		{0x258, 0x259},
		{0x268, 0x26f},
		{0x277, 0x277},
		{0x2ff, 0x2ff},
		{0x400, 0x40f},
		{0x6e0, 0x6e0},
		{0x800, 0x83f},
		{0xda0, 0xda0},
		{0x4b564d00, 0x4b564d02},
		{0xc0000080, 0xc0000084},
		{0xc0000100, 0xc0000103},
		{0xc0010010, 0xc0010010},
		{0xc0010015, 0xc0010015},
		{0xc001001a, 0xc001001a},
		{0xc001001d, 0xc001001d},
		{0xc001001f, 0xc001001f},
		{0xc0010055, 0xc0010055},
		{0xc0010140, 0xc0010141},
		{0xc0011020, 0xc0011020},
		{0xc0011029, 0xc0011029},
	}
	for _, m := range Models {
		r := newRig(t)
		r.model = m
		r.long(0)
		for _, w := range ranges {
			for n := w[0]; n <= w[1]; n++ {
				e := msrs[n]
				if !assert.NotNil(t, e, "msr %#x", n) || e.need != "" && !m.feature(e.need) || n == 0x49 || n == msrDeadline || n >= 0x800 && n < 0x840 {
					continue
				}
				_, ok := r.readMSR(n)
				assert.True(t, ok, "%s: msr %#x", m.Name, n)
			}
		}
	}
}

// TestBranchHistory: Intel's models have the bit of SPEC_CTRL that keeps Linux
// from clearing the branch history by a loop, others do not.
func TestBranchHistory(t *testing.T) {
	for _, m := range Models {
		r := newRig(t)
		r.model, r.amd = m, m.amd()
		want := uint32(0)
		if !m.amd() {
			want = 1 << 4
		}
		assert.Equal(t, want, r.cpuid(7, 2)[edx], m.Name)
		assert.Equal(t, want != 0, r.cpuid(7, 0)[eax] >= 2, m.Name)
		assert.Equal(t, want != 0, specCtrl(r.CPU, 1<<10), m.Name)
		assert.True(t, specCtrl(r.CPU, 7), m.Name)
		assert.False(t, specCtrl(r.CPU, 1<<11), m.Name)
	}
}
