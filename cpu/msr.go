package cpu

import "godwit/cpu/isa"

// MSRs holds the model-specific registers that are only stored: writing them
// changes nothing that this processor does, or only what CPUID-like reads tell.
type MSRs struct {
	MTRRDefType    uint64     `cbor:"1,keyasint"`
	MTRRFixed      [11]uint64 `cbor:"2,keyasint"` // 250, 258, 259, 268-26f
	MTRRVar        [16]uint64 `cbor:"3,keyasint"` // base and mask of eight ranges
	MiscEnable     uint64     `cbor:"4,keyasint"`
	SpecCtrl       uint64     `cbor:"5,keyasint"`
	DebugCtl       uint64     `cbor:"6,keyasint"`
	XSS            uint64     `cbor:"7,keyasint"`
	MCGStatus      uint64     `cbor:"8,keyasint"`
	MCGCtl         uint64     `cbor:"9,keyasint"`
	MCBanks        [16]uint64 `cbor:"10,keyasint"` // CTL, STATUS, ADDR, MISC of four banks
	SysCfg         uint64     `cbor:"11,keyasint"`
	HWCR           uint64     `cbor:"12,keyasint"`
	TopMem         uint64     `cbor:"13,keyasint"`
	TopMem2        uint64     `cbor:"14,keyasint"`
	NBCfg          uint64     `cbor:"15,keyasint"`
	IntPending     uint64     `cbor:"16,keyasint"`
	LSCfg          uint64     `cbor:"17,keyasint"`
	DECfg          uint64     `cbor:"18,keyasint"`
	FeatureControl uint64     `cbor:"19,keyasint"`

	WallClock  uint64 `cbor:"21,keyasint"`
	SystemTime uint64 `cbor:"22,keyasint"`
	// Key 20 was a vector whose delivery waited.

	PKRS    uint64 `cbor:"23,keyasint,omitempty"`
	AsyncPF uint64 `cbor:"24,keyasint,omitempty"`
}

// MSR numbers that other code names [SDM 4 2.1].
const (
	msrAPICBase = 0x1b
	msrDeadline = 0x6e0
	mcBanks     = 4
	mtrrRanges  = 8
)

// msr is one register. With at, it is storage: bits outside mask raise #GP. read
// and write take over where that is not all; a missing one raises #GP.
type msr struct {
	n     uint32
	name  string
	need  string // feature without which it does not exist; "" is none
	at    func(c *CPU) *uint64
	mask  uint64
	read  func(c *CPU) uint64
	write func(c *CPU, v uint64) bool // false: #GP
}

const all64 = ^uint64(0)

// archCapabilities tells that no speculation flaw is to be worked around:
// RDCL_NO, IBRS_ALL, SKIP_L1DFL, SSB_NO, MDS_NO, PSCHANGE_MC_NO, TAA_NO,
// SBDR_SSDP_NO, FBSDP_NO, PSDP_NO, BHI_NO, PBRSB_NO, GDS_NO, RFDS_NO, ITS_NO
// [SDM 4 table 2-2].
const archCapabilities = 1<<0 | 1<<1 | 1<<3 | 1<<4 | 1<<5 | 1<<6 | 1<<8 |
	1<<13 | 1<<14 | 1<<15 | 1<<20 | 1<<24 | 1<<26 | 1<<27 | 1<<62

// msrTable [SDM 4 2.1, PPR 2.1.14]. Ranges follow in init.
var msrTable = []msr{
	{n: 0x10, name: "TSC", read: (*CPU).tsc, write: func(c *CPU, v uint64) bool { c.TSCAdjust = v - c.bus.TSC(); return true }},
	{n: 0x17, name: "PLATFORM_ID", read: constant(0)},
	{n: 0x34, name: "SMI_COUNT", read: constant(0)},
	{n: 0x3a, name: "FEATURE_CONTROL", at: func(c *CPU) *uint64 { return &c.MSRs.FeatureControl }, mask: 0},
	{n: 0x3b, name: "TSC_ADJUST", at: func(c *CPU) *uint64 { return &c.TSCAdjust }, mask: all64},
	{n: 0x48, name: "SPEC_CTRL", at: func(c *CPU) *uint64 { return &c.MSRs.SpecCtrl }, write: specCtrl},
	{n: 0x49, name: "PRED_CMD", write: func(_ *CPU, v uint64) bool { return v&^1 == 0 }},
	{n: 0x8b, name: "BIOS_SIGN_ID", read: microcode, write: ignore},
	{n: 0xce, name: "PLATFORM_INFO", read: constant(0)},
	{n: 0xfe, name: "MTRRCAP", read: constant(1<<10 | 1<<8 | mtrrRanges)},
	{n: 0x10a, name: "ARCH_CAPABILITIES", need: "arch_capabilities", read: constant(archCapabilities)},
	{n: 0x140, name: "MISC_FEATURE_ENABLES", read: constant(0), write: func(_ *CPU, v uint64) bool { return v == 0 }},
	{n: 0x174, name: "SYSENTER_CS", at: func(c *CPU) *uint64 { return &c.SysenterCS }, mask: 0xffffffff},
	{n: 0x175, name: "SYSENTER_ESP", at: func(c *CPU) *uint64 { return &c.SysenterESP }, write: canonicalTo(func(c *CPU) *uint64 { return &c.SysenterESP })},
	{n: 0x176, name: "SYSENTER_EIP", at: func(c *CPU) *uint64 { return &c.SysenterEIP }, write: canonicalTo(func(c *CPU) *uint64 { return &c.SysenterEIP })},
	{n: 0x179, name: "MCG_CAP", read: constant(1<<8 | mcBanks)},
	{n: 0x17a, name: "MCG_STATUS", at: func(c *CPU) *uint64 { return &c.MSRs.MCGStatus }, mask: 7},
	{n: 0x17b, name: "MCG_CTL", at: func(c *CPU) *uint64 { return &c.MSRs.MCGCtl }, mask: all64},
	{n: 0x1a0, name: "MISC_ENABLE", at: func(c *CPU) *uint64 { return &c.MSRs.MiscEnable }, mask: 0x4_00c5_1889},
	{n: 0x1d9, name: "DEBUGCTL", at: func(c *CPU) *uint64 { return &c.MSRs.DebugCtl }, mask: 3},
	{n: 0x277, name: "PAT", at: func(c *CPU) *uint64 { return &c.PAT }, write: writePAT},
	{n: 0x2ff, name: "MTRR_DEF_TYPE", at: func(c *CPU) *uint64 { return &c.MSRs.MTRRDefType }, write: writeDefType},
	{n: 0x6e1, name: "PKRS", need: "pks", at: func(c *CPU) *uint64 { return &c.MSRs.PKRS }, write: (*CPU).writePKRS},
	{n: 0xda0, name: "XSS", need: "xsaves", at: func(c *CPU) *uint64 { return &c.MSRs.XSS }, mask: 0},
	{n: msrWallClock, name: "KVM_WALL_CLOCK_NEW", at: func(c *CPU) *uint64 { return &c.MSRs.WallClock }, write: (*CPU).writeWallClock},
	{n: msrSystemTime, name: "KVM_SYSTEM_TIME_NEW", at: func(c *CPU) *uint64 { return &c.MSRs.SystemTime }, write: (*CPU).writeSystemTime},
	{n: msrAsyncPF, name: "KVM_ASYNC_PF_EN", at: func(c *CPU) *uint64 { return &c.MSRs.AsyncPF }, mask: asyncPFMask},
	{n: 0xc0000080, name: "EFER", at: func(c *CPU) *uint64 { return &c.EFER }, write: (*CPU).setEFER},
	{n: 0xc0000081, name: "STAR", at: func(c *CPU) *uint64 { return &c.STAR }, mask: all64},
	{n: 0xc0000082, name: "LSTAR", at: func(c *CPU) *uint64 { return &c.LSTAR }, write: canonicalTo(func(c *CPU) *uint64 { return &c.LSTAR })},
	{n: 0xc0000083, name: "CSTAR", at: func(c *CPU) *uint64 { return &c.CSTAR }, write: canonicalTo(func(c *CPU) *uint64 { return &c.CSTAR })},
	{n: 0xc0000084, name: "FMASK", at: func(c *CPU) *uint64 { return &c.FMASK }, mask: 0xffffffff},
	{n: 0xc0000100, name: "FS_BASE", at: segBase(isa.FS), write: writeBase(isa.FS)},
	{n: 0xc0000101, name: "GS_BASE", at: segBase(isa.GS), write: writeBase(isa.GS)},
	{n: 0xc0000102, name: "KERNEL_GS_BASE", at: func(c *CPU) *uint64 { return &c.KernelGSBase }, write: canonicalTo(func(c *CPU) *uint64 { return &c.KernelGSBase })},
	{n: 0xc0000103, name: "TSC_AUX", need: "rdtscp", at: func(c *CPU) *uint64 { return &c.TSCAux }, mask: 0xffffffff},
	{n: 0xc0010010, name: "SYSCFG", at: func(c *CPU) *uint64 { return &c.MSRs.SysCfg }, mask: 0xff_ffff},
	{n: 0xc0010015, name: "HWCR", at: func(c *CPU) *uint64 { return &c.MSRs.HWCR }, mask: 0xffff_ffff},
	{n: 0xc001001a, name: "TOP_MEM", at: func(c *CPU) *uint64 { return &c.MSRs.TopMem }, mask: physMask &^ 0x7fffff},
	{n: 0xc001001d, name: "TOP_MEM2", at: func(c *CPU) *uint64 { return &c.MSRs.TopMem2 }, mask: physMask &^ 0x7fffff},
	{n: 0xc001001f, name: "NB_CFG", at: func(c *CPU) *uint64 { return &c.MSRs.NBCfg }, mask: all64},
	{n: 0xc0010055, name: "INT_PENDING", at: func(c *CPU) *uint64 { return &c.MSRs.IntPending }, mask: all64},
	{n: 0xc0010140, name: "OSVW_ID_LENGTH", read: constant(0)},
	{n: 0xc0010141, name: "OSVW_STATUS", read: constant(0)},
	{n: 0xc0011020, name: "LS_CFG", at: func(c *CPU) *uint64 { return &c.MSRs.LSCfg }, mask: all64},
	{n: 0xc0011029, name: "DE_CFG", at: func(c *CPU) *uint64 { return &c.MSRs.DECfg }, mask: all64},
}

// msrs finds a register by number. It is never ranged over.
var msrs = map[uint32]*msr{}

func init() {
	addRanges()
	for i := range msrTable {
		m := &msrTable[i]
		if msrs[m.n] != nil {
			panic("godwit bug: two MSRs with the number of " + m.name)
		}
		msrs[m.n] = m
	}
}

// addRanges adds the local APIC's registers, MTRRs and machine-check banks.
func addRanges() {
	add := func(m msr) { msrTable = append(msrTable, m) }
	add(apicMSR(msrAPICBase, "APIC_BASE"))
	add(apicMSR(msrDeadline, "TSC_DEADLINE"))
	for n := uint32(0x800); n < 0x840; n++ {
		add(apicMSR(n, "X2APIC"))
	}
	for i := uint32(0); i < 2*mtrrRanges; i++ {
		m := msr{n: 0x200 + i, name: "MTRR_PHYS", at: func(c *CPU) *uint64 { return &c.MSRs.MTRRVar[i] }}
		if i&1 != 0 {
			m.mask = physMask&^0xfff | 1<<11
		} else {
			m.write = only(m.at, func(v uint64) bool { return v&^(physMask&^0xfff|0xff) == 0 && memoryTypes(v&0xff, mtrrTypes) })
		}
		add(m)
	}
	fixed := [...]uint32{0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f}
	for i, n := range fixed {
		at := func(c *CPU) *uint64 { return &c.MSRs.MTRRFixed[i] }
		add(msr{n: n, name: "MTRR_FIX", at: at, write: only(at, func(v uint64) bool { return memoryTypes(v, mtrrTypes) })})
	}
	for i := uint32(0); i < 4*mcBanks; i++ {
		m := msr{n: 0x400 + i, name: "MC", at: func(c *CPU) *uint64 { return &c.MSRs.MCBanks[i] }, mask: all64}
		switch i & 3 {
		case 0: // CTL: all or nothing [SDM 3B 16.3.2.1]
			m.write = only(m.at, func(v uint64) bool { return v+1 <= 1 })
		case 1:
			m.mask = 0 // STATUS: only zero may be written
		}
		add(m)
	}
}

// only stores what ok accepts.
func only(at func(*CPU) *uint64, ok func(v uint64) bool) func(*CPU, uint64) bool {
	return func(c *CPU, v uint64) bool {
		if !ok(v) {
			return false
		}
		*at(c) = v
		return true
	}
}

func constant(v uint64) func(*CPU) uint64 { return func(*CPU) uint64 { return v } }

// specCtrl: nothing is speculated here; the bits are kept.
func specCtrl(c *CPU, v uint64) bool {
	bits := uint64(7)
	if c.model.on["bhi_ctrl"] {
		bits |= 1 << 10 // BHI_DIS_S
	}
	if v&^bits != 0 {
		return false
	}
	c.MSRs.SpecCtrl = v
	return true
}

// microcode is the revision of a processor that needs no update; Intel's is in
// the upper half.
func microcode(c *CPU) uint64 {
	if c.model.amd() {
		return 0x0a0011d5
	}
	return 0x2b000643 << 32
}

func ignore(*CPU, uint64) bool { return true }

// canonicalTo stores an address.
func canonicalTo(at func(*CPU) *uint64) func(*CPU, uint64) bool {
	return func(c *CPU, v uint64) bool {
		if !c.canonicalBase(v) {
			return false
		}
		*at(c) = v
		return true
	}
}

func segBase(seg int) func(*CPU) *uint64 {
	return func(c *CPU) *uint64 { return &c.Seg[seg].Base }
}

func writeBase(seg int) func(*CPU, uint64) bool {
	return func(c *CPU, v uint64) bool {
		if !c.canonicalBase(v) {
			return false
		}
		c.Seg[seg].Base = v
		c.changed()
		return true
	}
}

// apicMSR is a register of the local APIC.
func apicMSR(n uint32, name string) msr {
	return msr{n: n, name: name, write: func(c *CPU, v uint64) bool {
		if n == msrDeadline && v != 0 {
			v = max(v-c.TSCAdjust, 1) // the local APIC compares with the machine's TSC
		}
		return c.apic.WriteMSR(n, v)
	}}
}

// Memory types that MTRRs and PAT accept, as bit sets [SDM 3A 12.3, 12.12].
const (
	mtrrTypes = 1<<0 | 1<<1 | 1<<4 | 1<<5 | 1<<6
	patTypes  = mtrrTypes | 1<<7
)

// memoryTypes checks that each byte of v is in the set.
func memoryTypes(v uint64, set uint32) bool {
	for ; v != 0; v >>= 8 {
		if t := v & 0xff; t > 7 || set>>t&1 == 0 {
			return false
		}
	}
	return true
}

func writePAT(c *CPU, v uint64) bool {
	if !memoryTypes(v, patTypes) {
		return false
	}
	c.PAT = v
	return true
}

func writeDefType(c *CPU, v uint64) bool {
	if v&^0xcff != 0 || !memoryTypes(v&0xff, mtrrTypes) {
		return false
	}
	c.MSRs.MTRRDefType = v
	return true
}

// writePKRS sets the rights of the supervisor's protection keys [SDM 3A 4.6.2].
func (c *CPU) writePKRS(v uint64) bool {
	if v>>32 != 0 {
		return false
	}
	if v != c.MSRs.PKRS {
		c.MSRs.PKRS = v
		c.FlushTLB()
	}
	return true
}

// setEFER [SDM 3A 2.2.1]: LMA follows LME and PG, and cannot be written.
func (c *CPU) setEFER(v uint64) bool {
	v = v&^eferLMA | c.EFER&eferLMA
	if v&^(c.model.efer|eferLMA) != 0 {
		return false
	}
	if (v^c.EFER)&eferLME != 0 && c.CR0&cr0PG != 0 {
		return false
	}
	old := c.EFER
	c.EFER = v
	if (old^v)&eferNXE != 0 {
		c.FlushTLB()
	}
	c.changed()
	return true
}

// readMSR reads register n; false is #GP.
func (c *CPU) readMSR(n uint32) (uint64, bool) {
	m := msrs[n]
	if m == nil || m.need != "" && !c.model.feature(m.need) {
		c.unknownMSR(n, m)
		return 0, false
	}
	switch {
	case m.read != nil:
		return m.read(c), true
	case m.at != nil:
		return *m.at(c), true
	case n == msrAPICBase || n >= 0x800 && n < 0x840:
		return c.apic.ReadMSR(n)
	case n == msrDeadline:
		v, ok := c.apic.ReadMSR(n)
		if v != 0 {
			v += c.TSCAdjust
		}
		return v, ok
	}
	return 0, false
}

// writeMSR writes register n; false is #GP.
func (c *CPU) writeMSR(n uint32, v uint64) bool {
	m := msrs[n]
	if m == nil || m.need != "" && !c.model.feature(m.need) {
		c.unknownMSR(n, m)
		return false
	}
	switch {
	case m.write != nil:
		return m.write(c, v)
	case m.at != nil && v&^m.mask == 0:
		*m.at(c) = v
		return true
	}
	return false
}

// unknownMSR counts accesses to registers that are not there, for people.
func (c *CPU) unknownMSR(n uint32, m *msr) {
	if m == nil {
		c.stats.UnknownMSRs++
		c.stats.LastMSR = n
	}
}

func hRdmsr(c *CPU, _ *isa.Inst) bool {
	v, ok := c.readMSR(uint32(c.R[RCX]))
	if !ok {
		return c.gp(0)
	}
	c.setEDXEAX(v)
	return true
}

func hWrmsr(c *CPU, _ *isa.Inst) bool {
	n := uint32(c.R[RCX])
	if n>>16 == 0 {
		c.event = true // the local APIC, the TSC: deadlines may have moved
	}
	return c.writeMSR(n, c.edxEAX()) || c.gp(0)
}
