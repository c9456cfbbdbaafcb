package cpu

import "godwit/cpu/isa"

// handler executes one decoded instruction on materialised flags. It returns
// false with c.fault set, having changed nothing that a restart would see; or
// with c.stepReq set when it ran inside a block and met something rare.
type handler func(c *CPU, in *isa.Inst) bool

// handlers is indexed by operation. An operation without a handler is #UD.
var handlers [isa.NumOps]handler

// register enters handlers of one family; each file's init calls it once.
func register(t map[isa.Op]handler) {
	for op, h := range t {
		if handlers[op] != nil {
			panic("godwit bug: two handlers for " + op.String())
		}
		handlers[op] = h
	}
}

// byVendor makes a handler of one for each vendor.
func byVendor(amd, intel handler) handler {
	return func(c *CPU, in *isa.Inst) bool {
		if c.amd {
			return amd(c, in)
		}
		return intel(c, in)
	}
}

// Step executes one instruction, or what one count of a REP instruction is for
// (see rep and repLine), or delivers the exception it raises; Count rises by one. It is the reference
// engine.
func (c *CPU) Step() {
	c.stats.Steps++
	rf, count := c.RFLAGS&flagRF, c.Count
	c.materialize()
	c.stepReq, c.quick = false, false
	c.try()
	c.finish(c.fetch() && c.execute())
	c.trying = false
	if c.stalled && c.Count == count {
		c.RFLAGS |= rf // the instruction is executed again; else its trap waits
	}
}

// finish retires the instruction in c.in, or delivers what it raised. If memory
// refused something, there was no instruction.
func (c *CPU) finish(ok bool) {
	if !ok {
		if !c.stalled {
			c.DBPending = c.undoBreaks
			c.exception()
		}
		if c.stalled {
			c.takeBack()
		}
		return
	}
	c.trying = false
	c.Count++
	c.RIP = c.nextRIP & c.ripMask()
	if c.Shadow > 0 {
		c.Shadow--
		c.SSLoaded = c.SSLoaded && c.Shadow > 0
	}
	if c.stepTF || c.DBPending != 0 {
		c.trap(c.stepTF)
	}
}

// execute runs the fetched instruction.
func (c *CPU) execute() bool {
	in := &c.in
	c.stepTF = c.RFLAGS&flagTF != 0
	c.RFLAGS &^= flagRF
	c.nextRIP = c.RIP + uint64(in.Len)
	c.R[isa.RegRIP] = c.nextRIP
	h := handlers[in.Op]
	if h == nil {
		return c.undefined()
	}
	return h(c, in)
}

// fetch decodes the instruction at CS:RIP into c.in. The second page of an
// instruction that crosses is looked at only when the first page's bytes do not
// suffice.
func (c *CPU) fetch() bool {
	lin, ok := c.codeAddr(c.RIP)
	if !ok || (c.DR[7]&0xff != 0 && !c.codeBreak(lin)) {
		return false
	}
	buf := &c.code
	n := min(15, 4096-int(lin&0xfff))
	limit := c.codeRoom()
	if !c.fetchBytes(lin, buf[:n]) {
		return false
	}
	st := c.decode(buf[:min(n, limit)], &c.in)
	if st == isa.Truncated && n < 15 && n < limit {
		if !c.fetchBytes(c.secondPage(lin), buf[n:]) {
			return false
		}
		st = c.decode(buf[:min(15, limit)], &c.in)
	}
	switch st {
	case isa.OK:
		return c.known(&c.in) || c.undefined()
	case isa.Invalid:
		return c.undefined()
	}
	return c.gp(0) // too long, or beyond the segment's limit
}

// undefined raises #UD for an encoding that is not implemented, and notes it for
// people.
func (c *CPU) undefined() bool {
	c.stats.Undefined++
	u := &c.stats.LastUndefined
	u.RIP, u.Len, u.Bytes = c.RIP, uint8(min(15, 4096-int(c.RIP&0xfff))), c.code
	return c.ud()
}

// decode decodes as the model's vendor does.
func (c *CPU) decode(b []byte, in *isa.Inst) isa.Status {
	if !c.amd {
		return isa.Decode(b, c.mode, in)
	}
	st := isa.DecodeAMD(b, c.mode, in)
	if c.model.wideFar && in.Flags&isa.FlagVexW != 0 {
		if s := &isa.Rows[in.Row].Sizes; s[0] == isa.SizeFar || s[1] == isa.SizeFar {
			in.OpSize = 8
		}
	}
	return st
}

// codeAddr is the linear address of an instruction pointer.
func (c *CPU) codeAddr(rip uint64) (uint64, bool) {
	if c.mode == isa.Mode64 {
		if !c.canonical(rip) {
			return 0, c.gp(0)
		}
		return rip, true
	}
	if rip > uint64(c.Seg[isa.CS].Limit) {
		return 0, c.gp(0)
	}
	return (c.Seg[isa.CS].Base + rip) & 0xffffffff, true
}

// codeRoom is how many bytes from RIP the code segment still holds, at most 15.
func (c *CPU) codeRoom() int {
	if c.mode == isa.Mode64 {
		return 15
	}
	return int(min(15, uint64(c.Seg[isa.CS].Limit)-c.RIP+1))
}

// fetchBytes reads code bytes of one page.
func (c *CPU) fetchBytes(lin uint64, b []byte) bool {
	e := c.tlb[c.mmu].slot(lin)
	if d := lin - e.x; d <= 4095 {
		copy(b, c.ram[e.add+d:])
		return true
	}
	p, ok := c.translate(lin, accExec, c.mmu)
	if !ok {
		return false
	}
	if p.ram {
		copy(b, c.ram[p.off:])
		return true
	}
	for i := range b {
		b[i] = byte(c.bus.ReadMMIO(p.pa+uint64(i), 1))
	}
	return true
}

// known tells whether the CPU model has the instruction, or turns it into the
// one that acts in its place.
func (c *CPU) known(in *isa.Inst) bool {
	f := isa.Rows[in.Row].CPUID
	return f == 0 || c.model.has[f] || in.Fallback()
}

// exception delivers the pending fault, or its escalation. RIP is still that of
// the instruction.
func (c *CPU) exception() {
	shadow, ss, unblocks := c.Shadow, c.SSLoaded, c.fault.unblocks
	c.Shadow, c.SSLoaded = 0, false
	c.deliverFault(c.fault)
	if c.stalled {
		c.Shadow, c.SSLoaded = shadow, ss
		return
	}
	if unblocks {
		c.NMIBlocked = false
		c.unmasked()
	}
	c.Count++
}
