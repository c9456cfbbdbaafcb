package cpu

import (
	"godwit/cpu/fp"
	"godwit/cpu/isa"
)

// This file is what all x87 instructions share: the register stack, the response
// to exceptions and the last instruction's pointers [SDM 1 8]. The other
// x87_*.go files are tables of functions of package fp, and the shapes that turn
// these into handlers.
//
// An unmasked exception is noted in FSW.ES and raises #MF at the next waiting
// instruction. With CR0.NE clear a PC's FERR# pin would raise IRQ 13 instead,
// which is not modelled: the instruction goes on.
//
// Pointers: FOP, FIP and FCS are those of the last instruction that is no control
// instruction, whether it raised something or not; FDP and FDS those of the last
// one with a memory operand. So do AMD's CPUs. Intel's newer ones set FOP and FDP
// for an unmasked exception only, and have no FCS and FDS [SDM 1 8.1.8, 8.1.9].

const (
	fswSF   = 1 << 6
	fswCC   = fp.C0 | fp.C1 | fp.C2 | fp.C3
	fswTop  = 7 << 11
	topUnit = 1 << 11
)

// x87 makes a waiting instruction of h: it checks that the FPU may be used, makes
// c.env, and moves the pointers if h succeeds.
func x87(h handler) handler {
	return func(c *CPU, in *isa.Inst) bool {
		if !c.useFPU() {
			return false
		}
		opcode, ok := c.opcodeX87(in)
		if !ok {
			return false
		}
		c.env = fp.FromFCW(c.FCW)
		c.env.AMD = c.amd
		if !h(c, in) {
			return false
		}
		c.pointX87(in, opcode)
		return true
	}
}

// pointX87 moves the pointers to the instruction.
func (c *CPU) pointX87(in *isa.Inst, opcode uint16) {
	c.FIP, c.FCS = c.RIP, c.Seg[isa.CS].Sel
	if !c.amd {
		c.noSelectors()
		if c.FSW&fswSummary == 0 {
			return
		}
	}
	c.FOP = opcode
	if in.Flags&isa.FlagMem == 0 {
		return
	}
	c.FDP = c.ea(in)
	if c.amd {
		c.FDS = c.Seg[in.Seg].Sel
	}
}

// opcodeX87 is the instruction's FOP: three bits of the first opcode byte, and
// the ModRM byte [SDM 1 8.1.9]. Why: decoding keeps neither, so the bytes are
// looked at again. They were fetched just before, so that this cannot fault.
func (c *CPU) opcodeX87(in *isa.Inst) (uint16, bool) {
	lin, ok := c.codeAddr(c.RIP)
	if !ok {
		return 0, false
	}
	e := c.tlb[c.mmu].slot(lin)
	if d := lin - e.x; d <= 4096-15 {
		return findX87(c.ram[e.add+d:][:in.Len]), true
	}
	var b [15]byte
	n := min(int(in.Len), 4096-int(lin&0xfff))
	if !c.fetchBytes(lin, b[:n]) {
		return 0, false
	}
	if n < int(in.Len) && !c.fetchBytes(c.secondPage(lin), b[n:in.Len]) {
		return 0, false
	}
	return findX87(b[:in.Len]), true
}

// findX87 finds the opcode after any prefixes, none of which looks like it.
func findX87(b []byte) uint16 {
	for i, v := range b[:len(b)-1] {
		if v&0xf8 == 0xd8 {
			return uint16(v&7)<<8 | uint16(b[i+1])
		}
	}
	return 0
}

// phys is the number of the physical register ST(i).
func (c *CPU) phys(i uint8) uint8 { return (uint8(c.FSW>>11) + i) & 7 }

func (c *CPU) st(i uint8) fp.F80 { return fp.F80(c.ST[c.phys(i)]) }

// setST writes ST(i) and tags it valid.
func (c *CPU) setST(i uint8, v fp.F80) {
	p := c.phys(i)
	c.ST[p] = F80(v)
	c.FTW |= 1 << p
}

// emptyST tells that ST(i) holds nothing.
func (c *CPU) emptyST(i uint8) bool { return c.FTW>>c.phys(i)&1 == 0 }

// turnX87 moves TOP by n.
func (c *CPU) turnX87(n int) {
	c.FSW = c.FSW&^fswTop | (c.FSW+uint16(n)*topUnit)&fswTop
}

func (c *CPU) freeST(i uint8) { c.FTW &^= 1 << c.phys(i) }

// popST empties and pops n registers.
func (c *CPU) popST(n int) {
	for ; n > 0; n-- {
		c.freeST(0)
		c.turnX87(1)
	}
}

// pushST pushes onto a free register.
func (c *CPU) pushST(v fp.F80) {
	c.turnX87(-1)
	c.setST(0, v)
}

// stackFault raises the stack fault of a full (c1) or empty register. False: it is
// not masked, and the instruction has no further effect [SDM 1 8.5.1.1].
func (c *CPU) stackFault(c1 uint16) bool {
	c.FSW = c.FSW&^fp.C1 | uint16(fp.IE) | fswSF | c1
	c.summarizeX87()
	return c.FCW&uint16(fp.IE) != 0
}

func (c *CPU) underflowST() bool { return c.stackFault(0) }
func (c *CPU) overflowST() bool  { return c.stackFault(fp.C1) }

// settle adds what the operation raised to FSW. False: the operation must not
// write its result, because of an unmasked exception that comes before the
// computation [SDM 1 8.4, 8.5].
func (c *CPU) settle() bool {
	c.FSW = c.FSW&^fp.C1 | c.env.FSW()
	c.summarizeX87()
	return c.env.Unmasked()&(fp.IE|fp.DE|fp.ZE) == 0
}

// setCC writes the condition code bits in mask.
func (c *CPU) setCC(mask, cc uint16) { c.FSW = c.FSW&^mask | cc }

// placeX87 is a memory operand of more than a simple access: ten bytes, or an
// image. Its parts are accessed one by one, each with an offset that wraps as
// addresses do.
type placeX87 struct {
	base, ea, wrap, lin uint64
}

// at is the linear address of an offset in the operand.
func (p *placeX87) at(off uint64) uint64 { return (p.base + (p.ea+off)&p.wrap) & p.lin }

// place checks that size bytes at the memory operand can be accessed, so that
// nothing after it can fault. AMD's processors look at the first part, and of an
// image at its last byte, before the others. part is the size of the first one.
func (c *CPU) placeX87(in *isa.Inst, size, part, acc int) (p placeX87, ok bool) {
	p = placeX87{ea: c.ea(in), wrap: addrMask(in.AddrSize), lin: ^uint64(0)}
	if c.mode != isa.Mode64 {
		p.base, p.lin = c.Seg[in.Seg].Base, 0xffffffff
	} else if in.Seg >= isa.FS {
		p.base = c.Seg[in.Seg].Base
	}
	if c.inBlock && p.at(0)&0xfff+uint64(size) > 4096 {
		c.stepReq = true // no part may be refused after the first
		return p, false
	}
	la, ok := c.linear(in.Seg, p.ea, part, acc)
	if !ok || !c.aligned(la, alignX87(size)) || !c.probe(la, part, acc, c.mmu) {
		return p, false
	}
	rest := 1
	if size == 10 {
		rest = 2
	}
	if size > part && !c.partX87(in, &p, size-rest, rest, acc) {
		return p, false
	}
	if p.ea+uint64(size-1) <= p.wrap || size == 10 {
		return p, true
	}
	for off, n := part, part; off < size; off += n { // around the end of the segment
		if i := off - len(environment{})*part; i >= 0 { // a register's significand, and its exponent
			n = 8 - 6*(i%10>>3)
		}
		if !c.partX87(in, &p, off, n, acc) {
			return p, false
		}
	}
	return p, true
}

func (c *CPU) partX87(in *isa.Inst, p *placeX87, off, size, acc int) bool {
	la, ok := c.linear(in.Seg, (p.ea+uint64(off))&p.wrap, size, acc)
	return ok && c.probe(la, size, acc, c.mmu)
}

// alignX87 is the alignment that alignment checking wants of an operand: that of
// its largest part [SDM 3A 6.15].
func alignX87(size int) int {
	switch size {
	case 10:
		return 8
	case 14, 94:
		return 2
	case 28, 108:
		return 4
	}
	return size
}

// load80 reads a ten-byte operand.
func (c *CPU) load80(in *isa.Inst) (lo uint64, hi uint16, ok bool) {
	p, ok := c.placeX87(in, 10, 8, accRead)
	if !ok {
		return 0, 0, false
	}
	return c.peek(p.at(0), 8), uint16(c.peek(p.at(8), 2)), true
}
