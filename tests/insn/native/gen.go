package native

import (
	"math/rand/v2"

	"godwit/cpu/isa"
)

// Gen makes random cases. The same seed makes the same cases.
type Gen struct {
	r     *rand.Rand
	Vec   bool // cases have x87 and vector state
	wants []uint16
	flat  bool // no segments but those of 64-bit code
}

// NewGen makes a generator for the given rows.
func NewGen(seed uint64, rows []uint16) *Gen {
	return &Gen{r: rand.New(rand.NewPCG(seed, 0x676f64776974)), wants: rows}
}

func (g *Gen) n(n int) int             { return g.r.IntN(n) }
func (g *Gen) one(n int) bool          { return g.r.IntN(n) == 0 }
func (g *Gen) pick(v ...uint64) uint64 { return v[g.n(len(v))] }

// edges are values at which something changes for some size.
var edges = func() (v []uint64) {
	for _, w := range []uint{8, 16, 32, 64} {
		top := uint64(1) << (w - 1)
		v = append(v, top-1, top, top+1, 2*top-1, 2*top-2, -top, ^top)
	}
	return append(v, 0, 1, 2, 3, 7, 8, 9, 10, 15, 16, 17, 31, 32, 33, 63, 64, 65, 0x99, 0x9a, 0xa0, 0xf9,
		0x5555555555555555, 0xaaaaaaaaaaaaaaaa, 0x8000000080000000, 0x0123456789abcdef)
}()

// value is a random number, often one at an edge, short or sparse.
func (g *Gen) value() uint64 {
	v := g.r.Uint64()
	switch g.n(8) {
	case 0, 1, 2:
		return edges[g.n(len(edges))]
	case 3:
		return v >> g.n(64)
	case 4:
		return uint64(int64(v) >> g.n(64))
	case 5:
		return edges[g.n(len(edges))] + uint64(g.n(9)) - 4
	}
	return v
}

// selectors that user code may try, and what it may not.
var selectors = []uint16{
	0, 1, 2, 3, 0x10, 0x18, 0x1b, SelCode32, SelData, SelCode64, SelData &^ 3, 0x40, 0x50, 0x63, 0x83, 0xfff8, 0xffff,
	SelLDT, SelCode16, SelData16, SelStack16, SelReadOnly, SelDown32, SelDown16, SelAbsent, SelExecOnly, SelConform,
	SelSmall, SelBig16, 0x67, SelData16 &^ 3, SelConform &^ 3,
}

func (g *Gen) selector() uint16 { return selectors[g.n(len(selectors))] }

// target is an address for a far branch, mostly a good one.
func (g *Gen) target() (sel uint16, off uint64) {
	sel = []uint16{SelCode32, SelCode64, SelLDT, SelCode16, SelConform}[g.n(5)]
	off = CodeRIP + 32 + uint64(g.n(64)) // not into the instruction itself
	if mode(sel) == isa.Mode16 {
		off -= CodeBase
	}
	if g.one(6) {
		sel = g.selector()
	}
	if g.one(10) {
		off = g.value()
	}
	return
}

// linear is an address to access: in test memory, at its edges, or outside.
func (g *Gen) linear(mode isa.Mode) uint64 {
	switch g.n(24) {
	case 0:
		return DataBase + DataSize - uint64(g.n(17)) // into the page behind
	case 1:
		return DataBase - uint64(g.n(9))
	case 2, 3:
		return DataBase + 0x1000 - uint64(g.n(20)) // across pages
	case 4:
		return CodeBase + uint64(g.n(CodeSize)) // not writable
	case 5:
		if mode == isa.Mode64 {
			return g.pick(0x7ffffffffff0, 0x800000000000-8, 0x800000000000, 0xffff7fffffffffff, 0xffff800000000000, ^uint64(0)-7, 0) + uint64(g.n(9))
		}
		return uint64(uint32(g.pick(0xfffffff8, 0, 0x7ffffff8) + uint64(g.n(9))))
	case 6:
		return StackBase + uint64(g.n(StackSize))
	case 7:
		return HighBase + uint64(g.n(HighSize))
	case 8, 9, 10:
		return DataBase + uint64(g.n(DataSize/64))*64
	}
	return DataBase + uint64(g.n(DataSize-64))
}

// Next makes a case for a mode, and tells its instruction; in.Row is 0 if it is
// none.
func (g *Gen) Next(m isa.Mode) (*Case, *isa.Inst) {
	for {
		t := &templates[g.wants[g.n(len(g.wants))]]
		e := g.encode(t, m)
		var in isa.Inst
		st := isa.Decode(e.b, m, &in)
		if st != isa.OK || in.Row != t.row {
			if in.Row != t.row && st == isa.OK || !g.one(20) {
				continue
			}
			in = isa.Inst{}
			e.b = e.b[:min(len(e.b), 15)]
			if isa.Rows[t.row].Attrs&isa.AttrBranch != 0 {
				continue
			}
		} else {
			e.b = e.b[:in.Len]
		}
		c := g.state(m)
		c.Code = e.b
		if in.Row != 0 {
			g.aim(c, &in, &e, m)
		}
		return c, &in
	}
}

// state is a random state.
func (g *Gen) state(m isa.Mode) *Case {
	c := &Case{RIP: CodeRIP}
	for i := range c.R {
		c.R[i] = g.value()
	}
	if m != isa.Mode64 {
		clear(c.R[8:])
	}
	c.RFLAGS = g.r.Uint64() & 0xcd5
	if !g.one(4) {
		c.RFLAGS &^= 0x400
	}
	if g.one(24) {
		c.RFLAGS |= 1 << 18
	}
	c.R[4] = g.stack()
	c.FSBase, c.GSBase = DataBase, DataBase+0x800
	switch m {
	case isa.Mode64:
		c.Sel = [6]uint16{SelData, SelCode64, SelData, SelData, 0, 0}
		if !g.flat && g.one(8) {
			c.Sel[isa.FS] = []uint16{SelData16, SelData, SelReadOnly, SelBig16}[g.n(4)]
		}
		if g.one(8) {
			c.FSBase = g.pick(0, 0x7fffffffff00, 0xffff800000000000, ^uint64(0)-0xfff, 0x100000000)
		}
	case isa.Mode32:
		c.Sel = [6]uint16{SelData, SelCode32, SelData, SelData, SelData16, SelDown32}
		if g.one(8) {
			c.Sel[isa.CS] = SelLDT
		}
		if g.one(6) {
			c.Sel[isa.DS] = g.dataSel()
		}
		if g.one(6) {
			c.Sel[isa.ES] = g.dataSel()
		}
		if g.one(6) {
			c.Sel[isa.GS] = g.dataSel()
		}
		if g.one(8) {
			c.Sel[isa.SS] = SelStack16
		}
	case isa.Mode16:
		c.Sel = [6]uint16{SelBig16, SelCode16, SelStack16, SelBig16, SelData16, SelDown16}
		c.RIP -= CodeBase
		if g.one(6) {
			c.Sel[isa.DS] = g.dataSel()
		}
		if g.one(6) {
			c.Sel[isa.ES] = g.dataSel()
		}
		if g.one(8) {
			c.Sel[isa.SS] = SelData
		}
	}
	if c.Sel[isa.SS] == SelStack16 {
		c.R[4] = c.R[4]&^0xffff | g.pick(0, 1, 2, 3, 4, 6, 8, 10, 0xfff0, 0xfffe, 0xffff, 0x800, 0x801, 0xf800, uint64(g.n(0x1000)))
	}
	switch g.n(24) {
	case 0: // across pages
		c.RIP += 0x1000 - uint64(1+g.n(15))
	case 1: // into the page behind, or beyond the limit
		c.RIP += 0x8000 - uint64(1+g.n(16))
	}
	return c
}

func (g *Gen) dataSel() uint16 {
	return []uint16{0, SelData16, SelReadOnly, SelDown32, SelDown16, SelSmall, SelBig16, SelData, SelCode32}[g.n(9)]
}

// stack is a flat stack pointer.
func (g *Gen) stack() uint64 {
	switch g.n(12) {
	case 0:
		return StackBase + uint64(g.n(16)) // pushes leave the page
	case 1:
		return StackBase + StackSize - uint64(g.n(16))
	case 2:
		return StackBase + 0x1000 + uint64(g.n(16))
	case 3:
		return g.value()
	case 4:
		return StackBase + uint64(g.n(StackSize))
	}
	return StackBase + 0x800 + uint64(g.n(64))*8
}

// base is the base of a case's segment.
func (c *Case) base(seg uint8, m isa.Mode) uint64 {
	switch {
	case seg == isa.FS && c.Sel[seg] == 0:
		return c.FSBase
	case seg == isa.GS && c.Sel[seg] == 0:
		return c.GSBase
	case m == isa.Mode64 && seg < isa.FS:
		return 0
	}
	return segment(c.Sel[seg&7]).Base
}

// offset makes a linear address one of a segment, as wide as addresses are.
func (g *Gen) offset(c *Case, seg uint8, m isa.Mode, size uint8, linear uint64) uint64 {
	off := linear - c.base(seg, m)
	switch size {
	case 2:
		if off > 0xffff {
			off = g.pick(uint64(g.n(0x2000)), uint64(g.n(0x2000)), uint64(g.n(0x10000)), 0xfffe, 0xffff, 0xfff)
		}
	case 4:
		off &= 0xffffffff
	}
	return off
}

// setReg changes the low size bytes of a register.
func (c *Case) setReg(r uint8, size uint8, v uint64) {
	mask := ^uint64(0) >> (64 - 8*uint(size))
	c.R[r&15] = c.R[r&15]&^mask | v&mask
}

// aim makes the operands of a case interesting: addresses that exist, numbers
// that matter to the instruction.
func (g *Gen) aim(c *Case, in *isa.Inst, e *encoding, m isa.Mode) {
	r := in.R()
	if r.Attrs&isa.AttrString != 0 || in.Op == isa.XLAT {
		g.aimString(c, in, m)
	}
	switch in.Op {
	case isa.LEAVE, isa.ENTER:
		if !g.one(8) {
			c.R[5] = c.R[5]&^0xffffffff | g.stack()&0xffffffff
			if m == isa.Mode64 {
				c.R[5] = g.stack()
			}
		}
		if c.Sel[isa.SS] == SelStack16 {
			c.setReg(5, 2, g.pick(0, 2, 4, 0xfffe, 0x800, uint64(g.n(0x1000))))
		}
	}
	if in.Flags&isa.FlagMem != 0 && in.Op != isa.XLAT && !g.one(16) {
		at := g.linear(m)
		if g.solve(c, in, e, m, at) {
			g.fillOperand(c, in, at)
		}
	}
	g.special(c, in, m)
}

func (g *Gen) aimString(c *Case, in *isa.Inst, m isa.Mode) {
	if !g.one(12) {
		c.setReg(6, in.AddrSize, g.offset(c, in.Seg, m, in.AddrSize, g.linear(m)))
	}
	if !g.one(12) {
		c.setReg(7, in.AddrSize, g.offset(c, isa.ES, m, in.AddrSize, g.linear(m)))
	}
	if in.Op == isa.XLAT {
		c.setReg(3, in.AddrSize, g.offset(c, in.Seg, m, in.AddrSize, g.linear(m)))
		return
	}
	switch g.n(8) {
	case 0:
		c.setReg(1, in.AddrSize, 0)
	case 1:
		c.setReg(1, in.AddrSize, uint64(g.n(2000)))
	default:
		c.setReg(1, in.AddrSize, uint64(g.n(20)))
	}
	if g.one(2) && (in.Op == isa.SCAS || in.Op == isa.CMPS) { // equal stretches
		v := g.value()
		for i := uint64(0); i < 3; i++ {
			c.Win = append(c.Win, Window{c.R[7] + c.base(isa.ES, m) + 8*i, v}, Window{c.R[6] + c.base(in.Seg, m) + 8*i, v})
		}
		c.R[0] = v
	}
}

// solve chooses base, index or displacement so that the operand is at a linear
// address, more or less.
func (g *Gen) solve(c *Case, in *isa.Inst, e *encoding, m isa.Mode, at uint64) bool {
	want := g.offset(c, in.Seg, m, in.AddrSize, at)
	if in.R().Args[0] == isa.ArgMoffs || in.R().Args[1] == isa.ArgMoffs {
		n := int(in.AddrSize)
		for i := 0; i < n; i++ {
			c.Code[len(c.Code)-n+i] = byte(want >> (8 * i))
		}
		in.Imm = want
		return true
	}
	index := uint64(0)
	if in.Index < 16 && in.Index != in.Base {
		index = c.R[in.Index] << in.Scale
	}
	switch {
	case in.Base < 16:
		c.setReg(in.Base, in.AddrSize, want-index-uint64(int64(in.Disp)))
		return in.Base != in.Index
	case in.Base == isa.RegRIP:
		want -= c.RIP + uint64(in.Len)
	case in.Index < 16:
		c.setReg(in.Index, in.AddrSize, (want-uint64(int64(in.Disp)))>>in.Scale)
		return false
	}
	for i := 0; i < e.dispSz; i++ {
		c.Code[e.disp+i] = byte(want >> (8 * i))
	}
	in.Disp = int32(want)
	return true
}

// fillOperand puts numbers where the memory operand is.
func (g *Gen) fillOperand(c *Case, in *isa.Inst, at uint64) {
	if g.one(6) || len(c.Win) > 5 {
		return
	}
	if in.AddrSize == 2 {
		return
	}
	c.Win = append(c.Win, Window{at, g.value()}, Window{at + 8, g.value()})
}
