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
