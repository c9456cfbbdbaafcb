package cpu

import (
	"godwit/cpu/fp"
	"godwit/cpu/isa"
	"godwit/mem"
)

// This file is what all vector instructions share: how they reach their
// operands, and the shapes that turn a function on values into a handler. The
// other sse_*.go files are tables of such functions.

// xmm is the value of an XMM register, or of a memory operand zero-extended.
type xmm struct{ lo, hi uint64 }

func (c *CPU) xmm(n uint8) xmm {
	v := &c.V[n&15]
	return xmm{v[0], v[1]}
}

// setXMM writes bits 127:0; legacy SSE keeps the rest [SDM 1 14.1.3].
func (c *CPU) setXMM(n uint8, x xmm) {
	v := &c.V[n&15]
	v[0], v[1] = x.lo, x.hi
}

// bytes are the sixteen bytes of a register, the lowest first.
func (x xmm) bytes() (b [16]uint8) {
	mem.Store64(b[:], 0, x.lo)
	mem.Store64(b[:], 8, x.hi)
	return b
}

func fromBytes(b [16]uint8) xmm { return xmm{mem.Load64(b[:], 0), mem.Load64(b[:], 8)} }

// load128 reads sixteen bytes at the memory operand. Most instructions want
// them aligned, whatever EFLAGS.AC says [SDM 1 10.4.1.1].
func (c *CPU) load128(in *isa.Inst, mustAlign bool) (xmm, bool) {
	la, ok := c.linear128(in, accRead, mustAlign)
	if !ok {
		return xmm{}, false
	}
	e := c.tlb[c.mmu].slot(la)
	if d := la - e.r; d <= 4096-16 {
		off := e.add + d
		return xmm{mem.Load64(c.ram, off), mem.Load64(c.ram, off+8)}, true
	}
	if !c.probe(la, 16, accRead, c.mmu) {
		return xmm{}, false
	}
	lo, ok := c.readLin(la, 8, c.mmu)
	if !ok {
		return xmm{}, false
	}
	hi, ok := c.readLin(la+8, 8, c.mmu)
	return xmm{lo, hi}, ok
}

// linear128 checks the address of a sixteen-byte operand. Misalignment counts
// before a bad address, as the two differ for SS. Alignment checking is about
// these operands on AMD's processors only.
func (c *CPU) linear128(in *isa.Inst, acc int, mustAlign bool) (uint64, bool) {
	ea := c.ea(in)
	la, ok := c.linear(in.Seg, ea, 16, acc)
	switch {
	case !ok:
		at := ea // where the segment has a limit, alignment comes first as well
		if c.mode != isa.Mode64 {
			at += c.Seg[in.Seg].Base
		}
		if mustAlign && at&15 != 0 && in.Seg < isa.FS {
			return 0, c.gp(0)
		}
		return 0, false
	case mustAlign && la&15 != 0:
		return 0, c.gp(0)
	}
	return la, !c.amd || c.aligned(la, 16)
}

// store128 writes sixteen bytes at the memory operand, or nothing.
func (c *CPU) store128(in *isa.Inst, x xmm, mustAlign bool) bool {
	la, ok := c.linear128(in, accWrite, mustAlign)
	if !ok {
		return false
	}
	e := c.tlb[c.mmu].slot(la)
	if d := la - e.w; d <= 4096-16 {
		off := e.add + d
		mem.Store64(c.ram, off, x.lo)
		mem.Store64(c.ram, off+8, x.hi)
		return true
	}
	if c.inBlock && la&0xfff > 4096-16 {
		c.stepReq = true // the second half must not be refused after the first
		return false
	}
	if !c.probe(la, 16, accWrite, c.mmu) {
		return false
	}
	return c.writeLin(la, 8, x.lo, c.mmu) && c.writeLin(la+8, 8, x.hi, c.mmu)
}

// isMMX tells the MMX form of an instruction that has both.
func isMMX(in *isa.Inst) bool { return isa.Rows[in.Row].Attrs&isa.AttrMMX != 0 }

// useVec is the check that opens a vector instruction of either kind, or of
// both: CVTPI2PS.
func (c *CPU) useVec(in *isa.Inst) bool {
	switch a := isa.Rows[in.Row].Attrs; {
	case a&isa.AttrSSE == 0:
		return c.useMMX()
	case a&isa.AttrMMX == 0:
		return c.useSSE()
	}
	return c.useSSE() && c.pendingX87()
}

// srcXMM reads the ModRM.rm operand: a whole register, or exactly the bytes in
// memory that the instruction uses.
func (c *CPU) srcXMM(in *isa.Inst, arg int) (xmm, bool) {
	if in.Flags&isa.FlagMem == 0 {
		return c.xmm(in.RM), true
	}
	size := in.ArgSize(arg)
	if size == 16 {
		return c.load128(in, true)
	}
	v, ok := c.load(in.Seg, c.ea(in), size)
	return xmm{lo: v}, ok
}

// qop computes on the lanes of a quadword, a being the destination.
type qop func(a, b uint64) uint64

// vec is a vector instruction as a function of values: of each quadword, of whole
// XMM registers, or of a quadword and a count; and of MMX registers, where that
// is another. The functions get the immediate, if there is one.
type vec struct {
	q     qop
	x     func(a, b xmm, imm uint8) xmm
	mm    func(a, b uint64, imm uint8) uint64
	shift qop
}

// vecs are the operations that are such functions, for blocks.
var vecs [isa.NumOps]vec

// registerVec enters vector instructions of one family.
func registerVec(t map[isa.Op]vec) {
	h := map[isa.Op]handler{}
	for op, v := range t {
		vecs[op], h[op] = v, v.handler()
		if lowerings[op] == nil {
			lowerings[op] = v.lowering()
		}
	}
	register(h)
}

// packed is an instruction whose lanes do not mix, for MMX and XMM registers
// alike.
func packed(f qop) vec { return vec{q: f} }

// folded is an instruction that reduces two quadwords to one: an MMX
// instruction's operands, or each of an XMM instruction's.
func folded(f qop) vec {
	return both(
		func(a, b uint64, _ uint8) uint64 { return f(a, b) },
		func(a, b xmm, _ uint8) xmm { return xmm{f(a.lo, a.hi), f(b.lo, b.hi)} },
	)
}

// both is an instruction that differs between MMX and XMM.
func both(m func(a, b uint64, imm uint8) uint64, x func(a, b xmm, imm uint8) xmm) vec {
	return vec{mm: m, x: x}
}

// vector is an XMM instruction.
func vector(f func(a, b xmm, imm uint8) xmm) vec { return vec{x: f} }

// handler makes the handler of a vector instruction.
func (v vec) handler() handler {
	if v.shift != nil {
		return shiftHandler(v.shift)
	}
	return func(c *CPU, in *isa.Inst) bool {
		if isMMX(in) {
			a, b, ok := c.argsMM(in)
			switch {
			case !ok:
				return false
			case v.q != nil:
				return c.finishMM(in, v.q(a, b))
			}
			return c.finishMM(in, v.mm(a, b, uint8(in.Imm)))
		}
		if !c.useSSE() {
			return false
		}
		b, ok := c.srcXMM(in, 1)
		if !ok {
			return false
		}
		d := &c.V[in.Reg&15]
		if v.q != nil {
			d[0], d[1] = v.q(d[0], b.lo), v.q(d[1], b.hi)
		} else {
			c.setXMM(in.Reg, v.x(xmm{d[0], d[1]}, b, uint8(in.Imm)))
		}
		return true
	}
}

// vector0 makes the handler of an XMM instruction with XMM0 as third operand.
func vector0(f func(a, b, x0 xmm) xmm) handler {
	return func(c *CPU, in *isa.Inst) bool {
		if !c.useSSE() {
			return false
		}
		b, ok := c.srcXMM(in, 1)
		if ok {
			c.setXMM(in.Reg, f(c.xmm(in.Reg), b, c.xmm(0)))
		}
		return ok
	}
}

// simdOp computes on floating-point lanes; exceptions go to the environment.
type simdOp func(e *fp.Env, a, b xmm, imm uint8) xmm

// simd makes the handler of an SSE floating-point instruction.
func simd(f simdOp) handler {
	return func(c *CPU, in *isa.Inst) bool {
		if !c.useSSE() {
			return false
		}
		b, ok := c.srcXMM(in, 1)
		if !ok {
			return false
		}
		before := c.beginSIMD()
		r := f(&c.env, c.xmm(in.Reg), b, uint8(in.Imm))
		if !c.endSIMD(before) {
			return false
		}
		c.setXMM(in.Reg, r)
		return true
	}
}

// beginSIMD sets the environment up from MXCSR.
func (c *CPU) beginSIMD() (before uint8) {
	c.env = fp.FromMXCSR(c.MXCSR)
	return c.env.Begin()
}

// endSIMD notes the exceptions raised and faults if one is unmasked; then the
// destination must stay as it is [SDM 1 11.5.2].
func (c *CPU) endSIMD(before uint8) bool {
	unmasked := c.env.End(before)
	c.MXCSR |= uint32(c.env.Flags)
	switch {
	case unmasked == 0:
		return true
	case c.CR4&cr4OSXMMEXCPT == 0:
		return c.ud()
	}
	return c.raise(vecXM)
}
