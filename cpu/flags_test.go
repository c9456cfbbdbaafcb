package cpu

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestConditions compares the short cuts with the definition on all conditions.
func TestConditions(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	edge := []uint64{0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0x7fffffff, 0x80000000, 1<<63 - 1, 1 << 63, ^uint64(0)}
	pick := func(mask uint64) uint64 {
		if rng.IntN(2) == 0 {
			return edge[rng.IntN(len(edge))] & mask
		}
		return rng.Uint64() >> rng.IntN(64) & mask
	}
	c := &CPU{amd: true}
	for range 50_000 {
		size := uint8(rng.IntN(4))
		mask := ^uint64(0) >> (64 - 8<<size)
		a, b := pick(mask), pick(mask)
		for _, kind := range []uint8{lzAdd, lzAdc, lzSub, lzSbb, lzLogic, lzInc, lzDec, lzShl, lzShr, lzSar} {
			switch {
			case kind >= lzShl:
				b = 1 + b%(8<<size-1)
			case kind >= lzInc:
				b &= 1
			}
			c.lzOp, c.lzA, c.lzB = kind|size, a, b
			f := flagsOf(kind|size, a, b)
			for n := uint8(0); n < 16; n++ {
				if c.cond(n) != (condFlags(n, f) != (n&1 != 0)) {
					t.Fatalf("condition %d of kind %d size %d on %x %x", n, kind, size, a, b)
				}
			}
			if c.zero() != (f&flagZF != 0) || c.carry() != f&flagCF {
				require.Fail(t, "zero or carry", "kind %d size %d on %x %x", kind, size, a, b)
			}
		}
	}
}
