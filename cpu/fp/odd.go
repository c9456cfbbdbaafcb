package fp

// This file settles operations on zeros, infinities and denormals for all
// formats. The functions raise IE, ZE and DE in the order of priority of
// [SDM 1 4.9.2]. They return ok if r is the result: a zero, an infinity, the
// default NaN (class clsQNaN), or a number still to be rounded. NaN operands
// have been dealt with before, in each format's own way.

var invalid = num{cls: clsQNaN}

// stopped is what an operation returns whose unmasked DE keeps it from going on.
var stopped = num{cls: clsZero}

// invalidOp raises IE; the result is the default NaN.
func (e *Env) invalidOp() (num, bool) {
	e.Flags |= IE
	return invalid, true
}

// addOdd is x+y if an operand is not normal.
func addOdd(e *Env, x, y num) (r num, ok bool) {
	if x.cls == clsInf && y.cls == clsInf && x.neg != y.neg {
		return e.invalidOp()
	}
	if e.denormal(x.cls | y.cls | e.den) {
		return stopped, true
	}
	switch {
	case x.cls == clsInf:
		return x, true
	case y.cls == clsInf:
		return y, true
	case x.cls == clsZero && y.cls == clsZero:
		if x.neg != y.neg {
			x.neg = e.Round == Down
		}
		return x, true
	case x.cls == clsZero:
		return y, true
	case y.cls == clsZero:
		return x, true
	}
	return num{}, false
}

// mulOdd is x*y if an operand is not normal.
func mulOdd(e *Env, x, y num) (r num, ok bool) {
	c := x.cls | y.cls
	if c&clsInf != 0 && c&clsZero != 0 {
		return e.invalidOp()
	}
	if e.denormal(c | e.den) {
		return stopped, true
	}
	neg := x.neg != y.neg
	switch {
	case c&clsInf != 0:
		return num{neg: neg, cls: clsInf}, true
	case c&clsZero != 0:
		return num{neg: neg, cls: clsZero}, true
	}
	return num{}, false
}

// divOdd is x/y if an operand is not normal.
func divOdd(e *Env, x, y num) (r num, ok bool) {
	neg := x.neg != y.neg
	if x.cls == y.cls && x.cls&(clsInf|clsZero) != 0 {
		return e.invalidOp()
	}
	if y.cls == clsZero && x.cls != clsInf {
		e.Flags |= ZE
		return num{neg: neg, cls: clsInf}, true
	}
	if e.denormal(x.cls | y.cls | e.den) {
		return stopped, true
	}
	switch {
	case x.cls == clsInf:
		return num{neg: neg, cls: clsInf}, true
	case x.cls == clsZero || y.cls == clsInf:
		return num{neg: neg, cls: clsZero}, true
	}
	return num{}, false
}

// sqrtOdd is the square root of x if x is not normal, or negative.
func sqrtOdd(e *Env, x num) (r num, ok bool) {
	if x.cls == clsZero {
		return x, true
	}
	if x.neg {
		return e.invalidOp()
	}
	if e.denormal(x.cls) {
		return stopped, true
	}
	return x, x.cls == clsInf
}
