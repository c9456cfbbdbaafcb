package fp

import "math/bits"

// widen makes an F80 of a, exactly. Signalling NaNs stay as they are.
func (f *format) widen(a uint64, x num) F80 {
	switch {
	case x.cls&clsNaN != 0:
		return signed80(int80|a<<(63-f.frac)&(1<<63-1), top80, x.neg)
	case x.cls&clsInf != 0:
		return signed80(int80, top80, x.neg)
	case x.cls&clsZero != 0:
		return signed80(0, 0, x.neg)
	}
	return signed80(x.sig, uint16(x.exp+bias80), x.neg)
}

// load is FLD of a: a conversion that raises DE, and IE for a signalling NaN.
func (f *format) load(e *Env, a uint64) F80 {
	e.C1 = false
	x := f.unpack(&Env{}, a)
	r := f.widen(a, x)
	switch x.cls {
	case clsSNaN:
		e.Flags |= IE
		r.Mant |= qnan80
	case clsDen:
		e.Flags |= DE
	}
	return r
}

// operand is widen, and makes the next operation raise DE if a is denormal.
func (f *format) operand(e *Env, a uint64) F80 {
	x := f.unpack(&Env{}, a)
	e.den = x.cls & clsDen
	return f.widen(a, x)
}

// store is FST of a.
func (f *format) store(e *Env, a F80) uint64 {
	e.C1 = false
	x := a.unpack()
	switch x.cls {
	case clsBad:
		e.Flags |= IE
		return f.nan()
	case clsQNaN, clsSNaN:
		if x.cls == clsSNaN {
			e.Flags |= IE
		}
		return f.signed(f.inf|f.quiet()|a.Mant<<1>>1>>(63-f.frac), x.neg)
	case clsZero, clsInf:
		return f.pack(e, x)
	}
	local := Env{Round: e.Round, Masks: e.Masks}
	r := f.round(&local, x.wide())
	if local.Unmasked()&(OE|UE) != 0 {
		local.Flags &^= PE // nothing is stored, so nothing is inexact
	}
	e.Flags |= local.Flags
	e.C1 = f.magnitudeOver(r, x)
	return r
}

// magnitudeOver reports whether r, which is x rounded, is greater in magnitude.
func (f *format) magnitudeOver(r uint64, x num) bool {
	return magnitude(f.unpack(&Env{}, r), x) == Greater
}

// From32 is FLD of a binary32 [SDM 2 FLD].
func From32(e *Env, a uint32) F80 { return f32.load(e, uint64(a)) }

// From64 is FLD of a binary64 [SDM 2 FLD].
func From64(e *Env, a uint64) F80 { return f64.load(e, a) }

// Operand32 widens the memory operand of an arithmetic instruction or a
// comparison, such as FADD m32fp. It raises nothing itself; the operation that
// follows on the same Env raises IE or DE for it, in their order of priority.
func Operand32(e *Env, a uint32) F80 { return f32.operand(e, uint64(a)) }

// Operand64 is like [Operand32], for a binary64.
func Operand64(e *Env, a uint64) F80 { return f64.operand(e, a) }

// FromInt80 is FILD: exact, and raises nothing [SDM 2 FILD].
func FromInt80(v int64) F80 {
	x := uint64(v)
	if v < 0 {
		x = -x
	}
	return whole80(x, v < 0)
}

// whole80 is the integer mag with a sign.
func whole80(mag uint64, neg bool) F80 {
	if mag == 0 {
		return signed80(0, 0, neg)
	}
	n := bits.LeadingZeros64(mag)
	return signed80(mag<<n, uint16(bias80+63-n), neg)
}

// To32 is FST to a binary32; precision control does not apply [SDM 2 FST].
func To32(e *Env, a F80) uint32 { return uint32(f32.store(e, a)) }

// To64 is FST to a binary64 [SDM 2 FST].
func To64(e *Env, a F80) uint64 { return f64.store(e, a) }

// ToInt80 is FIST to an integer of 16, 32 or 64 bits, rounded by rc: e.Round for
// FIST, Zero for FISTTP [SDM 2 FIST, FISTTP].
func ToInt80(e *Env, a F80, rc uint8, size uint) int64 {
	e.C1 = false
	return toInt(e, a.unpack(), rc, size)
}

// bcdLimit is one more than 18 digits hold.
const bcdLimit = 1_000_000_000_000_000_000

// ToBCD is FBSTP: 18 digits from lo up, and the sign in the top byte of hi's 16
// bits [SDM 2 FBSTP].
func ToBCD(e *Env, a F80) (lo uint64, hi uint16) {
	e.C1 = false
	x := a.unpack()
	local := *e
	v := toInt(&local, x, e.Round, 64)
	if local.Flags&^e.Flags&IE != 0 || v >= bcdLimit || v <= -bcdLimit || x.cls&(clsNaN|clsInf) != 0 {
		e.Flags |= IE
		return 0xc000000000000000, 0xffff
	}
	e.Flags, e.C1 = local.Flags, local.C1
	if v < 0 {
		v = -v
	}
	mag := uint64(v)
	for i := range 16 {
		lo |= mag % 10 << (4 * i)
		mag /= 10
	}
	hi = uint16(mag%10 | mag/10<<4)
	if x.neg {
		hi |= 0x8000
	}
	return lo, hi
}

// FromBCD is FBLD. Digits above 9, which the manual leaves open, count for what
// they are, as on AMD's [SDM 2 FBLD].
func FromBCD(lo uint64, hi uint16) F80 {
	mag := uint64(hi>>4&15)*10 + uint64(hi&15)
	for i := 15; i >= 0; i-- {
		mag = mag*10 + lo>>(4*i)&15
	}
	return whole80(mag, hi&0x8000 != 0)
}

// Constant numbers, in the order of their opcodes D9 E8 to D9 EE.
const (
	ConstOne = iota
	ConstL2T // log2(10)
	ConstL2E // log2(e)
	ConstPi
	ConstLG2 // log10(2)
	ConstLN2 // ln(2)
	ConstZero
)

// constants are the values with 64 more bits.
var constants = [8]struct {
	exp    int32
	hi, lo uint64
}{
	{0, 1 << 63, 0},
	{1, 0xd49a784bcd1b8afe, 0x492bf6ff4dafdb4c},
	{0, 0xb8aa3b295c17f0bb, 0xbe87fed0691d3e88},
	{1, 0xc90fdaa22168c234, 0xc4c6628b80dc1cd1},
	{-2, 0x9a209a84fbcff798, 0x8f8959ac0b7c9178},
	{-1, 0xb17217f7d1cf79ab, 0xc9e3b39803f2f6af},
}

// Constant is FLD1, FLDL2T and so on, rounded by e.Round alone. It raises
// nothing [SDM 2 FLDPI].
func Constant(e *Env, n int) F80 {
	e.C1 = false
	if n < 0 || n >= ConstZero {
		return F80{}
	}
	k := &constants[n]
	local := *e
	return round80(&local, wide{hi: k.hi, lo: k.lo, exp: k.exp}, full)
}
