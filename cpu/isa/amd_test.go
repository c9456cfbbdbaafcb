package isa

import (
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPauseWithRexB(t *testing.T) {
	for code, want := range map[string][2]Op{"f34190": {PAUSE, XCHG}, "f390": {PAUSE, PAUSE}, "4190": {XCHG, XCHG}, "f24190": {XCHG, XCHG}, "f34191": {XCHG, XCHG}} {
		b, err := hex.DecodeString(code)
		require.NoError(t, err)
		var intel, amd Inst
		require.Equal(t, OK, Decode(b, Mode64, &intel), code)
		require.Equal(t, OK, DecodeAMD(b, Mode64, &amd), code)
		assert.Equal(t, want, [2]Op{intel.Op, amd.Op}, code)
	}
}

// TestVendorsDecodeApart: length and operand size, 0 for #UD.
func TestVendorsDecodeApart(t *testing.T) {
	for _, tt := range []struct {
		name, code                     string
		intelLen, intelSize, len, size uint8
	}{
		{"call with 66", "66e811223344", 6, 8, 4, 2},
		{"call with 66 and REX.W", "6648e811223344", 7, 8, 7, 8},
		{"ret with 66", "66c3", 2, 8, 2, 2},
		{"jcc with 66", "660f8411223344", 7, 8, 5, 2},
		{"lfs with REX.W", "480fb409", 4, 8, 4, 4},
		{"far call with REX.W", "48ff1f", 3, 8, 3, 4},
		{"prefetch of a register", "0f0dc8", 3, 4, 0, 0},
		{"ud1", "0fb9c0", 3, 4, 0, 0},
		{"add", "4801c8", 3, 8, 3, 8},
	} {
		code, err := hex.DecodeString(tt.code)
		require.NoError(t, err)
		var in Inst
		require.Equal(t, OK, Decode(code, Mode64, &in), tt.name)
		assert.Equal(t, [2]uint8{tt.intelLen, tt.intelSize}, [2]uint8{in.Len, in.OpSize}, tt.name)
		st := DecodeAMD(code, Mode64, &in)
		if tt.len == 0 {
			assert.Equal(t, Invalid, st, tt.name)
			continue
		}
		require.Equal(t, OK, st, tt.name)
		assert.Equal(t, [2]uint8{tt.len, tt.size}, [2]uint8{in.Len, in.OpSize}, tt.name)
	}
}
