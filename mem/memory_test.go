package mem

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"godwit/internal/host"
)

// newTest makes memory on the Go heap, which the race detector watches.
func newTest(t testing.TB, ram uint64, extra ...Region) *Memory {
	t.Helper()
	m, err := newMemory(host.Heap, ram, extra)
	require.NoError(t, err)
	return m
}

func TestSmoke(t *testing.T) {
	m, err := New(16<<20, Region{Name: "bios", Base: 0xfffe0000, Size: 0x20000, Kind: ROM})
	require.NoError(t, err)
	require.True(t, m.Write(0x1ffe, []byte{1, 2, 3, 4}))
	b := make([]byte, 4)
	m.Read(0x1ffe, b)
	assert.Equal(t, []byte{1, 2, 3, 4}, b)
	require.NoError(t, m.Load(0xfffffff0, []byte{0xea}))
	require.True(t, m.Write(0xfffffff0, []byte{1}))
	m.Read(0xfffffff0, b[:1])
	assert.Equal(t, byte(0xea), b[0])
	require.NoError(t, m.Close())
}
