package cpu

import "godwit/cpu/isa"

// ea is the effective address of the memory operand, before the segment.
func (c *CPU) ea(in *isa.Inst) uint64 {
	a := c.R[in.Base&31] + c.R[in.Index&31]<<(in.Scale&3) + uint64(int64(in.Disp))
	switch in.AddrSize {
	case 4:
		a &= 0xffffffff
	case 2:
		a &= 0xffff
	}
	return a
}

// addrMask limits an address register of a string or stack operation.
func addrMask(size uint8) uint64 { return ^uint64(0) >> (64 - 8*uint(size)) }

// reg reads a general register of size bytes. Without a REX prefix the byte
// registers 4 to 7 are AH, CH, DH, BH.
func (c *CPU) reg(in *isa.Inst, n uint8, size int) uint64 {
	switch size {
	case 1:
		if n >= 4 && n < 8 && in.Flags&isa.FlagRex == 0 {
			return c.R[n-4] >> 8 & 0xff
		}
		return c.R[n&15] & 0xff
	case 2:
		return c.R[n&15] & 0xffff
	case 4:
		return c.R[n&15] & 0xffffffff
	}
	return c.R[n&15]
}

// setReg writes a general register: 32-bit writes clear the upper half, smaller
// ones keep the rest.
func (c *CPU) setReg(in *isa.Inst, n uint8, size int, v uint64) {
	switch size {
	case 1:
		if n >= 4 && n < 8 && in.Flags&isa.FlagRex == 0 {
			c.R[n-4] = c.R[n-4]&^0xff00 | v&0xff<<8
			return
		}
		c.R[n&15] = c.R[n&15]&^0xff | v&0xff
	case 2:
		c.R[n&15] = c.R[n&15]&^0xffff | v&0xffff
	case 4:
		c.R[n&15] = v & 0xffffffff
	default:
		c.R[n&15] = v
	}
}

// arg reads operand i, zero-extended from its size.
func (c *CPU) arg(in *isa.Inst, i int) (uint64, bool) {
	size := in.ArgSize(i)
	switch isa.Rows[in.Row].Args[i] {
	case isa.ArgRM, isa.ArgMem:
		if in.Flags&isa.FlagMem != 0 {
			return c.load(in.Seg, c.ea(in), size)
		}
		return c.reg(in, in.RM, size), true
	case isa.ArgReg, isa.ArgOpReg:
		return c.reg(in, in.Reg, size), true
	case isa.ArgVvvv:
		return c.reg(in, in.Vvvv, size), true
	case isa.ArgImm:
		return in.Imm, true // extended to 64 bits: the destination's size counts
	case isa.ArgImm2:
		return uint64(in.Imm2), true
	case isa.ArgOne:
		return 1, true
	case isa.ArgAcc:
		return c.reg(in, RAX, size), true
	case isa.ArgCL:
		return c.R[RCX] & 0xff, true
	case isa.ArgDX:
		return c.R[RDX] & 0xffff, true
	case isa.ArgMoffs:
		return c.load(in.Seg, in.Imm, size)
	case isa.ArgRel:
		return in.Imm, true
	}
	panic("godwit bug: operand kind without a value in " + isa.Rows[in.Row].Enc)
}

// dest is a destination that was checked for writing: a register, or memory
// whose access rights, presence and A and D bits are settled. Reading and then
// writing it cannot fault.
type dest struct {
	mem  bool
	n    uint8
	size int
	la   uint64
}

// dst resolves operand i for writing.
func (c *CPU) dst(in *isa.Inst, i int) (d dest, ok bool) {
	d.size = in.ArgSize(i)
	switch isa.Rows[in.Row].Args[i] {
	case isa.ArgRM, isa.ArgMem:
		if in.Flags&isa.FlagMem != 0 {
			return c.dstMem(in.Seg, c.ea(in), d.size)
		}
		d.n = in.RM
	case isa.ArgReg, isa.ArgOpReg:
		d.n = in.Reg
	case isa.ArgVvvv:
		d.n = in.Vvvv
	case isa.ArgAcc:
		d.n = RAX
	case isa.ArgMoffs:
		return c.dstMem(in.Seg, in.Imm, d.size)
	default:
		panic("godwit bug: operand is no destination in " + isa.Rows[in.Row].Enc)
	}
	return d, true
}

func (c *CPU) dstMem(seg uint8, off uint64, size int) (dest, bool) {
	la, ok := c.linear(seg, off, size, accWrite)
	if !ok || !c.aligned(la, size) {
		return dest{}, false
	}
	if c.inBlock && la&0xfff+uint64(size) > 4096 {
		c.stepReq = true // get and put must not be refused later
		return dest{}, false
	}
	if !c.probe(la, size, accWrite, c.mmu) {
		return dest{}, false
	}
	return dest{mem: true, la: la, size: size}, true
}

// get reads a destination's old value.
func (c *CPU) get(in *isa.Inst, d dest) uint64 {
	if d.mem {
		v, _ := c.readLin(d.la, d.size, c.mmu)
		if c.DR[7]&0xff != 0 {
			c.dataBreak(d.la, d.size, false)
		}
		return v
	}
	return c.reg(in, d.n, d.size)
}

// put writes a destination.
func (c *CPU) put(in *isa.Inst, d dest, v uint64) {
	if d.mem {
		c.writeLin(d.la, d.size, v, c.mmu)
		if c.DR[7]&0xff != 0 {
			c.dataBreak(d.la, d.size, true)
		}
		return
	}
	c.setReg(in, d.n, d.size, v)
}

// setArg writes operand i.
func (c *CPU) setArg(in *isa.Inst, i int, v uint64) bool {
	d, ok := c.dst(in, i)
	if ok {
		c.put(in, d, v)
	}
	return ok
}

// stackSize is the width of the stack pointer: 8, 4 or 2 bytes.
func (c *CPU) stackSize() uint8 {
	switch {
	case c.mode == isa.Mode64:
		return 8
	case c.Seg[isa.SS].Attr&segDB != 0:
		return 4
	}
	return 2
}

// setSP writes the stack pointer as wide as the stack is.
func (c *CPU) setSP(v uint64) {
	switch c.stackSize() {
	case 8:
		c.R[RSP] = v
	case 4:
		c.R[RSP] = v & 0xffffffff
	default:
		c.R[RSP] = c.R[RSP]&^0xffff | v&0xffff
	}
}

// push stores below the stack pointer and moves it when the store succeeded.
func (c *CPU) push(size int, v uint64) bool {
	sp := (c.R[RSP] - uint64(size)) & addrMask(c.stackSize())
	if !c.store(isa.SS, sp, size, v) {
		return false
	}
	c.setSP(sp)
	return true
}

// top reads the stack at the given depth in bytes without moving the pointer.
func (c *CPU) top(depth uint64, size int) (uint64, bool) {
	return c.load(isa.SS, (c.R[RSP]+depth)&addrMask(c.stackSize()), size)
}
