// Package ticks turns guest time into the ticks of a fixed clock and back, in
// integers, so that a chip never drifts however long it runs.
package ticks

import (
	"math"
	"math/bits"

	"godwit/devices"
)

const second = 1_000_000_000 // ns

// Of returns how many whole ticks of a clock of hz have passed at t. A negative
// t counts as 0. Preconditions: 0 < hz <= 1 GHz.
func Of(t devices.Nanos, hz uint64) uint64 {
	if t < 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(t), hz)
	q, _ := bits.Div64(hi, lo, second)
	return q
}

// At returns the first instant at which n ticks of a clock of hz have passed,
// the last instant there is if that is later than time can tell.
// Preconditions: hz > 0.
func At(n, hz uint64) devices.Nanos {
	hi, lo := bits.Mul64(n, second)
	lo, carry := bits.Add64(lo, hz-1, 0)
	hi += carry
	if hi >= hz {
		return math.MaxInt64
	}
	q, _ := bits.Div64(hi, lo, hz)
	return devices.Nanos(min(q, math.MaxInt64))
}
