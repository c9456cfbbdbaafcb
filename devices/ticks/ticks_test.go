package ticks

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"

	"godwit/devices"
)

func TestOf(t *testing.T) {
	for _, tt := range []struct {
		t    devices.Nanos
		hz   uint64
		want uint64
	}{
		{0, 1193182, 0},
		{-5, 1193182, 0},
		{838, 1193182, 0},
		{839, 1193182, 1},
		{1_000_000_000, 1193182, 1193182},
		{999_999_999, 1193182, 1193181},
		{math.MaxInt64, 3579545, 33015475257663328},
		{math.MaxInt64, 1_000_000_000, math.MaxInt64},
	} {
		assert.Equal(t, tt.want, Of(tt.t, tt.hz), "%d ns at %d Hz", tt.t, tt.hz)
	}
}

func TestAtIsTheFirstInstantOfItsTick(t *testing.T) {
	for _, hz := range []uint64{1, 32768, 1193182, 3579545, 1_000_000_000} {
		for _, n := range []uint64{1, 2, 3, 65536, 1193182, 1 << 31} {
			at := At(n, hz)
			assert.Equal(t, n, Of(at, hz), "tick %d at %d Hz", n, hz)
			assert.Equal(t, n-1, Of(at-1, hz), "before tick %d at %d Hz", n, hz)
		}
	}
	assert.Equal(t, devices.Nanos(0), At(0, 1193182))
	assert.Equal(t, devices.Nanos(math.MaxInt64), At(math.MaxUint64, 1193182))
	assert.Equal(t, devices.Nanos(math.MaxInt64), At(math.MaxUint64, 1))
}
