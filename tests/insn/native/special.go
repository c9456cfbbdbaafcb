package native

import "godwit/cpu/isa"

// excluded are operations whose result is not a function of the case, which the
// kernel underneath handles, or which reach a hypervisor.
var excluded = map[isa.Op]string{
	isa.CPUID: "names the processor", isa.RDTSC: "time", isa.RDTSCP: "time", isa.RDPMC: "counters", isa.RDPID: "which processor",
	isa.RDRAND: "random", isa.RDSEED: "random", isa.SYSCALL: "enters the kernel", isa.SYSENTER: "enters the kernel",
	isa.SGDT: "the kernel emulates it", isa.SIDT: "the kernel emulates it", isa.SMSW: "the kernel emulates it",
	isa.SLDT: "the kernel emulates it", isa.STR: "the kernel emulates it",
	isa.INT1: "hypervisors report a wrong rip", isa.FXSAVE: "MXCSR_MASK differs", isa.FXRSTOR: "image of vector state",
	isa.RCPPS: "an approximation", isa.RCPSS: "an approximation", isa.RSQRTPS: "an approximation", isa.RSQRTSS: "an approximation",
	isa.VMCALL: "reaches the hypervisor", isa.VMMCALL: "reaches the hypervisor", isa.XGETBV: "names the processor",
	isa.XSAVE: "image of the processor's size", isa.XSAVEC: "image of the processor's size", isa.XSAVEOPT: "image of the processor's size",
	isa.XRSTOR: "image of the processor's size",
}

// imageOps save and restore the extended state as a whole.
var imageOps = map[isa.Op]bool{
	isa.FXSAVE: true, isa.FXRSTOR: true, isa.XSAVE: true, isa.XSAVEC: true, isa.XSAVEOPT: true, isa.XRSTOR: true,
}

// special sets what single operations are interested in.
func (g *Gen) special(c *Case, in *isa.Inst, m isa.Mode) {
	size := in.OpSize
	switch in.Op {
	case isa.DIV, isa.IDIV:
		g.dividend(c, in)
	case isa.CMPXCHG:
		if g.one(2) {
			v := g.value()
			c.setReg(0, size, v)
			g.operand(c, in, m, v)
		}
	case isa.CMPXCHG8B, isa.CMPXCHG16B:
		if g.one(2) && len(c.Win) >= 2 {
			c.R[0], c.R[2] = c.Win[0].Val, c.Win[1].Val
			if in.Op == isa.CMPXCHG8B {
				c.R[2] = c.R[2]&^0xffffffff | c.R[0]>>32
			}
		}
		if len(c.Win) >= 2 && g.one(2) {
			g.align(c, in, 15)
		}
	case isa.BOUND:
		v := uint64(g.n(100))
		c.setReg(in.Reg, size, v+g.pick(0, 0, 1, ^uint64(0), 5))
		if len(c.Win) > 0 {
			c.Win[0].Val = v | (v+uint64(g.n(3)))<<(8*uint(size))
		}
	case isa.BT, isa.BTS, isa.BTR, isa.BTC:
		if !g.one(4) && in.R().Args[1] == isa.ArgReg && in.Reg != in.Base && in.Reg != in.Index {
			c.setReg(in.Reg, size, uint64(int64(g.n(4096)-2048)))
		}
	case isa.LOOP, isa.LOOPE, isa.LOOPNE, isa.JCXZ:
		if !g.one(3) {
			c.setReg(1, in.AddrSize, uint64(g.n(3)))
		}
	case isa.MOVTOSEG, isa.LAR, isa.LSL, isa.VERR, isa.VERW, isa.ARPL:
		g.operand(c, in, m, uint64(g.selector()))
		if in.Op == isa.ARPL {
			c.R[in.Reg] = c.R[in.Reg]&^3 | uint64(g.n(4))
		}
	case isa.LDS, isa.LES, isa.LSS, isa.LFS, isa.LGS, isa.JMPFAR, isa.CALLFAR:
		sel, off := g.target()
		if in.Op != isa.JMPFAR && in.Op != isa.CALLFAR {
			sel, off = g.selector(), g.value()
		}
		if len(c.Win) >= 2 {
			c.Win = append(c.Win[:1], Window{c.Win[0].Addr + uint64(size), uint64(sel)})
			c.Win[0].Val = off
		}
	case isa.JMP, isa.CALL:
		if in.R().Args[0] != isa.ArgRel && !g.one(6) {
			_, off := g.target()
			if m == isa.Mode16 {
				off &= 0xffff
			}
			g.operand(c, in, m, off)
		}
	case isa.RET, isa.RETFAR, isa.IRET, isa.POP, isa.POPF:
		g.frame(c, in, m)
	}
}

// operand sets the r/m operand, if it can tell where it is.
func (g *Gen) operand(c *Case, in *isa.Inst, m isa.Mode, v uint64) {
	switch {
	case in.Flags&isa.FlagMem == 0:
		c.R[in.RM&15] = c.R[in.RM&15]&^(^uint64(0)>>(64-8*uint(in.OpSize))) | v&(^uint64(0)>>(64-8*uint(in.OpSize)))
	case len(c.Win) > 0:
		c.Win[0].Val = v
	}
}

// align moves the memory operand to an aligned address.
func (g *Gen) align(c *Case, in *isa.Inst, mask uint64) {
	if in.Base < 16 && in.Base != in.Index {
		by := c.Win[0].Addr & mask
		c.R[in.Base] -= by
		for i := range c.Win {
			c.Win[i].Addr -= by
		}
	}
}

// dividend makes quotients that mostly fit.
func (g *Gen) dividend(c *Case, in *isa.Inst) {
	size := in.ArgSize(0)
	switch g.n(4) {
	case 0:
		return
	case 1: // the high half is the low one's sign, or zero
		v := c.R[0]
		hi := uint64(0)
		if in.Op == isa.IDIV {
			hi = uint64(int64(v<<(64-8*uint(size))) >> 63)
		}
		if size == 1 {
			c.setReg(0, 2, v&0xff|hi<<8)
		} else {
			c.setReg(2, uint8(size), hi)
		}
	default:
		hi := uint64(g.n(4))
		if in.Op == isa.IDIV && g.one(2) {
			hi = -hi
		}
		if size == 1 {
			c.setReg(0, 2, c.R[0]&0xff|hi<<8)
		} else {
			c.setReg(2, uint8(size), hi)
		}
	}
}

// frame puts a return address, selectors and flags on the stack, none of which
// starts single-stepping.
func (g *Gen) frame(c *Case, in *isa.Inst, m isa.Mode) {
	size := uint64(in.OpSize)
	sel, off := g.target()
	if in.Op == isa.RET {
		off = CodeRIP + 32 + uint64(g.n(64))
		if m == isa.Mode16 {
			off -= CodeBase
		}
	}
	if in.Op == isa.POP && in.R().Args[0] != isa.ArgSreg {
		return
	}
	flags := g.r.Uint64() & 0x247fd5 &^ (1 << 8)
	v := []uint64{off, uint64(sel), flags, g.stack(), uint64(g.selector())}
	switch in.Op {
	case isa.POP:
		v = []uint64{uint64(g.selector())}
	case isa.POPF:
		v = []uint64{flags}
	case isa.IRET:
		if g.one(2) {
			v[4] = uint64([]uint16{SelData, SelStack16, SelSmall}[g.n(3)])
		}
	case isa.RETFAR:
		v = v[:2]
	case isa.RET:
		v = v[:1]
		if g.one(8) {
			v[0] = g.value()
		}
	}
	sp := c.R[4]
	base := uint64(0)
	switch {
	case c.Sel[isa.SS] == SelStack16:
		sp, base = sp&0xffff, segment(SelStack16).Base
	case m != isa.Mode64:
		sp &= 0xffffffff
	}
	c.Win = c.Win[:min(len(c.Win), 3)]
	for i, x := range v {
		a := sp + uint64(i)*size
		if c.Sel[isa.SS] == SelStack16 {
			a &= 0xffff
		}
		c.Win = append(c.Win, Window{base + a, x})
	}
}

// Usable tells whether a case can be compared: what it does depends on itself
// alone, and is something that we claim to model.
func Usable(c *Case, in *isa.Inst) bool {
	if in.Row == 0 { // how many bytes an undefined instruction has depends on the processor
		return c.codeAt() < CodeSize-32
	}
	if excluded[in.Op] != "" && !approximates[in.Op] && !imageOps[in.Op] || len(c.Win) > MaxWin {
		return false
	}
	if in.Op == isa.LDMXCSR { // AMD's MXCSR has a bit more, for misaligned operands
		return len(c.Win) > 0 && c.Win[0].Val&0x20000 == 0
	}
	if in.Op == isa.WRPKRU && c.R[0]&3 != 0 { // it takes test memory and the kernel's frames away
		return false
	}
	if in.R().Args[0] == isa.ArgFar && in.Imm-c.RIP < uint64(in.Len) { // its own bytes may be anything
		return false
	}
	return in.Op != isa.INT || in.Imm != 0x80
}
