package cpu

import "godwit/cpu/isa"

// Hypercalls of the interface that CPUID leaf 40000000 names
// [LINUX virt/kvm/x86/hypercalls]: the number in RAX, arguments in RBX, RCX, RDX
// and RSI, the result in RAX. Either vendor's instruction makes one. No feature
// bit tells a guest to make any; test kernels do so unasked.
const (
	hcPollIRQ = 1  // only gives the hypervisor a chance
	hcSendIPI = 10 // an IPI to each APIC in a set

	hcPermission = 1    // the error where user code calls
	hcUnknown    = 1000 // and of a number that means nothing here
)

func init() {
	register(map[isa.Op]handler{isa.VMCALL: hHypercall, isa.VMMCALL: hHypercall})
}

func hHypercall(c *CPU, _ *isa.Inst) bool {
	mask := ^uint64(0)
	if c.mode != isa.Mode64 {
		mask = 0xffffffff
	}
	c.R[RAX] = c.hypercall(mask) & mask
	return true
}

func (c *CPU) hypercall(mask uint64) uint64 {
	if c.CPL != 0 {
		return ^uint64(hcPermission - 1)
	}
	switch c.R[RAX] & mask {
	case hcPollIRQ:
		return 0
	case hcSendIPI:
		return c.sendIPIs([2]uint64{c.R[RBX] & mask, c.R[RCX] & mask}, c.R[RDX]&mask, uint32(c.R[RSI]), mask)
	}
	return ^uint64(hcUnknown - 1)
}

// sendIPIs sends what icr says to the APICs whose bit is set, from APIC first
// on, and counts those that took it.
func (c *CPU) sendIPIs(set [2]uint64, first uint64, icr uint32, mask uint64) (n uint64) {
	width := uint64(32)
	if mask>>32 != 0 {
		width = 64
	}
	for i := range 2 * width {
		id := first + i
		if set[i/width]>>(i%width)&1 != 0 && id < uint64(c.vcpus()) && c.apic.SendIPI(uint32(id), icr) {
			n++
		}
	}
	c.event = true
	return n
}
