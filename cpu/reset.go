package cpu

import (
	"fmt"

	"godwit/cpu/isa"
)

// Reset puts the vCPU into its power-on state [SDM 3A table 10-1]. The first
// one starts at the reset vector, the others wait for a start-up IPI.
func (c *CPU) Reset() {
	c.Arch = Arch{
		PAT:   0x0007040600070406,
		FCW:   0x0040,
		FTW:   0xff, // all zero values, tagged so
		MXCSR: mxcsrReset,
		XCR0:  xX87,
	}
	c.MSRs.MiscEnable = 1
	c.MSRs.FeatureControl = 1  // locked, nothing enabled
	c.MSRs.HWCR = 1 << 24      // TSC counts at the P0 rate
	c.MSRs.DECfg = 1 << 1      // LFENCE is serialising
	c.MSRs.MCGCtl = ^uint64(0) // all machine checks reported
	c.CR0 = cr0NW | cr0CD | cr0ET
	c.initState()
}

// Init is the INIT signal: like a reset, but caches, FPU and SSE state and most
// MSRs stay [SDM 3A 10.1.2, 11.4.7.1].
func (c *CPU) Init() {
	c.materialize()
	c.CR0 = c.CR0&(cr0NW|cr0CD) | cr0ET
	c.initState()
}

// initState sets what RESET and INIT set alike.
func (c *CPU) initState() {
	c.R = GPRs{RDX: uint64(c.model.signature())}
	c.RIP, c.RFLAGS = 0xfff0, flagsFixed
	c.lzOp = lzNone
	for i := range c.Seg {
		c.Seg[i] = Segment{Limit: 0xffff, Attr: realData}
	}
	c.Seg[isa.CS] = Segment{Sel: 0xf000, Base: 0xffff0000, Limit: 0xffff, Attr: realCode}
	c.GDTR, c.IDTR = Table{Limit: 0xffff}, Table{Limit: 0xffff}
	c.LDTR = Segment{Limit: 0xffff, Attr: segP | sysLDT}
	c.TR = Segment{Limit: 0xffff, Attr: segP | sysTSS32Busy}
	c.CPL, c.CR2, c.CR3, c.CR4, c.EFER = 0, 0, 0, 0, 0
	c.DR = [8]uint64{6: dr6One, 7: dr7One}
	c.Activity = Running
	if c.id != 0 {
		c.Activity = WaitSIPI
	}
	c.Shadow, c.NMIBlocked, c.NMIPending, c.DBPending, c.MonArmed = 0, false, false, 0, false
	c.SSLoaded, c.MonAddr, c.MonSum, c.MonMasked = false, 0, 0, false
	c.event, c.yield = true, true
	c.changed()
	c.FlushTLB()
}

// SIPI starts a vCPU that waits for it at page vector [SDM 3A 9.4.4].
func (c *CPU) SIPI(vector uint8) {
	if c.Activity != WaitSIPI {
		return
	}
	c.Seg[isa.CS] = Segment{Sel: uint16(vector) << 8, Base: uint64(vector) << 12, Limit: 0xffff, Attr: realCode}
	c.RIP = 0
	c.Activity = Running
	c.changed()
}

// Restored checks a decoded Arch and derives everything from it.
func (c *CPU) Restored() error {
	if err := c.Arch.check(c.model); err != nil {
		return fmt.Errorf("cpu%d: %w", c.id, err)
	}
	if _, _, ok := c.mem.Lookup(c.MonAddr); c.MonArmed && (!ok || c.MonAddr%monitorLine != 0) {
		return fmt.Errorf("cpu%d: the monitored line is at %#x, where there is none", c.id, c.MonAddr)
	}
	c.lzOp = lzNone
	c.fault = Fault{}
	c.event, c.yield, c.stalled, c.stepReq = true, false, false, false
	c.changed()
	c.FlushTLB()
	return nil
}

// check tells what of the state no vCPU of the model could ever be in, as far as
// anything here relies on it.
func (a *Arch) check(m *Model) error {
	for _, t := range []struct {
		name    string
		v, mask uint64
	}{
		{"cpl", uint64(a.CPL), 3},
		{"activity", uint64(a.Activity), uint64(Shutdown)},
		{"interrupt shadow", uint64(a.Shadow), 1},
		{"cr0", a.CR0, cr0Kept},
		{"cr3", a.CR3, physMask},
		{"cr4", a.CR4, m.cr4},
		{"efer", a.EFER, m.efer | eferLMA},
		{"xcr0", a.XCR0, m.xcr0},
		{"rflags", a.RFLAGS, flagsUser | flagsFixed | flagIF | flagIOPL | flagRF | flagVM | flagVIF | flagVIP},
		{"mxcsr", uint64(a.MXCSR), mxcsrMask},
	} {
		if t.v&^t.mask != 0 {
			return fmt.Errorf("%s is %#x, only bits %#x exist", t.name, t.v, t.mask)
		}
	}
	if long := a.EFER&eferLME != 0 && a.CR0&cr0PG != 0; long != (a.EFER&eferLMA != 0) {
		return fmt.Errorf("efer is %#x, but long mode's activity with cr0 %#x is %v", a.EFER, a.CR0, long)
	}
	if a.CR0&(cr0PG|cr0PE) == cr0PG {
		return fmt.Errorf("cr0 is %#x: paging without protection", a.CR0)
	}
	if a.RFLAGS&flagVM != 0 && (a.CR0&cr0PE == 0 || a.EFER&eferLMA != 0) {
		return fmt.Errorf("rflags is %#x: virtual-8086 mode with cr0 %#x, efer %#x", a.RFLAGS, a.CR0, a.EFER)
	}
	return nil
}
