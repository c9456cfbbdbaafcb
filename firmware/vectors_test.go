package firmware

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestVectors: each interrupt of the PICs is ended, the timer's is counted, all
// others return; a kernel that lies on the table has its own.
func TestVectors(t *testing.T) {
	m := newRAM(128 * mb)
	_, err := Boot(m, config(mbELF(mbText)))
	require.NoError(t, err)
	handler := func(v uint64, n int) string {
		at := m.u64(4*v) & 0xffffffff
		return string(m.bytes(at>>16<<4+at&0xffff, n))
	}
	for v := range uint64(256) {
		want := vectorReturn
		switch {
		case v == 8:
			want = vectorTimer
		case v > 8 && v < 16:
			want = vectorMaster
		case v >= 0x70 && v < 0x78:
			want = vectorSlave
		}
		assert.Equal(t, want, handler(v, len(want)), "vector %#x", v)
	}
	m = newRAM(128 * mb)
	e, err := Boot(m, config(mbELF(mbText, testSegment{0x10, 0x10, "its own"})))
	require.NoError(t, err)
	assert.True(t, e.Vectors)
	assert.Equal(t, "its own", string(m.bytes(0x10, 7)))
}
