package native

import (
	"testing"

	"godwit/cpu/isa"
)

// testState compares FXSAVE's and XSAVE's families.
func testState(t *testing.T, md isa.Mode, few int) {
	x, m := needNative(t, md)
	rows := rowsOf(m, func(r *isa.Row) bool { return imageOps[r.Op] })
	compareNative(t, x, m, NewGen(seed(t), rows), md, few, func(g *Gen, c *Case, in *isa.Inst) bool {
		if in.Row == 0 || in.AddrSize == 2 && c.Sel[isa.SS] == SelStack16 {
			return false
		}
		c.Vec = g.x87()
		if g.one(3) {
			c.Vec.FCW, c.Vec.FSW, c.Vec.MXCSR = 0x37f, 0, 0x1f80
		}
		if len(c.Win) > 0 && in.Base < 16 && in.Base != in.Index {
			mask := uint64(63)
			if in.Op == isa.FXSAVE || in.Op == isa.FXRSTOR {
				mask = 15
			}
			if !g.one(8) {
				g.align(c, in, mask)
			}
			g.image(c, in, c.Win[0].Addr)
		}
		if in.Base != 0 && in.Index != 0 {
			c.R[0] = uint64(g.n(8))
		}
		c.R[2] &= 0x80000000   // how large a larger image is depends on the processor
		if c.wraps(in, 1024) { // as its registers are at last
			return false
		}
		return c.R[0]&0xfffffff8 == 0 || in.Op == isa.FXSAVE || in.Op == isa.FXRSTOR
	})
}

// wraps tells that an operand of size bytes goes on at the start of the addresses
// that the instruction can form: where in such an image processors begin, and
// what they have done when they find that they may not, is their own affair.
func (c *Case) wraps(in *isa.Inst, size uint64) bool {
	if in.AddrSize == 8 {
		return false
	}
	reg := func(n uint8) uint64 {
		switch {
		case n < 16:
			return c.R[n]
		case n == isa.RegRIP:
			return c.RIP + uint64(in.Len)
		}
		return 0
	}
	mask := ^uint64(0) >> (64 - 8*uint(in.AddrSize))
	return (reg(in.Base)+reg(in.Index)<<in.Scale+uint64(int64(in.Disp)))&mask > mask-size+1
}

// image makes the operand's memory something that can be restored, mostly.
func (g *Gen) image(c *Case, in *isa.Inst, at uint64) {
	v := g.x87()
	mxcsr := v.MXCSR
	if g.one(12) {
		mxcsr = g.r.Uint32() &^ 0x20000
	}
	c.Win = append(c.Win[:0],
		Window{at, uint64(v.FCW) | uint64(v.FSW)<<16 | uint64(v.FTW)<<32 | uint64(g.n(0x10000))<<48},
		Window{at + 24, uint64(mxcsr)})
	for off := uint64(512); off < 576; off += 8 {
		x := uint64(0)
		if g.one(100) {
			x = g.value()
		}
		c.Win = append(c.Win, Window{at + off, x})
	}
	header := c.Win[2:]
	header[0].Val = uint64(g.n(8))
	if g.one(2) {
		header[1].Val = 1<<63 | 7
		if g.one(4) {
			header[1].Val = 1<<63 | uint64(g.n(8))
		}
	}
}

func TestState64(t *testing.T) { testState(t, isa.Mode64, 3000) }
func TestState32(t *testing.T) { testState(t, isa.Mode32, 2000) }
