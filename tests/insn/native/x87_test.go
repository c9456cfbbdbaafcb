package native

import (
	"testing"

	"godwit/cpu"
	"godwit/cpu/isa"
)

// f80 is an x87 register: of every class, mostly ordinary numbers.
func (g *Gen) f80() cpu.F80 {
	v := cpu.F80{Mant: g.r.Uint64() | 1<<63, SE: uint16(g.n(2)) << 15}
	switch g.n(24) {
	case 0:
		return cpu.F80{Mant: g.value(), SE: uint16(g.r.Uint32())} // unnormal, pseudo-denormal
	case 1:
		v.Mant = 0
	case 2:
		v.Mant, v.SE = 1<<63, v.SE|0x7fff
	case 3:
		v.Mant, v.SE = v.Mant|g.pick(0, 1, 1<<62), v.SE|0x7fff
	case 4:
		v.Mant = v.Mant << 1 >> (1 + g.n(63)) // denormal
	case 5:
		v.SE |= uint16(g.pick(0, 1, 0x7ffe, 0x7ffd, 0x3f81, 0x3f80, 0x407e, 0x407f, 0x3c01, 0x3c00, 0x43fe, 0x43ff))
	case 6, 7:
		v.Mant = g.pick(1<<63, 1<<63|1, ^uint64(0), 3<<62, 1<<63|1<<39, 1<<63|1<<40, 1<<63|1<<10, 1<<63|1<<11)
		v.SE |= uint16(0x3fff + g.n(4) - 2)
	case 8, 9: // integers
		k := g.n(64)
		v.Mant, v.SE = v.Mant>>(63-k)<<(63-k), v.SE|uint16(0x3fff+k)
	case 10, 11, 12:
		v.SE |= uint16(1 + g.n(0x7ffe))
	case 13: // near pi/4 and its multiples
		v.Mant, v.SE = 0xc90fdaa22168c235+uint64(g.n(5))-2, v.SE|uint16(0x3ffe+g.n(64))
	case 14, 15, 16, 17:
		v.SE |= uint16(0x3fff - g.n(14))
	default:
		v.SE |= uint16(0x3fff + g.n(141) - 70)
	}
	return v
}

// x87 is random x87 state: mostly full and with all exceptions masked.
func (g *Gen) x87() *Vec {
	v := g.vec()
	v.FCW = 0x7f | uint16(g.pick(0x300, 0x300, 0x200, 0, 0x100))&0x300 | uint16(g.n(4))<<10
	if g.one(4) {
		v.FCW &^= uint16(g.n(64))
	}
	v.FSW = uint16(g.n(8))<<11 | uint16(g.r.Uint32())&0x4700
	if g.one(6) {
		v.FSW |= uint16(g.n(128))
		if v.FSW&^v.FCW&0x3f != 0 {
			v.FSW |= 0x8080
		}
	}
	v.FTW = 0xff
	switch g.n(4) {
	case 0:
		v.FTW = uint8(g.n(256))
	case 1:
		v.FTW &^= 1 << ((v.FSW>>11 - 1) & 7) // room for a push
	}
	for i := range v.ST {
		v.ST[i] = g.f80()
	}
	if g.one(8) {
		v.ST[1] = v.ST[0]
	}
	v.FOP, v.FIP, v.FDP = uint16(g.n(0x800)), g.r.Uint64()>>17, g.r.Uint64()>>17
	return v
}

// number puts a number of the operand's kind where the memory operand is.
func (g *Gen) number(c *Case, in *isa.Inst) {
	if len(c.Win) < 2 {
		return
	}
	v := g.f80()
	switch {
	case in.Op == isa.FBLD:
		c.Win[0].Val, c.Win[1].Val = g.bcd(), g.bcd()
	case in.Op == isa.FLDCW:
		c.Win[0].Val = uint64(g.x87().FCW)
	case in.Op == isa.FLDENV || in.Op == isa.FRSTOR:
		w := g.x87()
		c.Win[0].Val, c.Win[1].Val = uint64(w.FCW)|uint64(w.FSW)<<32, g.r.Uint64()
		if in.OpSize == 2 {
			c.Win[0].Val = uint64(w.FCW) | uint64(w.FSW)<<16 | c.Win[1].Val<<32
		}
	case in.ArgSize(0) == 10:
		c.Win[0].Val, c.Win[1].Val = v.Mant, uint64(v.SE)
	case in.ArgSize(0) == 8 && g.one(2):
		c.Win[0].Val = g.lanes()[0]
	case in.ArgSize(0) == 8:
		c.Win[0].Val = uint64(v.SE>>15)<<63 | uint64(v.SE&0x7ff)<<52 | v.Mant<<1>>12
	case in.ArgSize(0) == 4:
		c.Win[0].Val = g.lanes()[0]
	}
}

// bcd is sixteen digits, mostly decimal ones.
func (g *Gen) bcd() (v uint64) {
	for i := 0; i < 64; i += 4 {
		v |= uint64(g.n(10)) << i
	}
	if g.one(8) {
		v = g.r.Uint64()
	}
	return v
}

// envOps save and restore x87's environment.
var envOps = map[isa.Op]bool{isa.FNSTENV: true, isa.FLDENV: true, isa.FNSAVE: true, isa.FRSTOR: true}

func testX87(t *testing.T, md isa.Mode, few int) {
	x, m := needNative(t, md)
	rows := rowsOf(m, func(r *isa.Row) bool {
		return r.Attrs&isa.AttrX87 != 0 || isa.Features[r.CPUID] == "fpu" || r.Text[0] == 'f' && r.Attrs&isa.AttrMMX == 0 && excluded[r.Op] == ""
	})
	compareNative(t, x, m, NewGen(seed(t), rows), md, few, func(g *Gen, c *Case, in *isa.Inst) bool {
		if in.Row != 0 && envOps[in.Op] && c.wraps(in, 108) {
			return false
		}
		c.Vec = g.x87()
		g.number(c, in)
		if md == isa.Mode32 && in.Row != 0 && g.one(4) && len(c.Code) < 8 && !transcendental[in.Op] { // and what the environment is then
			c.Code = append(c.Code[:len(c.Code):len(c.Code)], 0xd9, 0x35, 0, 0x10, 0, 0x20) // FNSTENV
		}
		return true
	})
}

func TestX87In64(t *testing.T) { testX87(t, isa.Mode64, 6000) }
func TestX87In32(t *testing.T) { testX87(t, isa.Mode32, 6000) }
func TestX87In16(t *testing.T) { testX87(t, isa.Mode16, 3000) }
