package firmware

import "godwit/firmware/acpi"

// MSR is a model-specific register and the value firmware leaves in it.
type MSR struct {
	Index uint32
	Value uint64
}

// Memory types and registers of the MTRRs [SDM 3A 12.11].
const (
	mtrrPhysBase0 = 0x200
	mtrrPhysMask0 = 0x201
	mtrrFix64K    = 0x250 // 0-7ffff
	mtrrFix16K    = 0x258 // 80000-9ffff; 259: a0000-bffff
	mtrrFix4K     = 0x268 // to 26f: c0000-fffff
	mtrrDefType   = 0x2ff

	memUC       = 0
	memWP       = 0x0505050505050505
	memWB       = 0x0606060606060606
	mtrrValid   = 1 << 11
	mtrrEnabled = 3<<10 | 6 // E, FE, default write-back
)

// MSRs returns what firmware sets on every CPU before a kernel runs: the memory
// types. physBits is the width of physical addresses. Why: with the MTRRs off
// all memory is uncacheable on paper, and Linux then leaves the PAT alone.
func MSRs(physBits uint) []MSR {
	hole := uint64(1)<<physBits - (highRAMBase - lowRAMLimit)
	msrs := []MSR{
		{mtrrPhysBase0, lowRAMLimit | memUC}, // devices from 3 to 4 GiB
		{mtrrPhysMask0, hole | mtrrValid},
		{mtrrFix64K, memWB},
		{mtrrFix16K, memWB},
		{mtrrFix16K + 1, memUC},
	}
	for i := range uint32(8) {
		msrs = append(msrs, MSR{mtrrFix4K + i, memWP})
	}
	return append(msrs, MSR{mtrrDefType, mtrrEnabled})
}

// DeviceWrite is a register write that firmware makes on the boot CPU before a
// kernel runs.
type DeviceWrite struct {
	Port  bool // Addr is a port, not a physical address
	Addr  uint64
	Size  int // bytes
	Value uint32
}

// Local APIC registers [SDM 3A 11.4.1].
const (
	lapicSVR   = 0xfee000f0
	lapicLINT0 = 0xfee00350
	lapicLINT1 = 0xfee00360
)

// elcrPort is the first edge/level control register [PIIX3 2.5.4].
const elcrPort = 0x4d0

// DeviceWrites returns the device setup that kernels take for granted. Virtual
// wire mode sends the PIC's interrupts through LINT0 [MP 1.4 3.6.2.2]: a kernel
// that ignores the IOAPIC (nolapic, acpi=off) gets no timer without it.
func DeviceWrites() []DeviceWrite {
	return []DeviceWrite{
		{Addr: lapicSVR, Size: 4, Value: 0x1ff},    // enabled, spurious vector ff
		{Addr: lapicLINT0, Size: 4, Value: 0x8700}, // ExtINT, level
		{Addr: lapicLINT1, Size: 4, Value: 0x400},  // NMI
		{Port: true, Addr: elcrPort, Size: 1, Value: acpi.ELCR & 0xff},
		{Port: true, Addr: elcrPort + 1, Size: 1, Value: acpi.ELCR >> 8},
	}
}
