package fp

import (
	"math"
	"math/big"
	"testing"

	"github.com/stretchr/testify/require"
)

// The functions below compute in big.Floats of 300 bits, each by a plain series
// after halving its operand often, unlike the code under test.
const refPrec = 300

func ref(v float64) *big.Float { return big.NewFloat(v).SetPrec(refPrec) }

func mulf(a, b *big.Float) *big.Float { return ref(0).Mul(a, b) }
func addf(a, b *big.Float) *big.Float { return ref(0).Add(a, b) }
func subf(a, b *big.Float) *big.Float { return ref(0).Sub(a, b) }
func quof(a, b *big.Float) *big.Float { return ref(0).Quo(a, b) }

// bigOf is the exact value of a finite F80.
func bigOf(a F80) *big.Float {
	x := a.unpack()
	v := ref(0).SetUint64(x.sig)
	v.SetMantExp(v, int(x.exp)-63)
	if x.neg {
		v.Neg(v)
	}
	return v
}

// sumSeries adds term(0), term(1)... until they no longer matter; term(i) must
// return the previous term times something.
func sumSeries(first *big.Float, next func(t *big.Float, i int) *big.Float) *big.Float {
	s, t := ref(0).Set(first), first
	for i := 1; t.Sign() != 0 && t.MantExp(nil) > s.MantExp(nil)-refPrec; i++ {
		t = next(t, i)
		s = addf(s, t)
	}
	return s
}

// bigExpm1 is e^x-1 for |x| < 1.
func bigExpm1(x *big.Float) *big.Float {
	return sumSeries(x, func(t *big.Float, i int) *big.Float { return quof(mulf(t, x), ref(float64(i+1))) })
}

// bigLn1p is ln(1+x) for x > -1, from ln(1+x) = 2 atanh(x/(2+x)) after roots.
func bigLn1p(x *big.Float) *big.Float {
	scale := ref(2)
	for x.Sign() != 0 && x.MantExp(nil) > -20 { // (1+x)^(1/2) - 1 = x / (1 + (1+x)^(1/2))
		r := ref(0).Sqrt(addf(x, ref(1)))
		x = quof(x, addf(r, ref(1)))
		scale = mulf(scale, ref(2))
	}
	s := quof(x, addf(x, ref(2)))
	p, s2 := s, mulf(s, s)
	sum := sumSeries(s, func(_ *big.Float, i int) *big.Float {
		p = mulf(p, s2)
		return quof(p, ref(float64(2*i+1)))
	})
	return mulf(scale, sum)
}

// bigAtan is atan(x) for x > 0: atan(x) = 2 atan(x / (1 + sqrt(1+x^2))).
func bigAtan(x *big.Float) *big.Float {
	scale := ref(1)
	for x.MantExp(nil) > -10 {
		r := ref(0).Sqrt(addf(mulf(x, x), ref(1)))
		x = quof(x, addf(r, ref(1)))
		scale = mulf(scale, ref(2))
	}
	p, x2 := x, mulf(x, x)
	x2.Neg(x2)
	sum := sumSeries(x, func(_ *big.Float, i int) *big.Float {
		p = mulf(p, x2)
		return quof(p, ref(float64(2*i+1)))
	})
	return mulf(scale, sum)
}

// bigSinCos reduces by quarter turns of pi66/2 = 0x3243f6a8885a308d3 * 2^-65 and
// sums the series.
func bigSinCos(x *big.Float) (sin, cos *big.Float) {
	pi66, _ := new(big.Int).SetString("3243f6a8885a308d3", 16)
	quarter := ref(0).SetInt(pi66)
	quarter.SetMantExp(quarter, -65)
	neg := x.Sign() < 0
	x = ref(0).Abs(x)
	n, _ := addf(quof(x, quarter), ref(0.5)).Int(nil)
	r := subf(x, mulf(ref(0).SetInt(n), quarter))
	r2 := mulf(r, r)
	r2.Neg(r2)
	sin = sumSeries(r, func(t *big.Float, i int) *big.Float {
		return quof(mulf(t, r2), ref(float64(2*i*(2*i+1))))
	})
	cos = sumSeries(ref(1), func(t *big.Float, i int) *big.Float {
		return quof(mulf(t, r2), ref(float64(2*i*(2*i-1))))
	})
	for range n.Bit(0) + 2*n.Bit(1) {
		sin, cos = cos, sin.Neg(sin)
	}
	if neg {
		sin.Neg(sin)
	}
	return sin, cos
}

// requireClose demands that got is want, rounded: off by little more than half
// a unit to nearest, and by one in the right direction otherwise.
func requireClose(t *testing.T, e *Env, want *big.Float, got F80, what ...any) {
	t.Helper()
	x := got.unpack()
	require.Zero(t, x.cls&^clsDen, what...)
	diff := subf(bigOf(got), want)
	exp := max(int(x.exp), 1-bias80)
	diff.SetMantExp(diff, 63-exp)
	units, _ := diff.Float64()
	const tie = 0x1p-50 // closer to a representable number than we can tell
	low, high := -1.0001, 1.0001
	switch {
	case math.Abs(units) < tie:
	case e.Round == Nearest:
		low, high = -0.5001, 0.5001
	case e.Round == Down || e.Round == Zero && !x.neg:
		high = 0
	default:
		low = 0
	}
	require.True(t, units >= low && units <= high, "off by %v units: %v", units, what)
	require.NotZero(t, e.Flags&PE, what...)
	if math.Abs(units) > tie {
		require.Equal(t, units > 0 != x.neg, e.C1, what...)
	}
}

// transcendental is a function of one or two operands and its reference.
type transcendental struct {
	name    string
	run     func(e *Env, x, y F80) F80
	ref     func(x, y *big.Float) *big.Float
	inRange func(x F80) bool
}

func below(exp uint16) func(F80) bool { return func(x F80) bool { return x.SE&top80 < exp } }

func positive(x F80) bool { return !x.Neg() && x.SE < top80 && !(x.Mant == int80 && x.SE == bias80) }

var transcendentals = []transcendental{
	{"f2xm1", func(e *Env, x, _ F80) F80 { return F2XM1(e, x) }, func(x, _ *big.Float) *big.Float {
		return bigExpm1(mulf(x, bigLn1p(ref(1))))
	}, below(bias80)},
	{"fyl2x", YL2X, func(x, y *big.Float) *big.Float {
		e := x.MantExp(nil)
		m := ref(0).SetMantExp(x, -e)
		log := addf(quof(bigLn1p(subf(m, ref(1))), bigLn1p(ref(1))), ref(float64(e)))
		return mulf(y, log)
	}, positive},
	{"fyl2xp1", YL2XP1, func(x, y *big.Float) *big.Float {
		return mulf(y, quof(bigLn1p(x), bigLn1p(ref(1))))
	}, below(bias80)},
	{"fsin", func(e *Env, x, _ F80) F80 { r, _ := Sin(e, x); return r }, func(x, _ *big.Float) *big.Float {
		s, _ := bigSinCos(x)
		return s
	}, below(bias80 + 63)},
	{"fcos", func(e *Env, x, _ F80) F80 { r, _ := Cos(e, x); return r }, func(x, _ *big.Float) *big.Float {
		_, c := bigSinCos(x)
		return c
	}, below(bias80 + 63)},
	{"fptan", func(e *Env, x, _ F80) F80 { r, _, _ := Tan(e, x); return r }, func(x, _ *big.Float) *big.Float {
		s, c := bigSinCos(x)
		return quof(s, c)
	}, below(bias80 + 63)},
	{"fpatan", Atan, func(x, y *big.Float) *big.Float {
		pi := mulf(ref(4), bigAtan(ref(1)))
		v := bigAtan(ref(0).Abs(quof(y, x)))
		if x.Sign() < 0 {
			v = subf(pi, v)
		}
		if y.Sign() < 0 {
			v.Neg(v)
		}
		return v
	}, below(top80)},
}

func TestTranscendentals(t *testing.T) {
	for i, f := range transcendentals {
		t.Run(f.name, func(t *testing.T) {
			for n, s := 0, newSource(*seed*100+uint64(i), 2); n < 400; {
				x, y := f80of(s.draw80()), f80of(s.draw80())
				if n%2 == 0 { // spread well over the interesting binades
					x.SE = x.SE&sign80 | uint16(bias80-8+s.Uint64N(12))
				}
				if (x.unpack().cls|y.unpack().cls)&^clsDen != 0 || !f.inRange(x) {
					continue
				}
				n++
				e := Env{Round: uint8(s.Uint64N(4)), Masks: AllExceptions, Prec: Prec24}
				got := f.run(&e, x, y)
				if e.Flags&(OE|UE) != 0 && (got.unpack().cls != clsNormal || e.Flags&OE != 0) {
					continue
				}
				requireClose(t, &e, f.ref(bigOf(x), bigOf(y)), got, "x %x y %x round %d got %x", x, y, e.Round, got)
			}
		})
	}
}
