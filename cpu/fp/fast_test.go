package fp

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestFastPath compares the host's arithmetic with ours, on whatever host this is.
func TestFastPath(t *testing.T) {
	type pair struct {
		name       string
		fast, soft func(e *Env, a, b uint64) uint64
	}
	wrap := func(fn func(e *Env, a, b uint32) uint32) func(e *Env, a, b uint64) uint64 {
		return func(e *Env, a, b uint64) uint64 { return uint64(fn(e, uint32(a), uint32(b))) }
	}
	single := []pair{
		{"add32", wrap(Add32), func(e *Env, a, b uint64) uint64 { return f32.add(e, a, b, false) }},
		{"sub32", wrap(Sub32), func(e *Env, a, b uint64) uint64 { return f32.add(e, a, b, true) }},
		{"mul32", wrap(Mul32), f32.mul},
		{"div32", wrap(Div32), f32.div},
		{
			"sqrt32", wrap(func(e *Env, a, _ uint32) uint32 { return Sqrt32(e, a) }),
			func(e *Env, a, _ uint64) uint64 { return f32.sqrt(e, a) },
		},
	}
	double := []pair{
		{
			"f64to32", func(e *Env, a, _ uint64) uint64 { return uint64(F64To32(e, a)) },
			func(e *Env, a, _ uint64) uint64 { return f32.convert(e, &f64, a, f64.unpack(e, a)) },
		},
		{
			"i64to32", func(e *Env, a, b uint64) uint64 { return uint64(I64ToF32(e, int64(a)>>(b&63))) },
			func(e *Env, a, b uint64) uint64 { return f32.pack(e, fromInt(int64(a)>>(b&63))) },
		},
		{
			"i64to64", func(e *Env, a, b uint64) uint64 { return I64ToF64(e, int64(a)>>(b&63)) },
			func(e *Env, a, b uint64) uint64 { return f64.pack(e, fromInt(int64(a)>>(b&63))) },
		},
		{"add64", Add64, func(e *Env, a, b uint64) uint64 { return f64.add(e, a, b, false) }},
		{"sub64", Sub64, func(e *Env, a, b uint64) uint64 { return f64.add(e, a, b, true) }},
		{"mul64", Mul64, f64.mul},
		{"div64", Div64, f64.div},
		{
			"sqrt64", func(e *Env, a, _ uint64) uint64 { return Sqrt64(e, a) },
			func(e *Env, a, _ uint64) uint64 { return f64.sqrt(e, a) },
		},
	}
	run := func(t *testing.T, p pair, draw func() uint64) {
		for range 50000 {
			a, b := draw(), draw()
			x := Env{Masks: AllExceptions, Flags: PE}
			y := x
			require.Equal(t, p.soft(&y, a, b), p.fast(&x, a, b), "%s %x %x", p.name, a, b)
			require.Equal(t, y, x, "%s %x %x", p.name, a, b)
		}
	}
	s := newSource(*seed, 1)
	run(t, pair{
		"f32to64", func(e *Env, a, _ uint64) uint64 { return F32To64(e, uint32(a)) },
		func(e *Env, a, _ uint64) uint64 { return f64.convert(e, &f32, a, f32.unpack(e, a)) },
	}, s.draw32)
	for _, p := range single {
		t.Run(p.name, func(t *testing.T) { run(t, p, s.draw32) })
	}
	for _, p := range double {
		t.Run(p.name, func(t *testing.T) { run(t, p, s.draw64) })
	}
}
