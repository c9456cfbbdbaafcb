package cpu

import (
	"math/bits"

	"godwit/cpu/isa"
)

// The string comparisons of SSE4.2 [SDM 1 12.7, SDM 2 4.1].

func init() {
	register(map[isa.Op]handler{
		isa.PCMPESTRI: compareStrings(true, (*CPU).stringIndex), isa.PCMPESTRM: compareStrings(true, (*CPU).stringMask),
		isa.PCMPISTRI: compareStrings(false, (*CPU).stringIndex), isa.PCMPISTRM: compareStrings(false, (*CPU).stringMask),
	})
}

// Aggregations, imm bits 3:2.
const (
	equalAny = iota
	ranges
	equalEach
	equalOrdered
)

// text is an operand cut into n characters of w bits, of which the first len
// are valid.
type text struct {
	ch     [16]int64
	w      uint
	n, len int
}

// newText cuts x up as imm bits 1:0 say: bytes or words, unsigned or signed.
// Its length is that of a string ended by zero.
func newText(x xmm, imm uint8) (t text) {
	t.w, t.n = 8, 16
	if imm&1 != 0 {
		t.w, t.n = 16, 8
	}
	t.len = t.n
	for i := t.n - 1; i >= 0; i-- {
		v := x.lane(uint(i), t.w)
		t.ch[i] = int64(v)
		if imm&2 != 0 {
			t.ch[i] = signExtend(v, t.w)
		}
		if v == 0 {
			t.len = i
		}
	}
	return t
}

// setLen takes the length from a register: its absolute value counts.
func (t *text) setLen(v int64) {
	if v < 0 {
		v = -v
	}
	t.len = t.n
	if v >= 0 && v < int64(t.n) { // the most negative number has no absolute value
		t.len = int(v)
	}
}

func (t *text) valid(i int) bool { return i < t.len }

// all has a bit for every character.
func (t *text) all() uint32 { return 1<<t.n - 1 }

// compareStrings makes the four instructions: lengths are explicit in (R)AX and
// (R)DX or implied by a zero; put stores the result.
func compareStrings(explicit bool, put func(c *CPU, t *text, r uint32, msb bool)) handler {
	return func(c *CPU, in *isa.Inst) bool {
		if !c.useSSE() {
			return false
		}
		x, ok := c.xmm(in.RM), true
		if in.Flags&isa.FlagMem != 0 {
			x, ok = c.load128(in, false)
		}
		if !ok {
			return false
		}
		imm := uint8(in.Imm)
		a, b := newText(c.xmm(in.Reg), imm), newText(x, imm)
		if explicit {
			w := 8 * max(uint(in.OpSize), 4)
			a.setLen(signExtend(c.R[RAX], w))
			b.setLen(signExtend(c.R[RDX], w))
		}
		r := polarity(aggregate(&a, &b, imm>>2&3), &b, imm>>4&3)
		put(c, &a, r, imm>>6&1 != 0)
		c.setStatus(b2u(r != 0)*flagCF | b2u(b.len < b.n)*flagZF | b2u(a.len < a.n)*flagSF | uint64(r&1)*flagOF)
		return true
	}
}

// aggregate is IntRes1: one bit for each character of b.
func aggregate(a, b *text, mode uint8) (r uint32) {
	for j := 0; j < b.n; j++ {
		var hit bool
		switch mode {
		case equalAny:
			hit = b.valid(j) && a.has(b.ch[j])
		case ranges:
			hit = b.valid(j) && a.spans(b.ch[j])
		case equalEach:
			hit = a.valid(j) == b.valid(j) && (!a.valid(j) || a.ch[j] == b.ch[j])
		case equalOrdered:
			hit = a.startsAt(b, j)
		}
		if hit {
			r |= 1 << j
		}
	}
	return r
}

func (t *text) has(ch int64) bool {
	for _, v := range t.ch[:t.len] {
		if v == ch {
			return true
		}
	}
	return false
}

// spans tells whether one of the pairs of lower and upper bounds holds ch.
func (t *text) spans(ch int64) bool {
	for i := 0; i+1 < t.len; i += 2 {
		if t.ch[i] <= ch && ch <= t.ch[i+1] {
			return true
		}
	}
	return false
}

// startsAt tells whether b has t at position j, as far as the operand reaches.
func (t *text) startsAt(b *text, j int) bool {
	for i := 0; i < t.len && j+i < b.n; i++ {
		if !b.valid(j+i) || b.ch[j+i] != t.ch[i] {
			return false
		}
	}
	return true
}

// polarity is IntRes2, imm bits 5:4: the result, or its negation, of all
// characters or of b's valid ones.
func polarity(r uint32, b *text, mode uint8) uint32 {
	switch mode {
	case 1:
		return ^r & b.all()
	case 3:
		return r ^ (1<<b.len - 1)
	}
	return r
}

func (c *CPU) stringIndex(t *text, r uint32, msb bool) {
	i := bits.TrailingZeros32(r | 1<<t.n)
	if msb && r != 0 {
		i = bits.Len32(r) - 1
	}
	c.R[RCX] = uint64(i)
}

// stringMask writes the bits to XMM0, or expands each to a whole character.
func (c *CPU) stringMask(t *text, r uint32, expand bool) {
	x := xmm{lo: uint64(r)}
	if expand {
		x = xmm{}
		for i := 0; i < t.n; i++ {
			x = x.setLane(uint(i), t.w, -uint64(r>>i&1))
		}
	}
	c.setXMM(0, x)
}
