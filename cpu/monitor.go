package cpu

import (
	"godwit/cpu/isa"
	"godwit/mem"
)

// MONITOR and MWAIT [SDM 3A 9.10.3, SDM 2 MONITOR, MWAIT]. The line that MONITOR
// names is known by a sum of its content: a store that changes it, by whomever,
// ends the wait when the vCPU's turn comes. Why: a trap on stores would cost every
// store to the page, and a store of what is there already tells nobody anything.

const monitorLine = 64 // bytes

// CPUID leaf 5 [SDM 2 CPUID].
const (
	mwaitExtensions = 3    // ECX: extensions; interrupts end the wait though they are masked
	mwaitStates     = 0x10 // EDX: one kind of C1
)

// hMonitor remembers the line, checked as a byte read. Lines that are no memory
// are never armed.
func hMonitor(c *CPU, in *isa.Inst) bool {
	if c.R[RCX]&addrMask(in.AddrSize) != 0 {
		return c.gp(0)
	}
	la, ok := c.linear(in.Seg, c.R[RAX]&addrMask(in.AddrSize), 1, accRead)
	if !ok || !c.probe(la, 1, accRead, c.mmu) {
		return false
	}
	p, ok := c.translate(la, accRead, c.mmu)
	if !ok {
		return false
	}
	c.MonArmed, c.MonAddr = p.ram, p.pa&^(monitorLine-1)
	if p.ram {
		c.MonSum = c.monitorSum()
	}
	return true
}

// hMwait waits for a change of the line, or an interrupt.
func hMwait(c *CPU, in *isa.Inst) bool {
	ecx := c.R[RCX] & addrMask(in.AddrSize)
	if ecx&^1 != 0 {
		return c.gp(0)
	}
	c.MonMasked = ecx&1 != 0
	if !c.MonArmed {
		c.yield = true
		return true
	}
	return c.halt()
}

// monitorSum is a sum of the line's content. Its page is here.
func (c *CPU) monitorSum() (s uint64) {
	off, _, _ := c.mem.Lookup(c.MonAddr)
	for i := uint64(0); i < monitorLine; i += 8 {
		s = (s ^ mem.Load64(c.ram, off+i)) * 0x9e3779b97f4a7c15
		s ^= s >> 29
	}
	return s
}

// monitorHere tells that the content of the line's page is here.
func (c *CPU) monitorHere() bool {
	off, _, _ := c.mem.Lookup(c.MonAddr)
	return c.mem.Here(uint32(off >> mem.PageShift))
}

// waiting tells that MWAIT has not met its end.
func (c *CPU) waiting() bool {
	return c.MonSum == c.monitorSum() && !(c.MonMasked && c.intr)
}

// wake ends an MWAIT whose line changed. False: the vCPU goes on waiting, or
// stalls until the line is here.
func (c *CPU) wake() bool {
	if c.Activity != Halted || !c.MonArmed {
		return false
	}
	off, _, _ := c.mem.Lookup(c.MonAddr)
	if !c.stall(c.mem.CanRead(uint32(off>>mem.PageShift))) || c.waiting() {
		return false
	}
	c.Activity, c.MonArmed = Running, false
	return true
}
