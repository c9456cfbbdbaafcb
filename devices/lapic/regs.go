package lapic

import (
	"fmt"

	"godwit/devices"
)

// Register numbers: the offset in the page divided by 16, the MSR less 800h
// [SDM 3A 11.4.1 Table 11-1, 11.12.1.2 Table 11-6].
const (
	regID   = 0x02
	regVER  = 0x03
	regTPR  = 0x08
	regAPR  = 0x09
	regPPR  = 0x0a
	regEOI  = 0x0b
	regLDR  = 0x0d
	regDFR  = 0x0e
	regSVR  = 0x0f
	regISR  = 0x10
	regTMR  = 0x18
	regIRR  = 0x20
	regESR  = 0x28
	regCMCI = 0x2f
	regICR  = 0x30
	regICR2 = 0x31
	regLVT  = 0x32
	regTICR = 0x38
	regTCCR = 0x39
	regTDCR = 0x3e
	regSelf = 0x3f
)

const (
	version = 0x14 | (7-1)<<16 | 1<<24 // seven LVT entries, EOI broadcast can be suppressed

	svrEnable      = 1 << 8
	svrNoBroadcast = 1 << 12
	svrMask        = svrEnable | svrNoBroadcast | 1<<9 | 0xff

	dfrMask = 0x0fffffff // bits that are always set
	ldrMask = 0xff000000

	errSendVector = 1 << 5
	errRecvVector = 1 << 6
	errRegister   = 1 << 7
	errMask       = errSendVector | errRecvVector | errRegister
)

// Read answers a guest's read of the register page: 32 bits at 16-byte boundaries
// [SDM 3A 11.4.1]. Parts of them are given too; the gaps read 0.
func (l *LAPIC) Read(off uint64, size int) uint64 {
	if off&15 > 3 {
		return 0
	}
	v, ok := l.readReg(uint32(off >> 4))
	if !ok {
		l.raise(errRegister)
		return 0
	}
	r := uint64(v) >> (8 * (off & 3))
	if size < 4 {
		r &= 1<<(8*size) - 1
	}
	return r
}

// Write takes a guest's write to the page; those that are not 32 bits at a 16-byte
// boundary are dropped.
func (l *LAPIC) Write(off uint64, size int, v uint64) {
	if off&15 != 0 || size < 4 {
		return
	}
	switch r := uint32(off >> 4); r {
	case regLDR:
		l.LDR = uint32(v) & ldrMask
	case regDFR:
		l.DFR = uint32(v) | dfrMask
	case regICR2:
		l.ICR = l.ICR&0xffffffff | v>>24&0xff<<32
	case regICR:
		l.ICR = l.ICR&^0xffffffff | v&icrMask
		l.command(l.ICR)
	default:
		if !l.writeReg(r, uint32(v)) {
			l.writeReadOnly(r)
		}
	}
}

// writeReadOnly tells a register that cannot be written from one that is not there.
func (l *LAPIC) writeReadOnly(r uint32) {
	if _, ok := l.readReg(r); !ok {
		l.raise(errRegister)
	}
}

// readReg reads a register as xAPIC mode shows it.
func (l *LAPIC) readReg(r uint32) (v uint32, ok bool) {
	switch {
	case r == regID:
		return l.w.APICID << 24, true
	case r == regLDR:
		return l.LDR, true
	case r == regDFR:
		return l.DFR, true
	case r == regICR:
		return uint32(l.ICR), true
	case r == regICR2:
		return uint32(l.ICR>>32) << 24, true
	case r == regAPR:
		return uint32(l.apr()), true
	case r == regEOI:
		return 0, true
	}
	return l.readCommon(r)
}

// readCommon reads the registers that both modes show alike.
func (l *LAPIC) readCommon(r uint32) (v uint32, ok bool) {
	switch {
	case r == regVER:
		return version, true
	case r == regTPR:
		return uint32(l.state.TPR), true
	case r == regPPR:
		return uint32(l.ppr()), true
	case r == regSVR:
		return l.SVR, true
	case r >= regISR && r < regISR+8:
		return l.ISR[r-regISR], true
	case r >= regTMR && r < regTMR+8:
		return l.TMR[r-regTMR], true
	case r >= regIRR && r < regIRR+8:
		return l.IRR[r-regIRR], true
	case r == regESR:
		return l.ESR, true
	case r == regCMCI:
		return l.LVT[lvtCMCI], true
	case r >= regLVT && r < regLVT+6:
		return l.LVT[r-regLVT], true
	case r == regTICR:
		return l.TICR, true
	case r == regTCCR:
		return l.current(), true
	case r == regTDCR:
		return l.TDCR, true
	}
	return 0, false
}

// apr is the arbitration priority [SDM 3A 11.6.2.4].
func (l *LAPIC) apr() uint8 {
	isr, irr := uint8(max(highest(&l.ISR), 0)), uint8(max(highest(&l.IRR), 0))
	t := l.state.TPR
	if t>>4 >= irr>>4 && t>>4 > isr>>4 {
		return t
	}
	return max(t&0xf0, isr&0xf0, irr&0xf0)
}

// writeReg writes the registers that both modes write alike; false: there is no
// such writable register.
func (l *LAPIC) writeReg(r, v uint32) bool {
	switch {
	case r == regTPR:
		l.state.TPR = uint8(v)
		l.update()
	case r == regEOI:
		l.eoi()
	case r == regSVR:
		l.writeSVR(v)
	case r == regESR:
		l.ESR, l.ERR = l.ERR, 0 // [SDM 3A 11.5.3]
	case r == regCMCI:
		l.writeLVT(lvtCMCI, v)
	case r >= regLVT && r < regLVT+6:
		l.writeLVT(int(r-regLVT), v)
	case r == regTICR:
		l.writeTICR(v)
	case r == regTDCR:
		l.writeTDCR(v)
	default:
		return false
	}
	return true
}

// writeSVR enables or disables the APIC; disabling masks all local interrupts
// [SDM 3A 11.4.7.2].
func (l *LAPIC) writeSVR(v uint32) {
	l.SVR = v & svrMask
	if l.SVR&svrEnable == 0 {
		for i := range l.LVT {
			l.LVT[i] |= lvtMasked
		}
	}
	l.update()
}

const pin = "16 MASK | 15 LEVEL | 14 RIRR | 13 POL | 12 STATUS | 10:8 MODE | 7:0 VECTOR"

// rows describes both modes' registers by number; onlyX and onlyMM are those that
// one mode alone has: x2APIC, or the memory-mapped page.
var rows = []struct {
	r, n          uint32 // number, how many of them
	name          string
	acc           devices.Access
	mask          uint32
	reset         uint32
	onlyX, onlyMM bool
	bits, ref     string
}{
	{r: regID, n: 1, name: "ID", acc: devices.RO, bits: "31:24 ID", ref: "11.4.6"},
	{r: regVER, n: 1, name: "VERSION", acc: devices.RO, reset: version, bits: "24 SUPPRESS | 23:16 MAXLVT | 7:0 VERSION", ref: "11.4.8"},
	{r: regTPR, n: 1, name: "TPR", mask: 0xff, bits: "7:4 CLASS | 3:0 SUBCLASS", ref: "11.8.3.1"},
	{r: regAPR, n: 1, name: "APR", acc: devices.RO, onlyMM: true, bits: "7:4 CLASS | 3:0 SUBCLASS", ref: "11.6.2.4"},
	{r: regPPR, n: 1, name: "PPR", acc: devices.RO, bits: "7:4 CLASS | 3:0 SUBCLASS", ref: "11.8.3.1"},
	{r: regEOI, n: 1, name: "EOI", acc: devices.WO, bits: "31:0 ZERO", ref: "11.8.5"},
	{r: regLDR, n: 1, name: "LDR", mask: ldrMask, onlyMM: true, bits: "31:24 LOGICAL", ref: "11.6.2.2"},
	{r: regDFR, n: 1, name: "DFR", mask: 0xf0000000, reset: 0xffffffff, onlyMM: true, bits: "31:28 MODEL", ref: "11.6.2.2"},
	{r: regSVR, n: 1, name: "SVR", mask: svrMask, reset: 0xff, bits: "12 NOBROADCAST | 9 FOCUS | 8 ENABLE | 7:0 VECTOR", ref: "11.9"},
	{r: regISR, n: 8, name: "ISR", acc: devices.RO, bits: "31:0 VECTORS", ref: "11.8.4"},
	{r: regTMR, n: 8, name: "TMR", acc: devices.RO, bits: "31:0 VECTORS", ref: "11.8.4"},
	{r: regIRR, n: 8, name: "IRR", acc: devices.RO, bits: "31:0 VECTORS", ref: "11.8.4"},
	{r: regESR, n: 1, name: "ESR", acc: devices.RC, bits: "7 REGISTER | 6 RECVVECTOR | 5 SENDVECTOR", ref: "11.5.3"},
	{r: regCMCI, n: 1, name: "LVT_CMCI", mask: lvtWithMode, reset: lvtMasked, bits: "16 MASK | 12 STATUS | 10:8 MODE | 7:0 VECTOR", ref: "11.5.1"},
	{r: regICR, n: 1, name: "ICR", mask: icrMask, bits: "19:18 SHORTHAND | 15 LEVEL | 14 ASSERT | 11 LOGICAL | 10:8 MODE | 7:0 VECTOR", ref: "11.6.1"},
	{r: regICR2, n: 1, name: "ICR2", mask: 0xff000000, onlyMM: true, bits: "31:24 DEST", ref: "11.6.1"},
	{r: regLVT + lvtTimer, n: 1, name: "LVT_TIMER", mask: lvtTimerFields, reset: lvtMasked, bits: "18:17 MODE | 16 MASK | 12 STATUS | 7:0 VECTOR", ref: "11.5.1"},
	{r: regLVT + lvtThermal, n: 1, name: "LVT_THERMAL", mask: lvtWithMode, reset: lvtMasked, bits: "16 MASK | 12 STATUS | 10:8 MODE | 7:0 VECTOR", ref: "11.5.1"},
	{r: regLVT + lvtPerf, n: 1, name: "LVT_PERF", mask: lvtWithMode, reset: lvtMasked, bits: "16 MASK | 12 STATUS | 10:8 MODE | 7:0 VECTOR", ref: "11.5.1"},
	{r: regLVT + lvtLINT0, n: 1, name: "LVT_LINT0", mask: lvtPin, reset: lvtMasked, bits: pin, ref: "11.5.1"},
	{r: regLVT + lvtLINT1, n: 1, name: "LVT_LINT1", mask: lvtPin, reset: lvtMasked, bits: pin, ref: "11.5.1"},
	{r: regLVT + lvtError, n: 1, name: "LVT_ERROR", mask: lvtPlain, reset: lvtMasked, bits: "16 MASK | 12 STATUS | 7:0 VECTOR", ref: "11.5.1"},
	{r: regTICR, n: 1, name: "TICR", mask: 0xffffffff, bits: "31:0 COUNT", ref: "11.5.4"},
	{r: regTCCR, n: 1, name: "TCCR", acc: devices.RO, bits: "31:0 COUNT", ref: "11.5.4"},
	{r: regTDCR, n: 1, name: "TDCR", mask: tdcrMask, bits: "3 DIV2 | 1:0 DIV", ref: "11.5.4"},
	{r: regSelf, n: 1, name: "SELF_IPI", acc: devices.WO, mask: 0xff, onlyX: true, bits: "7:0 VECTOR", ref: "11.12.11"},
}

var regs = makeRegs()

// makeRegs lists the page first, then the MSRs.
func makeRegs() []devices.Reg {
	var mmio, msr []devices.Reg
	for _, row := range rows {
		for i := range row.n {
			name := row.name
			if row.n > 1 {
				name = fmt.Sprintf("%s%d", name, i)
			}
			reg := devices.Reg{
				Size: 4, Name: name, Acc: row.acc, Mask: uint64(row.mask), Reset: uint64(row.reset),
				Bits: row.bits, Ref: "[SDM 3A " + row.ref + "]",
			}
			if !row.onlyX {
				reg.Space, reg.Off = "mmio", uint64(row.r+i)<<4
				mmio = append(mmio, reg)
			}
			if !row.onlyMM {
				reg.Space, reg.Off, reg.Banked = "msr", uint64(msrX2APIC+row.r+i), true
				msr = append(msr, reg)
			}
		}
	}
	return append(append(mmio, msr...),
		devices.Reg{
			Space: "msr", Off: msrBase, Size: 8, Name: "IA32_APIC_BASE", Mask: 0xfffffffff000 | baseMode | baseBSP, Reset: DefaultBase | baseEnable,
			Banked: true, Bits: "47:12 BASE | 11 EN | 10 EXTD | 8 BSP", Ref: "[SDM 3A 11.4.4]",
		},
		devices.Reg{
			Space: "msr", Off: msrDeadline, Size: 8, Name: "IA32_TSC_DEADLINE", Mask: ^uint64(0),
			Banked: true, Bits: "63:0 TSC", Ref: "[SDM 3A 11.5.4.1]",
		})
}

// Regs describes the registers of both modes; what an MSR shows is for x2APIC mode.
func (l *LAPIC) Regs() []devices.Reg { return regs }

// Peek tells a register by its index in Regs, without side effects.
func (l *LAPIC) Peek(i int) uint64 {
	if regs[i].Space == "mmio" {
		v, _ := l.readReg(uint32(regs[i].Off >> 4))
		return uint64(v)
	}
	v, _ := l.ReadMSR(uint32(regs[i].Off))
	return v
}
