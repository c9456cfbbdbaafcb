package fp

import (
	"flag"
	"math/rand/v2"
)

var seed = flag.Uint64("seed", 1, "seed of the operands of random tests")

// Interesting operands of each format; their negatives are drawn too.
var edges32 = []uint32{
	0, 1, 2, 3, 0x7fffff, 0x7ffffe, 0x400000, // zero, denormals
	0x800000, 0x800001, 0xffffff, 0x1000000, // least normals
	0x3f800000, 0x3f800001, 0x3f7fffff, 0x3f000000, 0x3f000001, 0x3effffff, 0x40000000, 0x3fc00000,
	0x40400000, 0x40200000, 0x40490fdb, 0x34000000, 0x33800000, 0x33800001, 0x33ffffff,
	0x4b000000, 0x4b000001, 0x4b800000, 0x4effffff, 0x4f000000, 0x4f000001, 0x5effffff, 0x5f000000,
	0x7f7fffff, 0x7f7ffffe, 0x7f000000, 0x7f800000, // greatest, infinity
	0x7f800001, 0x7fbfffff, 0x7fc00000, 0x7fc00001, 0x7fffffff, // NaNs
	0x38800000, 0x387fc000, 0x387fe000, 0x33000000, 0x33000001, 0x32ffffff, 0x477fe000, 0x477ff000, 0x477fefff, // halfs
}

var edges64 = []uint64{
	0, 1, 2, 3, 1<<52 - 1, 1<<52 - 2, 1 << 51,
	1 << 52, 1<<52 + 1, 1<<53 - 1, 1 << 53,
	0x3ff0000000000000, 0x3ff0000000000001, 0x3fefffffffffffff, 0x3fe0000000000000, 0x3fe0000000000001,
	0x3fdfffffffffffff, 0x4000000000000000, 0x3ff8000000000000, 0x4008000000000000, 0x4004000000000000,
	0x400921fb54442d18, 0x3cb0000000000000, 0x3ca0000000000000, 0x3ca0000000000001,
	0x4330000000000000, 0x4330000000000001, 0x4340000000000000, 0x41dfffffffc00000, 0x41dfffffffe00000,
	0x41e0000000000000, 0x41e0000000200000, 0x41e0000000100000, 0x43dfffffffffffff, 0x43e0000000000000, 0x43e0000000000001,
	0x7fefffffffffffff, 0x7feffffffffffffe, 0x7fe0000000000000, 0x7ff0000000000000,
	0x7ff0000000000001, 0x7ff7ffffffffffff, 0x7ff8000000000000, 0x7ff8000000000001, 0x7fffffffffffffff,
	0x380fffffe0000000, 0x380ffffff0000000, 0x3810000000000000, 0x36a0000000000000, 0x3690000000000000,
	0x3690000000000001, 0x47efffffe0000000, 0x47effffff0000000, 0x47efffffefffffff, 0x7ff0000000000fff,
}

var edgesInt = []uint64{
	0, 1, 2, 3, 9, 10, 0xff, 1 << 23, 1<<24 - 1, 1<<24 + 1, 1<<24 + 3, 0x7fff, 0x8000, 0x7fffffff, 0x80000000,
	1<<53 - 1, 1<<53 + 1, 1<<53 + 3, 1<<62 - 1, 1<<63 - 1, 1 << 63, 1<<63 - 512, 1<<40 - 1, 0x3fffffff80,
}

// edges80 are significand and exponent; see draw80.
var edges80 = []F80{
	{0, 0},
	{1, 0},
	{2, 0},
	{1<<63 - 1, 0},
	{1 << 62, 0},
	{1 << 63, 0},
	{1<<64 - 1, 0},
	{1<<63 + 1, 0},
	{1 << 63, 1},
	{1<<63 + 1, 1},
	{1<<64 - 1, 1},
	{1 << 63, 2},
	{1 << 63, 0x3fff},
	{1<<63 + 1, 0x3fff},
	{1<<64 - 1, 0x3ffe},
	{1 << 63, 0x3ffe},
	{1<<63 + 1, 0x3ffe},
	{1<<64 - 1, 0x3ffd},
	{1 << 63, 0x4000},
	{3 << 62, 0x3fff},
	{3 << 62, 0x4000},
	{5 << 61, 0x4000},
	{0xc90fdaa22168c235, 0x4000},
	{0xc90fdaa22168c235, 0x3fff},
	{0xc90fdaa22168c235, 0x3ffe},
	{1 << 63, 0x3fbf},
	{1 << 63, 0x3fbe},
	{1<<63 + 1, 0x3fbe},
	{1 << 63, 0x403e},
	{1<<63 + 1, 0x403e},
	{1<<64 - 1, 0x403d},
	{1<<64 - 2, 0x403d},
	{1 << 63, 0x403f},
	{1<<64 - 1, 0x403e},
	{1<<64 - 1, 0x7ffe},
	{1<<64 - 2, 0x7ffe},
	{1 << 63, 0x7ffe},
	{1 << 63, 0x7fff},
	{1<<63 + 1, 0x7fff},
	{3<<62 - 1, 0x7fff},
	{3 << 62, 0x7fff},
	{3<<62 + 1, 0x7fff},
	{1<<64 - 1, 0x7fff},
	{0, 0x7fff},
	{1, 0x7fff},
	{1 << 62, 0x7fff},
	{0, 0x3fff},
	{1 << 62, 0x3fff},
	{1, 1},
	{1<<63 - 1, 0x7ffe}, // unsupported
	{1 << 63, 0x3c01},
	{1<<64 - 1, 0x3c00},
	{1 << 63, 0x3bcd},
	{1 << 63, 0x3bcc},
	{0xfffffffffffff800, 0x43fe},
	{0xfffffffffffffc00, 0x43fe},
	{0xfffffffffffffbff, 0x43fe},
	{1 << 63, 0x3f81},
	{1<<64 - 1, 0x3f80},
	{0xffffff0000000000, 0x407e},
	{0xffffff8000000000, 0x407e},
	{0xde0b6b3a763fffff << 0, 0x403a},
	{0xde0b6b3a76400000, 0x403a},
	{0xfffe << 48, 0x400d},
	{0xffff << 48, 0x400d},
	{1 << 63, 0x400e},
	{1<<63 | 1<<48, 0x400e},
	{1<<63 | 1<<47, 0x400e},
	{1 << 63, 0x401e},
	{1<<63 | 1<<32, 0x401e},
	{1<<63 | 1<<31, 0x401e},
}

// source draws operands.
type source struct {
	*rand.Rand
	edgy uint64 // chance of an edge operand, of 8
}

func newSource(seed, edgy uint64) source { return source{rand.New(rand.NewPCG(seed, 1)), edgy} }

// bits draws 64 bits, with long runs of equal bits half of the time.
func (s source) bits() uint64 {
	v := s.Uint64()
	switch s.Uint64N(4) {
	case 0:
		return v & -(1 << s.Uint64N(64))
	case 1:
		return v | 1<<s.Uint64N(64) - 1
	}
	return v
}

func (s source) float(frac uint, top uint64) uint64 {
	sign := s.Uint64N(2) * (top + 1) << frac
	exp := s.Uint64N(top + 1)
	if s.Uint64N(4) != 0 { // near one, so that operations do not all overflow
		exp = (top/2 + s.Uint64N(2*uint64(frac)+8) - uint64(frac)) & top
	}
	return sign | exp<<frac | s.bits()&(1<<frac-1)
}

func (s source) draw32() uint64 {
	if s.Uint64N(8) < s.edgy {
		return uint64(edges32[s.IntN(len(edges32))]) | s.Uint64N(2)<<31
	}
	return s.float(23, 0xff)
}

func (s source) draw64() uint64 {
	if s.Uint64N(8) < s.edgy {
		return edges64[s.IntN(len(edges64))] | s.Uint64N(2)<<63
	}
	return s.float(52, 0x7ff)
}

func (s source) drawInt() uint64 {
	v := edgesInt[s.IntN(len(edgesInt))]
	if s.Uint64N(8) >= s.edgy {
		v = s.bits() >> s.Uint64N(64)
	}
	if s.Uint64N(2) == 0 {
		return -v
	}
	return v
}

func (s source) draw80() [2]uint64 {
	x := edges80[s.IntN(len(edges80))]
	if s.Uint64N(8) >= s.edgy {
		x.Mant = s.bits() | 1<<63
		x.SE = uint16(s.Uint64N(0x8000))
		switch s.Uint64N(4) {
		case 0, 1:
			x.SE = uint16(0x3fff + s.Uint64N(140) - 70)
		case 2:
			x.SE = [4]uint16{0, 0x7ffe, 0x3fff, 0x400d}[s.Uint64N(4)] + uint16(s.Uint64N(3))
		}
		if x.SE == 0 {
			x.Mant >>= s.Uint64N(64)
		}
	}
	return [2]uint64{x.Mant, uint64(x.SE&0x7fff) | s.Uint64N(2)<<15}
}

// kind is the format of an operand.
type kind uint8

const (
	none kind = iota
	k16
	k32
	k64
	k80
	kInt
	kBCD
	kPacked32
)

func (s source) draw(k kind) [2]uint64 {
	switch k {
	case k16:
		return [2]uint64{s.float(10, 0x1f)}
	case k32:
		return [2]uint64{s.draw32()}
	case k64:
		return [2]uint64{s.draw64()}
	case k80:
		return s.draw80()
	case kInt:
		return [2]uint64{s.drawInt()}
	case kBCD:
		var v [2]uint64
		digits := []int{0, 1, 5, 18, 18}[s.IntN(5)]
		base := []uint64{10, 10, 10, 16}[s.IntN(4)] // 16: digits the manual leaves open
		for i := range digits {
			v[i/16] |= s.Uint64N(base) << (i % 16 * 4)
		}
		v[1] |= s.Uint64N(256) << 8 // the sign, and bits without meaning
		return v
	case kPacked32:
		return [2]uint64{s.draw32() | s.draw32()<<32, s.draw32() | s.draw32()<<32}
	}
	return [2]uint64{}
}
