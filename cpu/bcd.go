package cpu

import "godwit/cpu/isa"

func init() {
	register(map[isa.Op]handler{
		isa.AAA: hAaa, isa.AAS: hAas, isa.AAM: hAam, isa.AAD: hAad, isa.DAA: hDaa, isa.DAS: hDas,
		isa.SALC: hSalc, isa.CLZERO: hClzero,
	})
}

// The decimal adjustments [SDM 2 AAA, AAS, AAM, AAD, DAA, DAS]. Flags that the
// manual leaves undefined are in undefined.go.

func (c *CPU) setAX(v uint64) { c.R[RAX] = c.R[RAX]&^0xffff | v&0xffff }
func (c *CPU) setAL(v uint64) { c.R[RAX] = c.R[RAX]&^0xff | v&0xff }

// adjusts tells that the low decimal digit in AL is out of range.
func (c *CPU) adjusts() bool { return c.R[RAX]&0xf > 9 || c.RFLAGS&flagAF != 0 }

func hAaa(c *CPU, _ *isa.Inst) bool { return c.unpacked(lzAdd | 1) }
func hAas(c *CPU, _ *isa.Inst) bool { return c.unpacked(lzSub | 1) }

// unpacked is AAA and AAS: the addition to, or subtraction from, AX.
func (c *CPU) unpacked(kind uint8) bool {
	ax, n, f := c.R[RAX]&0xffff, uint64(0), uint64(0)
	if c.adjusts() {
		n, f = 0x106, flagCF|flagAF
	}
	r := ax + n
	if kind == lzSub|1 {
		r = ax - n
	}
	c.setAX(r &^ 0xf0)
	if !c.amd { // see undefined.go
		kind, ax, n = lzLogic, r&0xf, 0
	}
	c.setStatus(flagsOf(kind, ax, n)&^(flagCF|flagAF) | f)
	return true
}

func hDaa(c *CPU, _ *isa.Inst) bool { return c.packed(lzAdd) }
func hDas(c *CPU, _ *isa.Inst) bool { return c.packed(lzSub) }

// packed is DAA and DAS. The first step's borrow is not kept when the second
// one does not happen: nothing above 0x99 escapes it.
func (c *CPU) packed(kind uint8) bool {
	al, n, f := c.R[RAX]&0xff, uint64(0), uint64(0)
	if c.adjusts() {
		n, f = 6, flagAF
	}
	if al > 0x99 || c.RFLAGS&flagCF != 0 {
		n, f = n+0x60, f|flagCF
	}
	r := al + n
	if kind == lzSub {
		r = al - n
		if n == 6 && al < 6 {
			f |= flagCF
		}
	}
	c.setAL(r)
	if !c.amd { // see undefined.go
		kind, al, n = lzLogic, r&0xff, 0
	}
	c.setStatus(flagsOf(kind, al, n)&^(flagCF|flagAF) | f)
	return true
}

func hAam(c *CPU, in *isa.Inst) bool {
	d := in.Imm & 0xff
	if d == 0 {
		return c.raise(vecDE)
	}
	al := c.R[RAX] & 0xff
	c.setAX(al/d<<8 | al%d)
	c.setStatus(flagsOf(lzLogic, al%d, 0))
	return true
}

func hAad(c *CPU, in *isa.Inst) bool {
	al, n := c.R[RAX]&0xff, c.R[RAX]>>8&0xff*(in.Imm&0xff)&0xff
	c.setAX((al + n) & 0xff)
	c.setStatus(flagsOf(lzAdd, al, n))
	return true
}

// hSalc sets AL to CF in all bits; no manual describes it, every processor has
// it outside 64-bit mode.
func hSalc(c *CPU, _ *isa.Inst) bool {
	c.setAL(-c.carry())
	return true
}

// hClzero clears the 64 bytes around the address in rAX [APM 3 CLZERO].
func hClzero(c *CPU, in *isa.Inst) bool {
	off := c.R[RAX] & addrMask(in.AddrSize)
	la, ok := c.linear(in.Seg, off, 1, accWrite)
	if !ok {
		return false
	}
	la &^= 63
	if !c.probe(la, 64, accWrite, c.mmu) {
		return false
	}
	for i := uint64(0); i < 64; i += 8 {
		c.writeLin(la+i, 8, 0, c.mmu)
	}
	return true
}
