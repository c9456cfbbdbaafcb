package lapic

// MSRs of the local APIC.
const (
	msrBase     = 0x1b
	msrDeadline = 0x6e0
	msrX2APIC   = 0x800
	msrCount    = 0x40
)

// ReadMSR reads one of the APIC's MSRs (1b, 6e0, 800 to 83f); false is #GP.
func (l *LAPIC) ReadMSR(n uint32) (uint64, bool) {
	switch {
	case n == msrBase:
		return l.BASE, true
	case n == msrDeadline:
		return l.readDeadline(), true
	case n < msrX2APIC || n >= msrX2APIC+msrCount || !l.x2apic():
		return 0, false
	}
	switch r := n - msrX2APIC; r {
	case regID:
		return uint64(l.w.APICID), true
	case regLDR:
		return uint64(l.x2LDR()), true
	case regICR:
		return l.ICR, true
	default:
		v, ok := l.readCommon(r)
		return uint64(v), ok
	}
}

// WriteMSR writes one of the APIC's MSRs; false is #GP: no such register, one that
// cannot be written, or a reserved bit set [SDM 3A 11.12.1.3].
func (l *LAPIC) WriteMSR(n uint32, v uint64) bool {
	switch {
	case n == msrBase:
		return l.writeBase(v)
	case n == msrDeadline:
		l.writeDeadline(v)
		return true
	case n < msrX2APIC || n >= msrX2APIC+msrCount || !l.x2apic():
		return false
	}
	r := n - msrX2APIC
	if v&^x2Writable(r) != 0 {
		return false
	}
	switch r {
	case regICR:
		l.ICR = v
		l.command(v)
		return true
	case regSelf:
		l.command(v&0xff | handSelf<<icrHandPos)
		return true
	}
	return l.writeReg(r, uint32(v))
}

// x2Writable returns the bits of an x2APIC register that may be written as ones.
// Status bits are read-only, not reserved.
func x2Writable(r uint32) uint64 {
	switch {
	case r == regTPR || r == regSelf:
		return 0xff
	case r == regSVR:
		return svrMask
	case r == regICR:
		return 0xffffffff<<32 | icrMask
	case r == regCMCI:
		return uint64(lvtWritable[lvtCMCI] | lvtStatus)
	case r == regLVT+lvtLINT0 || r == regLVT+lvtLINT1:
		return lvtPin | lvtStatus | lvtRemoteIRR
	case r >= regLVT && r < regLVT+6:
		return uint64(lvtWritable[r-regLVT] | lvtStatus)
	case r == regTICR:
		return 0xffffffff
	case r == regTDCR:
		return tdcrMask
	}
	return 0
}
