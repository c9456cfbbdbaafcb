package fp

// add is a+b, or a-b if minus is set.
func (f *format) add(e *Env, a, b uint64, minus bool) uint64 {
	x, y := f.unpack(e, a), f.unpack(e, b)
	y.neg = y.neg != minus
	if c := x.cls | y.cls; c != clsNormal {
		if c&clsNaN != 0 {
			return f.nan2(e, a, b)
		}
		if r, ok := addOdd(e, x, y); ok {
			return f.pack(e, r)
		}
	}
	w := sum(x.wide(), y.wide())
	if w.hi == 0 {
		return f.signed(0, e.Round == Down)
	}
	return f.round(e, w)
}

func (f *format) mul(e *Env, a, b uint64) uint64 {
	x, y := f.unpack(e, a), f.unpack(e, b)
	if c := x.cls | y.cls; c != clsNormal {
		if c&clsNaN != 0 {
			return f.nan2(e, a, b)
		}
		if r, ok := mulOdd(e, x, y); ok {
			return f.pack(e, r)
		}
	}
	return f.round(e, product(x, y))
}

func (f *format) div(e *Env, a, b uint64) uint64 {
	x, y := f.unpack(e, a), f.unpack(e, b)
	if c := x.cls | y.cls; c != clsNormal {
		if c&clsNaN != 0 {
			return f.nan2(e, a, b)
		}
		if r, ok := divOdd(e, x, y); ok {
			return f.pack(e, r)
		}
	}
	return f.round(e, quotient(x, y))
}

func (f *format) sqrt(e *Env, a uint64) uint64 {
	x := f.unpack(e, a)
	if x.cls&clsNaN != 0 {
		return f.nan2(e, a, a)
	}
	if x.cls != clsNormal || x.neg {
		if r, ok := sqrtOdd(e, x); ok {
			return f.pack(e, r)
		}
	}
	return f.round(e, root(x))
}

// Add32 is a+b [SDM 2 ADDSS].
func Add32(e *Env, a, b uint32) uint32 {
	return uint32(f32.add(e, uint64(a), uint64(b), false))
}

// Sub32 is a-b [SDM 2 SUBSS].
func Sub32(e *Env, a, b uint32) uint32 {
	return uint32(f32.add(e, uint64(a), uint64(b), true))
}

// Mul32 is a*b [SDM 2 MULSS].
func Mul32(e *Env, a, b uint32) uint32 { return uint32(f32.mul(e, uint64(a), uint64(b))) }

// Div32 is a/b [SDM 2 DIVSS].
func Div32(e *Env, a, b uint32) uint32 { return uint32(f32.div(e, uint64(a), uint64(b))) }

// Sqrt32 is the square root of a [SDM 2 SQRTSS].
func Sqrt32(e *Env, a uint32) uint32 { return uint32(f32.sqrt(e, uint64(a))) }

// Add64 is a+b [SDM 2 ADDSD].
func Add64(e *Env, a, b uint64) uint64 { return f64.add(e, a, b, false) }

// Sub64 is a-b [SDM 2 SUBSD].
func Sub64(e *Env, a, b uint64) uint64 { return f64.add(e, a, b, true) }

// Mul64 is a*b [SDM 2 MULSD].
func Mul64(e *Env, a, b uint64) uint64 { return f64.mul(e, a, b) }

// Div64 is a/b [SDM 2 DIVSD].
func Div64(e *Env, a, b uint64) uint64 { return f64.div(e, a, b) }

// Sqrt64 is the square root of a [SDM 2 SQRTSD].
func Sqrt64(e *Env, a uint64) uint64 { return f64.sqrt(e, a) }
