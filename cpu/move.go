package cpu

import "godwit/cpu/isa"

func init() {
	register(map[isa.Op]handler{
		isa.MOV: hMov, isa.MOVZX: hMovzx, isa.MOVSX: hMovsx, isa.MOVSXD: hMovsx,
		isa.LEA: hLea, isa.XCHG: hXchg, isa.CMOVCC: hCmov, isa.SETCC: hSet,
		isa.PUSH: hPush, isa.POP: hPop, isa.PUSHA: hPusha, isa.POPA: hPopa,
		isa.ENTER: hEnter, isa.LEAVE: hLeave, isa.XLAT: hXlat, isa.MOVBE: hMovbe,
		isa.NOP: hNop, isa.PAUSE: hPause,
	})
}

func hMov(c *CPU, in *isa.Inst) bool {
	v, ok := c.arg(in, 1)
	return ok && c.setArg(in, 0, v)
}

func hMovzx(c *CPU, in *isa.Inst) bool {
	v, ok := c.arg(in, 1)
	if ok {
		c.setReg(in, in.Reg, in.ArgSize(0), v)
	}
	return ok
}

func hMovsx(c *CPU, in *isa.Inst) bool {
	if in.Op == isa.MOVSXD && in.OpSize == 2 && in.Flags&isa.FlagMem != 0 && c.amd {
		v, ok := c.load(in.Seg, c.ea(in), 4) // AMD's processors read what they do not use
		return ok && c.setArg(in, 0, v)
	}
	v, ok := c.arg(in, 1)
	if ok {
		c.setReg(in, in.Reg, in.ArgSize(0), uint64(signExtend(v, uint(8*in.ArgSize(1)))))
	}
	return ok
}

func hLea(c *CPU, in *isa.Inst) bool {
	c.setReg(in, in.Reg, int(in.OpSize), c.ea(in))
	return true
}

func hXchg(c *CPU, in *isa.Inst) bool {
	d, ok := c.dst(in, 0)
	if !ok {
		return false
	}
	s, ok := c.dst(in, 1)
	if !ok {
		return false
	}
	a, b := c.get(in, d), c.get(in, s)
	c.put(in, d, b)
	c.put(in, s, a)
	return true
}

// hCmov reads its source, and clears the upper half of a 32-bit destination,
// whatever the condition [SDM 2 CMOVcc].
func hCmov(c *CPU, in *isa.Inst) bool {
	v, ok := c.arg(in, 1)
	if !ok {
		return false
	}
	size := int(in.OpSize)
	if !c.cond(in.Cond) {
		v = c.reg(in, in.Reg, size)
	}
	c.setReg(in, in.Reg, size, v)
	return true
}

func hSet(c *CPU, in *isa.Inst) bool {
	return c.setArg(in, 0, b2u(c.cond(in.Cond)))
}

func hPush(c *CPU, in *isa.Inst) bool {
	size := int(in.OpSize)
	r := &isa.Rows[in.Row]
	switch r.Args[0] {
	case isa.ArgSreg:
		return c.pushSreg(c.Seg[r.Fixed&7].Sel, size)
	case isa.ArgImm:
		return c.push(size, in.Imm)
	}
	v, ok := c.arg(in, 0)
	return ok && c.push(size, v)
}

// pushSreg zero-extends the selector; Intel's processors write only 16 bits of a
// 32-bit push [SDM 2 PUSH].
func (c *CPU) pushSreg(sel uint16, size int) bool {
	if size != 4 || c.amd {
		return c.push(size, uint64(sel))
	}
	sp := (c.R[RSP] - 4) & addrMask(c.stackSize())
	if !c.store(isa.SS, sp, 2, uint64(sel)) {
		return false
	}
	c.setSP(sp)
	return true
}

// hPop: a memory destination addressed by rSP sees the pointer already moved
// [SDM 2 POP].
func hPop(c *CPU, in *isa.Inst) bool {
	size := int(in.OpSize)
	r := &isa.Rows[in.Row]
	read := size
	if r.Args[0] == isa.ArgSreg && !c.amd {
		read = 2 // all that Intel's processors look at
	}
	v, ok := c.top(0, read)
	if !ok {
		return false
	}
	if r.Args[0] == isa.ArgSreg {
		sp := c.R[RSP]
		c.setSP(sp + uint64(size)) // as wide as the old stack is
		if !c.loadSegment(int(r.Fixed&7), uint16(v)) {
			c.R[RSP] = sp
			return false
		}
		if r.Fixed&7 == isa.SS {
			c.Shadow, c.SSLoaded = 2, true
		}
		return true
	}
	old := c.R[RSP]
	c.setSP(old + uint64(size))
	d, ok := c.dst(in, 0)
	if !ok {
		c.R[RSP] = old
		return false
	}
	c.put(in, d, v)
	return true
}

func hPusha(c *CPU, in *isa.Inst) bool {
	size := int(in.OpSize)
	sp := c.R[RSP]
	for i := 0; i < 8; i++ {
		at := (sp - uint64((i+1)*size)) & addrMask(c.stackSize())
		if !c.store(isa.SS, at, size, c.R[i]) {
			return false
		}
	}
	c.setSP(sp - uint64(8*size))
	return true
}

// hPopa keeps what it popped before a fault; rSP stays, so that it can begin
// again.
func hPopa(c *CPU, in *isa.Inst) bool {
	size := int(in.OpSize)
	for i := 0; i < 8; i++ {
		v, ok := c.top(uint64(i*size), size)
		if !ok {
			return false
		}
		if r := uint8(7 - i); r != RSP {
			c.setReg(in, r, size, v)
		}
	}
	c.setSP(c.R[RSP] + uint64(8*size))
	return true
}

// hEnter builds a frame with up to 31 outer frame pointers [SDM 2 ENTER].
func hEnter(c *CPU, in *isa.Inst) bool {
	size, level := int(in.OpSize), uint64(in.Imm2&31)
	mask := addrMask(c.stackSize())
	sp, bp := c.R[RSP]&mask, c.R[RBP]&mask
	put := func(v uint64) bool {
		sp = (sp - uint64(size)) & mask
		return c.store(isa.SS, sp, size, v)
	}
	if !put(c.R[RBP]) {
		return false
	}
	frame := c.R[RSP]&^mask | sp
	if !c.amd { // Intel's processors do not wrap it as the stack does
		frame = c.R[RSP] - uint64(size)
	}
	for i := uint64(1); i < level; i++ {
		v, ok := c.load(isa.SS, (bp-i*uint64(size))&mask, size)
		if !ok || !put(v) {
			return false
		}
	}
	if level > 0 && !put(frame) {
		return false
	}
	sp = (sp - in.Imm&0xffff) & mask
	if la, ok := c.linear(isa.SS, sp, size, accWrite); !ok || !c.aligned(la, size) || !c.probe(la, size, accWrite, c.mmu) {
		return false
	}
	c.setReg(in, RBP, size, frame)
	c.setSP(sp)
	return true
}

func hLeave(c *CPU, in *isa.Inst) bool {
	size := int(in.OpSize)
	bp := c.R[RBP] & addrMask(c.stackSize())
	v, ok := c.load(isa.SS, bp, size)
	if !ok {
		return false
	}
	c.setSP(bp + uint64(size))
	c.setReg(in, RBP, size, v)
	return true
}

func hXlat(c *CPU, in *isa.Inst) bool {
	a := (c.R[RBX] + c.R[RAX]&0xff) & addrMask(in.AddrSize)
	v, ok := c.load(in.Seg, a, 1)
	if ok {
		c.setReg(in, RAX, 1, v)
	}
	return ok
}

func hMovbe(c *CPU, in *isa.Inst) bool {
	v, ok := c.arg(in, 1)
	if !ok {
		return false
	}
	size := in.ArgSize(0)
	var r uint64
	for i := 0; i < size; i++ {
		r = r<<8 | v>>(8*i)&0xff
	}
	return c.setArg(in, 0, r)
}

func hNop(*CPU, *isa.Inst) bool { return true }

// hPause gives up the vCPU's slice.
func hPause(c *CPU, _ *isa.Inst) bool {
	c.yield = true
	return true
}
