package native

import (
	"strings"
	"testing"

	"godwit/cpu"
	"godwit/cpu/isa"
)

// vecRows are the rows of a family of vector or x87 instructions that the model
// and the processor underneath have.
func vecRows(m *Machine, want, not isa.Attr) []uint16 {
	return rowsOf(m, func(r *isa.Row) bool {
		return r.Attrs&want != 0 && r.Attrs&not == 0 && (excluded[r.Op] == "" || approximates[r.Op])
	})
}

// rowsOf are the rows that the model and the processor underneath have.
func rowsOf(m *Machine, want func(*isa.Row) bool) (rows []uint16) {
	for i := 1; i < len(isa.Rows); i++ {
		if r := &isa.Rows[i]; want(r) && m.has(r) && hostHas(r) {
			rows = append(rows, uint16(i))
		}
	}
	return rows
}

// lanes fills a vector with numbers of one size, mostly ordinary ones.
func (g *Gen) lanes() (v [4]uint64) {
	f32 := func() uint64 {
		if g.one(3) {
			return g.pick(0, 1<<31, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000, 0x7fc00000, 0x7f800001, 1, 0x7fffff, 0x800000, 0x7f7fffff, 0x4f000000, 0xcf000000)
		}
		return uint64(g.r.Uint32())
	}
	f64 := func() uint64 {
		if g.one(3) {
			return g.pick(0, 1<<63, 0x3ff0000000000000, 0x7ff0000000000000, 0xfff0000000000000, 0x7ff8000000000000, 0x7ff0000000000001, 1, 0xfffffffffffff, 0x10000000000000, 0x7fefffffffffffff, 0x43e0000000000000, 0xc1e0000000000000, 0x36a0000000000000, 0x47efffffe0000000)
		}
		return g.r.Uint64()
	}
	kind := g.n(6)
	for i := range v[:2] {
		switch kind {
		case 3: // text
			for k := 0; k < 64; k += 8 {
				v[i] |= g.pick('a', 'b', 'c', 'a', 'b', 0x80, 0xff, 0) << k
			}
		case 4: // counts
			v[i] = uint64(g.n(72))
		case 5: // numbers about 1
			v[i] = g.near()
		case 0:
			v[i] = f32() | f32()<<32
		case 1:
			v[i] = f64()
		default:
			v[i] = g.value()
		}
	}
	return v
}

// near is two binary32 or a binary64 number near one, or near what integers hold.
func (g *Gen) near() uint64 {
	if g.one(2) {
		return g.r.Uint64()&^(0x7ff<<52) | uint64(0x3ff+g.n(70)-3)<<52&^(1<<uint(g.n(53))-1)
	}
	f := func() uint64 {
		return uint64(g.r.Uint32())&^(0xff<<23) | uint64(0x7f+g.n(70)-3)<<23&^(1<<uint(g.n(24))-1)
	}
	return f() | f()<<32
}

// vec is random vector and x87 state with all exceptions masked, or some not.
func (g *Gen) vec() *Vec {
	v := &Vec{FCW: 0x37f, MXCSR: 0x1f80 | uint32(g.n(4))<<13}
	if g.one(4) {
		v.MXCSR = g.r.Uint32() & 0xffff
	}
	for i := range v.X {
		v.X[i] = g.lanes()
	}
	if g.one(2) {
		v.FTW = uint8(g.n(256))
	}
	for i := range v.ST {
		v.ST[i] = cpu.F80{Mant: g.value(), SE: 0xffff}
	}
	return v
}

func testVec(t *testing.T, md isa.Mode, want, not isa.Attr, few int) {
	x, m := needNative(t, md)
	compareNative(t, x, m, NewGen(seed(t), vecRows(m, want, not)), md, few, func(g *Gen, c *Case, in *isa.Inst) bool {
		c.Vec = g.vec()
		if g.one(2) && len(c.Win) > 1 {
			g.align(c, in, 15)
			l := g.lanes()
			c.Win[0].Val, c.Win[1].Val = l[0], l[1]
		}
		if in.Row != 0 && strings.HasPrefix(in.R().Text, "pcmpestr") && in.Base != 0 && in.Base != 2 && in.Index != 0 && in.Index != 2 {
			for _, r := range [2]int{0, 2} { // lengths
				if !g.one(4) {
					c.R[r] = uint64(int64(g.n(40) - 20))
				}
			}
		}
		return true
	})
}

func TestSSE64(t *testing.T) { testVec(t, isa.Mode64, isa.AttrSSE, isa.AttrAVX|isa.AttrMMX, 6000) }
func TestSSE32(t *testing.T) { testVec(t, isa.Mode32, isa.AttrSSE, isa.AttrAVX|isa.AttrMMX, 6000) }
func TestMMX64(t *testing.T) { testVec(t, isa.Mode64, isa.AttrMMX, isa.AttrAVX, 6000) }
func TestMMX32(t *testing.T) { testVec(t, isa.Mode32, isa.AttrMMX, isa.AttrAVX, 6000) }

// TestDotProducts: instructions that compute with their own results raise
// exceptions step by step.
func TestDotProducts(t *testing.T) {
	x, m := needNative(t, isa.Mode64)
	rows := rowsOf(m, func(r *isa.Row) bool {
		return r.Op == isa.DPPS || r.Op == isa.DPPD || r.Op == isa.HADDPS || r.Op == isa.ADDSUBPS
	})
	compareNative(t, x, m, NewGen(seed(t), rows), isa.Mode64, 3000, func(g *Gen, c *Case, in *isa.Inst) bool {
		c.Vec = g.vec()
		c.Vec.MXCSR = g.r.Uint32() & 0xffff
		for i := range c.Vec.X {
			for q := range c.Vec.X[i][:2] { // products near the ends of the range
				e32, e64 := uint64(0x3f+2*g.n(2)*0x40+g.n(3)-1), uint64(0x1ff+2*g.n(2)*0x200+g.n(3)-1)
				c.Vec.X[i][q] = g.r.Uint64()&0x807fffff807fffff | e32<<23 | e32<<55
				if in.Op == isa.DPPD {
					c.Vec.X[i][q] = g.r.Uint64()&0x800fffffffffffff | e64<<52
				}
			}
		}
		return true
	})
}
