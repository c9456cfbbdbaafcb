package fp

// Negations that the FMA3 instructions apply to the product and the addend.
const (
	NegProduct uint8 = 1 << iota // VFNMADD, VFNMSUB
	NegAddend                    // VFMSUB, VFNMSUB
)

// fma is a*b+c with one rounding.
func (f *format) fma(e *Env, a, b, c uint64, negate uint8) uint64 {
	x, y, z := f.unpack(e, a), f.unpack(e, b), f.unpack(e, c)
	if (x.cls|y.cls|z.cls)&clsNaN != 0 {
		return f.nan3(e, a, b, c)
	}
	x.neg = x.neg != (negate&NegProduct != 0)
	z.neg = z.neg != (negate&NegAddend != 0)
	if x.cls|y.cls|z.cls != clsNormal {
		if r, ok := fmaOdd(e, x, y, z); ok {
			return f.pack(e, r)
		}
	}
	if (x.cls|y.cls)&clsZero != 0 { // nothing but z, or a zero
		return f.pack(e, z)
	}
	w := product(x, y)
	if z.cls != clsZero {
		if w = sum(w, z.wide()); w.hi == 0 {
			return f.signed(0, e.Round == Down)
		}
	}
	return f.round(e, w)
}

// nan3 is the result of a*b+c if one is a NaN: the first that is one
// [SDM 1 14.5.1]. Infinity times zero is no exception if c is a quiet NaN.
func (f *format) nan3(e *Env, a, b, c uint64) uint64 {
	if f.isSNaN(c) {
		e.Flags |= IE
	}
	if f.isNaN(a) || f.isNaN(b) {
		return f.nan2(e, a, b)
	}
	return c | f.quiet()
}

// fmaOdd is x*y+z if an operand is not normal.
func fmaOdd(e *Env, x, y, z num) (r num, ok bool) {
	c := x.cls | y.cls
	neg := x.neg != y.neg
	if c&clsInf != 0 && (c&clsZero != 0 || z.cls == clsInf && z.neg != neg) {
		return e.invalidOp()
	}
	if e.denormal(c | z.cls) {
		return stopped, true
	}
	switch {
	case c&clsInf != 0:
		return num{neg: neg, cls: clsInf}, true
	case z.cls == clsInf:
		return z, true
	case c&clsZero != 0 && z.cls == clsZero:
		if neg != z.neg {
			neg = e.Round == Down
		}
		return num{neg: neg, cls: clsZero}, true
	}
	return num{}, false
}

// FMA32 is a*b+c with one rounding, product and addend negated as negate says.
// The first NaN of a, b, c is the result. Why: a and b must come in the order in
// which the manual writes the product: operands 1, 3 for the 132 form, 2, 1 for
// 213 and 2, 3 for 231 [SDM 2 VFMADD213SS].
func FMA32(e *Env, a, b, c uint32, negate uint8) uint32 {
	return uint32(f32.fma(e, uint64(a), uint64(b), uint64(c), negate))
}

// FMA64 is like [FMA32] [SDM 2 VFMADD213SD].
func FMA64(e *Env, a, b, c uint64, negate uint8) uint64 { return f64.fma(e, a, b, c, negate) }
