package isa

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/arch/x86/x86asm"
)

// x86asmWrong says why x86asm's answer for an instruction that we decode is not
// to be compared; "" means that it is.
func x86asmWrong(code []byte, in *Inst, theirs x86asm.Inst, err error) string {
	switch {
	case err != nil:
		return "x86asm lacks VEX, STAC, CLAC, RDPKRU, VMCALL and others: answers are compared, refusals not"
	case theirs.Len == 1 && prefixes[code[0]] != pfxNone:
		return "x86asm returns a lone prefix instead of an error"
	case in.Op == MOVFROMCR || in.Op == MOVTOCR || in.Op == MOVFROMDR || in.Op == MOVTODR:
		return "x86asm does not ignore mod"
	}
	return ""
}

func compareX86asm(t *testing.T, code []byte, mode Mode) (compared bool) {
	var in Inst
	if Decode(code, mode, &in) != OK {
		return false
	}
	theirs, err := x86asm.Decode(code, 16<<mode)
	if x86asmWrong(code, &in, theirs, err) != "" {
		return false
	}
	require.Equal(t, theirs.Len, int(in.Len), "% x in mode %d: x86asm %s, ours %s", code, 16<<mode, theirs, in.Text(0))
	return true
}

func TestLengthsAgainstX86asm(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	n := 0
	systematic(func(code []byte, mode Mode) {
		if compareX86asm(t, code, mode) {
			n++
		}
	})
	require.Greater(t, n, 50000)
	code := make([]byte, 15)
	n = 0
	for i := range 150000 {
		for j := range code {
			code[j] = byte(rnd.Uint32())
		}
		if compareX86asm(t, code, Mode(i%3)) {
			n++
		}
	}
	require.Greater(t, n, 50000)
}

// systematic calls f with every opcode of the four legacy maps, under the
// prefixes that matter, with a choice of ModRM bytes and a fixed tail.
func systematic(f func(code []byte, mode Mode)) {
	modrms := []byte{0x00, 0x05, 0x06, 0x44, 0x8c, 0x10, 0x18, 0x20, 0x28, 0x30, 0x38, 0xc1, 0xca, 0xd3, 0xd8, 0xe0, 0xe2, 0xe8, 0xee, 0xf0, 0xf9, 0xfa, 0xfb}
	tail := []byte{0x24, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x01, 0x02}
	var buf [20]byte
	for _, pfx := range []string{"", "\x66", "\xf3", "\xf2", "\x67", "\x48", "\x66\x45"} {
		for _, m := range []string{"", "\x0f", "\x0f\x38", "\x0f\x3a"} {
			for op := range 256 {
				for _, mr := range modrms {
					code := append(buf[:0], pfx...)
					code = append(append(code, m...), byte(op), mr)
					code = append(code, tail...)
					for _, mode := range []Mode{Mode16, Mode32, Mode64} {
						f(code, mode)
					}
				}
			}
		}
	}
}
