package isa

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// checkDecode verifies what must hold for any bytes: no more than Len bytes
// matter, and fewer are too few.
func checkDecode(t *testing.T, code []byte, mode Mode) {
	var in, again Inst
	st := Decode(code, mode, &in)
	switch st {
	case OK:
		n := int(in.Len)
		require.True(t, n >= 1 && n <= maxLen && n <= len(code), "% x: length %d", code, n)
		require.Equal(t, OK, Decode(code[:n], mode, &again), "% x", code[:n])
		require.Equal(t, in, again, "% x", code[:n])
		require.Equal(t, Truncated, Decode(code[:n-1], mode, &again), "% x", code[:n-1])
		require.NotEmpty(t, in.Text(0))
		require.Equal(t, Rows[in.Row].Op, in.Op)
		require.True(t, in.OpSize == 2 || in.OpSize == 4 || in.OpSize == 8, "% x: operand size %d", code, in.OpSize)
	case Truncated:
		require.Less(t, len(code), maxLen, "% x", code)
	case TooLong:
		require.GreaterOrEqual(t, len(code), maxLen, "% x", code)
	case Invalid:
		for n := range code {
			st := Decode(code[:n], mode, &again)
			require.True(t, st == Truncated || st == Invalid, "% x", code[:n])
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{"\x48\x8b\x44\x24\x08", "\x66\x0f\x38\xf1\x01", "\xc4\xe2\x79\x18\x05abcd", "\xf0\x0f\xb1\x0f", "\xd9\xfa"} {
		f.Add([]byte(s), uint8(2))
	}
	f.Fuzz(func(t *testing.T, code []byte, mode uint8) {
		checkDecode(t, code, Mode(mode%3))
	})
}

func TestDecodeRandom(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	starts := []string{"", "\x0f", "\x0f\x38", "\x0f\x3a", "\x66\x0f", "\xf3\x0f", "\xc4", "\xc5", "\x48", "\xf0", "\x66\x67"}
	code := make([]byte, 20)
	for i := range 60000 {
		s := starts[i%len(starts)]
		for j := range code {
			code[j] = byte(rnd.Uint32())
		}
		copy(code, s)
		checkDecode(t, code[:rnd.IntN(len(code))+1], Mode(i%3))
	}
}

func TestDecodeAllocatesNothing(t *testing.T) {
	code := []byte{0x48, 0x8b, 0x44, 0x24, 0x08}
	var in Inst
	require.Zero(t, testing.AllocsPerRun(100, func() { Decode(code, Mode64, &in) }))
}
