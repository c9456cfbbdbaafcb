package fp

// This file is the x87's exponential and logarithmic functions. Like the
// trigonometric ones they are computed to more than 100 bits and rounded once,
// so that a result is off by less than 0.51 units in the last place when
// rounding to nearest; CPUs promise 1 [SDM 1 8.3.10] and differ among
// themselves. Precision control does not apply.

// inexact rounds w, which stands for an irrational number.
func inexact(e *Env, w wide) F80 {
	w.lo |= 1
	return round80(e, w, full)
}

// F2XM1 is 2^a - 1 for a from -1 to 1. Outside, where the manual leaves the
// result open, it is a itself, and for infinities the limit [SDM 2 F2XM1].
func F2XM1(e *Env, a F80) F80 {
	e.C1 = false
	x := a.unpack()
	switch {
	case x.cls&clsNaN != 0:
		return nan80(e, a, a, x.cls, x.cls)
	case x.cls == clsInf && x.neg:
		return signed80(int80, bias80, true)
	case x.cls&(clsZero|clsInf) != 0:
		return a
	}
	if e.denormal(x.cls) {
		return a
	}
	if x.exp >= 0 {
		e.Flags |= PE // as on real CPUs
		if x.exp == 0 && x.sig == int80 && x.neg {
			a.SE-- // -1/2
		}
		return a
	}
	z := times(x.wide(), wideLn2)
	return inexact(e, times(z, series(z, expm1Coef)))
}

// log2 is the base-2 logarithm of w > 0. It is zero only for 1.
func log2(w wide) wide {
	// m in [1/sqrt(2), sqrt(2)), so that k and log2(m) never cancel.
	k, m := w.exp, wide{hi: w.hi, lo: w.lo}
	if m.hi >= 0xb504f333f9de6484 {
		k++
		m.exp = -1
	}
	r := wide{}
	if d := minus(m, one); d.hi != 0 {
		r = log2Ratio(d, plus(m, one))
	}
	if k == 0 {
		return r
	}
	return plus(r, wideInt(int(k)))
}

// log2Ratio is log2((d+n)/(d-n)) = 2/ln(2) * atanh(n/d), for small n/d.
func log2Ratio(n, d wide) wide {
	s := over(n, d)
	return times(times(s, twoOverLn2), series(times(s, s), atanhCoef))
}

// YL2X is y*log2(x), where x is ST0 and y is ST1 [SDM 2 FYL2X].
func YL2X(e *Env, x, y F80) F80 {
	e.C1 = false
	a, b := x.unpack(), y.unpack()
	if (a.cls|b.cls)&clsNaN != 0 {
		return nan80(e, y, x, b.cls, a.cls)
	}
	if a.neg && a.cls != clsZero {
		return invalid80(e)
	}
	if a.cls|b.cls == clsNormal || a.cls|b.cls == clsDen {
		if e.denormal(a.cls | b.cls) {
			return y
		}
		return timesLog(e, b, log2(a.wide()), a.sig == int80)
	}
	log := num{neg: a.cls == clsZero || a.cls&clsInf == 0 && a.exp < 0, cls: a.cls &^ clsDen}
	switch {
	case a.cls == clsZero && b.cls&(clsZero|clsInf) == 0:
		e.Flags |= ZE
		return signed80(int80, top80, !b.neg)
	case a.cls == clsZero:
		log.cls = clsInf
	case a.cls == clsNormal && a.exp == 0 && a.sig == int80:
		log.cls = clsZero
	}
	return oddTimesLog(e, b, log, a.cls)
}

func invalid80(e *Env) F80 {
	e.Flags |= IE
	return Indefinite
}

// timesLog is y*log, rounded; exact says that log is an integer.
func timesLog(e *Env, y num, log wide, exact bool) F80 {
	if log.hi == 0 {
		return signed80(0, 0, y.neg)
	}
	w := times(y.wide(), log)
	if !exact {
		return inexact(e, w)
	}
	r := round80(e, w, full)
	e.Flags |= PE // as on real CPUs, which do not know that it is exact
	if r.SE&top80 == 0 {
		e.Flags |= UE
	}
	return r
}

// oddTimesLog is y*log if one of them is zero or infinite. xc is the class of
// the logarithm's operand.
func oddTimesLog(e *Env, y, log num, xc class) F80 {
	if y.cls == clsInf && log.cls == clsZero || y.cls == clsZero && log.cls == clsInf {
		return invalid80(e)
	}
	if e.denormal(xc | y.cls) {
		return Indefinite
	}
	if y.cls == clsInf || log.cls == clsInf {
		return signed80(int80, top80, y.neg != log.neg)
	}
	return signed80(0, 0, y.neg != log.neg)
}

// YL2XP1 is y*log2(x+1), where x is ST0 and y is ST1. The manual defines it for
// |x| up to 1-sqrt(1/2) only; here it goes on upwards, and is x itself from -1
// downwards, as on AMD's [SDM 2 FYL2XP1].
func YL2XP1(e *Env, x, y F80) F80 {
	e.C1 = false
	a, b := x.unpack(), y.unpack()
	if (a.cls|b.cls)&clsNaN != 0 {
		return nan80(e, y, x, b.cls, a.cls)
	}
	if a.cls == clsInf && a.neg {
		return invalid80(e)
	}
	if (a.cls|b.cls)&(clsZero|clsInf) != 0 {
		return oddTimesLog(e, b, num{neg: a.neg, cls: a.cls &^ clsDen}, a.cls)
	}
	if e.denormal(a.cls | b.cls) {
		return y
	}
	if a.neg && a.exp >= 0 {
		e.Flags |= PE
		return x
	}
	w := a.wide()
	if a.exp < -2 {
		return inexact(e, times(b.wide(), log2Ratio(w, plus(w, wide{hi: 1 << 63, exp: 1}))))
	}
	w = plus(w, one)
	return timesLog(e, b, log2(w), w.hi == int80 && w.lo == 0)
}
